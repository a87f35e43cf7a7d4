//! Tags: the application's own words in a handshake.

use super::json::{JsString, Json, JsonObject, number_text};

/// Tags of a handshake: names with a string or a finite number each, in the order they were set, integer-like
/// names first (JavaScript's order of keys).
///
/// A peer's tags are bounded by the handshake they came in; a tag costs about 100 bytes more than its text, so
/// 64 KiB of the shortest tags take about 1 MiB.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tags(JsonObject);

/// The value of a tag.
#[derive(Clone, Debug, PartialEq)]
pub enum Tag {
    /// A string.
    Text(JsString),
    /// A number.
    Number(f64),
}

impl Tags {
    /// No tags.
    pub const fn new() -> Self {
        Self(JsonObject::new())
    }

    /// Sets a tag; a known name keeps its place.
    pub fn set(&mut self, name: impl Into<JsString>, value: impl Into<Tag>) {
        let value = match value.into() {
            Tag::Text(text) => Json::String(text),
            Tag::Number(number) => Json::Number(number),
        };
        self.0.insert(name, value);
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<Tag> {
        self.0.get(name).and_then(Tag::of)
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&JsString, Tag)> {
        self.0.iter().filter_map(|(name, value)| Some((name, Tag::of(value)?)))
    }

    /// How many tags there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no tags.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tags as a JSON object.
    pub const fn as_object(&self) -> &JsonObject {
        &self.0
    }

    /// Of an object that the schema has checked.
    pub(super) const fn checked(object: JsonObject) -> Self {
        Self(object)
    }
}

impl<N: Into<JsString>, T: Into<Tag>> FromIterator<(N, T)> for Tags {
    fn from_iter<I: IntoIterator<Item = (N, T)>>(tags: I) -> Self {
        let mut set = Self::new();
        tags.into_iter().for_each(|(name, value)| set.set(name, value));
        set
    }
}

impl Tag {
    /// The value as JavaScript's `String(value)`, lone surrogates replaced.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.to_string_lossy().into_owned(),
            Self::Number(number) => number_text(*number),
        }
    }

    fn of(value: &Json) -> Option<Self> {
        match value {
            Json::String(text) => Some(Self::Text(text.clone())),
            Json::Number(number) => Some(Self::Number(*number)),
            Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
        }
    }
}

impl From<&str> for Tag {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Tag {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<f64> for Tag {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Tag {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u32> for Tag {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_keep_the_order_of_javascript() {
        let mut tags: Tags = [("b", 1), ("10", 2), ("2", 3)].into_iter().collect();
        tags.set("b", "new");
        let name = |(name, tag): (&JsString, Tag)| format!("{}={}", name.to_string_lossy(), tag.text());
        let names: Vec<String> = tags.iter().map(name).collect();
        assert_eq!(names.join(" "), "2=3 10=2 b=new");
        assert_eq!((tags.get("2"), tags.get("c")), (Some(Tag::Number(3.0)), None));
    }
}
