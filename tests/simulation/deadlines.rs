//! Peers that are too slow meet their deadline, not earlier and at most a tick later.

use std::sync::Arc;
use std::time::Duration;

use qwormhole_proto::{CloseReason, Config, Context, Handler, Message, Time};
use qwormhole_sim::{Conditions, PeerId, RawEnd, Simulation};

use crate::harness::{for_each_seed, run_to_the_end, server_and_clients};
use crate::streamer::{Echo, Plan, Shared, Streamer, assert_prefix, frames};

/// A timer's resolution and the delays of a calm link.
const TICK: Duration = Duration::from_millis(12);

fn at(seconds: f64) -> Time {
    Time::ZERO + Duration::from_secs_f64(seconds)
}

#[test]
fn a_frame_that_stops_growing_times_out() {
    for_each_seed("a_frame_that_stops_growing_times_out", |sim| {
        let mut config = Config::default();
        let timeout = sim.rng().u64(100..40_000);
        config.limits.frame_timeout = Duration::from_millis(timeout);
        let echo = Shared::default();
        let server = echo.clone();
        let (listener, _) = server_and_clients(sim, &Arc::new(config), move || Echo(server.clone()));
        let client = sim.connect_raw(listener, Conditions::calm());
        let whole = frames(&[vec![7; 10], vec![]]);
        let begun = sim.rng().usize(1..60);
        sim.raw_send(client, &whole);
        sim.raw_send(client, &frames(&[vec![8; 60]])[..begun]);
        run_to_the_end(sim);
        assert_eq!(echo.borrow().close_reason(), &CloseReason::FrameTimeout);
        assert!(sim.raw(client).received() == whole, "whole frames were answered");
        assert_eq!(sim.raw(client).end(), Some(RawEnd::Fin));
        let ended = sim.raw(client).ended_at().expect("it ended");
        let deadline = Time::ZERO + Duration::from_millis(timeout);
        assert!(ended > deadline && ended < deadline + TICK, "{ended:?} is not just after {deadline:?}");
    });
}

#[test]
fn a_frame_slower_than_the_least_rate_times_out() {
    for_each_seed("a_frame_slower_than_the_least_rate_times_out", |sim| {
        let echo = Shared::default();
        let server = echo.clone();
        let config = Arc::new(Config::default());
        let (listener, _) = server_and_clients(sim, &config, move || Echo(server.clone()));
        let client = sim.connect_raw(listener, Conditions::calm());
        sim.raw_send(client, &[0, 1, 0, 0]);
        // 50 to 1,000 bytes per second in pieces of a second: below the default of 1,024.
        let piece = vec![1; sim.rng().usize(50..1000)];
        trickle(sim, client, piece);
        run_to_the_end(sim);
        assert_eq!(echo.borrow().close_reason(), &CloseReason::FrameTimeout);
        let ended = sim.raw(client).ended_at().expect("it ended");
        assert!(ended > at(30.0) && ended < at(30.0) + TICK, "ended at {ended:?}");
    });
}

/// Sends `piece` every second until the other end finishes.
fn trickle(sim: &mut Simulation, client: PeerId, piece: Vec<u8>) {
    sim.at(Duration::from_secs(1), move |sim| {
        if sim.raw(client).end().is_some() {
            sim.raw_shutdown(client);
        } else {
            sim.raw_send(client, &piece);
            trickle(sim, client, piece);
        }
    });
}

/// Pauses after each batch, as a handler with a bounded queue behind it does; somebody else resumes it.
struct PausesAfterBatch(Shared);

impl Handler for PausesAfterBatch {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.0.borrow_mut().sender = Some(conn.sender());
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, message: Message<'_>) {
        self.0.borrow_mut().received.push(message.to_vec());
    }

    fn on_batch_end(&mut self, conn: &mut Context<'_>) {
        conn.pause();
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        self.0.borrow_mut().closed.push((reason.clone(), conn.now()));
    }
}

#[test]
fn a_pause_does_not_excuse_a_frame_that_stops() {
    for_each_seed("a_pause_does_not_excuse_a_frame_that_stops", |sim| {
        let seen = Shared::default();
        let server = seen.clone();
        let config = Arc::new(Config::default());
        let (listener, _) = server_and_clients(sim, &config, move || PausesAfterBatch(server.clone()));
        let client = sim.connect_raw(listener, Conditions::calm());
        sim.raw_send(client, &frames(&[vec![7; 10]]));
        let begun = sim.rng().usize(1..=5);
        sim.raw_send(client, &[0, 0, 0, 9, 1][..begun]);
        let paused = sim.rng().u64(1..100);
        let resumed = seen.clone();
        sim.at(Duration::from_secs(paused), move |_| {
            resumed.borrow().sender.as_ref().expect("it is open").resume();
        });
        run_to_the_end(sim);
        assert_eq!(seen.borrow().received, [vec![7; 10]]);
        assert_eq!(seen.borrow().close_reason(), &CloseReason::FrameTimeout);
        let ended = sim.raw(client).ended_at().expect("it ended");
        let deadline = at(paused as f64 + 30.0);
        assert!(ended > deadline && ended < deadline + TICK, "ended at {ended:?}, not at {deadline:?}");
    });
}

