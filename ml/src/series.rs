//! What can be said about a series of numbers.

use rustfft::FftPlanner;
use rustfft::num_complex::Complex;

/// Smallest, largest, mean and population deviation of a series that is not empty.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moments {
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
}

impl Moments {
    pub(crate) fn of(samples: &[f64]) -> Self {
        let count = samples.len() as f64;
        let mean = mean(samples);
        let squares = samples.iter().fold(0.0, |sum, sample| sum + (sample - mean) * (sample - mean));
        Self {
            min: samples.iter().copied().fold(f64::INFINITY, f64::min),
            max: samples.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            mean,
            deviation: (squares / count).sqrt(),
        }
    }

    /// The largest distance from the mean, in deviations; 0 if nothing deviates.
    pub(crate) fn z_max(&self) -> f64 {
        let farthest = (self.max - self.mean).max(self.mean - self.min);
        if self.deviation == 0.0 { 0.0 } else { farthest / self.deviation }
    }
}

/// Entropy of the samples over 8 to 64 bins of equal width, from 0 (all in one) to 1 (even).
pub(crate) fn binned_entropy(samples: &[f64], moments: &Moments) -> f64 {
    if moments.min == moments.max {
        return 0.0;
    }
    let bins = ((samples.len() as f64).sqrt().ceil() as usize).clamp(8, 64);
    let width = (moments.max - moments.min) / bins as f64;
    let mut counts = vec![0usize; bins];
    for sample in samples {
        // The largest sample belongs to the last bin. A cast of what is no number gives 0.
        counts[(((sample - moments.min) / width) as usize).min(bins - 1)] += 1;
    }
    shannon(&counts, samples.len()) / (bins as f64).log2()
}

/// The negentropic index of a series: the share of frequency 0 in the spectrum of the mean-centred samples,
/// divided by the entropy of the samples as bytes. 0 for an empty series.
///
/// Centring leaves rounding noise only at frequency 0, so that the index is practically 0 for every series; it is
/// QWormhole's definition. The spectrum takes O(n log n) time and 32 bytes per sample.
pub fn series_index(samples: &[f64]) -> f64 {
    if samples.is_empty() {
        return 0.0;
    }
    let mean = mean(samples);
    // Summed in order: a transform would round frequency 0, which is nothing but rounding, in its own way.
    let zero = samples.iter().fold(0.0, |sum, sample| sum + (sample - mean)).abs();
    let mut spectrum: Vec<_> = samples.iter().map(|sample| Complex::new(sample - mean, 0.0)).collect();
    FftPlanner::new().plan_fft_forward(spectrum.len()).process(&mut spectrum);
    let total = zero + spectrum.iter().skip(1).map(|bin| bin.norm()).sum::<f64>();
    // Not a number where a sample is none, or beyond all measure: then there is no coherence either.
    let coherence = if total > 0.0 && total.is_finite() { zero / total } else { 0.0 };
    coherence / byte_entropy(samples).max(ENTROPY_MIN)
}

fn mean(samples: &[f64]) -> f64 {
    samples.iter().fold(0.0, |sum, sample| sum + sample) / samples.len() as f64
}

/// Bits of entropy of the samples, each as the byte that JavaScript's `Uint8Array` makes of it.
fn byte_entropy(samples: &[f64]) -> f64 {
    let mut counts = [0usize; 256];
    for sample in samples {
        // The remainder of what is no number is none, and casts to 0 as it does there.
        counts[sample.trunc().rem_euclid(256.0) as usize & 0xff] += 1;
    }
    shannon(&counts, samples.len())
}

fn shannon(counts: &[usize], total: usize) -> f64 {
    let shares = counts.iter().filter(|count| **count > 0).map(|count| *count as f64 / total as f64);
    // Minus zero is not what anybody wants to read.
    shares.fold(0.0, |bits, share| bits - share * share.log2())
}

const ENTROPY_MIN: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, O(n²).
    fn slow_index(samples: &[f64]) -> f64 {
        let (count, mean) = (samples.len() as f64, mean(samples));
        let magnitude = |k: usize| {
            let turn = |at: usize| std::f64::consts::TAU * ((k * at) % samples.len()) as f64 / count;
            let parts = samples.iter().enumerate().fold((0.0, 0.0), |(re, im), (at, sample)| {
                (re + (sample - mean) * turn(at).cos(), im - (sample - mean) * turn(at).sin())
            });
            f64::hypot(parts.0, parts.1)
        };
        let total: f64 = (0..samples.len()).map(magnitude).sum();
        let coherence = if total == 0.0 { 0.0 } else { magnitude(0) / total };
        coherence / byte_entropy(samples).max(ENTROPY_MIN)
    }

    #[test]
    fn the_index_is_that_of_the_vectors() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../tests/fixtures/negentropic-index-series.json")).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        for case in cases {
            let samples: Vec<f64> = serde_json::from_value(case["samples"].clone()).unwrap();
            let difference = series_index(&samples) - case["index"].as_f64().unwrap();
            assert!(difference.abs() < 1e-12, "{case}: off by {difference:e}");
        }
        assert_eq!(cases.len(), 7);
    }

    /// Bytes that are all alike amplify the noise a million times.
    #[test]
    fn the_fast_index_is_the_slow_one() {
        for len in [1, 2, 3, 5, 8, 97, 128, 210, 1009] {
            let samples: Vec<f64> = (0..len).map(|at| (at * at % 89) as f64 / 97.0).collect();
            let (fast, slow) = (series_index(&samples), slow_index(&samples));
            assert!((fast - slow).abs() < 1e-12, "{len} samples: {fast:e}, {slow:e}");
        }
    }

    #[test]
    fn samples_become_bytes_as_in_javascript() {
        let alike = |a: f64, b: f64| byte_entropy(&[a, b]) == 0.0;
        assert!(alike(255.0, -1.0));
        assert!(alike(256.0, 0.9));
        assert!(alike(-0.9, 0.0));
        assert!(alike(257.5, 1.0));
        assert!(alike(f64::INFINITY, 0.0));
        assert!(!alike(1.0, 2.0));
    }

    #[test]
    fn numbers_beyond_all_measure_do_no_harm() {
        for samples in [[f64::MAX, f64::MIN, 1.0], [f64::MAX; 3], [f64::MIN_POSITIVE, 0.0, -0.0]] {
            let moments = Moments::of(&samples);
            let _ = (binned_entropy(&samples, &moments), moments.z_max(), series_index(&samples));
        }
        assert_eq!(series_index(&[f64::NAN, 1.0]), 0.0);
        assert_eq!(series_index(&[f64::INFINITY, 1.0]), 0.0);
    }
}
