//! The decoder against the reference, whatever the split.

use qwormhole_proto::{ChunkPool, Decoder, Frame, Framing};

use super::input::Input;
use super::reference::Reference;

/// Input: one byte chooses the limit, one the number of cuts, then two bytes per cut, then the stream.
///
/// # Panics
///
/// When the frames, the error or the state in between differ from the reference decoder's.
pub fn decoder_split(data: &[u8]) {
    let mut input = Input::new(data);
    let limit = input.pick(&[300, 0, 1, 5, 4096, 70_000, u32::MAX]);
    let cuts: Vec<usize> =
        (0..input.byte() % 16).map(|_| usize::from(input.byte()) * 256 + usize::from(input.byte())).collect();
    let stream = input.rest();
    check(stream, limit, &[]);
    check(stream, limit, &cuts);
    let every: Vec<usize> = (0..stream.len()).collect();
    check(stream, limit, &every);
    check_unframed(stream, &cuts);
}

fn check(stream: &[u8], limit: u32, cuts: &[usize]) {
    let mut decoder = Decoder::new(Framing::LengthPrefixed, limit);
    let mut pool = ChunkPool::default();
    let mut reference = Reference::new(limit);
    let mut frames = 0;
    for chunk in split(stream, cuts) {
        reference.feed(chunk);
        let mut rest = chunk;
        let error = loop {
            let payload = match decoder.next(&mut rest, &mut pool) {
                Ok(Some(Frame::Whole(payload))) => payload.to_vec(),
                Ok(Some(Frame::Stitched(payload))) => {
                    pool.give(payload.clone());
                    payload
                }
                Ok(None) => break None,
                Err(error) => break Some(error),
            };
            assert!(reference.frame(frames) == Some(&payload), "frame {frames}");
            frames += 1;
        };
        assert_eq!(frames, reference.frames());
        assert_eq!(error.map(|error| error.len), reference.too_large());
        if error.is_some() {
            return;
        }
        assert!(rest.is_empty(), "undecoded bytes are left");
        assert_eq!(decoder.partial_len(), reference.partial());
        assert_eq!(decoder.is_mid_frame(), reference.partial() > 0);
    }
}

fn check_unframed(stream: &[u8], cuts: &[usize]) {
    let mut decoder = Decoder::new(Framing::None, 0);
    let mut pool = ChunkPool::default();
    for chunk in split(stream, cuts) {
        let mut rest = chunk;
        let expected = (!chunk.is_empty()).then_some(Frame::Whole(chunk));
        assert_eq!(decoder.next(&mut rest, &mut pool), Ok(expected));
        assert_eq!(decoder.next(&mut rest, &mut pool), Ok(None));
        assert!(!decoder.is_mid_frame());
    }
}

/// Cuts `stream` at the given places, in order.
pub(super) fn split<'a>(stream: &'a [u8], cuts: &[usize]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
    places.extend([0, stream.len()]);
    places.sort_unstable();
    let pairs: Vec<(usize, usize)> = places.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.into_iter().map(|(start, end)| &stream[start..end])
}
