//! How varied a connection's messages are.

use std::collections::VecDeque;

use super::json::Json;
use super::negentropic::entropy;

/// A rolling histogram of the types of the last [`MESSAGE_TYPES_WINDOW`] messages.
///
/// Names are cut to 64 bytes, so it holds at most 512 of them: 48 KiB. Recording is linear in the number of
/// distinct types.
#[derive(Clone, Debug, Default)]
pub struct MessageTypes {
    /// Distinct names with their counts, in the order in which they first came.
    histogram: Vec<Bucket>,
    /// Numbers of the buckets, oldest message first.
    window: VecDeque<u32>,
    next_bucket: u32,
    entropy: f64,
}

#[derive(Clone, Debug)]
struct Bucket {
    number: u32,
    name: Box<str>,
    count: u32,
}

impl MessageTypes {
    /// Counts one message and says what the window looks like now. An empty name counts as `unknown`.
    pub fn record(&mut self, name: &str) -> NegentropicSnapshot {
        if self.window.len() >= MESSAGE_TYPES_WINDOW {
            self.forget_oldest();
        }
        let name = cut(if name.is_empty() { UNKNOWN } else { name });
        let number = match self.histogram.iter_mut().find(|bucket| &*bucket.name == name) {
            Some(bucket) => {
                bucket.count += 1;
                bucket.number
            }
            None => {
                let number = self.next_bucket;
                self.next_bucket = self.next_bucket.wrapping_add(1);
                self.histogram.push(Bucket { number, name: name.into(), count: 1 });
                number
            }
        };
        self.window.push_back(number);
        let before = self.entropy;
        self.entropy = entropy(self.histogram.iter().map(|bucket| bucket.count), self.window.len());
        self.snapshot(self.entropy - before)
    }

    fn forget_oldest(&mut self) {
        let Some(oldest) = self.window.pop_front() else { return };
        for bucket in self.histogram.iter_mut().filter(|bucket| bucket.number == oldest) {
            bucket.count -= 1;
        }
        self.histogram.retain(|bucket| bucket.count > 0);
    }

    fn snapshot(&self, entropy_velocity: f64) -> NegentropicSnapshot {
        let largest = libm::log2(self.histogram.len().max(1) as f64);
        let negentropy = (largest - self.entropy).max(0.0);
        NegentropicSnapshot {
            histogram: self.histogram.iter().map(|bucket| (bucket.name.to_string(), bucket.count)).collect(),
            entropy: self.entropy,
            negentropy,
            entropy_velocity,
            coherence: EntropyLevel::of(negentropy),
            velocity: EntropyPace::of(entropy_velocity),
            sample_count: self.window.len() as u32,
        }
    }
}

/// The window after a message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct NegentropicSnapshot {
    /// Names and how often they are in the window, in the order in which they first came.
    pub histogram: Vec<(String, u32)>,
    /// Shannon entropy of the types, in bits.
    pub entropy: f64,
    /// What is missing to the largest entropy that so many types can have, in bits. QWormhole also calls it
    /// `neganticIndex`.
    pub negentropy: f64,
    /// Change of the entropy by the last message, in bits.
    pub entropy_velocity: f64,
    /// The class of the negentropy.
    pub coherence: EntropyLevel,
    /// The class of the velocity.
    pub velocity: EntropyPace,
    /// Messages in the window.
    pub sample_count: u32,
}

/// The class of a negentropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntropyLevel {
    /// Up to 0.5 bits.
    Low,
    /// More than 0.5 bits.
    Medium,
    /// More than 1.5 bits.
    High,
}

impl EntropyLevel {
    fn of(negentropy: f64) -> Self {
        match negentropy {
            _ if negentropy > 1.5 => Self::High,
            _ if negentropy > 0.5 => Self::Medium,
            _ => Self::Low,
        }
    }

    /// QWormhole's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
        }
    }
}

