//! Sends of other threads, interleaved with those of the handler by a random schedule.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use qwormhole_proto::{CloseReason, Context, Handler, Message, Priority, SendErrorKind, Sender};
use qwormhole_sim::{Conditions, Simulation};

use crate::harness::{for_each_seed, run_to_the_end, server_and_clients, tight};
use crate::streamer::{Plan, Shared, Streamer, random_message};

/// Sends `count` tagged messages itself and hands out its sender.
struct Shares {
    rng: Rng,
    count: usize,
    seen: Shared,
}

impl Shares {
    fn send_all(&mut self, conn: &mut Context<'_>) {
        let mut seen = self.seen.borrow_mut();
        while seen.sent.len() < self.count {
            let message = tagged(&mut self.rng, 0, seen.sent.len());
            if conn.send(message.clone()).is_err() {
                return;
            }
            seen.sent.push(message);
        }
    }
}

impl Handler for Shares {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        let sender = conn.sender();
        self.seen.borrow_mut().sender = Some(sender);
        self.send_all(conn);
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        self.send_all(conn);
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        self.seen.borrow_mut().closed.push((reason.clone(), conn.now()));
    }
}

/// A message that says who sent it and as which one.
fn tagged(rng: &mut Rng, who: u8, number: usize) -> Vec<u8> {
    let mut message = random_message(rng);
    message.splice(0..0, [who, number as u8]);
    message
}

/// One simulated thread: sends its messages one by one at random times with a priority of its own, retries
/// what is refused, asks for a flush now and then and counts itself done.
struct Thread {
    who: u8,
    rng: Rng,
    flush_percent: u8,
    sent: usize,
    sender: Sender,
    done: Shared,
}

impl Thread {
    fn schedule(mut self, sim: &mut Simulation) {
        let after = Duration::from_micros(self.rng.u64(1..50_000));
        sim.at(after, move |sim| {
            let upto = MESSAGES.min(self.sent + self.rng.usize(1..6));
            for _ in self.sent..upto {
                self.step();
            }
            if self.sent < MESSAGES {
                self.schedule(sim);
            } else {
                let mark = self.sender.request_flush();
                self.finish(sim, mark);
            }
        });
    }

    fn step(&mut self) {
        let before = self.rng.clone();
        let priority = Priority(i32::from(self.who) - 2);
        match self.sender.try_send_with(priority, tagged(&mut self.rng, self.who, self.sent)) {
            Ok(()) => self.sent += 1,
            Err(error) => {
                assert_eq!(error.kind, SendErrorKind::Full);
                // The same message again next time.
                self.rng = before;
                self.rng.u8(..);
            }
        }
        if self.rng.u8(0..100) < self.flush_percent {
            self.sender.request_flush();
        }
    }

    /// Waits until everything has left; the last thread to get there closes.
    fn finish(self, sim: &mut Simulation, mark: u64) {
        sim.at(Duration::from_millis(50), move |sim| {
            let mut waiter = self.sender.waiter();
            let mut cx = std::task::Context::from_waker(Waker::noop());
            match waiter.poll_flushed(mark, &mut cx) {
                Poll::Pending => self.finish(sim, mark),
                Poll::Ready(result) => {
                    assert_eq!(result, Ok(()), "flushed before the close");
                    self.done.borrow_mut().drains += 1;
                    if self.done.borrow().drains == THREADS as usize {
                        self.sender.close();
                    }
                }
            }
        });
    }
}

const THREADS: u8 = 3;
const MESSAGES: usize = 20;

#[test]
fn sends_of_other_threads_arrive_once_and_in_each_threads_order() {
    for_each_seed("sends_of_other_threads_arrive_once_and_in_each_threads_order", |sim| {
        let config = Arc::new(tight(sim.rng()));
        let seen = Shared::default();
        let mut server = Some(Shares { rng: sim.rng().fork(), count: MESSAGES, seen: seen.clone() });
        let (listener, host) = server_and_clients(sim, &config, move || server.take().expect("one client"));
        let (client, client_seen) = Streamer::new(sim.rng(), Plan::default());
        let conditions = Conditions::random(sim.rng());
        sim.connect(listener, host, config, client, conditions);
        let started = seen.clone();
        let flush_percent = sim.rng().u8(0..2) * 10;
        sim.at(Duration::from_millis(60), move |sim| {
            for who in 1..=THREADS {
                let sender = started.borrow().sender.clone().expect("it is open");
                let rng = sim.rng().fork();
                let done = started.clone();
                Thread { who, rng, flush_percent, sent: 0, sender, done }.schedule(sim);
            }
        });
        run_to_the_end(sim);
        let mut next: BTreeMap<u8, usize> = BTreeMap::new();
        for message in &client_seen.borrow().received {
            let expected = next.entry(message[0]).or_default();
            assert_eq!(usize::from(message[1]), *expected, "order of sender {}", message[0]);
            *expected += 1;
        }
        for who in 1..=THREADS {
            assert_eq!(next.get(&who), Some(&MESSAGES), "sender {who}");
        }
        let own = seen.borrow().sent.len();
        assert_eq!(next.get(&0).copied().unwrap_or(0), own, "the handler's own");
        assert_eq!(seen.borrow().close_reason(), &CloseReason::Local);
    });
}

#[test]
fn everybody_who_holds_a_sender_learns_the_end() {
    for_each_seed("everybody_who_holds_a_sender_learns_the_end", |sim| {
        let config = Arc::new(tight(sim.rng()));
        let seen = Shared::default();
        let mut server = Some(Shares { rng: sim.rng().fork(), count: 5, seen: seen.clone() });
        let (listener, host) = server_and_clients(sim, &config, move || server.take().expect("one client"));
        let (client, _) = Streamer::new(sim.rng(), Plan::default());
        let conditions = Conditions::random(sim.rng());
        let peer = sim.connect(listener, host, config, client, conditions);
        let when = Duration::from_micros(sim.rng().u64(50_000..200_000));
        sim.at(when, move |sim| sim.cut(peer));
        run_to_the_end(sim);
        let sender = seen.borrow().sender.clone().expect("it was open");
        let reason = seen.borrow().close_reason().clone();
        assert_eq!(sender.close_reason(), Some(reason.clone()));
        assert_eq!(
            sender.try_send("late").map_err(|error| error.kind),
            Err(SendErrorKind::Closed(reason.clone()))
        );
        let mut waiter = sender.waiter();
        let mut cx = std::task::Context::from_waker(Waker::noop());
        assert_eq!(waiter.poll_closed(&mut cx), Poll::Ready(reason));
        assert_eq!(waiter.poll_ready(usize::MAX / 2, &mut cx), Poll::Ready(()));
    });
}
