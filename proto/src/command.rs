//! What a server asks of the connections of one shard.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::broadcast::Broadcast;
use crate::id::ConnId;
use crate::remote::Sender;

/// One request of a server to a shard.
#[derive(Debug)]
pub enum Command {
    /// Offer a message to every open connection.
    Broadcast(Arc<Broadcast>),
    /// Find a connection.
    Lookup(Lookup),
}

/// A connection that is looked for by its id. Dropping it answers that there is none.
pub struct Lookup {
    id: ConnId,
    found: Box<dyn FnOnce(Sender) + Send>,
}

impl Lookup {
    /// Looks for `id`; `found` runs on the connection's shard and must not block.
    pub fn new(id: ConnId, found: impl FnOnce(Sender) + Send + 'static) -> Self {
        Self { id, found: Box::new(found) }
    }

    /// Which connection is looked for.
    pub const fn id(&self) -> ConnId {
        self.id
    }

    /// The connection was found.
    pub fn answer(self, sender: Sender) {
        (self.found)(sender);
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lookup").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The commands that wait for one shard, in order; part of its mailbox.
///
/// Broadcasts are bounded by the [`Fanout`](crate::Fanout) that made them, lookups by [`CommandQueue::LOOKUPS_MAX`].
#[derive(Debug, Default)]
pub struct CommandQueue {
    /// How many wait; lets a shard that has none pass by without a lock.
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    commands: VecDeque<Command>,
    lookups: usize,
    /// The shard has ended.
    closed: bool,
}

impl CommandQueue {
    /// Lookups that may wait for one shard.
    pub const LOOKUPS_MAX: usize = 1024;

    /// Appends a command; the caller then wakes the shard. A shard that has ended does nothing and finds nothing.
    ///
    /// # Errors
    ///
    /// Gives a lookup back while [`CommandQueue::LOOKUPS_MAX`] wait; a broadcast is always taken.
    pub fn push(&self, command: Command) -> Result<(), Command> {
        let is_lookup = matches!(command, Command::Lookup(_));
        let mut state = self.lock();
        if is_lookup && state.lookups >= Self::LOOKUPS_MAX {
            return Err(command);
        }
        if state.closed {
            drop(state);
            drop(command);
            return Ok(());
        }
        state.lookups += usize::from(is_lookup);
        state.commands.push_back(command);
        self.waiting.store(state.commands.len(), Ordering::Release);
        Ok(())
    }

    /// The next command.
    pub fn pop(&self) -> Option<Command> {
        if self.is_empty() {
            return None;
        }
        let mut state = self.lock();
        let command = state.commands.pop_front()?;
        state.lookups -= usize::from(matches!(command, Command::Lookup(_)));
        self.waiting.store(state.commands.len(), Ordering::Release);
        Some(command)
    }

    /// Whether no command waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0
    }

    /// The shard has ended: forgets what waits, and what comes later.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.lookups = 0;
        let forgotten = mem::take(&mut state.commands);
        self.waiting.store(0, Ordering::Release);
        drop(state);
        drop(forgotten);
    }

    /// Held for the length of a move only; no command is dropped meanwhile, because that may wake a task.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broadcast::{BroadcastPolicy, Fanout};
    use crate::priority::Priority;

    fn lookup(slot: u32) -> Command {
        Command::Lookup(Lookup::new(ConnId::new(0, slot, 0), |_| ()))
    }

    fn id(command: Option<Command>) -> Option<u32> {
        match command? {
            Command::Lookup(lookup) => Some(lookup.id().slot()),
            Command::Broadcast(_) => None,
        }
    }

    #[test]
    fn lookups_are_bounded_and_broadcasts_pass_them_by() {
        let queue = CommandQueue::default();
        for slot in 0..CommandQueue::LOOKUPS_MAX as u32 {
            queue.push(lookup(slot)).unwrap();
        }
        assert!(queue.push(lookup(7)).is_err());
        let fanout = Fanout::new(Arc::default());
        let policy = BroadcastPolicy::Skip;
        let broadcast = fanout.broadcast(Priority::DEFAULT, policy, None, "x").unwrap();
        queue.push(Command::Broadcast(broadcast)).unwrap();
        assert_eq!(id(queue.pop()), Some(0), "in order");
        assert!(queue.push(lookup(7)).is_ok(), "room again");
    }

    #[test]
    fn a_shard_that_ended_answers_at_once() {
        let queue = CommandQueue::default();
        let (told, answer) = std::sync::mpsc::channel();
        let ask = || {
            let told = told.clone();
            Command::Lookup(Lookup::new(ConnId::new(0, 0, 0), move |_| told.send(()).unwrap()))
        };
        queue.push(ask()).unwrap();
        queue.close();
        assert!(queue.is_empty() && queue.pop().is_none());
        queue.push(ask()).unwrap();
        assert!(queue.is_empty(), "nothing is kept for a shard that is gone");
        drop(told);
        assert!(answer.recv().is_err(), "both were dropped, neither found");
    }
}
