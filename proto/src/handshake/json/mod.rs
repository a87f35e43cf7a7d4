//! JSON with JavaScript's meaning, bounded: what `JSON.parse` and `JSON.stringify` would make of a handshake.
//!
//! Signatures cover the text that JavaScript produces, so a value read here and written again must come out to
//! the letter as it would there: order of keys, shortest numbers, lone surrogates.

mod object;
mod parse;
mod text;
mod write;

pub use object::JsonObject;
pub use parse::{JsonError, JsonLimits, parse};
pub use text::JsString;
pub use write::{canonical, number_text, stringify};

/// A JSON value as JavaScript sees it. Numbers are doubles; an overflow such as `1e999` is infinite and is
/// written as `null`.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// Any number.
    Number(f64),
    /// A string, lone surrogates included.
    String(JsString),
    /// An array.
    Array(Vec<Self>),
    /// An object, its keys in JavaScript's order.
    Object(JsonObject),
}

impl Json {
    /// The string, if it is one.
    pub const fn as_string(&self) -> Option<&JsString> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The number, if it is one.
    pub const fn as_number(&self) -> Option<f64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The object, if it is one.
    pub const fn as_object(&self) -> Option<&JsonObject> {
        if let Self::Object(object) = self { Some(object) } else { None }
    }

    /// Whether arrays and objects nest deeper than `depth_max`; stops looking there.
    pub fn is_deeper_than(&self, depth_max: u32) -> bool {
        match self {
            Self::Array(items) => {
                depth_max == 0 || items.iter().any(|item| item.is_deeper_than(depth_max - 1))
            }
            Self::Object(object) => object.is_deeper_than(depth_max),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::String(_) => false,
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<f64> for Json {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Json {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<JsonObject> for Json {
    fn from(object: JsonObject) -> Self {
        Self::Object(object)
    }
}
