//! One message for every connection of a server.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::close::CloseReason;
use crate::config::{Config, Framing};
use crate::connection::Connection;
use crate::encoder::{FRAME_HEADER_LEN, frame_header};
use crate::error::{SendError, SendErrorKind};
use crate::id::ConnId;
use crate::local::ShardLocal;
use crate::outbox::check_len;
use crate::payload::Payload;
use crate::priority::Priority;

/// A message in wire form, made once and shared by every outbox it enters.
///
/// Made by [`Fanout::broadcast`], carried to each shard, offered to each connection with
/// [`Session::handle_broadcast`](crate::Session::handle_broadcast).
pub struct Broadcast {
    frame: Bytes,
    priority: Priority,
    policy: BroadcastPolicy,
    except: Option<ConnId>,
    _charge: Charge,
}

/// What happens to a peer that reads so slowly that its outbox has no room for a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum BroadcastPolicy {
    /// That peer misses it; counted in [`ShardStats::broadcasts_missed`](crate::ShardStats::broadcasts_missed).
    /// The default.
    #[default]
    Skip,
    /// The connection is cut with [`CloseReason::Backpressure`](crate::CloseReason::Backpressure).
    Close,
    /// The oldest broadcasts that wait for that peer make room, the least urgent first, none that is more urgent
    /// than this one and none that has begun to leave. Each counts as missed. Other messages stay, in order;
    /// if they alone fill the outbox, the peer misses this broadcast.
    DropOldest,
}

/// Frames the broadcasts of one server and bounds those on their way to its shards; cheap to clone.
///
/// Memory: `max_backpressure_bytes` of broadcasts that some shard has not looked at yet, each counted with 1 KiB
/// of bookkeeping, or one larger. What has entered outboxes counts against their bounds.
#[derive(Clone, Debug)]
pub struct Fanout {
    config: Arc<Config>,
    pending: Arc<AtomicUsize>,
}

/// A broadcast's share of the bound, given back when every shard has dealt with it.
struct Charge {
    pending: Arc<AtomicUsize>,
    cost: usize,
}

impl Fanout {
    /// For the connections of a server that speak `config`.
    pub fn new(config: Arc<Config>) -> Self {
        Self { config, pending: Arc::default() }
    }

    /// Frames a message for every open connection except `except`. The payload is copied once, behind its header.
    ///
    /// # Errors
    ///
    /// Gives the message back when it is too large, or when as many broadcasts wait for the shards as may.
    pub fn broadcast<P: Payload>(
        &self,
        priority: Priority,
        policy: BroadcastPolicy,
        except: Option<ConnId>,
        payload: P,
    ) -> Result<Arc<Broadcast>, SendError<P>> {
        let len = payload.as_bytes().len();
        if let Err(kind) = check_len(self.config.limits.max_send_frame_len, len) {
            return Err(SendError { kind, payload });
        }
        let Some(charge) = self.charge(len) else {
            return Err(SendError { kind: SendErrorKind::Full, payload });
        };
        let frame = frame_once(self.config.framing, payload);
        Ok(Arc::new(Broadcast { frame, priority, policy, except, _charge: charge }))
    }

    /// Takes a share of the bound; one broadcast always fits.
    fn charge(&self, len: usize) -> Option<Charge> {
        let cost = len + PENDING_COST;
        let bytes_max = self.config.limits.max_backpressure_bytes;
        let has_room =
            |pending: usize| (pending == 0 || pending + cost <= bytes_max).then_some(pending + cost);
        let charged = self.pending.fetch_update(Ordering::AcqRel, Ordering::Acquire, has_room);
        charged.ok().map(|_| Charge { pending: self.pending.clone(), cost })
    }
}

impl Broadcast {
    /// Puts the message into the connection's outbox, or does what its policy says.
    pub(crate) fn offer(&self, conn: &mut Connection, local: &mut ShardLocal) {
        if !conn.is_sendable() || self.except == Some(conn.id) {
            return;
        }
        let Connection { outbox, config, .. } = &mut *conn;
        let mut excess = outbox.excess(&config.limits, self.frame.len());
        if excess > 0 && self.policy == BroadcastPolicy::DropOldest {
            local.stats.broadcasts_missed += outbox.drop_shared(self.priority, excess);
            excess = outbox.excess(&config.limits, self.frame.len());
        }
        if excess > 0 {
            local.stats.broadcasts_missed += 1;
            if self.policy == BroadcastPolicy::Close {
                conn.abort(CloseReason::Backpressure);
            }
            return;
        }
        outbox.push_shared(config, self.priority, self.frame.clone(), local);
        conn.stats.messages_out += 1;
        local.stats.messages_out += 1;
        conn.note_output(local.now, false);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.pending.fetch_sub(self.cost, Ordering::AcqRel);
    }
}

/// Shows the length only: payloads never reach logs.
impl fmt::Debug for Broadcast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcast")
            .field("wire_len", &self.frame.len())
            .field("priority", &self.priority)
            .field("policy", &self.policy)
            .field("except", &self.except)
            .finish_non_exhaustive()
    }
}

/// The message in wire form in one piece. Its length was checked: it fits in 32 bits.
fn frame_once<P: Payload>(framing: Framing, payload: P) -> Bytes {
    if framing == Framing::None {
        return payload.into_shared().unwrap_or_else(|payload| Bytes::copy_from_slice(payload.as_bytes()));
    }
    let bytes = payload.as_bytes();
    let mut frame = Vec::with_capacity(FRAME_HEADER_LEN + bytes.len());
    frame.extend_from_slice(&frame_header(bytes.len() as u32));
    frame.extend_from_slice(bytes);
    Bytes::from(frame)
}

/// What a broadcast counts besides its payload: so at most 5,120 wait with the default bound.
const PENDING_COST: usize = 1 << 10;

#[cfg(test)]
#[path = "broadcast_tests.rs"]
mod tests;
