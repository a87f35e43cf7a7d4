//! Encoded frames waiting to leave, by priority.

use std::collections::{BTreeMap, VecDeque};
use std::mem;

use bytes::Bytes;

use crate::chunk::ChunkPool;
use crate::config::Framing;
use crate::encoder::{FRAME_HEADER_LEN, frame_header};
use crate::payload::Payload;
use crate::priority::Priority;
use crate::transmit::{Segment, Transmit};

mod paced;

/// Frames in wire form, one lane per priority; frames of a lane stay in order, a frame is never interrupted.
#[derive(Debug, Default)]
pub(crate) struct FrameQueue {
    default: Lane,
    others: BTreeMap<Priority, Lane>,
    /// The lane that must go on next because its last segment ended inside a frame.
    continued: Option<Priority>,
    bytes: usize,
    entries: usize,
}

/// Entries and, behind them, the chunk that is being filled.
#[derive(Debug, Default)]
struct Lane {
    entries: VecDeque<Entry>,
    /// Wire bytes of the entries.
    bytes: usize,
    /// Whole frames, not yet an entry; without capacity when none is being filled.
    tail: Vec<u8>,
}

#[derive(Debug)]
enum Entry {
    /// `ends_frame` is false when the frame goes on in the next entry (header here, payload there).
    /// `droppable` marks a whole frame that is shared with other connections and has not begun to leave.
    Segment { segment: Segment, ends_frame: bool, droppable: bool },
    /// Everything in front of it has been taken once it is met.
    Mark(u64),
}

impl FrameQueue {
    /// Wire bytes waiting.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the queue counts against its bound: wire bytes and bookkeeping.
    pub(crate) fn cost(&self) -> usize {
        self.bytes + self.entries * ENTRY_COST + self.others.len() * LANE_COST
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0 && self.entries == 0
    }

    /// Appends a length-prefixed frame of the default priority if the chunk being filled has room for it; false
    /// when it was not. Payloads up to [`COPY_MAX`] only: longer ones may be shared.
    #[inline]
    pub(crate) fn push_quick(&mut self, payload: &[u8]) -> bool {
        let tail = &mut self.default.tail;
        let len = FRAME_HEADER_LEN + payload.len();
        let fits = tail.capacity() - tail.len() >= len;
        if fits {
            tail.extend_from_slice(&frame_header(payload.len() as u32));
            tail.extend_from_slice(payload);
            self.bytes += len;
        }
        fits
    }

    /// Appends one message. The caller has checked its length against the limits (it fits in 32 bits).
    pub(crate) fn push<P: Payload>(
        &mut self,
        framing: Framing,
        priority: Priority,
        payload: P,
        pool: &mut ChunkPool,
    ) {
        let len = payload.as_bytes().len();
        let header = frame_header(len as u32);
        let header = if framing == Framing::LengthPrefixed { &header[..] } else { &[] };
        if header.len() + len == 0 {
            return;
        }
        self.bytes += header.len() + len;
        let lane = if priority == Priority::DEFAULT {
            &mut self.default
        } else {
            self.others.entry(priority).or_default()
        };
        self.entries += if len <= COPY_MAX {
            lane.copy(header, payload.as_bytes(), pool)
        } else {
            match payload.into_shared() {
                Ok(shared) => lane.share(header, shared, pool),
                Err(payload) => lane.copy_long(header, payload.as_bytes(), pool),
            }
        };
    }

    /// Appends one frame that is shared with other connections: nothing is copied, and nothing is allocated in an
    /// empty queue that [`FrameQueue::stock`] prepared.
    pub(crate) fn push_shared(&mut self, priority: Priority, frame: Bytes) {
        if frame.is_empty() {
            return;
        }
        self.bytes += frame.len();
        self.entries += 1;
        let lane = if priority == Priority::DEFAULT {
            &mut self.default
        } else {
            self.others.entry(priority).or_default()
        };
        lane.seal(true);
        lane.bytes += frame.len();
        let segment = Segment::Shared(frame);
        lane.entries.push_back(Entry::Segment { segment, ends_frame: true, droppable: true });
    }

    /// Drops frames that [`FrameQueue::push_shared`] appended and that have not begun to leave, until `excess`
    /// bytes of cost are freed: the least urgent lanes first, none more urgent than `priority`, of a lane the
    /// oldest first. Returns how many.
    pub(crate) fn drop_shared(&mut self, priority: Priority, excess: usize) -> u64 {
        let mut dropped = Dropped { excess, bytes: 0, frames: 0 };
        let patient = self.others.range_mut(priority.max(Priority::DEFAULT)..).rev();
        patient.for_each(|(_, lane)| lane.drop_shared(&mut dropped));
        if priority <= Priority::DEFAULT {
            self.default.drop_shared(&mut dropped);
            let urgent = self.others.range_mut(priority..Priority::DEFAULT).rev();
            urgent.for_each(|(_, lane)| lane.drop_shared(&mut dropped));
        }
        self.bytes -= dropped.bytes;
        self.entries -= dropped.frames;
        if dropped.frames > 0 {
            self.others.retain(|_, lane| !lane.is_empty());
        }
        dropped.frames as u64
    }

