//! A client or a server, as the JavaScript of this module calls it. One instance, one inlet, and the connections that
//! JavaScript has been told of.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use napi::bindgen_prelude::{Buffer, Uint8ArraySlice, Uint32ArraySlice};
use napi_derive::napi;
use qwormhole::{Priority, TlsExporter};
use slab::Slab;

use crate::hub::{Hub, Owned};
use crate::inlet::{Content, Inlet, Kind, Part};
use crate::lane::{Ending, Lane};
use crate::options::millis;
use crate::serving::Serving;
use crate::sys::{PullTarget, pull_target};

/// The native half of a client or a server. Internal: its methods trust the JavaScript that ships with them, and
/// numbers that name no connection do nothing.
#[napi]
pub struct Source {
    inlet: Arc<Inlet>,
    lanes: Slab<Arc<Lane>>,
    /// Numbers of connections whose end JavaScript was given by the last pull. It acts on what came before that end
    /// when the pull is over, and must not reach another connection under the same number.
    ended: Vec<u32>,
    /// Taken from the inlet and not pulled completely.
    taken: VecDeque<Part>,
    /// How far the first of them was pulled: messages, and bytes.
    pulled: (usize, usize),
    serving: Option<Arc<Serving>>,
}

/// Where a pull puts what it finds.
struct Room<'a> {
    slab: &'a mut [u8],
    at: usize,
    heads: &'a mut [u32],
    ends: &'a mut [u32],
    count: usize,
}

/// Why a part could not be pulled completely.
enum Stop {
    /// The slab or the lists are full.
    Full,
    /// A slab with this many bytes is needed.
    Need(usize),
}

impl Source {
    /// A client; its connection is number 0.
    pub(crate) fn client(hub: &Arc<Hub>, inlet: Arc<Inlet>, lane: Arc<Lane>) -> Self {
        let owned: Weak<dyn Owned> = Arc::<Lane>::downgrade(&lane);
        hub.own(owned);
        let mut source = Self::new(inlet, None);
        source.lanes.insert(lane);
        source
    }

    /// A server.
    pub(crate) fn server(hub: &Arc<Hub>, inlet: Arc<Inlet>, serving: Arc<Serving>) -> Self {
        let owned: Weak<dyn Owned> = Arc::<Serving>::downgrade(&serving);
        hub.own(owned);
        Self::new(inlet, Some(serving))
    }

    fn new(inlet: Arc<Inlet>, serving: Option<Arc<Serving>>) -> Self {
        Self { inlet, lanes: Slab::new(), ended: Vec::new(), taken: VecDeque::new(), pulled: (0, 0), serving }
    }

    fn lane(&self, slot: u32) -> Option<&Arc<Lane>> {
        self.lanes.get(slot as usize)
    }

    fn is_known(&self, lane: Option<&Arc<Lane>>, slot: u32) -> bool {
        self.lane(slot).zip(lane).is_some_and(|(known, lane)| Arc::ptr_eq(known, lane))
    }

    /// Pulls as much of the first part as there is room for; true when nothing of it is left.
    fn pull_part(&mut self, room: &mut Room<'_>) -> Result<(), Stop> {
        let Some(part) = self.taken.front() else { return Ok(()) };
        if let (Some(lane), Content::Event(Kind::Open, _)) = (&part.lane, &part.content)
            && self.serving.is_some()
        {
            let slot = if self.pulled.0 == 0 { self.lanes.insert(lane.clone()) } else { self.pulled.0 - 1 };
            lane.slot.store(slot as u32, Ordering::Relaxed);
            self.pulled.0 = slot + 1;
        }
        let slot = part.lane.as_ref().map_or(0, |lane| lane.slot.load(Ordering::Relaxed));
        match &part.content {
            // The shard may have told the end first, and the number may be another connection's since.
            Content::Event(Kind::Flushed, _) if !self.is_known(part.lane.as_ref(), slot) => {}
            Content::Event(kind, text) => room.put(*kind, slot, text.as_bytes())?,
            Content::Messages { bytes, ends } => {
                while let Some(end) = ends.get(self.pulled.0) {
                    let end = *end as usize;
                    room.put(Kind::Data, slot, &bytes[self.pulled.1..end])?;
                    self.pulled = (self.pulled.0 + 1, end);
                }
            }
            Content::Stream(bytes) => room.put_some(slot, bytes, &mut self.pulled.1)?,
            Content::Shared { bytes, is_stream: true } => room.put_some(slot, bytes, &mut self.pulled.1)?,
            Content::Shared { bytes, is_stream: false } => room.put(Kind::Data, slot, bytes)?,
        }
        self.pulled = (0, 0);
        let Some(Part { lane, content, cost }) = self.taken.pop_front() else { return Ok(()) };
        let Some(lane) = lane else { return Ok(()) };
        if let Content::Event(Kind::Close, _) = content {
            self.ended.push(slot);
        }
        self.inlet.release(&lane, cost, content);
        Ok(())
    }
}

