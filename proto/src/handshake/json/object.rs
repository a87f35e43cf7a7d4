//! Objects of JavaScript.

use std::mem;

use super::text::JsString;
use super::{JsString as Key, Json};

/// A JSON object. Keys are unique and in JavaScript's order: integer-like ones first, ascending, then the rest
/// as they were inserted.
///
/// Costs 56 bytes per key, and its text. Looking up is linear: handshakes have a dozen keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JsonObject {
    entries: Vec<(JsString, Json)>,
}

impl JsonObject {
    /// An object without keys.
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// The object that JavaScript makes of `entries`: of equal keys the last value stays, at the first's place.
    pub fn from_entries(entries: Vec<(JsString, Json)>) -> Self {
        let mut numbered: Vec<(usize, JsString, Json)> =
            entries.into_iter().enumerate().map(|(place, (key, value))| (place, key, value)).collect();
        numbered.sort_by(|(_, a, _), (_, b, _)| a.cmp(b));
        numbered.dedup_by(|later, first| {
            let same = later.1 == first.1;
            if same {
                mem::swap(&mut first.2, &mut later.2);
            }
            same
        });
        numbered.sort_by_key(|(place, key, _)| (rank(key), *place));
        Self { entries: numbered.into_iter().map(|(_, key, value)| (key, value)).collect() }
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// Sets `key`; a new one goes where JavaScript would put it.
    pub fn insert(&mut self, key: impl Into<JsString>, value: impl Into<Json>) {
        let (key, value) = (key.into(), value.into());
        if let Some((_, old)) = self.entries.iter_mut().find(|(name, _)| *name == key) {
            *old = value;
            return;
        }
        let own = rank(&key);
        let place = self.entries.iter().position(|(name, _)| rank(name) > own).unwrap_or(self.entries.len());
        self.entries.insert(place, (key, value));
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Json> {
        let place = self.entries.iter().position(|(name, _)| name == key)?;
        Some(self.entries.remove(place).1)
    }

    /// Lays `other` over this object: its values win.
    pub fn overlay(&mut self, other: Self) {
        let entries = mem::take(&mut self.entries);
        *self = Self::from_entries(entries.into_iter().chain(other.entries).collect());
    }

    /// Puts the keys of `first` before all others, in that order; integer-like ones stay before them.
    pub(crate) fn with_first(self, first: &[&str]) -> Self {
        let place = |key: &Key| first.iter().position(|name| key == name).unwrap_or(first.len());
        let mut entries = self.entries;
        entries.sort_by_key(|(key, _)| (rank(key), place(key)));
        Self { entries }
    }

    /// The keys and values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&JsString, &Json)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// How many keys there are.
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// As [`Json::is_deeper_than`]; the object itself is one level.
    pub fn is_deeper_than(&self, depth_max: u32) -> bool {
        depth_max == 0 || self.entries.iter().any(|(_, value)| value.is_deeper_than(depth_max - 1))
    }
}

impl<K: Into<JsString>, V: Into<Json>> FromIterator<(K, V)> for JsonObject {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self::from_entries(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// Integer-like keys by their number, all others behind them.
pub(super) fn rank(key: &JsString) -> u32 {
    key.array_index().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(object: &JsonObject) -> String {
        object.iter().map(|(key, value)| format!("{key:?}:{value:?} ")).collect::<String>().replace('"', "")
    }

    #[test]
    fn integer_like_keys_come_first_and_equal_keys_keep_the_first_place_and_the_last_value() {
        let entries = [("b", 1), ("10", 2), ("a", 3), ("2", 4), ("b", 5), ("01", 6), ("2", 7)];
        let object: JsonObject = entries.map(|(key, value)| (key, f64::from(value))).into_iter().collect();
        let expected = "2:Number(7.0) 10:Number(2.0) b:Number(5.0) a:Number(3.0) 01:Number(6.0) ";
        assert_eq!(keys(&object), expected);
        let mut inserted = JsonObject::new();
        entries.iter().for_each(|(key, value)| inserted.insert(*key, f64::from(*value)));
        assert_eq!(inserted, object);
    }

    #[test]
    fn laying_over_replaces_in_place_and_appends_the_rest() {
        let mut object: JsonObject = [("a", 1.0), ("b", 2.0)].into_iter().collect();
        object.overlay([("c", 3.0), ("a", 4.0), ("1", 5.0)].into_iter().collect());
        assert_eq!(keys(&object), "1:Number(5.0) a:Number(4.0) b:Number(2.0) c:Number(3.0) ");
        assert_eq!(object.remove("a"), Some(Json::Number(4.0)));
        assert_eq!(keys(&object.with_first(&["c"])), "1:Number(5.0) c:Number(3.0) b:Number(2.0) ");
    }
}