    /// Makes room for one entry: 48 bytes.
    pub(crate) fn stock(&mut self) {
        self.default.entries.reserve_exact(1);
    }

    /// Moves entries into `transmit` until it holds `bytes_max` or its segments are full, most urgent frames
    /// first. Returns the highest mark that was met.
    pub(crate) fn pop_into(&mut self, transmit: &mut Transmit, bytes_max: usize) -> Option<u64> {
        let mut mark = None;
        while let Some(priority) = self.continued.or_else(|| self.next_priority()) {
            let Some(lane) = self.lane_mut(priority) else { break };
            // A mark takes no room; left behind alone it would wait for a submission that never comes.
            let full = transmit.len() >= bytes_max || transmit.is_full();
            if full && !matches!(lane.entries.front(), Some(Entry::Mark(_))) {
                break;
            }
            let Some(popped) = lane.pop(bytes_max.saturating_sub(transmit.len())) else { break };
            let lane_is_empty = lane.is_empty();
            mark = mark.max(self.hand_out(priority, popped, lane_is_empty, transmit));
        }
        mark
    }

    /// Moves what was popped from a lane into `transmit`; returns the mark if it was one.
    #[inline]
    fn hand_out(
        &mut self,
        priority: Priority,
        popped: Popped,
        lane_is_empty: bool,
        transmit: &mut Transmit,
    ) -> Option<u64> {
        let mut mark = None;
        match popped {
            Popped::Mark(id) => {
                mark = Some(id);
                self.entries -= 1;
            }
            Popped::Segment { segment, ends_frame, whole } => {
                self.bytes -= segment.len();
                self.entries -= usize::from(whole);
                self.continued = (!ends_frame).then_some(priority);
                transmit.push(segment);
            }
        }
        if lane_is_empty && priority != Priority::DEFAULT {
            self.others.remove(&priority);
        }
        mark
    }

    /// Whether frames of a priority other than the default wait.
    pub(crate) fn has_lane(&self, priority: Priority) -> bool {
        self.others.contains_key(&priority)
    }

    /// Marks the present end of the queue: [`FrameQueue::pop_into`] reports `id` when all frames queued now
    /// have been taken.
    pub(crate) fn mark(&mut self, id: u64) {
        let last = self.others.last_entry().filter(|lane| *lane.key() > Priority::DEFAULT);
        let lane = match last {
            Some(lane) => lane.into_mut(),
            None if self.default.is_empty() => {
                self.others.values_mut().next_back().unwrap_or(&mut self.default)
            }
            None => &mut self.default,
        };
        lane.seal(true);
        if let Some(Entry::Mark(last)) = lane.entries.back_mut() {
            *last = id;
            return;
        }
        lane.entries.push_back(Entry::Mark(id));
        self.entries += 1;
    }

    /// Takes over all entries of `other`, behind the ones already here.
    pub(crate) fn append(&mut self, other: &mut Self) {
        if other.is_empty() {
            return;
        }
        self.default.append(&mut other.default);
        for (priority, mut lane) in mem::take(&mut other.others) {
            self.others.entry(priority).or_default().append(&mut lane);
        }
        self.bytes += mem::take(&mut other.bytes);
        self.entries += mem::take(&mut other.entries);
    }

    /// Drops everything and gives the buffers back.
    pub(crate) fn clear(&mut self, pool: &mut ChunkPool) {
        let mut rest = Transmit::default();
        let lanes = mem::take(&mut self.others).into_values().chain([mem::take(&mut self.default)]);
        let sealed = lanes.flat_map(|mut lane| {
            lane.seal(true);
            lane.entries
        });
        for entry in sealed {
            if let Entry::Segment { segment, .. } = entry {
                rest.push(segment);
            }
        }
        rest.recycle(pool);
        *self = Self::default();
    }

    fn next_priority(&self) -> Option<Priority> {
        let first_other = self.others.first_key_value().map(|(priority, _)| *priority);
        match first_other {
            Some(priority) if priority < Priority::DEFAULT || self.default.is_empty() => Some(priority),
            _ => (!self.default.is_empty()).then_some(Priority::DEFAULT),
        }
    }

    fn lane_mut(&mut self, priority: Priority) -> Option<&mut Lane> {
        if priority == Priority::DEFAULT { Some(&mut self.default) } else { self.others.get_mut(&priority) }
    }
}

enum Popped {
    /// `whole` is false when the rest of the entry stays queued.
    Segment {
        segment: Segment,
        ends_frame: bool,
        whole: bool,
    },
    Mark(u64),
}

/// What [`FrameQueue::drop_shared`] has freed so far.
struct Dropped {
    excess: usize,
    bytes: usize,
    frames: usize,
}

