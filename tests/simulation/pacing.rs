//! The rate limit, heartbeats and idle connections on the simulated clock.

use std::sync::Arc;
use std::time::Duration;

use qwormhole_proto::{CloseReason, Config, Context, Handler, Heartbeat, Message, Priority, RateLimit, Time};
use qwormhole_sim::{Conditions, Outcome, PeerId, Simulation, What};

use crate::harness::{for_each_seed, patient, run_to_the_end, server_and_clients};
use crate::streamer::Shared;

/// One message of the plan, and when it is sent.
#[derive(Clone, Debug)]
struct Planned {
    at: Duration,
    priority: i32,
    payload: Vec<u8>,
}

/// A limit and messages enough to be held back by it from the beginning to the end.
struct Plan {
    limit: RateLimit,
    messages: Vec<Planned>,
    longest: usize,
    total: usize,
}

impl Plan {
    fn new(rng: &mut fastrand::Rng) -> Self {
        let len_max = 1usize << rng.u32(5..15);
        let lens: Vec<usize> = (0..60).map(|_| rng.usize(2..len_max)).collect();
        let total: usize = lens.iter().map(|len| len + 4).sum();
        let millis = rng.u64(2_000..8_000);
        let rate = (total as u64 * 1000 / millis).max(1);
        let burst = (rate * rng.u64(20..millis / 5) / 1000).max(rate.div_ceil(50));
        let limit = RateLimit::new(rate).with_burst(burst);
        // The first 60 % wait from the beginning, so that something always does.
        let message = |(n, len): (usize, usize)| {
            let late = rng.u64(0..millis * 200);
            let at = if n < 36 { Duration::ZERO } else { Duration::from_micros(late) };
            let priority = rng.i32(-2..3);
            let mut payload = vec![n as u8; len];
            payload[1] = (priority + 2) as u8;
            Planned { at, priority, payload }
        };
        let mut messages: Vec<Planned> = lens.iter().copied().enumerate().map(message).collect();
        messages.sort_by_key(|message| message.at);
        let longest = lens.iter().max().copied().unwrap_or_default() + 4;
        Self { limit, messages, longest, total }
    }

    fn config(&self) -> Config {
        let mut config = patient();
        config.rate_limit = Some(self.limit);
        config.limits.max_backpressure_bytes = 64 << 20;
        config.limits.high_watermark_bytes = 32 << 20;
        config.limits.remote_bytes_max = 64 << 20;
        config
    }

    /// Wire bytes that the rate earns in `time`.
    fn earned(&self, time: Duration) -> f64 {
        self.limit.bytes_per_s as f64 * time.as_secs_f64()
    }
}

/// Hands out its sender.
struct Gives(Shared);

impl Handler for Gives {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.0.borrow_mut().sender = Some(conn.sender());
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        self.0.borrow_mut().closed.push((reason.clone(), conn.now()));
    }
}

/// Remembers what arrived and when; closes after `count` messages.
struct Collects {
    seen: Shared,
    times: std::rc::Rc<std::cell::RefCell<Vec<Time>>>,
    count: usize,
}

impl Handler for Collects {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        self.seen.borrow_mut().received.push(message.to_vec());
        self.times.borrow_mut().push(conn.now());
        if self.times.borrow().len() == self.count {
            conn.close();
        }
    }
}

/// Runs to the end; returns when the kernel of `peer` took how many bytes.
fn sent_by(sim: &mut Simulation, peer: PeerId) -> Vec<(Time, usize)> {
    let mut sent = Vec::new();
    loop {
        let before = sim.log().entries();
        let outcome = sim.run(Duration::from_millis(1));
        let new = (sim.log().entries() - before) as usize;
        let kept = sim.log().recent().size_hint().0;
        assert!(new <= kept, "the log forgot something");
        for entry in sim.log().recent().skip(kept - new) {
            match entry.what {
                What::Sent(bytes) if entry.peer == peer => sent.push((entry.at, bytes)),
                _ => {}
            }
        }
        if outcome == Outcome::Idle {
            return sent;
        }
    }
}

/// Checks every interval that begins and ends with a submission.
fn check_rate(plan: &Plan, sent: &[(Time, usize)], lower: bool) {
    let sums = sent.iter().scan(0, |sum, (_, bytes)| {
        *sum += bytes;
        Some(*sum)
    });
    let sums: Vec<usize> = std::iter::once(0).chain(sums).collect();
    assert_eq!(sums[sent.len()], plan.total);
    for first in 0..sent.len() {
        for last in first..sent.len() {
            let time = sent[last].0.saturating_since(sent[first].0);
            let bytes = (sums[last + 1] - sums[first]) as f64;
            let most = plan.limit.burst_bytes as f64 + plan.earned(time) + plan.longest as f64;
            assert!(bytes <= most, "{bytes} bytes in {time:?}, at most {most} allowed");
            // A debt at its beginning, and at its end a frame that has to wait.
            let bytes = (sums[last + 1] - sums[first + 1]) as f64;
            let least = plan.earned(time.saturating_sub(LATE)) - 2.0 * plan.longest as f64;
            assert!(!lower || bytes >= least, "{bytes} bytes in {time:?}, at least {least} earned");
        }
    }
}

/// A timer's resolution, and the link's own delays.
const LATE: Duration = Duration::from_millis(20);

