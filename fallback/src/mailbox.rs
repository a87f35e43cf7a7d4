//! How other threads reach a shard: posted connections and counters.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_queue::ArrayQueue;
use qwormhole_proto::{Command, CommandQueue, ConnId, Port, ShardStats};
use tokio::sync::Notify;

/// The part of a shard that other threads see. It outlives the shard harmlessly, and keeps nothing of it
/// alive.
///
/// Each slot is queued at most once, so a queue with room for every slot never overflows, however many
/// senders of ended connections still post.
pub(crate) struct Mailbox {
    posted: ArrayQueue<u32>,
    /// Whether a slot is in the queue.
    queued: Box<[AtomicBool]>,
    commands: CommandQueue,
    /// Whether the shard was woken and has not begun to look.
    woken: AtomicBool,
    wake: Notify,
    wakes: AtomicU64,
    stats: Mutex<ShardStats>,
}

impl Mailbox {
    /// A mailbox for slots below `slots`, at least one.
    pub(crate) fn new(slots: u32) -> Self {
        let slots = slots.max(1);
        Self {
            posted: ArrayQueue::new(slots as usize),
            queued: (0..slots).map(|_| AtomicBool::new(false)).collect(),
            commands: CommandQueue::default(),
            woken: AtomicBool::new(false),
            wake: Notify::new(),
            wakes: AtomicU64::new(0),
            stats: Mutex::default(),
        }
    }

    /// Waits until something is posted. Cancel safe.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Hands every posted slot to `deliver`. Whoever posts from here on wakes the shard again.
    pub(crate) fn take(&self, mut deliver: impl FnMut(u32)) {
        self.woken.swap(false, Ordering::AcqRel);
        // At most one lap: what is posted meanwhile has woken the shard again.
        for _ in 0..self.posted.capacity() {
            let Some(slot) = self.posted.pop() else { return };
            self.queued[slot as usize].swap(false, Ordering::AcqRel);
            deliver(slot);
        }
    }

    /// Asks something of the shard's connections; gives a lookup back while too many wait.
    pub(crate) fn command(&self, command: Command) -> Result<(), Command> {
        self.commands.push(command)?;
        self.wake();
        Ok(())
    }

    /// The next command; ask after [`Mailbox::take`].
    pub(crate) fn pop_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// The shard has ended: what is asked of it from now on is forgotten.
    pub(crate) fn close(&self) {
        self.commands.close();
    }

    /// Shows the shard's counters to other threads.
    pub(crate) fn publish(&self, stats: &ShardStats) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = *stats;
    }

    /// The counters last published.
    pub(crate) fn stats(&self) -> ShardStats {
        let mut stats = *self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        stats.wakes = self.wakes.load(Ordering::Relaxed);
        stats
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }
}

impl Port for Mailbox {
    fn post(&self, id: ConnId) {
        let slot = id.slot();
        // The generation is not looked at: poking the slot's next connection does no harm.
        if self.queued[slot as usize].swap(true, Ordering::AcqRel) {
            return;
        }
        assert!(self.posted.push(slot).is_ok(), "each slot is queued at most once");
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_of_ended_connections_cannot_overflow_the_queue() {
        let mailbox = Mailbox::new(2);
        for generation in 0..1000 {
            mailbox.post(ConnId::new(0, 0, generation));
            mailbox.post(ConnId::new(0, 1, generation));
        }
        let mut slots = Vec::new();
        mailbox.take(|slot| slots.push(slot));
        assert_eq!(slots, [0, 1]);
        assert_eq!(mailbox.stats().wakes, 1, "woken once until it looks");
        mailbox.post(ConnId::new(0, 1, 5));
        mailbox.take(|slot| slots.push(slot));
        assert_eq!((slots, mailbox.stats().wakes), (vec![0, 1, 1], 2));
    }

    #[test]
    fn a_post_while_the_shard_looks_wakes_it_again() {
        let mailbox = Mailbox::new(1);
        mailbox.post(ConnId::new(0, 0, 0));
        let mut taken = 0;
        mailbox.take(|_| {
            taken += 1;
            mailbox.post(ConnId::new(0, 0, 0));
        });
        assert_eq!((taken, mailbox.stats().wakes), (1, 2));
        mailbox.take(|_| taken += 1);
        assert_eq!(taken, 2);
    }
}
