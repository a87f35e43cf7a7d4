//! Strings of JavaScript.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

/// A JavaScript string: UTF-16 that need not be well-formed. Kept as UTF-8 unless it has a lone surrogate, so
/// that equal strings are equal values. Ordered by UTF-16 code units, as JavaScript sorts keys.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JsString(Repr);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    Text(Box<str>),
    /// Has at least one lone surrogate.
    Units(Box<[u16]>),
}

impl JsString {
    /// The string of these code units.
    pub fn from_units(units: Vec<u16>) -> Self {
        match String::from_utf16(&units) {
            Ok(text) => text.into(),
            Err(_) => Self(Repr::Units(units.into())),
        }
    }

    /// The string, unless it has a lone surrogate.
    pub fn as_str(&self) -> Option<&str> {
        if let Repr::Text(text) = &self.0 { Some(text) } else { None }
    }

    /// The string; each lone surrogate becomes U+FFFD.
    pub fn to_string_lossy(&self) -> Cow<'_, str> {
        match &self.0 {
            Repr::Text(text) => Cow::Borrowed(text),
            Repr::Units(units) => Cow::Owned(String::from_utf16_lossy(units)),
        }
    }

    /// Whether it has no code unit at all.
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Repr::Text(text) if text.is_empty())
    }

    /// Its code units.
    pub fn units(&self) -> impl Iterator<Item = u16> + '_ {
        let (text, units): (&str, &[u16]) = match &self.0 {
            Repr::Text(text) => (text, &[]),
            Repr::Units(units) => ("", units),
        };
        text.encode_utf16().chain(units.iter().copied())
    }

    /// The number that this key is, if JavaScript treats it as an array index: such keys come first.
    pub(super) fn array_index(&self) -> Option<u32> {
        let text = self.as_str()?;
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        let index = if plain { text.parse::<u32>().ok()? } else { return None };
        (index < u32::MAX).then_some(index)
    }
}

impl From<&str> for JsString {
    fn from(text: &str) -> Self {
        Self(Repr::Text(text.into()))
    }
}

impl From<String> for JsString {
    fn from(text: String) -> Self {
        Self(Repr::Text(text.into()))
    }
}

impl PartialEq<str> for JsString {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl PartialEq<&str> for JsString {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == Some(*other)
    }
}

impl Ord for JsString {
    fn cmp(&self, other: &Self) -> Ordering {
        self.units().cmp(other.units())
    }
}

impl PartialOrd for JsString {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for JsString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string_lossy(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_are_equal_values_however_they_were_made() {
        assert_eq!(JsString::from_units(vec![0xd83c, 0xdf0d]), JsString::from("\u{1f30d}"));
        let lone = JsString::from_units(vec![0x61, 0xd800]);
        assert_eq!((lone.as_str(), lone.to_string_lossy().as_ref()), (None, "a\u{fffd}"));
        assert_eq!(lone.units().collect::<Vec<_>>(), [0x61, 0xd800]);
    }

    #[test]
    fn order_is_by_code_units_not_by_characters() {
        // U+1F30D begins with the unit 0xD83C, below U+FFFD; by characters it would come after.
        let strings = ["\u{1f30d}", "\u{fffd}", "a", "aa"].map(JsString::from);
        let [globe, replacement, short, long] = &strings;
        assert!(globe < replacement);
        assert!(short < long);
    }

    #[test]
    fn only_canonical_indices_below_the_largest_integer_come_first() {
        let index = |text: &str| JsString::from(text).array_index();
        assert_eq!((index("0"), index("10"), index("4294967294")), (Some(0), Some(10), Some(u32::MAX - 1)));
        for other in ["", "01", "-1", "+1", "1.5", "4294967295", "99999999999", "x", "１"] {
            assert_eq!(index(other), None, "{other}");
        }
    }
}