#[napi]
impl Source {
    /// The number by which the wake-up names this source.
    #[napi(getter, catch_unwind)]
    pub fn id(&self) -> u32 {
        self.inlet.id()
    }

    /// Pulls what waits: payloads into `slab` from byte `at` on, for each record `kind | number of the connection << 4`
    /// into `heads` and the offset of its end into `ends`. Returns twice the number of records, plus 1 if more waits;
    /// or, negative, the size that a slab of its own must have for the next record. After an even result the next
    /// arrival wakes JavaScript. Ends with a record that somebody may wait for before they listen for what follows: that
    /// a server listens, a connection is open, or its first mark was reached.
    ///
    /// # Errors
    ///
    /// Arrays that overlap.
    #[napi(catch_unwind)]
    pub fn pull(
        &mut self,
        mut slab: Uint8ArraySlice<'_>,
        at: u32,
        mut heads: Uint32ArraySlice<'_>,
        mut ends: Uint32ArraySlice<'_>,
    ) -> napi::Result<i64> {
        let target = pull_target(&mut slab, &mut heads, &mut ends);
        let target =
            target.ok_or_else(|| napi::Error::from_reason("slab, heads and ends must not overlap"))?;
        let PullTarget { slab, heads, ends } = target;
        let mut room = Room { slab, at: at as usize, heads, ends, count: 0 };
        for slot in self.ended.drain(..) {
            self.lanes.try_remove(slot as usize);
        }
        let mut more = false;
        loop {
            if self.taken.is_empty() && !self.inlet.take(&mut self.taken) {
                break;
            }
            let is_beginning = self.taken.front().is_some_and(Part::is_beginning);
            match self.pull_part(&mut room) {
                Ok(()) if is_beginning => {
                    more = !self.taken.is_empty() || self.inlet.take(&mut self.taken);
                    break;
                }
                Ok(()) => {}
                Err(Stop::Need(bytes)) if room.count == 0 => return Ok(-(bytes as i64)),
                Err(_) => {
                    more = true;
                    break;
                }
            }
        }
        self.inlet.resume_starved();
        Ok((room.count as i64) << 1 | i64::from(more))
    }

    /// Sends the messages of `slab` that end at `ends[first..last]`, the first of them beginning at `start`. Returns how
    /// many were accepted; fewer than all mean that the connection is over or ending.
    #[napi(catch_unwind)]
    pub fn send(
        &self,
        slot: u32,
        slab: Uint8ArraySlice<'_>,
        start: u32,
        ends: Uint32ArraySlice<'_>,
        first: u32,
        last: u32,
    ) -> u32 {
        let Some(lane) = self.lane(slot) else { return 0 };
        let mut at = start as usize;
        let ends = ends.get(first as usize..last as usize).unwrap_or_default();
        let messages = ends.iter().map_while(|end| {
            let message = slab.get(at..*end as usize);
            at = *end as usize;
            message
        });
        lane.send(Priority::DEFAULT, messages)
    }

    /// Sends one message, lower priorities sooner; false if it was not accepted.
    #[napi(catch_unwind)]
    pub fn send_one(&self, slot: u32, data: Uint8ArraySlice<'_>, priority: i32) -> bool {
        self.lane(slot).is_some_and(|lane| lane.send(Priority(priority), std::iter::once(&*data)) == 1)
    }

    /// Sends one message to every connection; all share its memory. Returns how many accepted it.
    #[napi(catch_unwind)]
    pub fn broadcast(&self, data: Uint8ArraySlice<'_>) -> u32 {
        let shared = Bytes::copy_from_slice(&data);
        let accepted = self.lanes.iter().filter(|(_, lane)| lane.send_shared(shared.clone())).count();
        u32::try_from(accepted).unwrap_or(u32::MAX)
    }

    /// Asks for a record when everything sent before was handed to the kernel.
    #[napi(catch_unwind)]
    pub fn mark(&self, slot: u32, mark: u32) {
        self.lane(slot).iter().for_each(|lane| lane.mark(&self.inlet, mark));
    }

