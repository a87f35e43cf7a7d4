//! The framing, written as plainly as possible: the judge of the real decoder.

/// What a stream of length-prefixed frames holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frames<'a> {
    pub(super) whole: Vec<&'a [u8]>,
    /// Bytes of the frame that is not complete, header included.
    pub(super) partial: usize,
    /// The announced length above the limit at which the stream ends.
    pub(super) too_large: Option<u32>,
}

pub(super) fn frames(mut stream: &[u8], limit: u32) -> Frames<'_> {
    let mut found = Frames { whole: Vec::new(), partial: 0, too_large: None };
    while stream.len() >= 4 {
        let len = u32::from_be_bytes([stream[0], stream[1], stream[2], stream[3]]);
        if len > limit {
            found.too_large = Some(len);
            return found;
        }
        let end = 4 + len as usize;
        if stream.len() < end {
            break;
        }
        found.whole.push(&stream[4..end]);
        stream = &stream[end..];
    }
    found.partial = stream.len();
    found
}
