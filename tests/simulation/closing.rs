//! How connections end.

use std::sync::Arc;
use std::time::Duration;

use qwormhole_proto::{CloseReason, Context, Handler, Message};
use qwormhole_sim::{Conditions, RawEnd};

use crate::harness::{
    for_each_seed, patient, run_to_the_end, run_to_the_end_with_panics, server_and_clients, tight,
};
use crate::streamer::{
    Echo, Plan, Shared, Streamer, assert_all_arrived, assert_prefix, frames, random_message,
};

#[test]
fn an_oversize_frame_closes_after_every_reply_has_arrived() {
    for_each_seed("an_oversize_frame_closes_after_every_reply_has_arrived", |sim| {
        let mut config = patient();
        config.limits.max_frame_len = 40_000;
        let echo = Shared::default();
        let server = echo.clone();
        let (listener, _) = server_and_clients(sim, &Arc::new(config), move || Echo(server.clone()));
        let conditions = Conditions::random(sim.rng());
        let client = sim.connect_raw(listener, conditions);
        let good: Vec<Vec<u8>> = (0..sim.rng().usize(0..15)).map(|_| random_message(sim.rng())).collect();
        sim.raw_send(client, &frames(&good));
        let announced = sim.rng().u32(40_001..);
        sim.raw_send(client, &announced.to_be_bytes());
        let junk = vec![0xee; sim.rng().usize(0..100_000)];
        sim.raw_send(client, &junk);
        sim.raw_shutdown(client);
        run_to_the_end(sim);
        assert!(sim.raw(client).received() == frames(&good), "all replies, and nothing else");
        assert_eq!(sim.raw(client).end(), Some(RawEnd::Fin), "no reset ate them");
        let expected = format!("Frame length {announced} exceeds limit 40000");
        assert_eq!(echo.borrow().close_reason().to_string(), expected);
    });
}

#[test]
fn a_shutdown_delivers_everything_accepted() {
    for_each_seed("a_shutdown_delivers_everything_accepted", |sim| {
        let config = Arc::new(tight(sim.rng()));
        let plan = Plan { messages: 30, ..Plan::default() };
        let (server, server_seen) = Streamer::new(sim.rng(), plan);
        let mut server = Some(server);
        let (listener, host) = server_and_clients(sim, &config, move || server.take().expect("one client"));
        let (client, client_seen) = Streamer::new(sim.rng(), Plan::default());
        let conditions = Conditions::random(sim.rng());
        let peer = sim.connect(listener, host, config, client, conditions);
        let when = Duration::from_micros(sim.rng().u64(100_000..900_000));
        sim.at(when, move |sim| sim.shut_down(peer.other()));
        run_to_the_end(sim);
        assert_all_arrived(&server_seen, &client_seen);
        assert_eq!(server_seen.borrow().close_reason(), &CloseReason::Shutdown);
        assert_eq!(client_seen.borrow().close_reason(), &CloseReason::PeerClosed);
    });
}

#[test]
fn a_close_in_the_middle_of_traffic_loses_nothing_that_was_accepted() {
    for_each_seed("a_close_in_the_middle_of_traffic_loses_nothing_that_was_accepted", |sim| {
        let config = Arc::new(tight(sim.rng()));
        let (server, server_seen) = Streamer::new(sim.rng(), Plan { messages: 30, ..Plan::default() });
        let mut server = Some(server);
        let (listener, host) = server_and_clients(sim, &config, move || server.take().expect("one client"));
        // The client ends early: what the server still sends is discarded, never mistaken.
        let early = sim.rng().usize(0..30);
        let plan = Plan { messages: 20, close_after: Some(early), pause_percent: 0 };
        let (client, client_seen) = Streamer::new(sim.rng(), plan);
        let conditions = Conditions::random(sim.rng());
        sim.connect(listener, host, config, client, conditions);
        run_to_the_end(sim);
        assert_all_arrived(&client_seen, &server_seen);
        let (client, server) = (client_seen.borrow(), server_seen.borrow());
        assert_prefix(&server, &client);
        assert_eq!(client.close_reason(), &CloseReason::Local);
        assert_eq!(server.close_reason(), &CloseReason::PeerClosed);
    });
}

#[test]
fn a_truncated_stream_is_named() {
    for_each_seed("a_truncated_stream_is_named", |sim| {
        let echo = Shared::default();
        let server = echo.clone();
        let (listener, _) = server_and_clients(sim, &Arc::new(patient()), move || Echo(server.clone()));
        let conditions = Conditions::random(sim.rng());
        let client = sim.connect_raw(listener, conditions);
        let whole: Vec<Vec<u8>> = (0..5).map(|_| random_message(sim.rng())).collect();
        let wire = frames(&whole);
        let end = sim.rng().usize(0..=wire.len());
        sim.raw_send(client, &wire[..end]);
        sim.raw_shutdown(client);
        run_to_the_end(sim);
        let echo = echo.borrow();
        let complete = frames(&echo.received).len();
        let expected = if complete == end { CloseReason::PeerClosed } else { CloseReason::PeerTruncated };
        assert_eq!(echo.close_reason(), &expected);
        assert!(sim.raw(client).received() == &wire[..complete]);
    });
}

/// Panics on a message that begins with 0xff.
struct Fragile(Shared);

impl Handler for Fragile {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        assert!(message.first() != Some(&0xff), "asked to");
        Echo(self.0.clone()).on_message(conn, message);
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        self.0.borrow_mut().closed.push((reason.clone(), qwormhole_proto::Time::ZERO));
    }
}

#[test]
fn a_panic_ends_its_own_connection_only() {
    std::panic::set_hook(Box::new(|info| {
        if !info.to_string().contains("asked to") {
            eprintln!("{info}");
        }
    }));
    for_each_seed("a_panic_ends_its_own_connection_only", |sim| {
        let seen = Shared::default();
        let server = seen.clone();
        let (listener, _) = server_and_clients(sim, &Arc::new(patient()), move || Fragile(server.clone()));
        let conditions = Conditions::random(sim.rng());
        let villain = sim.connect_raw(listener, conditions);
        let replied = vec![b"before".to_vec(), b"it".to_vec()];
        sim.raw_send(villain, &frames(&replied));
        sim.raw_send(villain, &frames(&[vec![0xff], b"after".to_vec()]));
        sim.raw_shutdown(villain);
        let conditions = Conditions::random(sim.rng());
        let honest = sim.connect_raw(listener, conditions);
        let sent = frames(&[vec![1; 100], vec![2; 5000]]);
        sim.raw_send(honest, &sent);
        sim.raw_shutdown(honest);
        run_to_the_end_with_panics(sim, 1);
        assert!(sim.raw(villain).received() == frames(&replied), "what was answered before arrives");
        assert!(sim.raw(honest).received() == sent, "the other connection goes on");
        assert_eq!(
            seen.borrow().close_reason(),
            &CloseReason::PeerClosed,
            "a handler that panicked is not called"
        );
    });
}