#[test]
fn a_reader_that_stops_is_closed_at_its_deadline() {
    for_each_seed("a_reader_that_stops_is_closed_at_its_deadline", |sim| {
        let mut config = Config::default();
        config.limits.max_backpressure_bytes = 60_000;
        config.limits.high_watermark_bytes = sim.rng().usize(1..60_000);
        config.limits.low_watermark_bytes = 0;
        let timeout = sim.rng().u64(1..60);
        config.limits.stall_timeout = Duration::from_secs(timeout);
        let (server, seen) = Streamer::new(sim.rng(), Plan { messages: 100_000, ..Plan::default() });
        let mut server = Some(server);
        let (listener, _) =
            server_and_clients(sim, &Arc::new(config), move || server.take().expect("one client"));
        let mut conditions = Conditions::calm();
        conditions.send_buffer_bytes = 10_000;
        conditions.recv_window_bytes = 10_000;
        conditions.segment_bytes_max = 200;
        let client = sim.connect_raw(listener, conditions);
        sim.at(Duration::from_millis(50), move |sim| sim.raw_set_reading(client, false));
        run_to_the_end(sim);
        let seen = seen.borrow();
        assert_eq!(seen.close_reason(), &CloseReason::Stalled);
        let deadline = at(0.05 + timeout as f64);
        let closed = seen.closed[0].1;
        assert!(
            closed > deadline && closed < deadline + TICK * 2,
            "closed at {closed:?}, not at {deadline:?}"
        );
        let got = crate::streamer::Seen {
            received: whole_frames(sim.raw(client).received()),
            ..Default::default()
        };
        assert_prefix(&seen, &got);
    });
}

/// Sends a little for every message, whether the peer reads or not.
struct Answers(Shared);

impl Handler for Answers {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        let _ = conn.send(vec![0; 50_000]);
    }

    fn on_message(&mut self, conn: &mut Context<'_>, _message: Message<'_>) {
        let _ = conn.send("answer");
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        self.0.borrow_mut().closed.push((reason.clone(), conn.now()));
    }
}

#[test]
fn talking_does_not_excuse_a_reader_that_stops() {
    for_each_seed("talking_does_not_excuse_a_reader_that_stops", |sim| {
        let mut config = Config::default();
        config.limits.high_watermark_bytes = sim.rng().usize(1000..10_000);
        config.limits.low_watermark_bytes = 0;
        let seen = Shared::default();
        let server = seen.clone();
        let (listener, _) = server_and_clients(sim, &Arc::new(config), move || Answers(server.clone()));
        let mut conditions = Conditions::calm();
        (conditions.send_buffer_bytes, conditions.recv_window_bytes) = (10_000, 10_000);
        let client = sim.connect_raw(listener, conditions);
        sim.raw_set_reading(client, false);
        for second in 0..60 {
            sim.at(Duration::from_secs(second), move |sim| sim.raw_send(client, &frames(&[vec![1; 20]])));
        }
        run_to_the_end(sim);
        assert_eq!(seen.borrow().close_reason(), &CloseReason::Stalled);
        let closed = seen.borrow().closed[0].1;
        assert!(closed > at(30.0) && closed < at(30.0) + TICK, "closed at {closed:?}");
    });
}

/// The complete frames at the beginning of `wire`.
fn whole_frames(mut wire: &[u8]) -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    while let Some((header, rest)) = wire.split_first_chunk::<4>() {
        let Some((payload, rest)) = rest.split_at_checked(u32::from_be_bytes(*header) as usize) else {
            break;
        };
        whole.push(payload.to_vec());
        wire = rest;
    }
    whole
}

#[test]
fn a_peer_that_never_ends_is_cut_after_the_linger() {
    for_each_seed("a_peer_that_never_ends_is_cut_after_the_linger", |sim| {
        let seen = Shared::default();
        let server = seen.clone();
        let config = Arc::new(Config::default());
        let (listener, _) = server_and_clients(sim, &config, move || Echo(server.clone()));
        let client = sim.connect_raw(listener, Conditions::calm());
        sim.raw_send(client, &frames(&[vec![5; 50]]));
        sim.at(Duration::from_secs(1), move |sim| sim.shut_down(client.other()));
        run_to_the_end(sim);
        let (reason, closed) = seen.borrow().closed[0].clone();
        assert_eq!(reason, CloseReason::Shutdown);
        assert!(closed > at(3.0) && closed < at(3.0) + TICK, "closed at {closed:?}");
    });
}