#[test]
fn a_limited_connection_keeps_to_its_rate_and_uses_it_and_urgent_messages_go_first() {
    for_each_seed("a_limited_connection_keeps_to_its_rate_and_uses_it_and_urgent_messages_go_first", |sim| {
        let plan = Plan::new(sim.rng());
        let conditions = if sim.rng().bool() { Conditions::calm() } else { Conditions::random(sim.rng()) };
        let calm = conditions == Conditions::calm();
        let (server, client) = (Shared::default(), Shared::default());
        let times = std::rc::Rc::default();
        let gives = server.clone();
        let config = Arc::new(plan.config());
        let (listener, host) = server_and_clients(sim, &config, move || Gives(gives.clone()));
        let collects =
            Collects { seen: client.clone(), times: std::rc::Rc::clone(&times), count: plan.messages.len() };
        let peer = sim.connect(listener, host, Arc::new(patient()), collects, conditions);
        let opened = Duration::from_millis(100);
        for message in plan.messages.clone() {
            let server = server.clone();
            sim.at(opened + message.at, move |_| {
                let sender = server.borrow().sender.clone().expect("it is open");
                let sent = sender.try_send_with(Priority(message.priority), message.payload.clone());
                assert!(sent.is_ok());
                server.borrow_mut().sent.push(message.payload);
            });
        }
        let sent = sent_by(sim, peer.other());
        run_to_the_end(sim);
        check_rate(&plan, &sent, calm);
        let whole = sent.last().map_or(Duration::ZERO, |(at, _)| at.saturating_since(Time::ZERO + opened));
        let used = (plan.total as f64 - plan.limit.burst_bytes as f64) / plan.earned(whole);
        assert!(!calm || used >= 0.98, "{used} of the rate over {whole:?}");
        if calm {
            check_order(&plan, opened, &client.borrow().received, &times.borrow());
        }
        let mut sent: Vec<_> = std::mem::take(&mut server.borrow_mut().sent);
        let mut received: Vec<_> = std::mem::take(&mut client.borrow_mut().received);
        sent.sort();
        received.sort();
        assert!(sent == received, "messages were lost or changed");
    });
}

/// What overtook nobody's turn: among equals the order of sending, and no message before a more urgent one that
/// had been queued when it left.
fn check_order(plan: &Plan, opened: Duration, received: &[Vec<u8>], times: &[Time]) {
    let place = |payload: &Vec<u8>| plan.messages.iter().position(|message| message.payload == *payload);
    let places: Vec<usize> = received.iter().map(|payload| place(payload).expect("it was sent")).collect();
    for (n, later) in places.iter().enumerate() {
        for (earlier, arrived) in places[..n].iter().zip(times) {
            let (first, second) = (&plan.messages[*earlier], &plan.messages[*later]);
            if first.priority == second.priority {
                assert!(first.at <= second.at, "equals out of order");
            } else if second.priority < first.priority {
                let queued = Time::ZERO + opened + second.at;
                let (urgent, other) = (second.priority, first.priority);
                assert!(queued + LATE > *arrived, "{other} came before {urgent}, queued at {queued:?}");
            }
        }
    }
}

#[test]
fn heartbeats_keep_a_quiet_connection_and_its_end_is_noticed_without_them() {
    for_each_seed("heartbeats_keep_a_quiet_connection_and_its_end_is_noticed_without_them", |sim| {
        let interval = sim.rng().u64(100..5_000);
        let idle = interval + sim.rng().u64(200..5_000);
        let mut beating = patient();
        beating.heartbeat = Some(Heartbeat::every(Duration::from_millis(interval)));
        let mut idles = patient();
        idles.limits.idle_timeout = Duration::from_millis(idle);
        let (kept, dropped, beats) = (Shared::default(), Shared::default(), Shared::default());
        let mut ends = vec![(kept.clone(), Shared::default()), (dropped.clone(), beats.clone())];
        let (listener, host) = server_and_clients(sim, &Arc::new(idles), move || {
            let (closes, seen) = ends.pop().expect("two clients");
            Listens { closes, seen }
        });
        let beating = Arc::new(beating);
        let client = sim.connect(listener, host, beating, Gives(Shared::default()), Conditions::calm());
        sim.connect(listener, host, Arc::new(patient()), Gives(Shared::default()), Conditions::calm());
        let whole = interval * 10 + interval / 2;
        sim.at(Duration::from_millis(whole), move |sim| sim.shut_down(client));
        run_to_the_end(sim);
        assert_eq!(dropped.borrow().close_reason(), &CloseReason::PeerClosed, "kept by its heartbeats");
        assert_eq!(kept.borrow().close_reason(), &CloseReason::IdleTimeout);
        let ended = kept.borrow().closed[0].1.saturating_since(Time::ZERO);
        let late = ended.saturating_sub(Duration::from_millis(idle));
        assert!(late > Duration::ZERO && late < LATE, "ended at {ended:?}");
        assert_eq!(beats.borrow().received.len(), 10);
        for (n, beat) in (1..).zip(&beats.borrow().received) {
            let text = String::from_utf8_lossy(beat);
            let ts = text.strip_prefix(r#"{"type":"ping","ts":"#).and_then(|text| text.strip_suffix('}'));
            let ts: u64 = ts.and_then(|ts| ts.parse().ok()).unwrap_or_else(|| panic!("{text}"));
            let due = UNIX_MS_AT_ZERO + n * interval;
            assert!((due..due + 20).contains(&ts), "{text}, due at {due}");
        }
    });
}

/// Remembers what it received and why it ended.
struct Listens {
    closes: Shared,
    seen: Shared,
}

impl Handler for Listens {
    fn on_message(&mut self, _conn: &mut Context<'_>, message: Message<'_>) {
        self.seen.borrow_mut().received.push(message.to_vec());
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        self.closes.borrow_mut().closed.push((reason.clone(), conn.now()));
    }
}

/// The simulator's wall clock at its beginning.
const UNIX_MS_AT_ZERO: u64 = 1_700_000_000_000;
