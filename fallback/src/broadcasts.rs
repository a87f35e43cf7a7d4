//! Broadcasts on their way from a shard to the tasks of its connections.

use std::collections::VecDeque;
use std::sync::Arc;

use qwormhole_proto::Broadcast;

/// A list that every open connection reads at its own place, in order; what all have read is forgotten.
///
/// Readers are woken for each broadcast and read all there are, so the list is as long as what comes within one
/// round of the runtime.
#[derive(Debug)]
pub(crate) struct Broadcasts {
    /// Each with the number of readers that have not seen it.
    list: VecDeque<(Arc<Broadcast>, usize)>,
    /// The place of the first in the list.
    first: u64,
    readers: usize,
}

impl Broadcasts {
    pub(crate) const fn new() -> Self {
        Self { list: VecDeque::new(), first: 0, readers: 0 }
    }

    /// A new reader's place: it sees what comes from now on.
    pub(crate) fn join(&mut self) -> u64 {
        self.readers += 1;
        self.first + self.list.len() as u64
    }

    /// A reader leaves from its place.
    pub(crate) fn leave(&mut self, mut reader: u64) {
        while self.next(&mut reader).is_some() {}
        self.readers -= 1;
    }

    /// Appends a broadcast for all readers of now.
    pub(crate) fn push(&mut self, broadcast: Arc<Broadcast>) {
        if self.readers > 0 {
            self.list.push_back((broadcast, self.readers));
        }
    }

    /// What comes next at a reader's place, which moves on.
    pub(crate) fn next(&mut self, reader: &mut u64) -> Option<Arc<Broadcast>> {
        let index = usize::try_from(reader.checked_sub(self.first)?).ok()?;
        let (broadcast, unseen) = self.list.get_mut(index)?;
        let next = broadcast.clone();
        *unseen -= 1;
        *reader += 1;
        while self.list.front().is_some_and(|(_, unseen)| *unseen == 0) {
            self.list.pop_front();
            self.first += 1;
        }
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qwormhole_proto::{BroadcastPolicy, Fanout, Priority};

    #[test]
    fn each_reader_sees_what_comes_after_it_joined_and_nothing_is_kept() {
        let fanout = Fanout::new(Arc::default());
        let make = || fanout.broadcast(Priority::DEFAULT, BroadcastPolicy::Skip, None, "x").unwrap();
        let mut broadcasts = Broadcasts::new();
        broadcasts.push(make());
        assert!(broadcasts.list.is_empty(), "nobody reads");
        let (mut early, gone) = (broadcasts.join(), broadcasts.join());
        let (first, second) = (make(), make());
        broadcasts.push(first.clone());
        let mut late = broadcasts.join();
        broadcasts.push(second.clone());
        assert!(Arc::ptr_eq(&broadcasts.next(&mut late).unwrap(), &second));
        assert!(broadcasts.next(&mut late).is_none());
        assert!(Arc::ptr_eq(&broadcasts.next(&mut early).unwrap(), &first));
        assert!(Arc::ptr_eq(&broadcasts.next(&mut early).unwrap(), &second));
        assert_eq!(broadcasts.list.len(), 2, "one has read nothing");
        broadcasts.leave(gone);
        assert!(broadcasts.list.is_empty());
        broadcasts.push(make());
        assert!(broadcasts.next(&mut early).is_some() && broadcasts.next(&mut late).is_some());
        assert!(broadcasts.list.is_empty());
    }
}
