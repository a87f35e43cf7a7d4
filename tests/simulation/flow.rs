//! Bounds and drains of the outbox as a handler sees them.

use std::cell::Cell;
use std::sync::Arc;

use qwormhole_proto::{CloseReason, Config, Context, Handler, Message, Priority};
use qwormhole_sim::Conditions;

use crate::harness::{for_each_seed, run_to_the_end, server_and_clients, tight};
use crate::streamer::{Plan, Shared, Streamer, assert_all_arrived, random_message};

/// Sends until refused, stops, and counts what it is told. Every refusal must be followed by exactly one
/// drain, and nobody is told to go on who was not stopped.
struct Counting {
    config: Arc<Config>,
    rng: fastrand::Rng,
    messages: usize,
    /// Refused, and not told to go on yet.
    refused: bool,
    seen: Shared,
}

impl Counting {
    fn send_all(&mut self, conn: &mut Context<'_>) {
        let mut seen = self.seen.borrow_mut();
        while seen.sent.len() < self.messages {
            let message = random_message(&mut self.rng);
            let result = conn.send(message.clone());
            let longest = seen.sent.iter().map(Vec::len).max().unwrap_or(0).max(message.len());
            self.check_bound(conn, longest, &mut seen.broken);
            if result.is_err() {
                self.refused = true;
                seen.refusals += 1;
                return;
            }
            seen.sent.push(message);
        }
    }

    /// An empty outbox accepts any message, so the longest one may exceed the bound alone.
    fn check_bound(&self, conn: &Context<'_>, longest: usize, broken: &mut Vec<String>) {
        let bound = self.config.limits.max_backpressure_bytes.max(longest + 4);
        if conn.queued_bytes() > bound {
            broken.push(format!("{} bytes queued, bound {bound}", conn.queued_bytes()));
        }
    }
}

impl Handler for Counting {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.send_all(conn);
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        let mut seen = self.seen.borrow_mut();
        seen.drains += 1;
        if conn.queued_bytes() > self.config.limits.low_watermark_bytes {
            seen.broken.push(format!("drained at {} queued bytes", conn.queued_bytes()));
        }
        drop(seen);
        self.refused = false;
        self.send_all(conn);
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        let mut seen = self.seen.borrow_mut();
        if self.refused {
            seen.broken.push("a refusal was never followed by a drain".into());
        }
        if conn.stats().drains != seen.drains as u64 {
            seen.broken.push("drains are miscounted".into());
        }
        seen.closed.push((reason.clone(), conn.now()));
    }
}

#[test]
fn every_refusal_is_followed_by_exactly_one_drain() {
    let refusals = Cell::new(0);
    for_each_seed("every_refusal_is_followed_by_exactly_one_drain", |sim| {
        let config = Arc::new(tight(sim.rng()));
        let seen = Shared::default();
        let mut server = Some(Counting {
            config: config.clone(),
            rng: sim.rng().fork(),
            messages: 100,
            refused: false,
            seen: seen.clone(),
        });
        let (listener, host) = server_and_clients(sim, &config, move || server.take().expect("one client"));
        let (client, client_seen) =
            Streamer::new(sim.rng(), Plan { close_after: Some(100), ..Plan::default() });
        let conditions = Conditions::random(sim.rng());
        sim.connect(listener, host, config, client, conditions);
        run_to_the_end(sim);
        assert_all_arrived(&seen, &client_seen);
        let seen = seen.borrow();
        let extra = seen.drains.checked_sub(seen.refusals).expect("every refusal has its drain");
        // After the last refusal nothing is sent that could be refused, but the watermark may be crossed.
        assert!(extra <= 1, "{} refusals, {} drains", seen.refusals, seen.drains);
        refusals.set(refusals.get() + seen.refusals);
    });
    if std::env::var_os("QWORMHOLE_SIM_SEED").is_none() {
        assert!(refusals.get() > 1000, "the scenario must refuse often to mean anything: {}", refusals.get());
    }
}

/// Sends everything at once with random priorities.
struct Prioritised {
    rng: fastrand::Rng,
    seen: Shared,
}

impl Handler for Prioritised {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        for n in 0..40u8 {
            let priority = self.rng.i32(-2..3);
            let mut message = random_message(&mut self.rng);
            message.splice(0..0, [n, (priority + 2) as u8]);
            if conn.send_with(Priority(priority), message.clone()).is_ok() {
                self.seen.borrow_mut().sent.push(message);
            }
        }
        conn.close();
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

#[test]
fn urgent_messages_go_first_and_equals_stay_in_order() {
    for_each_seed("urgent_messages_go_first_and_equals_stay_in_order", |sim| {
        let config = Arc::new(crate::harness::patient());
        let seen = Shared::default();
        let mut server = Some(Prioritised { rng: sim.rng().fork(), seen: seen.clone() });
        let (listener, host) = server_and_clients(sim, &config, move || server.take().expect("one client"));
        let (client, client_seen) = Streamer::new(sim.rng(), Plan::default());
        let conditions = Conditions::random(sim.rng());
        sim.connect(listener, host, config, client, conditions);
        run_to_the_end(sim);
        // All were queued before the first byte left, so the order is that of a stable sort.
        seen.borrow_mut().sent.sort_by_key(|message| message[1]);
        assert_all_arrived(&seen, &client_seen);
    });
}