impl Lane {
    /// Drops shared frames from the front on.
    fn drop_shared(&mut self, dropped: &mut Dropped) {
        let mut at = 0;
        while dropped.bytes + dropped.frames * ENTRY_COST < dropped.excess {
            let mut rest = self.entries.range(at..);
            let Some(next) = rest.position(|entry| matches!(entry, Entry::Segment { droppable: true, .. }))
            else {
                return;
            };
            at += next;
            if let Some(Entry::Segment { segment, .. }) = self.entries.remove(at) {
                self.bytes -= segment.len();
                dropped.bytes += segment.len();
                dropped.frames += 1;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.tail.is_empty()
    }

    /// Makes the chunk being filled an entry; what is appended next begins another.
    fn seal(&mut self, ends_frame: bool) {
        if self.tail.is_empty() {
            return;
        }
        let buf = mem::take(&mut self.tail);
        self.bytes += buf.len();
        let segment = Segment::Chunk { buf, start: 0 };
        self.entries.push_back(Entry::Segment { segment, ends_frame, droppable: false });
    }

    /// Copies a frame, or its header, behind the last one. Returns how many entries that makes.
    fn copy(&mut self, header: &[u8], payload: &[u8], pool: &mut ChunkPool) -> usize {
        let len = header.len() + payload.len();
        let fits = self.tail.capacity() - self.tail.len() >= len;
        if !fits {
            self.seal(true);
            self.tail = pool.take(len.max(self.chunk_len()));
        }
        self.tail.extend_from_slice(header);
        self.tail.extend_from_slice(payload);
        usize::from(!fits)
    }

    /// Copies a frame that may be longer than a chunk, so that it can leave in slices. Returns how many entries that
    /// makes.
    fn copy_long(&mut self, header: &[u8], payload: &[u8], pool: &mut ChunkPool) -> usize {
        if header.len() + payload.len() <= CHUNK_LARGE {
            return self.copy(header, payload, pool);
        }
        let mut added = if header.is_empty() { 0 } else { self.copy(header, &[], pool) };
        for (n, piece) in payload.chunks(CHUNK_LARGE).enumerate() {
            self.seal(n == 0 && header.is_empty());
            self.tail = pool.take(CHUNK_LARGE);
            self.tail.extend_from_slice(piece);
            added += 1;
        }
        self.seal(true);
        added
    }

    fn share(&mut self, header: &[u8], payload: Bytes, pool: &mut ChunkPool) -> usize {
        let added = if header.is_empty() { 0 } else { self.copy(header, &[], pool) };
        self.seal(header.is_empty());
        self.bytes += payload.len();
        let segment = Segment::Shared(payload);
        self.entries.push_back(Entry::Segment { segment, ends_frame: true, droppable: false });
        added + 1
    }

    /// Buffers grow with the backlog: a lone reply costs 2 KiB, a flood is batched by 64 KiB.
    fn chunk_len(&self) -> usize {
        match self.bytes {
            0..CHUNK_SMALL => CHUNK_SMALL,
            CHUNK_SMALL..CHUNK_MIDDLE => CHUNK_MIDDLE,
            _ => CHUNK_LARGE,
        }
    }

    /// Takes the first entry, or `room` bytes of it when it is shared and longer (a chunk is never split: it
    /// is at most 64 KiB, or one unshared frame).
    fn pop(&mut self, room: usize) -> Option<Popped> {
        if self.entries.is_empty() {
            let buf = Some(mem::take(&mut self.tail)).filter(|buf| !buf.is_empty())?;
            let segment = Segment::Chunk { buf, start: 0 };
            return Some(Popped::Segment { segment, ends_frame: true, whole: true });
        }
        if let Some(Entry::Segment { segment: Segment::Shared(bytes), droppable, .. }) =
            self.entries.front_mut()
            && bytes.len() > room
        {
            *droppable = false;
            self.bytes -= room;
            let segment = Segment::Shared(bytes.split_to(room));
            return Some(Popped::Segment { segment, ends_frame: false, whole: false });
        }
        Some(match self.entries.pop_front()? {
            Entry::Mark(id) => Popped::Mark(id),
            Entry::Segment { segment, ends_frame, .. } => {
                self.bytes -= segment.len();
                Popped::Segment { segment, ends_frame, whole: true }
            }
        })
    }

    fn append(&mut self, other: &mut Self) {
        self.seal(true);
        if self.entries.is_empty() {
            mem::swap(&mut self.entries, &mut other.entries);
        }
        self.entries.append(&mut other.entries);
        self.bytes += mem::take(&mut other.bytes);
        self.tail = mem::take(&mut other.tail);
    }
}

/// Payloads up to this are copied even when they could be shared: measured crossover of copying against one
/// more gather element lies between 4 and 16 KiB.
pub(crate) const COPY_MAX: usize = 8 << 10;
const CHUNK_SMALL: usize = 2 << 10;
const CHUNK_MIDDLE: usize = 16 << 10;
const CHUNK_LARGE: usize = 64 << 10;
/// Bookkeeping of one entry, rounded up.
const ENTRY_COST: usize = 64;
/// A lane of its own: its map node and the slack of its first buffer.
const LANE_COST: usize = CHUNK_SMALL + 256;

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
