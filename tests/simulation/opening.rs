//! From transport to open connection, on any network: who is let in opens once and loses nothing, of whoever is
//! not nothing reaches a handler.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use fastrand::Rng;
use qwormhole_proto::handshake::{ClientHandshake, HandshakePolicy, Verifier};
use qwormhole_proto::{
    CloseReason, Config, Endpoint, Framing, HandshakeRole, PeerInfo, RejectHook, ShardStats, Time,
};
use qwormhole_sim::{Conditions, HostId, ListenerId, RawEnd, Simulation};

use crate::harness::{for_each_seed, patient, run_to_the_end, server_and_clients, tight};
use crate::sealed::Sealed;
use crate::streamer::{Echo, Plan, Seen, Shared, Streamer, assert_all_arrived, assert_prefix, frames};

/// A verifier that a script answers; its wakers may come early and often.
#[derive(Clone, Default)]
struct Oracle(Arc<Mutex<(Option<bool>, Option<Waker>)>>);

impl Oracle {
    fn verifier(&self) -> Verifier {
        let oracle = self.0.clone();
        Verifier::future(move |_, _| {
            let oracle = oracle.clone();
            poll_fn(move |cx| {
                let mut oracle = oracle.lock().expect("no panic");
                oracle.1 = Some(cx.waker().clone());
                oracle.0.map_or(Poll::Pending, Poll::Ready)
            })
        })
    }

