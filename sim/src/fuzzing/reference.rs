//! The framing, written as plainly as possible: the judge of the real decoder.

use std::ops::Range;

/// A stream of length-prefixed frames, kept whole.
#[derive(Debug)]
pub(super) struct Reference {
    limit: u32,
    stream: Vec<u8>,
    /// Where the payloads of the complete frames lie.
    whole: Vec<Range<usize>>,
    /// Where the first frame begins that is not complete.
    next: usize,
    too_large: Option<u32>,
}

impl Reference {
    pub(super) const fn new(limit: u32) -> Self {
        Self { limit, stream: Vec::new(), whole: Vec::new(), next: 0, too_large: None }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.stream.extend_from_slice(bytes);
        while self.too_large.is_none() {
            let Some((header, rest)) = self.stream[self.next..].split_first_chunk::<4>() else { return };
            let len = u32::from_be_bytes(*header);
            if len > self.limit {
                self.too_large = Some(len);
            } else if rest.len() < len as usize {
                return;
            } else {
                let start = self.next + 4;
                self.next = start + len as usize;
                self.whole.push(start..self.next);
            }
        }
    }

    /// How many frames are complete.
    pub(super) fn frames(&self) -> usize {
        self.whole.len()
    }

    /// The payload of a complete frame.
    pub(super) fn frame(&self, number: usize) -> Option<&[u8]> {
        self.whole.get(number).map(|range| &self.stream[range.clone()])
    }

    /// Bytes of the frame that is not complete, header included.
    pub(super) fn partial(&self) -> usize {
        if self.too_large.is_some() { 0 } else { self.stream.len() - self.next }
    }

    /// The announced length above the limit at which the stream ends.
    pub(super) const fn too_large(&self) -> Option<u32> {
        self.too_large
    }

    /// Everything fed, framed or not.
    pub(super) fn stream(&self) -> &[u8] {
        &self.stream
    }
}
