//! Reading JSON.

use super::Json;
use super::object::JsonObject;
use super::text::JsString;

/// Why a text is no JSON value, or not one within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text is not JSON.
    #[error("not JSON at byte {at}")]
    Syntax {
        /// Where, in bytes from the start of the text.
        at: usize,
    },
    /// The text is longer than the limit; nothing of it was looked at.
    #[error("{len} bytes, at most {limit}")]
    TooLarge {
        /// Length of the text in bytes.
        len: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Arrays and objects are nested deeper than the limit.
    #[error("nested deeper than {limit}")]
    TooDeep {
        /// The limit in levels.
        limit: u32,
    },
}

/// The bounds of [`parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JsonLimits {
    /// Longest text in bytes, inclusive.
    pub bytes_max: usize,
    /// Deepest nesting of arrays and objects, inclusive; `[]` is 1 deep. The stack is used up to here: keep it
    /// at a few dozen.
    pub depth_max: u32,
}

/// Reads one JSON value as `JSON.parse` would read the bytes decoded as UTF-8: faulty bytes become U+FFFD, of
/// equal keys the last wins, a byte order mark is an error.
///
/// Takes at most about 64 bytes of memory per byte of the text, and time in proportion to its length.
///
/// # Errors
///
/// Names the first offence; a text over the length limit is not looked at.
pub fn parse(text: &[u8], limits: JsonLimits) -> Result<Json, JsonError> {
    if text.len() > limits.bytes_max {
        return Err(JsonError::TooLarge { len: text.len(), limit: limits.bytes_max });
    }
    let text = String::from_utf8_lossy(text);
    let mut reader = Reader { text: &text, at: 0, depth_max: limits.depth_max };
    let value = reader.value(0)?;
    reader.space();
    if reader.at == text.len() { Ok(value) } else { Err(reader.fault()) }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth_max: u32,
}

