//! Waiting: look for work a while, then sleep.

use std::io;
use std::time::Duration;

use qwormhole_proto::{Service, Time};

use crate::ring::Ring;
use crate::shard::{Shard, Shutdown};

impl<R: Ring, S: Service> Shard<R, S> {
    /// Submits what is queued, and waits if there is nothing else to do: first looking for work for as long as
    /// [`Waiting`](qwormhole_proto::Waiting) says, then asleep, until the next deadline at most.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        let has_work = self.has_work();
        let timed = self.local.begin_hand_over();
        if !has_work && self.waiting.always_parks() && !timed {
            return self.sleep(Duration::ZERO);
        }
        self.submit(timed)?;
        // Most sends are complete when they are submitted; that is no news of a peer, and teaches nothing.
        if has_work || self.has_news() {
            return Ok(());
        }
        let budget = self.waiting.budget();
        match self.spin(budget)? {
            Some(spun) => self.sleep(spun),
            None => Ok(()),
        }
    }

    /// Hands over what is queued. How long that takes for large submissions decides how large they should be.
    fn submit(&mut self, timed: bool) -> io::Result<()> {
        let begun = timed.then(|| self.ring.now());
        self.ring.enter(Some(Duration::ZERO))?;
        if let Some(begun) = begun {
            self.local.note_handed_over(begun, self.ring.now());
        }
        Ok(())
    }

    fn has_work(&self) -> bool {
        let can_feed = !self.starved.is_empty() && self.ring.free_buffers() > 0;
        self.backlog || can_feed || !self.dirty.is_empty() || self.is_over()
    }

    /// Whether the kernel or another thread has something for the shard.
    fn has_news(&mut self) -> bool {
        self.ring.is_ready() || !self.mailbox.is_empty() || !self.controls.is_empty()
    }

    /// When something has to be done in any case.
    fn deadline(&self) -> Option<Time> {
        let shutdown = self.shutdown.as_ref().map(Shutdown::poll_timeout);
        [self.timers.poll_timeout(), shutdown].into_iter().flatten().min()
    }

    /// Looks for news for as long as `budget`; how long it looked in vain, or `None` when there is something to do.
    /// Others need not wake the shard meanwhile.
    fn spin(&mut self, budget: Duration) -> io::Result<Option<Duration>> {
        if budget.is_zero() {
            return Ok(Some(budget));
        }
        let (begun, deadline) = (self.ring.now(), self.deadline());
        loop {
            std::hint::spin_loop();
            self.ring.enter(Some(Duration::ZERO))?;
            if self.has_news() {
                self.waiting.caught();
                return Ok(None);
            }
            let now = self.ring.now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Ok(None);
            }
            let spun = now.saturating_since(begun);
            if spun >= budget {
                return Ok(Some(spun));
            }
        }
    }

    fn sleep(&mut self, spun: Duration) -> io::Result<()> {
        self.mailbox.park();
        if !self.mailbox.is_empty() || !self.controls.is_empty() {
            self.mailbox.unpark();
            return Ok(());
        }
        let begun = self.ring.now();
        let wait = self.deadline().map(|deadline| deadline.saturating_since(begun));
        let entered = self.ring.enter(wait);
        self.mailbox.unpark();
        entered?;
        self.waiting.slept(spun, self.ring.now().saturating_since(begun));
        Ok(())
    }
}