    fn answer(&self, answer: Option<bool>) {
        let waker = {
            let mut oracle = self.0.lock().expect("no panic");
            oracle.0 = answer.or(oracle.0);
            oracle.1.clone()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

fn expect(config: &mut Config, policy: HandshakePolicy) {
    config.handshake = Some(HandshakeRole::Expect(Arc::new(policy)));
}

fn send(config: &mut Config, handshake: ClientHandshake) {
    config.handshake = Some(HandshakeRole::Send(Arc::new(handshake)));
}

fn hello(version: &str) -> Vec<u8> {
    ClientHandshake::new(version).encode(&[], 1, [7; 16]).expect("a good handshake")
}

/// Both sides of a server that asks for version 1, sometimes of a verifier too, sometimes over TLS; the client's
/// side asks for an acknowledgement now and then.
fn sides(rng: &mut Rng, config: Config, sealed: Option<&Sealed>) -> (Config, Config, Option<Oracle>) {
    let (mut server, mut client) = (config.clone(), config);
    server.limits.handshake_timeout = Duration::from_secs(10_000);
    client.limits.handshake_timeout = Duration::from_secs(10_000);
    let handshake = ClientHandshake::new("1");
    send(&mut client, if rng.bool() { handshake.ask_ack() } else { handshake });
    let oracle = rng.bool().then(Oracle::default);
    let policy = HandshakePolicy::new("1");
    expect(
        &mut server,
        match &oracle {
            Some(oracle) => policy.verifier(oracle.verifier()),
            None => policy,
        },
    );
    if let Some(sealed) = sealed {
        (server.tls, client.tls) = (Some(sealed.server()), Some(sealed.client()));
    }
    (server, client, oracle)
}

/// Random traffic of a client that is let in; returns both ends.
fn accepted(sim: &mut Simulation, framing: Framing, sealed: Option<&Sealed>) -> (Shared, Shared) {
    let mut config = tight(sim.rng());
    config.framing = framing;
    let (server_config, client_config, oracle) = sides(sim.rng(), config, sealed);
    let (up, down) = (sim.rng().usize(0..30), sim.rng().usize(0..30));
    let (server, server_seen) = Streamer::new(sim.rng(), Plan { messages: down, ..Plan::default() });
    let mut server = Some(server);
    let (listener, host) =
        server_and_clients(sim, &Arc::new(server_config), move || server.take().expect("one client"));
    let close_after = (framing == Framing::LengthPrefixed).then_some(down);
    let (client, client_seen) =
        Streamer::new(sim.rng(), Plan { messages: up, close_after, pause_percent: 0 });
    let conditions = Conditions::random(sim.rng());
    let peer = sim.connect(listener, host, Arc::new(client_config), client, conditions);
    if let Some(oracle) = oracle {
        for _ in 0..3 {
            let (oracle, early) = (oracle.clone(), Duration::from_micros(sim.rng().u64(0..1_000_000)));
            sim.at(early, move |_| oracle.answer(None));
        }
        // Late enough that it was asked.
        sim.at(Duration::from_secs(500), move |_| oracle.answer(Some(true)));
    }
    if framing == Framing::None {
        sim.at(Duration::from_secs(5000), move |sim| sim.shut_down(peer));
    }
    (client_seen, server_seen)
}

#[test]
fn a_peer_that_is_let_in_opens_once_and_loses_nothing() {
    for_each_seed("a_peer_that_is_let_in_opens_once_and_loses_nothing", |sim| {
        let (client, server) = accepted(sim, Framing::LengthPrefixed, None);
        run_to_the_end(sim);
        assert_all_arrived(&client, &server);
        assert_all_arrived(&server, &client);
        assert_eq!(sim.stats_total().rejected, 0);
    });
}

#[test]
fn without_framing_the_handshake_is_not_mistaken_for_data() {
    for_each_seed("without_framing_the_handshake_is_not_mistaken_for_data", |sim| {
        let (client, server) = accepted(sim, Framing::None, None);
        run_to_the_end(sim);
        let (client, server) = (client.borrow(), server.borrow());
        assert!(server.received.concat() == client.sent.concat());
        assert!(client.received.concat() == server.sent.concat());
    });
}

#[test]
fn tls_and_a_handshake_on_any_network_lose_nothing() {
    let sealed = Sealed::new();
    for_each_seed("tls_and_a_handshake_on_any_network_lose_nothing", |sim| {
        let (client, server) = accepted(sim, Framing::LengthPrefixed, Some(&sealed));
        run_to_the_end(sim);
        assert_all_arrived(&client, &server);
        assert_all_arrived(&server, &client);
        let (client, server) = (client.borrow(), server.borrow());
        assert_eq!(client.close_reason(), &CloseReason::Local);
        assert_eq!(server.close_reason(), &CloseReason::PeerClosed);
    });
}

/// A listener whose handlers are counted as they are made, and whose rejections are kept.
struct Watched {
    listener: ListenerId,
    host: HostId,
    endpoint: Endpoint,
    seen: Shared,
    made: Rc<Cell<u64>>,
    rejections: Arc<Mutex<Vec<CloseReason>>>,
}

impl Watched {
    fn new(sim: &mut Simulation, mut config: Config) -> Self {
        let (host, endpoint) = (sim.add_host(), Endpoint::new(10_000));
        let (seen, made, rejections) =
            (Shared::default(), Rc::<Cell<u64>>::default(), Arc::<Mutex<Vec<CloseReason>>>::default());
        let (echo, count, told) = (seen.clone(), made.clone(), rejections.clone());
        config.on_reject =
            RejectHook::new(move |_, reason| told.lock().expect("no panic").push(reason.clone()));
        let service = move |_: &PeerInfo| {
            count.set(count.get() + 1);
            Echo(echo.clone())
        };
        let listener = sim.listen(host, endpoint.clone(), Arc::new(config), service);
        Self { listener, host, endpoint, seen, made, rejections }
    }

    fn rejections(&self) -> Vec<CloseReason> {
        self.rejections.lock().expect("no panic").clone()
    }

    /// Everybody was either opened or rejected, once, and is gone.
    fn check(&self, sim: &Simulation, came: u64) -> ShardStats {
        let stats = sim.stats(self.host);
        assert_eq!(stats.opened + stats.rejected, came);
        assert_eq!((stats.opened, stats.rejected), (self.made.get(), self.rejections().len() as u64));
        assert_eq!(self.endpoint.open_connections(), 0);
        assert_eq!(self.seen.borrow().closed.len() as u64, stats.opened);
        assert!(stats.opened > 0 || self.seen.borrow().received.is_empty());
        stats
    }
}

#[test]
fn nothing_of_a_rejected_peer_reaches_a_handler() {
    for_each_seed("nothing_of_a_rejected_peer_reaches_a_handler", |sim| {
        let mut config = patient();
        let says_no = sim.rng().bool();
        let policy = HandshakePolicy::new("1");
        let oracle = Oracle::default();
        expect(&mut config, if says_no { policy.verifier(oracle.verifier()) } else { policy });
        config.allow_half_open = sim.rng().bool();
        let watched = Watched::new(sim, config);
        let conditions = Conditions::random(sim.rng());
        let client = sim.connect_raw(watched.listener, conditions);
        let rng = sim.rng();
        let garbage: Vec<u8> = (0..rng.usize(0..100)).map(|_| rng.u8(..)).collect();
        let first = match rng.u8(0..4) {
            _ if says_no => frames(&[hello("1")]),
            0 => frames(&[hello("2")]),
            1 => frames(&[garbage]),
            2 => frames(&[vec![b'{'; 5000]]),
            _ => vec![1, 0, 0, 0],
        };
        sim.raw_send(client, &first);
        sim.raw_send(client, &frames(&[b"secret".to_vec(), vec![1; 3000]]));
        if sim.rng().bool() {
            sim.raw_shutdown(client);
        }
        let later = Duration::from_micros(sim.rng().u64(0..3_000_000));
        sim.at(later, move |_| oracle.answer(Some(false)));
        sim.at(Duration::from_secs(50), move |sim| sim.raw_shutdown(client));
        run_to_the_end(sim);
        assert_eq!(watched.check(sim, 1).opened, 0);
        let rejections = watched.rejections();
        let named = matches!(
            rejections[..],
            [CloseReason::Handshake(_) | CloseReason::PeerClosed | CloseReason::PeerTruncated]
                | [CloseReason::HandshakeTimeout]
        );
        assert!(named, "{rejections:?}");
        assert_eq!(sim.raw(client).received(), b"");
        assert_eq!(sim.raw(client).end(), Some(RawEnd::Fin), "no reset: the peer may read until the end");
    });
}

#[test]
fn the_deadline_covers_the_verifier() {
    for_each_seed("the_deadline_covers_the_verifier", |sim| {
        let mut config = patient();
        let (timeout, answered) = (sim.rng().u64(100..10_000), sim.rng().u64(50..15_000));
        config.limits.handshake_timeout = Duration::from_millis(timeout);
        let oracle = Oracle::default();
        expect(&mut config, HandshakePolicy::new("1").verifier(oracle.verifier()));
        let watched = Watched::new(sim, config);
        let client = sim.connect_raw(watched.listener, Conditions::calm());
        sim.raw_send(client, &frames(&[hello("1"), b"held".to_vec()]));
        sim.at(Duration::from_millis(answered), move |_| oracle.answer(Some(true)));
        sim.at(Duration::from_secs(20), move |sim| sim.raw_shutdown(client));
        run_to_the_end(sim);
        let stats = watched.check(sim, 1);
        if answered + 20 < timeout {
            assert_eq!((stats.opened, sim.raw(client).received()), (1, &frames(&[b"held".to_vec()])[..]));
        } else if answered > timeout + 20 {
            assert_eq!(watched.rejections(), [CloseReason::HandshakeTimeout]);
            let ended = sim.raw(client).ended_at().expect("it ended");
            let deadline = Time::ZERO + Duration::from_millis(timeout);
            assert!(ended > deadline && ended < deadline + Duration::from_millis(12), "ended at {ended:?}");
        }
    });
}

#[test]
fn a_flood_of_silent_peers_ages_out() {
    for_each_seed("a_flood_of_silent_peers_ages_out", |sim| {
        if sim.seed() % 10 != 0 {
            return;
        }
        let mut config = patient();
        config.limits.handshake_timeout = Duration::from_secs(1000);
        expect(&mut config, HandshakePolicy::new("1"));
        let watched = Watched::new(sim, config);
        let (listener, more) = (watched.listener, sim.rng().usize(1..40));
        let silent: Vec<_> = (0..512 + more).map(|_| sim.connect_raw(listener, Conditions::calm())).collect();
        sim.at(Duration::from_secs(1), move |sim| {
            let honest = sim.connect_raw(listener, Conditions::calm());
            sim.raw_send(honest, &frames(&[hello("1"), b"heard".to_vec()]));
            sim.raw_shutdown(honest);
            sim.at(Duration::from_secs(1), move |sim| {
                assert_eq!(sim.raw(honest).received(), frames(&[b"heard".to_vec()]));
                silent.into_iter().for_each(|peer| sim.raw_shutdown(peer));
            });
        });
        run_to_the_end(sim);
        watched.check(sim, 513 + more as u64);
        let rejections = watched.rejections();
        let evicted = rejections.iter().filter(|reason| **reason == CloseReason::HandshakeOverload).count();
        assert_eq!(evicted, more + 1, "the oldest make room, no more than needed");
    });
}

#[test]
fn an_end_in_any_phase_is_one_end() {
    let sealed = Sealed::new();
    for_each_seed("an_end_in_any_phase_is_one_end", |sim| {
        let mut config = patient();
        config.allow_half_open = sim.rng().bool();
        config.framing = if sim.rng().bool() { Framing::None } else { Framing::LengthPrefixed };
        let over_tls = sim.rng().bool().then_some(&sealed);
        let (server, client, oracle) = sides(sim.rng(), config, over_tls);
        let watched = Watched::new(sim, server);
        let clients = sim.add_host();
        let (streamer, seen) = Streamer::new(sim.rng(), Plan { messages: 5, ..Plan::default() });
        let conditions = Conditions::random(sim.rng());
        let peer = sim.connect(watched.listener, clients, Arc::new(client), streamer, conditions);
        let when = Duration::from_micros(sim.rng().u64(0..600_000));
        let (what, side) = (sim.rng().u8(0..3), if sim.rng().bool() { peer } else { peer.other() });
        sim.at(when, move |sim| match what {
            0 => sim.cut(side),
            _ => sim.shut_down(side),
        });
        let answered = Duration::from_micros(sim.rng().u64(0..800_000));
        sim.at(answered, move |_| oracle.iter().for_each(|oracle| oracle.answer(Some(true))));
        // A client that was never told of the end, or does not end by itself.
        sim.at(Duration::from_secs(30_000), move |sim| {
            sim.shut_down(peer);
            sim.shut_down(peer.other());
        });
        run_to_the_end(sim);
        watched.check(sim, 1);
        let seen = seen.borrow();
        assert_eq!(seen.closed.len(), seen.opened);
        let got = Seen { received: whole(&watched.seen.borrow()), ..Seen::default() };
        let sent = Seen { sent: whole_sent(&seen), ..Seen::default() };
        assert_prefix(&sent, &got);
    });
}

/// What arrived, byte by byte: without framing messages have no borders.
fn whole(seen: &Seen) -> Vec<Vec<u8>> {
    seen.received.concat().into_iter().map(|byte| vec![byte]).collect()
}

fn whole_sent(seen: &Seen) -> Vec<Vec<u8>> {
    seen.sent.concat().into_iter().map(|byte| vec![byte]).collect()
}

#[test]
fn a_raw_peer_that_ends_or_breaks_tls_anywhere_is_rejected() {
    let sealed = Sealed::new();
    for_each_seed("a_raw_peer_that_ends_or_breaks_tls_anywhere_is_rejected", |sim| {
        let mut config = patient();
        config.tls = Some(sealed.server());
        config.allow_half_open = sim.rng().bool();
        let watched = Watched::new(sim, config);
        let conditions = Conditions::random(sim.rng());
        let client = sim.connect_raw(watched.listener, conditions);
        let mut first = sealed.first_flight();
        if sim.rng().bool() {
            let at = sim.rng().usize(0..first.len());
            first[at] ^= sim.rng().u8(1..);
        }
        let cut = sim.rng().usize(0..=first.len());
        sim.raw_send(client, &first[..cut]);
        let end = Duration::from_micros(sim.rng().u64(0..10_000_000));
        sim.at(end, move |sim| sim.raw_shutdown(client));
        run_to_the_end(sim);
        assert_eq!(watched.check(sim, 1).opened, 0);
        let rejections = watched.rejections();
        assert!(
            matches!(rejections[..], [CloseReason::Tls(_) | CloseReason::HandshakeTimeout]),
            "{rejections:?}"
        );
    });
}

#[test]
fn a_client_without_its_acknowledgement_never_opens() {
    for_each_seed("a_client_without_its_acknowledgement_never_opens", |sim| {
        let mut client = patient();
        client.limits.handshake_timeout = Duration::from_secs(10_000);
        send(&mut client, ClientHandshake::new("1").ask_ack());
        let (echo, host) = (Shared::default(), sim.add_host());
        let server = echo.clone();
        // The server does not know the extension and echoes the handshake.
        let (listener, _) = server_and_clients(sim, &Arc::new(patient()), move || Echo(server.clone()));
        let (streamer, seen) = Streamer::new(sim.rng(), Plan { messages: 5, ..Plan::default() });
        let conditions = Conditions::random(sim.rng());
        sim.connect(listener, host, Arc::new(client), streamer, conditions);
        run_to_the_end(sim);
        assert_eq!((seen.borrow().opened, seen.borrow().received.len()), (0, 0));
        assert_eq!(echo.borrow().received.len(), 1, "the handshake and nothing else was sent");
        assert_eq!(sim.stats(host).rejected, 1);
    });
}
