//! Which of a name's addresses to try when (Happy Eyeballs, RFC 8305).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::time::Time;

/// A name's addresses in the order to try them: families alternate, starting with the resolver's first choice
/// (RFC 8305 section 4). At most 16 are kept.
pub fn interleave(addrs: impl IntoIterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let (mut first, mut second): (VecDeque<_>, VecDeque<_>) = (VecDeque::new(), VecDeque::new());
    for addr in addrs.into_iter().take(ATTEMPTS_MAX) {
        let same_family = first.front().is_none_or(|head: &SocketAddr| head.is_ipv6() == addr.is_ipv6());
        if same_family { first.push_back(addr) } else { second.push_back(addr) }
    }
    let mut ordered = Vec::new();
    while !first.is_empty() || !second.is_empty() {
        ordered.extend(first.pop_front());
        ordered.extend(second.pop_front());
    }
    ordered
}

/// Races connection attempts: the next one starts when the previous one failed or after 250 ms (RFC 8305
/// section 5).
///
/// The driver asks [`ConnectRace::poll`] after every event and drops the losers when one attempt succeeds.
#[derive(Debug)]
pub struct ConnectRace<A> {
    waiting: VecDeque<A>,
    pending: usize,
    next_at: Time,
}

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaceStep<A> {
    /// Start an attempt to this address.
    Attempt(A),
    /// Wait for an attempt to end, at most until the given time if there is one.
    Wait(Option<Time>),
    /// Every attempt failed.
    Failed,
}

impl<A> ConnectRace<A> {
    /// A race over `addrs` in the order to try them.
    pub fn new(addrs: impl IntoIterator<Item = A>) -> Self {
        Self { waiting: addrs.into_iter().collect(), pending: 0, next_at: Time::ZERO }
    }

    /// The next step at `now`. An attempt it names has begun as far as the race is concerned.
    pub fn poll(&mut self, now: Time) -> RaceStep<A> {
        let due = self.pending == 0 || self.next_at <= now;
        if due && let Some(addr) = self.waiting.pop_front() {
            self.pending += 1;
            self.next_at = now + ATTEMPT_DELAY;
            return RaceStep::Attempt(addr);
        }
        if self.pending == 0 {
            return RaceStep::Failed;
        }
        RaceStep::Wait((!self.waiting.is_empty()).then_some(self.next_at))
    }

    /// One attempt failed: the next starts at once.
    pub fn handle_failure(&mut self) {
        self.pending = self.pending.saturating_sub(1);
        self.next_at = Time::ZERO;
    }
}

/// RFC 8305 section 8, recommended Connection Attempt Delay.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// A name with more addresses than this is not made more reachable by the rest.
const ATTEMPTS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    #[test]
    fn families_alternate_and_slow_attempts_overlap() {
        let list = addrs(&["[::1]:1", "[::2]:1", "127.0.0.1:1"]);
        let mut race = ConnectRace::new(interleave(list.clone()));
        let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
        assert_eq!(race.poll(at(0)), RaceStep::Attempt(list[0]));
        assert_eq!(race.poll(at(100)), RaceStep::Wait(Some(at(250))));
        assert_eq!(race.poll(at(250)), RaceStep::Attempt(list[2]));
        race.handle_failure();
        assert_eq!(race.poll(at(251)), RaceStep::Attempt(list[1]));
        assert_eq!(race.poll(at(252)), RaceStep::Wait(None));
        race.handle_failure();
        race.handle_failure();
        assert_eq!(race.poll(at(253)), RaceStep::Failed);
    }

    #[test]
    fn no_address_fails_at_once_and_a_flood_is_cut() {
        assert_eq!(ConnectRace::<SocketAddr>::new([]).poll(Time::ZERO), RaceStep::Failed);
        let many = vec!["127.0.0.1:1".parse().unwrap(); 100];
        assert_eq!(interleave(many).len(), ATTEMPTS_MAX);
    }
}
