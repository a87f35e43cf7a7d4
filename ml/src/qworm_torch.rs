//! Statistics in process.

use serde_json::{Number, Value, json};

use crate::adapter::Adapter;
use crate::error::{AdapterError, SelectionError};
use crate::series::{Moments, binned_entropy, series_index};

/// Statistics over the numbers among the metrics: count, range, deviation, entropy, negentropic index, and what
/// they say about health and mode.
///
/// The answer is `{"adapter":"qworm_torch","stats":{..},"echo":<the metrics>}`. Numbers are taken depth first, in
/// the order written, up to `sample_limit`; strings, booleans and nulls are passed over. A query takes
/// O(n log n) time and some 50 bytes per sample, besides a copy of the metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct QwormTorch {
    options: QwormTorchOptions,
}

/// Options of [`QwormTorch`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QwormTorchOptions {
    /// Numbers taken at most, 1 to 1,048,576. Default 4,096.
    pub sample_limit: usize,
    /// Deviations from the mean at which the anomaly score is 1; above 0. Default 3.
    pub anomaly_z_threshold: f64,
    /// Index from which the mode is `high`. Default 0.9.
    pub upper_threshold: f64,
    /// Index up to which the mode is `low`. Default 0.4.
    pub lower_threshold: f64,
}

impl QwormTorch {
    /// With other options than the default ones.
    ///
    /// # Errors
    ///
    /// An option is out of its range; the error names it.
    pub fn new(options: QwormTorchOptions) -> Result<Self, SelectionError> {
        let refuse = |option, fix| Err(SelectionError::Option { option, fix });
        if !(1..=SAMPLE_LIMIT_MAX).contains(&options.sample_limit) {
            return refuse("sample_limit", "must be between 1 and 1048576");
        }
        if !(options.anomaly_z_threshold > 0.0 && options.anomaly_z_threshold.is_finite()) {
            return refuse("anomaly_z_threshold", "must be above 0");
        }
        if options.upper_threshold.is_nan() {
            return refuse("upper_threshold", "must be a number");
        }
        if options.lower_threshold.is_nan() {
            return refuse("lower_threshold", "must be a number");
        }
        Ok(Self { options })
    }

    fn stats(&self, samples: &[f64]) -> Value {
        if samples.is_empty() {
            return json!({ "count": 0 });
        }
        let moments = Moments::of(samples);
        let index = series_index(samples);
        let anomaly = (moments.z_max() / self.options.anomaly_z_threshold).min(1.0);
        json!({
            "count": samples.len(),
            "min": number(moments.min),
            "max": number(moments.max),
            "mean": number(moments.mean),
            "std": number(moments.deviation),
            "entropy": number(binned_entropy(samples, &moments)),
            "nIndex": number(index),
            "anomalyScore": number(anomaly),
            "health": health(anomaly, index),
            "mode": self.mode(index),
        })
    }

    fn mode(&self, index: f64) -> &'static str {
        if index >= self.options.upper_threshold {
            "high"
        } else if index <= self.options.lower_threshold {
            "low"
        } else {
            "medium"
        }
    }
}

impl Adapter for QwormTorch {
    fn name(&self) -> &str {
        NAME
    }

    fn query(&self, metrics: &Value) -> Result<Value, AdapterError> {
        let samples = samples(metrics, self.options.sample_limit);
        Ok(json!({ "adapter": NAME, "stats": self.stats(&samples), "echo": metrics }))
    }
}

impl Default for QwormTorchOptions {
    fn default() -> Self {
        Self { sample_limit: 4096, anomaly_z_threshold: 3.0, upper_threshold: 0.9, lower_threshold: 0.4 }
    }
}

fn health(anomaly: f64, index: f64) -> &'static str {
    if anomaly > DEGRADED_ABOVE {
        "degraded"
    } else if index > COHERENT_ABOVE {
        "coherent"
    } else {
        "steady"
    }
}

/// The first numbers of `metrics`, without recursion: they may nest as deep as somebody built them.
fn samples(metrics: &Value, limit: usize) -> Vec<f64> {
    let mut samples = Vec::new();
    let mut open = Vec::new();
    let mut next = Some(metrics);
    while samples.len() < limit {
        match next {
            Some(Value::Number(number)) => {
                samples.extend(number.as_f64().filter(|number| number.is_finite()))
            }
            Some(Value::Array(items)) => open.push(Children::Items(items.iter())),
            Some(Value::Object(entries)) => open.push(Children::Entries(entries.values())),
            _ => {}
        }
        next = loop {
            let Some(innermost) = open.last_mut() else { return samples };
            if let Some(child) = innermost.next() {
                break Some(child);
            }
            open.pop();
        };
    }
    samples
}

/// What is left of an array or an object.
enum Children<'a> {
    Items(std::slice::Iter<'a, Value>),
    Entries(serde_json::map::Values<'a>),
}

impl<'a> Children<'a> {
    fn next(&mut self) -> Option<&'a Value> {
        match self {
            Self::Items(items) => items.next(),
            Self::Entries(entries) => entries.next(),
        }
    }
}

