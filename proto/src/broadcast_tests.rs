use super::*;
use crate::close::CloseReason;
use crate::handler::Handler;
use crate::limits::Limits;
use crate::message::Message;
use crate::peer::{PeerAddr, PeerInfo};
use crate::session::Session;
use crate::{Action, Context};

struct Ignore;

impl Handler for Ignore {
    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

/// A server of one connection with room for about four frames of 10,000 bytes.
fn config() -> Config {
    let limits = Limits {
        max_backpressure_bytes: 43_000,
        high_watermark_bytes: 39_000,
        low_watermark_bytes: 20_000,
        transmit_bytes_max: 5_000,
        ..Limits::default()
    };
    Config { limits, ..Config::default() }
}

fn open(config: &Config, slot: u32) -> (Session<Ignore>, ShardLocal) {
    let mut local = ShardLocal::default();
    let peer = PeerInfo::new(PeerAddr::Unknown);
    let mut session =
        Session::new(ConnId::new(0, slot, 0), peer, Arc::new(config.clone()), crate::Owner::handler(Ignore));
    session.open(&mut local);
    (session, local)
}

fn message(byte: u8) -> Vec<u8> {
    vec![byte; 9_900]
}

/// Everything that leaves, as the first bytes of its messages.
fn drain(session: &mut Session<Ignore>, local: &mut ShardLocal) -> Vec<u8> {
    messages(&wire(session, local))
}

fn wire(session: &mut Session<Ignore>, local: &mut ShardLocal) -> Vec<u8> {
    let mut wire = Vec::new();
    while let Some(transmit) = session.poll_transmit(local) {
        transmit.segments().iter().for_each(|segment| wire.extend_from_slice(segment.as_slice()));
        let len = transmit.len();
        session.handle_transmitted(local, transmit, Ok(len));
    }
    wire
}

fn messages(mut rest: &[u8]) -> Vec<u8> {
    let mut firsts = Vec::new();
    while let Some((header, body)) = rest.split_first_chunk::<4>() {
        let (payload, next) = body.split_at(u32::from_be_bytes(*header) as usize);
        assert!(payload.iter().all(|byte| *byte == payload[0]), "frames are whole");
        firsts.push(payload[0]);
        rest = next;
    }
    firsts
}

#[test]
fn a_frame_is_made_once_and_shared_by_all() {
    let config = config();
    let fanout = Fanout::new(Arc::new(config.clone()));
    let broadcast = fanout.broadcast(Priority::DEFAULT, BroadcastPolicy::Skip, None, "hi").unwrap();
    let mut address = None;
    for slot in 0..3 {
        let (mut session, mut local) = open(&config, slot);
        session.handle_broadcast(&mut local, &broadcast);
        let transmit = session.poll_transmit(&mut local).unwrap();
        let [segment] = transmit.segments() else { panic!("one piece") };
        assert_eq!(segment.as_slice(), b"\0\0\0\x02hi");
        assert_eq!(*address.get_or_insert(segment.as_slice().as_ptr()), segment.as_slice().as_ptr());
        assert_eq!((local.stats.messages_out, session.connection().stats().messages_out), (1, 1));
    }
}

#[test]
fn only_open_connections_that_are_not_excepted_get_it() {
    let config = config();
    let fanout = Fanout::new(Arc::new(config.clone()));
    let except = Some(ConnId::new(0, 1, 0));
    let broadcast = fanout.broadcast(Priority::DEFAULT, BroadcastPolicy::Close, except, "hi").unwrap();
    let (mut excepted, mut local) = open(&config, 1);
    excepted.handle_broadcast(&mut local, &broadcast);
    assert!(excepted.poll_transmit(&mut local).is_none());
    let (mut closing, mut local) = open(&config, 2);
    closing.close(&mut local, CloseReason::Local);
    closing.handle_broadcast(&mut local, &broadcast);
    assert!(closing.poll_transmit(&mut local).is_none());
    let peer = PeerInfo::new(PeerAddr::Unknown);
    let mut unopened =
        Session::new(ConnId::new(0, 3, 0), peer, Arc::new(config), crate::Owner::handler(Ignore));
    unopened.handle_broadcast(&mut local, &broadcast);
    assert!(unopened.poll_transmit(&mut local).is_none() && unopened.sender(&mut local).is_none());
    assert_eq!(local.stats.broadcasts_missed, 0, "that is nobody's fault");
}

#[test]
fn a_slow_peer_misses_it_is_cut_or_loses_the_oldest() {
    let config = config();
    let fanout = Fanout::new(Arc::new(config.clone()));
    let offer = |session: &mut Session<Ignore>, local: &mut ShardLocal, policy, byte| {
        let broadcast = fanout.broadcast(Priority::DEFAULT, policy, None, message(byte)).unwrap();
        session.handle_broadcast(local, &broadcast);
    };

    let (mut session, mut local) = open(&config, 1);
    (1..=6).for_each(|byte| offer(&mut session, &mut local, BroadcastPolicy::Skip, byte));
    assert_eq!((local.stats.broadcasts_missed, local.stats.backpressure_events), (2, 1));
    assert_eq!(drain(&mut session, &mut local), [1, 2, 3, 4]);
    assert_eq!(local.stats.drains, 1);

    let (mut session, mut local) = open(&config, 1);
    (1..=6).for_each(|byte| offer(&mut session, &mut local, BroadcastPolicy::DropOldest, byte));
    assert_eq!(local.stats.broadcasts_missed, 2);
    assert_eq!(drain(&mut session, &mut local), [3, 4, 5, 6]);

    let (mut session, mut local) = open(&config, 1);
    (1..=5).for_each(|byte| offer(&mut session, &mut local, BroadcastPolicy::Close, byte));
    assert_eq!(session.connection().close_reason(), Some(&CloseReason::Backpressure));
    assert_eq!(session.poll_action(&local), Some(Action::Close));
    assert_eq!(local.stats.broadcasts_missed, 1);
}

#[test]
fn what_has_begun_to_leave_and_what_is_not_a_broadcast_stays() {
    let config = config();
    let fanout = Fanout::new(Arc::new(config.clone()));
    let (mut session, mut local) = open(&config, 1);
    let drop_oldest = |session: &mut Session<Ignore>, local: &mut ShardLocal, priority, byte| {
        let policy = BroadcastPolicy::DropOldest;
        let broadcast = fanout.broadcast(Priority(priority), policy, None, message(byte)).unwrap();
        session.handle_broadcast(local, &broadcast);
    };
    drop_oldest(&mut session, &mut local, 0, 1);
    // Half of the first frame is on its way: it must be completed.
    let transmit = session.poll_transmit(&mut local).unwrap();
    assert_eq!(transmit.len(), 5_000);
    let sender = session.sender(&mut local).unwrap();
    sender.try_send(message(100)).unwrap();
    session.handle_remote(&mut local);
    drop_oldest(&mut session, &mut local, 0, 2);
    drop_oldest(&mut session, &mut local, -1, 3);
    drop_oldest(&mut session, &mut local, 0, 4);
    assert_eq!(local.stats.broadcasts_missed, 1, "the second made room for the fourth");
    drop_oldest(&mut session, &mut local, 0, 5);
    drop_oldest(&mut session, &mut local, 7, 6);
    assert_eq!(local.stats.broadcasts_missed, 3, "4 made room for 5; 6 is less urgent than all that wait");
    session.handle_transmitted(&mut local, transmit, Ok(5_000));
    let wire = wire(&mut session, &mut local);
    let (first, rest) = wire.split_at(4 + 9_900 - 5_000);
    assert!(first.iter().all(|byte| *byte == 1), "the rest of the first frame comes first");
    assert_eq!(messages(rest), [3, 100, 5]);
}

#[test]
fn broadcasts_on_their_way_are_bounded_and_one_always_fits() {
    let config = config();
    let fanout = Fanout::new(Arc::new(config));
    let make = |len: usize| fanout.broadcast(Priority::DEFAULT, BroadcastPolicy::Skip, None, vec![0; len]);
    let large = make(1 << 20).expect("an empty fanout takes anything within the frame limit");
    assert!(make(1).unwrap_err().is_retryable());
    drop(large);
    let kept: Vec<_> = std::iter::from_fn(|| make(0).ok()).collect();
    assert_eq!(kept.len(), 43_000 / PENDING_COST);
    drop(kept);
    assert!(make(1).is_ok());
    let too_large = make((4 << 20) + 1).unwrap_err();
    assert_eq!(too_large.payload.len(), (4 << 20) + 1, "the message comes back");
}
