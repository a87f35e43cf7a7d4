//! Taking frames out of the queue as far as tokens allow.

use std::mem;

use super::{Entry, FrameQueue, Lane, Popped};
use crate::chunk::ChunkPool;
use crate::config::Framing;
use crate::encoder::FRAME_HEADER_LEN;
use crate::pacer::Allowance;
use crate::transmit::{Segment, Transmit};

impl FrameQueue {
    /// As [`FrameQueue::pop_into`], where rate or number of frames are limited: takes whole frames, most urgent
    /// first, until the next one lacks tokens; what was coalesced with it stays behind and may be overtaken. A frame that
    /// has begun goes on whatever the tokens. Without framing a piece may end anywhere, but the buffer it was
    /// cut from is finished before another priority gets its turn.
    pub(crate) fn pop_within(
        &mut self,
        framing: Framing,
        transmit: &mut Transmit,
        bytes_max: usize,
        allowance: &mut Allowance,
        pool: &mut ChunkPool,
    ) -> Option<u64> {
        let mut mark = None;
        while let Some(priority) = self.continued.or_else(|| self.next_priority()) {
            let begun = self.continued.is_some();
            let room = if transmit.is_full() { 0 } else { bytes_max.saturating_sub(transmit.len()) };
            let Some(lane) = self.lane_mut(priority) else { break };
            if lane.entries.is_empty() {
                lane.seal(true);
            }
            let len = match lane.entries.front() {
                Some(Entry::Segment { segment, .. }) if room > 0 => {
                    affordable(framing, begun, segment, room, allowance)
                }
                Some(Entry::Mark(_)) => usize::MAX,
                _ => 0,
            };
            if len == 0 {
                break;
            }
            let Some(popped) = lane.pop_part(len, framing, pool) else { break };
            let lane_is_empty = lane.is_empty();
            mark = mark.max(self.hand_out(priority, popped, lane_is_empty, transmit));
        }
        mark
    }
}

impl Lane {
    /// Takes the first entry, or `len` bytes of it when it is longer. With framing, a chunk is cut between two
    /// frames.
    fn pop_part(&mut self, len: usize, framing: Framing, pool: &mut ChunkPool) -> Option<Popped> {
        if let Some(Entry::Segment { segment: Segment::Chunk { buf, start }, .. }) = self.entries.front_mut()
            && len < buf.len() - *start
        {
            self.bytes -= len;
            let segment = cut_chunk(buf, start, len, pool);
            return Some(Popped::Segment {
                segment,
                ends_frame: framing == Framing::LengthPrefixed,
                whole: false,
            });
        }
        self.pop(len)
    }
}

/// Bytes of an entry that may be taken; zero when its first frame has to wait.
fn affordable(
    framing: Framing,
    begun: bool,
    segment: &Segment,
    room: usize,
    allowance: &mut Allowance,
) -> usize {
    match (framing, segment) {
        (Framing::None, _) => allowance.take_part(segment.len().min(room)),
        (Framing::LengthPrefixed, Segment::Chunk { .. }) if !begun => {
            whole_frames(segment.as_slice(), allowance)
        }
        // A broadcast: a frame of its own.
        (Framing::LengthPrefixed, Segment::Shared(frame)) if !begun && !allowance.take_frame(frame.len()) => {
            0
        }
        // A frame that was paid for with its header.
        (Framing::LengthPrefixed, _) => room,
    }
}

/// Length of the leading frames that the tokens suffice for. The last frame of a chunk may go on in the next
/// entry; its header is then all of it that counts here.
fn whole_frames(chunk: &[u8], allowance: &mut Allowance) -> usize {
    let mut taken = 0;
    while let Some(header) = chunk.get(taken..).and_then(<[u8]>::first_chunk::<FRAME_HEADER_LEN>) {
        let frame = FRAME_HEADER_LEN.saturating_add(u32::from_be_bytes(*header) as usize);
        if !allowance.take_frame(frame) {
            break;
        }
        taken = chunk.len().min(taken.saturating_add(frame));
    }
    taken
}

/// Takes the first `len` bytes of a chunk by copying the shorter side.
fn cut_chunk(buf: &mut Vec<u8>, start: &mut usize, len: usize, pool: &mut ChunkPool) -> Segment {
    let (head, rest) = buf.get(*start..).and_then(|left| left.split_at_checked(len)).unwrap_or_default();
    let copy = |bytes: &[u8], pool: &mut ChunkPool| {
        let mut copy = pool.take(bytes.len());
        copy.extend_from_slice(bytes);
        copy
    };
    if head.len() <= rest.len() {
        let taken = copy(head, pool);
        *start += len;
        return Segment::Chunk { buf: taken, start: 0 };
    }
    let rest = copy(rest, pool);
    buf.truncate(*start + len);
    let start = mem::take(start);
    Segment::Chunk { buf: mem::replace(buf, rest), start }
}