/// A number as JavaScript writes it: integers without a fraction, what is no number as null.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() <= SAFE_MAX {
        Value::from(value as i64)
    } else {
        Number::from_f64(value).map_or(Value::Null, Value::Number)
    }
}

const NAME: &str = "qworm_torch";
const SAMPLE_LIMIT_MAX: usize = 1 << 20;
const DEGRADED_ABOVE: f64 = 0.8;
const COHERENT_ABOVE: f64 = 1.0;
/// JavaScript's `Number.MAX_SAFE_INTEGER`.
const SAFE_MAX: f64 = 9_007_199_254_740_991.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../tests/fixtures/ml-qworm-torch.json")).unwrap()
    }

    /// Numbers within the tolerance, everything else equal, nothing missing and nothing more.
    fn assert_close(ours: &Value, expected: &Value, at: &str) {
        match (ours, expected) {
            (Value::Object(a), Value::Object(b)) => {
                assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>(), "{at}");
                a.iter().for_each(|(key, value)| assert_close(value, &b[key], &format!("{at}.{key}")));
            }
            (Value::Number(a), Value::Number(b)) => {
                let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
                // Relative for large values: 1e-12 is less than their last digit.
                assert!((a - b).abs() <= 1e-12 * b.abs().max(1.0), "{at}: {a:e} is not {b:e}");
            }
            _ => assert_eq!(ours, expected, "{at}"),
        }
    }

    fn follow(adapter: &QwormTorch, case: &Value) {
        let metrics = &case["metrics"];
        let mut answer = adapter.query(metrics).unwrap();
        assert_eq!(answer.as_object_mut().unwrap().remove("echo").as_ref(), Some(metrics));
        assert_close(&answer, &case["output_without_echo"], &metrics.to_string());
    }

    #[test]
    fn answers_are_those_of_the_vectors() {
        let vectors = vectors();
        let cases = vectors["cases"].as_array().unwrap();
        cases.iter().for_each(|case| follow(&QwormTorch::default(), case));
        assert_eq!(cases.len(), 14);
    }

    #[test]
    fn options_work_as_in_the_vectors() {
        let vectors = vectors();
        let cases = vectors["option_cases"].as_array().unwrap();
        for case in cases {
            let option = |name: &str| case["options"][name].as_f64().unwrap();
            let adapter = QwormTorch::new(QwormTorchOptions {
                sample_limit: option("sampleLimit") as usize,
                anomaly_z_threshold: option("anomalyZThreshold"),
                upper_threshold: option("upperThreshold"),
                lower_threshold: option("lowerThreshold"),
            });
            follow(&adapter.unwrap(), case);
        }
        assert_eq!(cases.len(), 2);
    }

    #[test]
    fn thresholds_decide_health_and_mode() {
        assert_eq!(
            [health(0.81, 2.0), health(0.8, 1.01), health(0.0, 1.0)],
            ["degraded", "coherent", "steady"]
        );
        let mode = |index| QwormTorch::default().mode(index);
        assert_eq!([mode(0.9), mode(0.89), mode(0.41), mode(0.4)], ["high", "medium", "medium", "low"]);
    }

    #[test]
    fn options_that_cannot_work_are_refused_by_name() {
        let good = QwormTorchOptions::default();
        for (options, name) in [
            (QwormTorchOptions { sample_limit: 0, ..good }, "sample_limit"),
            (QwormTorchOptions { sample_limit: SAMPLE_LIMIT_MAX + 1, ..good }, "sample_limit"),
            (QwormTorchOptions { anomaly_z_threshold: 0.0, ..good }, "anomaly_z_threshold"),
            (QwormTorchOptions { anomaly_z_threshold: f64::NAN, ..good }, "anomaly_z_threshold"),
            (QwormTorchOptions { upper_threshold: f64::NAN, ..good }, "upper_threshold"),
            (QwormTorchOptions { lower_threshold: f64::NAN, ..good }, "lower_threshold"),
        ] {
            assert!(QwormTorch::new(options).unwrap_err().to_string().contains(name), "{name}");
        }
    }

    #[test]
    fn samples_are_taken_in_order_up_to_the_limit_however_deep() {
        let metrics: Value =
            serde_json::from_str(r#"{"b":[1,{"z":2,"a":3}],"a":4,"s":"5","c":[[[6]]]}"#).unwrap();
        assert_eq!(samples(&metrics, 100), [1.0, 2.0, 3.0, 4.0, 6.0]);
        assert_eq!(samples(&metrics, 3), [1.0, 2.0, 3.0]);
        assert_eq!(samples(&json!(7), 1), [7.0]);
        assert_eq!(samples(&json!("7"), 1), [0.0; 0]);
    }

    #[test]
    fn the_largest_default_query_is_quick_and_exact() {
        let metrics: Value = (0..5000).map(|at| f64::from(at % 977) * 0.25).collect();
        let answer = QwormTorch::default().query(&metrics).unwrap();
        assert_eq!(answer["stats"]["count"], 4096);
        assert!(answer["stats"]["nIndex"].as_f64().unwrap() < 1e-12);
    }
}
