//! How other threads reach a shard: posts of connections, and a wake-up only when the shard sleeps.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;
use qwormhole_proto::{Command, CommandQueue, ConnId, Port};

/// A shard's mailbox. A connection is posted at most once until the shard has taken it, so the queue has room
/// for every live connection; should posts of connections that died in between fill it, the shard is told to
/// look at all of them instead. No post is ever lost.
pub(crate) struct Mailbox {
    posts: ArrayQueue<u64>,
    missed: AtomicBool,
    commands: CommandQueue,
    parked: AtomicBool,
    wakes: AtomicU64,
    /// Set once by the shard's thread, before it first parks.
    waker: OnceLock<Arc<dyn Fn() + Send + Sync>>,
}

impl Mailbox {
    pub(crate) fn new(connections_max: usize) -> Self {
        Self {
            posts: ArrayQueue::new(connections_max.max(1)),
            missed: AtomicBool::new(false),
            commands: CommandQueue::default(),
            parked: AtomicBool::new(false),
            wakes: AtomicU64::new(0),
            waker: OnceLock::new(),
        }
    }

    pub(crate) fn set_waker(&self, waker: Arc<dyn Fn() + Send + Sync>) {
        let _ = self.waker.set(waker);
    }

    /// The next post.
    pub(crate) fn pop(&self) -> Option<ConnId> {
        self.posts.pop().map(ConnId::from_u64)
    }

    /// True once after posts found the queue full: look at every connection.
    pub(crate) fn take_missed(&self) -> bool {
        self.missed.load(Ordering::Relaxed) && self.missed.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.posts.is_empty() && self.commands.is_empty() && !self.missed.load(Ordering::Acquire)
    }

    /// Asks something of the shard's connections; gives a lookup back while too many wait.
    pub(crate) fn command(&self, command: Command) -> Result<(), Command> {
        self.commands.push(command)?;
        self.wake();
        Ok(())
    }

    /// The next command.
    pub(crate) fn pop_command(&self) -> Option<Command> {
        self.commands.pop()
    }

    /// The shard has ended: what is asked of it from now on is forgotten.
    pub(crate) fn close(&self) {
        self.commands.close();
    }

    /// Announces that the shard is about to sleep. The shard must look at all its queues **after** this and
    /// only then sleep: whoever pushes later sees the announcement and wakes it.
    pub(crate) fn park(&self) {
        self.parked.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The shard is awake.
    pub(crate) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Wakes the shard if it sleeps. Call after a push to any of its queues.
    pub(crate) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            self.wakes.fetch_add(1, Ordering::Relaxed);
            if let Some(waker) = self.waker.get() {
                waker();
            }
        }
    }

    /// How often the shard had to be woken.
    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }
}

impl Port for Mailbox {
    fn post(&self, id: ConnId) {
        if self.posts.push(id.as_u64()).is_err() {
            self.missed.store(true, Ordering::Release);
        }
        self.wake();
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox").field("posts", &self.posts.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sleeping_shard_is_woken_and_only_once() {
        let mailbox = Mailbox::new(4);
        mailbox.set_waker(Arc::new(|| ()));
        mailbox.post(ConnId::new(0, 1, 0));
        assert_eq!(mailbox.wakes(), 0);
        mailbox.park();
        assert!(!mailbox.is_empty(), "the look after the announcement finds the earlier post");
        mailbox.post(ConnId::new(0, 2, 0));
        mailbox.post(ConnId::new(0, 3, 0));
        assert_eq!(mailbox.wakes(), 1);
    }

    #[test]
    fn a_full_mailbox_asks_for_a_look_at_everything() {
        let mailbox = Mailbox::new(1);
        mailbox.post(ConnId::new(0, 1, 0));
        assert!(!mailbox.take_missed());
        mailbox.post(ConnId::new(0, 2, 0));
        assert!(mailbox.take_missed());
        assert!(!mailbox.take_missed());
        assert_eq!(mailbox.pop(), Some(ConnId::new(0, 1, 0)));
        assert!(mailbox.is_empty());
    }
}