impl Reader<'_> {
    const fn fault(&self) -> JsonError {
        JsonError::Syntax { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.take(byte) { Ok(()) } else { Err(self.fault()) }
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// A value inside `depth` containers, with the space before it.
    fn value(&mut self, depth: u32) -> Result<Json, JsonError> {
        self.space();
        match self.peek() {
            Some(b'{') => self.inside(depth).and_then(|depth| self.object(depth)),
            Some(b'[') => self.inside(depth).and_then(|depth| self.array(depth)),
            Some(b'"') => self.string().map(Json::String),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    fn inside(&mut self, depth: u32) -> Result<u32, JsonError> {
        self.at += 1;
        if depth < self.depth_max { Ok(depth + 1) } else { Err(JsonError::TooDeep { limit: self.depth_max }) }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, JsonError> {
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        if !found {
            return Err(self.fault());
        }
        self.at += word.len();
        Ok(value)
    }

    fn array(&mut self, depth: u32) -> Result<Json, JsonError> {
        let mut items = Vec::new();
        self.space();
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            self.expect(b',')?;
        }
    }

    fn object(&mut self, depth: u32) -> Result<Json, JsonError> {
        let mut entries = Vec::new();
        self.space();
        if self.take(b'}') {
            return Ok(Json::Object(JsonObject::new()));
        }
        loop {
            self.space();
            let key = self.string()?;
            self.space();
            self.expect(b':')?;
            entries.push((key, self.value(depth)?));
            self.space();
            if self.take(b'}') {
                return Ok(Json::Object(JsonObject::from_entries(entries)));
            }
            self.expect(b',')?;
        }
    }

    fn string(&mut self) -> Result<JsString, JsonError> {
        self.expect(b'"')?;
        let start = self.at;
        let mut units: Option<Vec<u16>> = None;
        let mut plain = start;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    let decoded = units.get_or_insert_default();
                    decoded.extend(self.text.get(plain..self.at).unwrap_or_default().encode_utf16());
                    self.at += 1;
                    let unit = self.escape()?;
                    units.get_or_insert_default().push(unit);
                    plain = self.at;
                }
                Some(0..=0x1f) | None => return Err(self.fault()),
                Some(_) => self.at += 1,
            }
        }
        let rest = self.text.get(plain..self.at).unwrap_or_default();
        self.at += 1;
        Ok(match units {
            None => rest.into(),
            Some(mut units) => {
                units.extend(rest.encode_utf16());
                JsString::from_units(units)
            }
        })
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<u16, JsonError> {
        let unit = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => u16::from(byte),
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => 0x0a,
            Some(b'r') => 0x0d,
            Some(b't') => 0x09,
            Some(b'u') => {
                let digits = self.text.get(self.at + 1..self.at + 5).unwrap_or_default();
                let hex = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                let unit = u16::from_str_radix(digits, 16).ok().filter(|_| hex);
                self.at += 4;
                unit.ok_or_else(|| self.fault())?
            }
            _ => return Err(self.fault()),
        };
        self.at += 1;
        Ok(unit)
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let start = self.at;
        self.take(b'-');
        if !self.take(b'0') {
            self.digits()?;
        }
        if self.take(b'.') {
            self.digits()?;
        }
        if self.take(b'e') || self.take(b'E') {
            let _sign = self.take(b'+') || self.take(b'-');
            self.digits()?;
        }
        let number = self.text.get(start..self.at).and_then(|digits| digits.parse().ok());
        number.map(Json::Number).ok_or_else(|| self.fault())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.fault()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::json::stringify;

    const LIMITS: JsonLimits = JsonLimits { bytes_max: 1 << 16, depth_max: 32 };

    fn read(text: &str) -> Result<String, JsonError> {
        parse(text.as_bytes(), LIMITS).map(|value| stringify(&value))
    }

    #[test]
    fn texts_come_back_as_javascript_would_write_them() {
        for (text, expected) in [
            (r#" { "a" : [ 1 , 2.50, -0, 1E2 ] , "b":null } "#, r#"{"a":[1,2.5,0,100],"b":null}"#),
            (r#""\u0041\/\ud83c\udf0d\ud800\n""#, "\"A/\u{1f30d}\\ud800\\n\""),
            (r#""\udf0d\ud83c""#, r#""\udf0d\ud83c""#),
            (r#"{"b":1,"2":2,"b":3,"1":4}"#, r#"{"1":4,"2":2,"b":3}"#),
            ("9007199254740993", "9007199254740992"),
            ("[1e999,5e-324,1e-7,1e21]", "[null,5e-324,1e-7,1e+21]"),
            ("[ ]", "[]"),
            ("{ }", "{}"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_javascript_refuses_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "[",
            "\"",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "1.",
            ".5",
            "+1",
            "-",
            "1e",
            "nul",
            "truex",
            "\"\t\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\\u00é\"",
            "[1 2]",
            "{\"a\" 1}",
            "1 1",
            "\u{feff}1",
            "\u{a0}1",
            "NaN",
            "'a'",
            "[1]]",
            "{\"a\"}",
            "\"\\",
        ] {
            assert!(matches!(read(text), Err(JsonError::Syntax { .. })), "{text}");
        }
    }

    #[test]
    fn length_and_depth_are_bounded_inclusively() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(32)).is_ok());
        assert_eq!(read(&nested(33)), Err(JsonError::TooDeep { limit: 32 }));
        assert_eq!(read(&"[".repeat(1 << 16)), Err(JsonError::TooDeep { limit: 32 }));
        assert_eq!(read(&"{\"a\":".repeat(100)), Err(JsonError::TooDeep { limit: 32 }));
        let limit = 1 << 16;
        assert!(read(&format!("{}1", " ".repeat(limit - 1))).is_ok());
        assert_eq!(read(&" ".repeat(limit + 1)), Err(JsonError::TooLarge { len: limit + 1, limit }));
    }

    #[test]
    fn faulty_utf8_becomes_the_replacement_character() {
        let value = parse(b"\"a\xff\xe2\x82b\"", LIMITS).map(|value| stringify(&value));
        assert_eq!(value.as_deref(), Ok("\"a\u{fffd}\u{fffd}b\""));
    }
}
