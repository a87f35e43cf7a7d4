//! Waiting for sockets and for a point in time.

use std::mem::MaybeUninit;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::event::epoll::{self, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// An epoll instance with a timer of nanoseconds; the timeout of epoll itself is one of milliseconds.
pub(super) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
}

/// A socket about which there is news.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    /// As it was given to [`Poller::add`].
    pub(super) key: usize,
    /// There is something to read, or an end or an error that reading shows.
    pub(super) readable: bool,
    pub(super) writable: bool,
}

/// What is wanted to be known of a socket besides its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Interest {
    pub(super) const READ: Self = Self { read: true, write: false };
    pub(super) const WRITE: Self = Self { read: false, write: true };
    pub(super) const BOTH: Self = Self { read: true, write: true };

    const fn flags(self) -> EventFlags {
        let read = if self.read { EventFlags::IN } else { EventFlags::empty() };
        let write = if self.write { EventFlags::OUT } else { EventFlags::empty() };
        read.union(write)
    }
}

impl Poller {
    pub(super) fn new() -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot use epoll")?;
        let flags = TimerfdFlags::CLOEXEC.union(TimerfdFlags::NONBLOCK);
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).context("cannot use a timer")?;
        // Edge-triggered: an expiry that was seen need not be read.
        let data = epoll::EventData::new_u64(TIMER);
        epoll::add(&epoll, &timer, data, EventFlags::IN.union(EventFlags::ET))
            .context("cannot use a timer")?;
        Ok(Self { epoll, timer })
    }

    pub(super) fn add(&self, socket: &impl AsFd, key: usize, interest: Interest) -> Result<()> {
        let data = epoll::EventData::new_u64(key as u64);
        epoll::add(&self.epoll, socket, data, interest.flags()).context("cannot watch a connection")
    }

    pub(super) fn modify(&self, socket: &impl AsFd, key: usize, interest: Interest) -> Result<()> {
        let data = epoll::EventData::new_u64(key as u64);
        epoll::modify(&self.epoll, socket, data, interest.flags()).context("cannot watch a connection")
    }

    /// Waits for news of any socket, for `timeout` and [`PAUSE`] at most, and puts it into `ready`.
    pub(super) fn wait(&self, timeout: Duration, ready: &mut Vec<Ready>) -> Result<()> {
        ready.clear();
        let mut limit = Timespec { tv_sec: 0, tv_nsec: PAUSE.subsec_nanos().into() };
        if timeout < TIMER_MIN {
            limit.tv_nsec = 0;
        } else if timeout < PAUSE {
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            let value = Timespec { tv_sec: 0, tv_nsec: timeout.subsec_nanos().into() };
            let at = Itimerspec { it_interval: none, it_value: value };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &at).context("cannot set a timer")?;
        }
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        let events = match epoll::wait(&self.epoll, &mut events, Some(&limit)) {
            Ok((events, _)) => events,
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error).context("epoll fails"),
        };
        ready.extend(events.iter().filter(|event| event.data.u64() != TIMER).map(|event| {
            let flags = event.flags;
            Ready {
                key: event.data.u64() as usize,
                readable: flags.intersects(READABLE),
                writable: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

/// How long a wait takes at most: how often to look for the end of the round while nothing comes.
pub(super) const PAUSE: Duration = Duration::from_millis(20);
/// Setting a timer takes about as long.
const TIMER_MIN: Duration = Duration::from_micros(2);
/// An end or an error shows when reading.
const READABLE: EventFlags = EventFlags::IN.union(EventFlags::HUP).union(EventFlags::ERR);
const EVENTS: usize = 256;
/// The timer's key; no socket has it.
const TIMER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wait_ends_at_its_time_even_below_a_millisecond() {
        let poller = Poller::new().unwrap();
        let mut ready = Vec::new();
        let mut shortest = Duration::MAX;
        for _ in 0..20 {
            let begun = Instant::now();
            poller.wait(Duration::from_micros(200), &mut ready).unwrap();
            let took = begun.elapsed();
            assert!(took >= Duration::from_micros(200) && ready.is_empty(), "{took:?}");
            shortest = shortest.min(took);
        }
        assert!(shortest < PAUSE, "the timer wakes nobody: {shortest:?}");
    }
}
