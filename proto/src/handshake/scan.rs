//! Finds where a handshake ends in a stream without frames.

use super::fault::HandshakeFault;
use super::payload::{HANDSHAKE_BYTES_MAX, HANDSHAKE_DEPTH_MAX};

/// Follows a JSON object through a stream whose chunks may be cut anywhere, and finds its last byte; each byte is
/// looked at once. Whether the object is valid JSON is for the parser to say. Used where the framing is none: the
/// handshake is the object at the start, the rest is data.
#[derive(Clone, Copy, Debug)]
pub struct ObjectScanner {
    bytes_max: usize,
    /// Bytes seen so far.
    len: usize,
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl ObjectScanner {
    /// For an object of at most `bytes_max` bytes, capped at [`HANDSHAKE_BYTES_MAX`], space before it included.
    pub const fn new(bytes_max: usize) -> Self {
        let bytes_max = if bytes_max < HANDSHAKE_BYTES_MAX { bytes_max } else { HANDSHAKE_BYTES_MAX };
        Self { bytes_max, len: 0, depth: 0, in_string: false, escaped: false }
    }

    /// Looks at the next chunk. `Some(n)`: the object ends with the first `n` bytes of it. `None`: all of it
    /// belongs to the object, and more is to come. Must not be called again after an end or an error.
    ///
    /// # Errors
    ///
    /// When the stream does not begin with an object, or the object is too long or too deep.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Option<usize>, HandshakeFault> {
        for (at, byte) in chunk.iter().enumerate() {
            if self.len >= self.bytes_max {
                return Err(HandshakeFault::TooLarge { len: self.len + 1, limit: self.bytes_max });
            }
            let place = self.len;
            self.len += 1;
            if self.in_string {
                self.in_string = *byte != b'"' || self.escaped;
                self.escaped = *byte == b'\\' && !self.escaped;
                continue;
            }
            match byte {
                b'{' | b'[' if self.depth >= HANDSHAKE_DEPTH_MAX => {
                    return Err(HandshakeFault::TooDeep { limit: HANDSHAKE_DEPTH_MAX });
                }
                b'{' => self.depth += 1,
                b' ' | b'\t' | b'\n' | b'\r' => {}
                _ if self.depth == 0 => return Err(HandshakeFault::NotJson { at: place }),
                b'[' => self.depth += 1,
                b'}' | b']' => self.depth -= 1,
                b'"' => self.in_string = true,
                _ => {}
            }
            if self.depth == 0 && matches!(byte, b'}' | b']') {
                return Ok(Some(at + 1));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds chunks of `size` bytes; where the object ends in the whole.
    fn end(text: &str, size: usize) -> Result<Option<usize>, HandshakeFault> {
        let mut scanner = ObjectScanner::new(1000);
        let mut before = 0;
        for chunk in text.as_bytes().chunks(size) {
            if let Some(end) = scanner.feed(chunk)? {
                return Ok(Some(before + end));
            }
            before += chunk.len();
        }
        Ok(None)
    }

    #[test]
    fn the_object_ends_at_its_own_brace_wherever_the_chunks_are_cut() {
        let object = r#" {"a":"}\"]\\","b":[{"c":{}},"[{"],"d\\":1}"#;
        for rest in ["", "raw", "}", "{\"x\":1}", "\n"] {
            for size in 1..60 {
                let text = format!("{object}{rest}");
                assert_eq!(end(&text, size), Ok(Some(object.len())), "{rest}, {size}");
            }
        }
        assert_eq!(end(&object[..object.len() - 1], 3), Ok(None));
    }

    #[test]
    fn what_does_not_begin_with_an_object_and_what_is_too_much_is_refused_at_once() {
        for (text, at) in [("x{", 0), (" 1", 1), ("[1]", 0), ("}", 0), ("]", 0), ("\"{\"", 0)] {
            assert_eq!(end(text, 2), Err(HandshakeFault::NotJson { at }), "{text}");
        }
        assert_eq!(end(&"{".repeat(33), 7), Err(HandshakeFault::TooDeep { limit: 32 }));
        let fault = Err(HandshakeFault::TooLarge { len: 1001, limit: 1000 });
        assert_eq!(end(&format!("{{{}", " ".repeat(1000)), 7), fault);
        assert_eq!(end(&format!("{{{}}}", " ".repeat(998)), 7), Ok(Some(1000)));
    }
}
