//! A JavaScript value.

use std::mem;

use bytes::Bytes;

/// What JavaScript's serializers tell apart. `undefined` and functions have no form on the wire.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// `null`; also what is received instead of text that is not JSON.
    #[default]
    Null,
    /// A boolean.
    Bool(bool),
    /// A number; JSON has no form for NaN and the infinities and sends null.
    Number(f64),
    /// A `BigInt`; JSON sends it as a string of digits. JavaScript's have no bound, these are 128 bits wide.
    BigInt(i128),
    /// A string. JavaScript's may hold lone surrogates, this one cannot.
    Text(String),
    /// An array.
    Array(Vec<Self>),
    /// An object, in the order of its keys; of equal keys the last wins.
    Object(Vec<(String, Self)>),
    /// A `Uint8Array`.
    Bytes(Bytes),
    /// Node's `Buffer`; at the top the default and the CBOR serializer send its bytes as they are.
    Buffer(Bytes),
}

impl Value {
    /// The value of an object's key.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Object(entries) = self else { return None };
        entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The object of `entries`: of equal keys the first keeps its place and the last its value, as in JavaScript.
    pub(super) fn object(mut entries: Vec<(String, Self)>) -> Self {
        let mut order: Vec<usize> = (0..entries.len()).collect();
        // The sort is stable, so equal keys stay in the order they came. A peer chose them: pairwise comparison
        // would take it minutes of our time.
        order.sort_by(|a, b| entries[*a].0.cmp(&entries[*b].0));
        let mut superseded = vec![false; entries.len()];
        // From the back, so that the last value moves forward to the first of its key.
        for pair in order.windows(2).rev() {
            let (earlier, later) = (pair[0], pair[1]);
            if entries[earlier].0 == entries[later].0 {
                entries[earlier].1 = mem::take(&mut entries[later].1);
                superseded[later] = true;
            }
        }
        let mut superseded = superseded.into_iter();
        entries.retain(|_| superseded.next() != Some(true));
        Self::Object(entries)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_keys_the_first_keeps_its_place_and_the_last_its_value() {
        let entries = |entries: &[(&str, f64)]| {
            entries.iter().map(|(key, value)| (key.to_string(), Value::Number(*value))).collect::<Vec<_>>()
        };
        let object = Value::object(entries(&[("b", 1.0), ("a", 2.0), ("b", 3.0), ("c", 4.0), ("b", 5.0)]));
        assert_eq!(object, Value::Object(entries(&[("b", 5.0), ("a", 2.0), ("c", 4.0)])));
        assert_eq!(object.get("b"), Some(&Value::Number(5.0)));
        assert_eq!(object.get("d"), None);
        assert_eq!(Value::object(Vec::new()), Value::Object(Vec::new()));
    }
}
