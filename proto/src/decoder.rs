//! The incoming half of the framing.

use std::mem;

use crate::chunk::ChunkPool;
use crate::config::Framing;
use crate::encoder::FRAME_HEADER_LEN;
use crate::error::FrameTooLarge;

/// Cuts a byte stream into frames.
///
/// A frame that lies whole in the caller's buffer is handed out as a slice of it, without a copy. Only a frame
/// that spans buffers is stitched, in memory that grows by doubling with the bytes **received**: what a peer
/// merely announces allocates nothing.
///
/// Invariants: `header_have <= 4`; `header_have == 4` exactly while a body is being stitched; then
/// `body.len() < body_len <= max_frame_len`.
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    max_frame_len: u32,
    header: [u8; FRAME_HEADER_LEN],
    header_have: u8,
    body: Vec<u8>,
    body_len: u32,
}

/// One frame's payload.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'b> {
    /// A slice of the caller's buffer.
    Whole(&'b [u8]),
    /// A payload that spanned buffers, in a buffer of the pool.
    Stitched(Vec<u8>),
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub const fn new(framing: Framing, max_frame_len: u32) -> Self {
        Self {
            framing,
            max_frame_len,
            header: [0; FRAME_HEADER_LEN],
            header_have: 0,
            body: Vec::new(),
            body_len: 0,
        }
    }

    /// Takes the next frame off the front of `input`; `None` when more bytes are needed (`input` is then
    /// empty: what belongs to an unfinished frame has been kept).
    ///
    /// # Errors
    ///
    /// A header above the limit, noticed before a byte of the payload. The stream is unusable afterwards.
    #[inline]
    pub fn next<'b>(
        &mut self,
        input: &mut &'b [u8],
        pool: &mut ChunkPool,
    ) -> Result<Option<Frame<'b>>, FrameTooLarge> {
        match self.next_whole(input) {
            Some(payload) => Ok(Some(Frame::Whole(payload))),
            None => self.next_slow(input, pool),
        }
    }

    /// The next frame if it lies whole in `input`, with its header, and is within the limit; else `None`, and
    /// nothing was taken: [`Decoder::next`] then decides.
    #[inline]
    pub(crate) fn next_whole<'b>(&self, input: &mut &'b [u8]) -> Option<&'b [u8]> {
        let (header, rest) = input.split_first_chunk::<FRAME_HEADER_LEN>()?;
        let len = u32::from_be_bytes(*header);
        if self.header_have != 0 || self.framing != Framing::LengthPrefixed || len > self.max_frame_len {
            return None;
        }
        let (payload, rest) = rest.split_at_checked(len as usize)?;
        *input = rest;
        Some(payload)
    }

    /// Changes the limit; call it between two frames.
    pub const fn set_limit(&mut self, max_frame_len: u32) {
        self.max_frame_len = max_frame_len;
    }

    /// Whether a frame has begun that is not complete.
    pub const fn is_mid_frame(&self) -> bool {
        self.header_have != 0
    }

    /// Bytes kept of the unfinished frame, header included.
    pub fn partial_len(&self) -> usize {
        self.header_have as usize + self.body.len()
    }

    /// Gives the memory of an unfinished frame back; the stream is unusable afterwards.
    pub fn abandon(&mut self, pool: &mut ChunkPool) {
        pool.give(mem::take(&mut self.body));
        self.header_have = 0;
    }

    fn check(&self, len: u32) -> Result<u32, FrameTooLarge> {
        if len > self.max_frame_len { Err(FrameTooLarge { len, limit: self.max_frame_len }) } else { Ok(len) }
    }

    fn next_slow<'b>(
        &mut self,
        input: &mut &'b [u8],
        pool: &mut ChunkPool,
    ) -> Result<Option<Frame<'b>>, FrameTooLarge> {
        if self.framing == Framing::None {
            return Ok((!input.is_empty()).then(|| Frame::Whole(mem::take(input))));
        }
        if !self.fill_header(input)? {
            return Ok(None);
        }
        // A frame whose header was split but whose payload is whole needs no stitching either.
        if self.body.is_empty()
            && let Some((payload, rest)) = input.split_at_checked(self.body_len as usize)
        {
            *input = rest;
            self.header_have = 0;
            return Ok(Some(Frame::Whole(payload)));
        }
        let missing = self.body_len as usize - self.body.len();
        let (taken, rest) = input.split_at_checked(missing).unwrap_or((*input, &[]));
        pool.grow(&mut self.body, taken.len(), self.body_len as usize);
        self.body.extend_from_slice(taken);
        *input = rest;
        if taken.len() < missing {
            return Ok(None);
        }
        self.header_have = 0;
        Ok(Some(Frame::Stitched(mem::take(&mut self.body))))
    }

    /// Collects the header; true once it is complete and within the limit.
    fn fill_header(&mut self, input: &mut &[u8]) -> Result<bool, FrameTooLarge> {
        while (self.header_have as usize) < FRAME_HEADER_LEN {
            let Some((byte, rest)) = input.split_first() else { return Ok(false) };
            if let Some(slot) = self.header.get_mut(self.header_have as usize) {
                *slot = *byte;
            }
            self.header_have += 1;
            *input = rest;
            if self.header_have as usize == FRAME_HEADER_LEN {
                self.body_len = self.check(u32::from_be_bytes(self.header))?;
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(decoder: &mut Decoder, chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, FrameTooLarge> {
        let mut pool = ChunkPool::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            let mut input = *chunk;
            while let Some(frame) = decoder.next(&mut input, &mut pool)? {
                match frame {
                    Frame::Whole(payload) => frames.push(payload.to_vec()),
                    Frame::Stitched(payload) => frames.push(payload),
                }
            }
            assert!(input.is_empty());
        }
        Ok(frames)
    }

    fn encode(payloads: &[Vec<u8>]) -> Vec<u8> {
        let frame = |p: &Vec<u8>| [&(p.len() as u32).to_be_bytes()[..], p].concat();
        payloads.iter().flat_map(frame).collect()
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        ) {
            let wire = encode(&payloads);
            let mut cuts: Vec<usize> = cuts.iter().map(|c| c.index(wire.len() + 1)).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &wire[w[0]..w[1]]).collect();
            let mut decoder = Decoder::new(Framing::LengthPrefixed, 300);
            prop_assert_eq!(decode(&mut decoder, &chunks).unwrap(), payloads);
            prop_assert!(!decoder.is_mid_frame());
        }
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut decoder = Decoder::new(Framing::LengthPrefixed, u32::MAX);
        assert_eq!(decode(&mut decoder, &[&[0xff, 0xff, 0xff, 0xff]]), Ok(vec![]));
        assert_eq!(decoder.body.capacity(), 0);
        decode(&mut decoder, &[&[1; 3000]]).unwrap();
        assert!(decoder.body.capacity() <= 2 * 3000);
    }

    #[test]
    fn the_limit_is_inclusive_and_found_in_any_split() {
        let mut exact = Decoder::new(Framing::LengthPrefixed, 2);
        assert_eq!(decode(&mut exact, &[&[0, 0, 0, 2, 7, 7]]), Ok(vec![vec![7, 7]]));
        for split in 0..4 {
            let wire = [0, 0, 0, 3];
            let mut over = Decoder::new(Framing::LengthPrefixed, 2);
            let refused = decode(&mut over, &[&wire[..split], &wire[split..]]);
            assert_eq!(refused, Err(FrameTooLarge { len: 3, limit: 2 }));
        }
    }

    #[test]
    fn a_split_header_with_a_whole_payload_is_not_stitched() {
        let mut decoder = Decoder::new(Framing::LengthPrefixed, 10);
        let mut pool = ChunkPool::default();
        let mut head: &[u8] = &[0, 0];
        assert_eq!(decoder.next(&mut head, &mut pool), Ok(None));
        assert!(decoder.is_mid_frame());
        let mut rest: &[u8] = &[0, 2, 5, 6, 0];
        assert_eq!(decoder.next(&mut rest, &mut pool), Ok(Some(Frame::Whole(&[5, 6]))));
        assert_eq!(rest, [0]);
    }

    #[test]
    fn without_framing_each_chunk_is_a_message() {
        let mut decoder = Decoder::new(Framing::None, 1);
        assert_eq!(decode(&mut decoder, &[b"abc", b"", b"de"]), Ok(vec![b"abc".to_vec(), b"de".to_vec()]));
    }
}