    /// Stops reading soon; what was received already still comes.
    #[napi(catch_unwind)]
    pub fn pause(&self, slot: u32) {
        self.lane(slot).iter().for_each(|lane| lane.pause());
    }

    /// Goes on reading.
    #[napi(catch_unwind)]
    pub fn resume(&self, slot: u32) {
        self.lane(slot).iter().for_each(|lane| lane.resume());
    }

    /// Ends this side's half of the stream.
    #[napi(catch_unwind)]
    pub fn finish(&self, slot: u32) {
        self.lane(slot).iter().for_each(|lane| lane.finish());
    }

    /// Ends the connection when what was sent has left. False if there is none yet, and nothing that one would send: no
    /// end has to be waited for.
    #[napi(catch_unwind)]
    pub fn close(&self, slot: u32) -> bool {
        self.lane(slot).is_some_and(|lane| lane.end(Ending::Close))
    }

    /// Ends the connection at once.
    #[napi(catch_unwind)]
    pub fn abort(&self, slot: u32) {
        self.lane(slot).iter().for_each(|lane| lane.cut());
    }

    /// Keying material of the connection's TLS session. Asks the shard and waits for it, some 50 µs, at most a second.
    #[napi(catch_unwind)]
    pub fn export_keying_material(
        &self,
        slot: u32,
        length: u32,
        label: String,
        context: Uint8ArraySlice<'_>,
    ) -> Option<Buffer> {
        let sender = self.lane(slot)?.sender()?;
        let exporter = TlsExporter { label, length: length as usize, context: context.to_vec() };
        let (done, answer) = sync_channel(1);
        sender.export_keying_material(exporter, move |material| drop(done.send(material)));
        answer.recv_timeout(EXPORT_TIMEOUT).ok().flatten().map(Buffer::from)
    }

    /// Whether this side cut the connection because too much was queued.
    #[napi(catch_unwind)]
    pub fn is_cut(&self, slot: u32) -> bool {
        self.lane(slot).is_some_and(|lane| lane.fault().is_some())
    }

    /// Ends a server: within `grace_ms` what is queued leaves.
    #[napi(catch_unwind)]
    pub fn stop(&self, grace_ms: f64) {
        let grace = millis(Some(grace_ms)).unwrap_or_default();
        self.serving.iter().for_each(|serving| serving.stop(&self.inlet, grace));
    }

    /// Counters of a server as JSON; empty unless it runs.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> String {
        let Some(telemetry) = self.serving.as_ref().and_then(|serving| serving.telemetry()) else {
            return "{}".to_owned();
        };
        serde_json::json!({
            "bytesIn": telemetry.bytes_in,
            "bytesOut": telemetry.bytes_out,
            "connections": telemetry.connections,
            "backpressureEvents": telemetry.backpressure_events,
            "drainEvents": telemetry.drain_events,
        })
        .to_string()
    }
}

/// JavaScript has let go of it: nobody would hear of its connections any more.
impl Drop for Source {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|(_, lane)| lane.cut());
        self.serving.iter().for_each(|serving| serving.abandon());
    }
}

impl Room<'_> {
    /// One record with all of its payload.
    fn put(&mut self, kind: Kind, slot: u32, payload: &[u8]) -> Result<(), Stop> {
        if self.is_full() {
            return Err(Stop::Full);
        }
        let Some(place) = self.slab.get_mut(self.at..).and_then(|rest| rest.get_mut(..payload.len())) else {
            return Err(Stop::Need(payload.len()));
        };
        place.copy_from_slice(payload);
        self.note(kind, slot, payload.len());
        Ok(())
    }

    /// As much of a stream as fits; `from` is how far it was pulled before.
    fn put_some(&mut self, slot: u32, bytes: &[u8], from: &mut usize) -> Result<(), Stop> {
        while *from < bytes.len() {
            let len = (bytes.len() - *from).min(self.slab.len().saturating_sub(self.at));
            if len == 0 || self.is_full() {
                return Err(if len == 0 { Stop::Need(bytes.len() - *from) } else { Stop::Full });
            }
            self.slab[self.at..self.at + len].copy_from_slice(&bytes[*from..*from + len]);
            self.note(Kind::Data, slot, len);
            *from += len;
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.count >= self.heads.len().min(self.ends.len())
    }

    fn note(&mut self, kind: Kind, slot: u32, len: usize) {
        self.at += len;
        self.heads[self.count] = kind as u32 | slot << 4;
        self.ends[self.count] = self.at as u32;
        self.count += 1;
    }
}

/// The shard answers within a turn; one that does not is in trouble, and the caller's thread must go on.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(1);
