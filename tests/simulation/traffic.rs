//! Ordinary traffic: what is sent arrives, once, in order, whatever the network does to the bytes.

use std::sync::Arc;
use std::time::Duration;

use qwormhole_proto::{CloseReason, Framing, Sender};
use qwormhole_sim::{Conditions, Simulation};

use crate::harness::{for_each_seed, patient, run_to_the_end, server_and_clients, tight};
use crate::streamer::{
    Echo, Plan, Shared, Streamer, assert_all_arrived, assert_prefix, frames, random_message,
};

/// One client and one server that stream at each other; returns both sides and the client's end.
fn pair(sim: &mut Simulation, pause_percent: u8) -> (Shared, Shared, qwormhole_sim::PeerId) {
    let config = Arc::new(tight(sim.rng()));
    let (up, down) = (sim.rng().usize(0..40), sim.rng().usize(0..40));
    let plan = Plan { messages: down, close_after: None, pause_percent };
    let (server, server_seen) = Streamer::new(sim.rng(), plan);
    let mut server = Some(server);
    let (listener, host) =
        server_and_clients(sim, &config, move || server.take().expect("one client connects"));
    let plan = Plan { messages: up, close_after: Some(down), pause_percent };
    let (client, client_seen) = Streamer::new(sim.rng(), plan);
    let conditions = Conditions::random(sim.rng());
    let peer = sim.connect(listener, host, config, client, conditions);
    (client_seen, server_seen, peer)
}

#[test]
fn both_directions_are_byte_exact() {
    for_each_seed("both_directions_are_byte_exact", |sim| {
        let (client, server, _) = pair(sim, 0);
        run_to_the_end(sim);
        assert_all_arrived(&client, &server);
        assert_all_arrived(&server, &client);
        assert_eq!(client.borrow().close_reason(), &CloseReason::Local);
        assert_eq!(server.borrow().close_reason(), &CloseReason::PeerClosed);
    });
}

#[test]
fn a_pause_anywhere_loses_and_reorders_nothing() {
    for_each_seed("a_pause_anywhere_loses_and_reorders_nothing", |sim| {
        let pause_percent = sim.rng().u8(5..60);
        let (client, server, _) = pair(sim, pause_percent);
        for seen in [client.clone(), server.clone()] {
            keep_resuming(sim, seen);
        }
        run_to_the_end(sim);
        assert_all_arrived(&client, &server);
        assert_all_arrived(&server, &client);
    });
}

/// Resumes the connection from another thread again and again until it is over.
fn keep_resuming(sim: &mut Simulation, seen: Shared) {
    let after = Duration::from_micros(sim.rng().u64(1..20_000));
    sim.at(after, move |sim| {
        let sender = seen.borrow().sender.clone();
        sender.iter().for_each(Sender::resume);
        if seen.borrow().closed.is_empty() {
            keep_resuming(sim, seen);
        }
    });
}

#[test]
fn a_cut_leaves_a_prefix_and_one_close_on_each_side() {
    for_each_seed("a_cut_leaves_a_prefix_and_one_close_on_each_side", |sim| {
        let (client, server, peer) = pair(sim, 0);
        let when = Duration::from_micros(sim.rng().u64(0..400_000));
        let victim = if sim.rng().bool() { peer } else { peer.other() };
        sim.at(when, move |sim| sim.cut(victim));
        run_to_the_end(sim);
        let (client, server) = (client.borrow(), server.borrow());
        assert_prefix(&client, &server);
        assert_prefix(&server, &client);
        for seen in [&client, &server] {
            assert_eq!((seen.opened, seen.closed.len()), (1, 1), "{:?}", seen.closed);
        }
        let (up, down) = (client.close_reason(), server.close_reason());
        let clean = !up.had_error() && !down.had_error();
        assert!(
            !clean || server.received.len() == client.sent.len(),
            "a clean end lost messages: {up} / {down}"
        );
    });
}

#[test]
fn many_clients_of_one_server_do_not_disturb_each_other() {
    for_each_seed("many_clients_of_one_server_do_not_disturb_each_other", |sim| {
        let config = Arc::new(tight(sim.rng()));
        let echo = Shared::default();
        let (listener, host) = server_and_clients(sim, &config, move || Echo(echo.clone()));
        let clients: Vec<Shared> = (0..sim.rng().usize(2..8))
            .map(|_| {
                let messages = sim.rng().usize(0..12);
                let plan = Plan { messages, close_after: Some(messages), pause_percent: 0 };
                let (client, seen) = Streamer::new(sim.rng(), plan);
                let conditions = Conditions::random(sim.rng());
                sim.connect(listener, host, config.clone(), client, conditions);
                seen
            })
            .collect();
        run_to_the_end(sim);
        for client in clients {
            assert_all_arrived(&client, &client);
        }
    });
}

#[test]
fn without_framing_the_bytes_arrive_in_order() {
    for_each_seed("without_framing_the_bytes_arrive_in_order", |sim| {
        let mut config = patient();
        config.framing = Framing::None;
        let echo = Shared::default();
        let server = echo.clone();
        let (listener, _) = server_and_clients(sim, &Arc::new(config), move || Echo(server.clone()));
        let conditions = Conditions::random(sim.rng());
        let client = sim.connect_raw(listener, conditions);
        let sent: Vec<Vec<u8>> = (0..10).map(|_| random_message(sim.rng())).collect();
        sim.raw_send(client, &sent.concat());
        sim.raw_shutdown(client);
        run_to_the_end(sim);
        assert!(echo.borrow().received.iter().all(|chunk| !chunk.is_empty()));
        assert!(echo.borrow().received.concat() == sent.concat());
        assert!(sim.raw(client).received() == sent.concat());
    });
}

#[test]
fn a_half_closed_client_gets_every_reply() {
    for_each_seed("a_half_closed_client_gets_every_reply", |sim| {
        let config = Arc::new(tight(sim.rng()));
        let echo = Shared::default();
        let server = echo.clone();
        let (listener, _) = server_and_clients(sim, &config, move || Echo(server.clone()));
        let conditions = Conditions::random(sim.rng());
        let client = sim.connect_raw(listener, conditions);
        let sent: Vec<Vec<u8>> = (0..20).map(|_| random_message(sim.rng())).collect();
        sim.raw_send(client, &frames(&sent));
        sim.raw_shutdown(client);
        run_to_the_end(sim);
        assert_eq!(echo.borrow().broken, [""; 0]);
        assert!(sim.raw(client).received() == frames(&sent));
        assert_eq!(sim.raw(client).end(), Some(qwormhole_sim::RawEnd::Fin));
    });
}
