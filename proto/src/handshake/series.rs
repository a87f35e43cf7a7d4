//! The negentropic index of a series of numbers.

use super::negentropic::{ENTROPY_MIN, byte_entropy};

/// Share of the constant part in the spectrum of the centred samples, divided by the entropy of their low bytes.
/// Centring removes the constant part, so the result is rounding noise around zero; it exists because QWormhole
/// reports it.
///
/// Takes time in proportion to the square of the number of samples: bound them (QWormhole looks at 4,096). Zero
/// when a sample is not finite, or when there is none.
pub fn series_index(samples: &[f64]) -> f64 {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let centred: Vec<f64> = samples.iter().map(|sample| sample - mean).collect();
    // Sine and cosine of every angle that occurs, once.
    let circle: Vec<(f64, f64)> =
        (0..samples.len()).map(|step| libm::sincos(-std::f64::consts::TAU * step as f64 / count)).collect();
    let magnitudes = (0..samples.len()).map(|bin| magnitude(&centred, &circle, bin));
    let (mut constant, mut sum) = (0.0, 0.0);
    for (bin, magnitude) in magnitudes.enumerate() {
        constant = if bin == 0 { magnitude } else { constant };
        sum += magnitude;
    }
    let coherence = if sum == 0.0 { 0.0 } else { constant / sum };
    // JavaScript's Uint8Array: truncated, modulo 256.
    let bytes: Vec<u8> = samples.iter().map(|sample| sample.trunc().rem_euclid(256.0) as u8).collect();
    let index = coherence / byte_entropy(&bytes).max(ENTROPY_MIN);
    if index.is_finite() { index } else { 0.0 }
}

fn magnitude(centred: &[f64], circle: &[(f64, f64)], bin: usize) -> f64 {
    let (mut real, mut imaginary, mut angle) = (0.0, 0.0, 0);
    for sample in centred {
        let Some((sine, cosine)) = circle.get(angle) else { return f64::NAN };
        real += sample * cosine;
        imaginary += sample * sine;
        angle = (angle + bin) % circle.len();
    }
    libm::hypot(real, imaginary)
}