/// The class of a change of entropy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntropyPace {
    /// Up to 0.3 bits per message.
    Slow,
    /// More than 0.3 bits per message.
    Moderate,
    /// More than 1 bit per message.
    Fast,
}

impl EntropyPace {
    fn of(velocity: f64) -> Self {
        match velocity.abs() {
            fast if fast > 1.0 => Self::Fast,
            moderate if moderate > 0.3 => Self::Moderate,
            _ => Self::Slow,
        }
    }

    /// QWormhole's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "Slow",
            Self::Moderate => "Moderate",
            Self::Fast => "Fast",
        }
    }
}

/// A message, as far as its type shows.
#[derive(Clone, Copy, Debug)]
pub enum Typed<'a> {
    /// Nothing.
    Undefined,
    /// A buffer of the runtime.
    Buffer,
    /// An array of bytes.
    Bytes,
    /// A value.
    Value(&'a Json),
}

/// The name under which a message is counted: an object's `type`, else `event:` and its event, else `action:`
/// and its action, else the kind of value. Only strings that are not empty count.
pub fn message_type(message: Typed<'_>) -> String {
    let value = match message {
        Typed::Undefined | Typed::Value(Json::Null) => return UNKNOWN.into(),
        Typed::Buffer => return "buffer".into(),
        Typed::Bytes => return "uint8array".into(),
        Typed::Value(value) => value,
    };
    let object = match value {
        Json::String(_) => return "string".into(),
        Json::Number(_) => return "number".into(),
        Json::Bool(_) => return "boolean".into(),
        Json::Null | Json::Array(_) => return "object".into(),
        Json::Object(object) => object,
    };
    let named = |(key, prefix): (&str, &str)| {
        let name = object.get(key)?.as_string().filter(|name| !name.is_empty())?;
        Some(format!("{prefix}{}", name.to_string_lossy()))
    };
    let names = [("type", ""), ("event", "event:"), ("action", "action:")];
    names.into_iter().find_map(named).unwrap_or_else(|| "object".into())
}

/// The start of `name`, in whole characters.
fn cut(name: &str) -> &str {
    let end = (0..=NAME_BYTES_MAX.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    end.and_then(|end| name.get(..end)).unwrap_or_default()
}

/// How many messages the histogram looks back.
pub const MESSAGE_TYPES_WINDOW: usize = 512;
const UNKNOWN: &str = "unknown";
/// Peers choose the names.
const NAME_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_forgets_the_oldest_message() {
        let mut types = MessageTypes::default();
        types.record("old");
        for _ in 0..MESSAGE_TYPES_WINDOW - 1 {
            types.record("new");
        }
        let full = types.record("new");
        assert_eq!(full.histogram, [("new".to_string(), 512)]);
        assert_eq!((full.sample_count, full.entropy), (512, 0.0));
    }

    #[test]
    fn names_that_peers_choose_stay_short_and_few() {
        let mut types = MessageTypes::default();
        for number in 0..2000 {
            types.record(&format!("{number}{}", "é".repeat(1000)));
        }
        let last = types.record(&"é".repeat(1000));
        assert_eq!(last.histogram.len(), MESSAGE_TYPES_WINDOW);
        assert!(last.histogram.iter().all(|(name, _)| name.len() <= NAME_BYTES_MAX));
        assert!((last.entropy - 9.0).abs() < 1e-9, "{}", last.entropy);
        assert_eq!(last.coherence, EntropyLevel::Low);
    }

    #[test]
    fn classes_have_open_lower_bounds() {
        assert_eq!(
            [0.5, 0.6, 1.5, 1.6].map(|n| EntropyLevel::of(n).name()),
            ["Low", "Medium", "Medium", "High"]
        );
        assert_eq!(
            [0.3, -0.4, 1.0, -1.1].map(|v| EntropyPace::of(v).name()),
            ["Slow", "Moderate", "Moderate", "Fast"]
        );
    }
}
