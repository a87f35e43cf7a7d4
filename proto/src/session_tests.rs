use super::*;
use crate::stats::ShardStats;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

#[derive(Default)]
struct Log {
    events: Vec<String>,
    pause_after: usize,
    panic_on: Option<Vec<u8>>,
    reply: bool,
}

#[derive(Clone, Default)]
struct Recorder(Rc<RefCell<Log>>);

impl Recorder {
    fn events(&self) -> Vec<String> {
        std::mem::take(&mut self.0.borrow_mut().events)
    }
}

impl Handler for Recorder {
    fn on_open(&mut self, _conn: &mut Context<'_>) {
        self.0.borrow_mut().events.push("open".into());
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        let mut log = self.0.borrow_mut();
        log.events.push(format!("message {}", String::from_utf8_lossy(&message)));
        if log.panic_on.as_deref() == Some(&*message) {
            drop(log);
            panic!("asked to");
        }
        if log.pause_after > 0 {
            log.pause_after -= 1;
            if log.pause_after == 0 {
                conn.pause();
            }
        }
        if log.reply {
            conn.reply(message).unwrap();
        }
    }

    fn on_drain(&mut self, _conn: &mut Context<'_>) {
        self.0.borrow_mut().events.push("drain".into());
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        assert!(conn.send("too late").is_err());
        self.0.borrow_mut().events.push(format!("close {reason}"));
    }
}

fn session(config: Config) -> (Session<Recorder>, ShardLocal, Recorder) {
    let recorder = Recorder::default();
    let mut local = ShardLocal::default();
    let id = ConnId::new(0, 1, 2);
    let mut session = Session::new(
        id,
        PeerInfo::new(crate::PeerAddr::Unknown),
        Arc::new(config),
        Owner::handler(recorder.clone()),
    );
    session.open(&mut local);
    assert_eq!(recorder.events(), ["open"]);
    (session, local, recorder)
}

fn frames(payloads: &[&str]) -> Vec<u8> {
    payloads.iter().flat_map(|p| [&(p.len() as u32).to_be_bytes()[..], p.as_bytes()].concat()).collect()
}

fn feed(session: &mut Session<Recorder>, local: &mut ShardLocal, bytes: &[u8]) {
    session.handle_bytes(local, &Unleased(bytes));
}

/// Lets the kernel take everything; returns the wire bytes.
fn transmit(session: &mut Session<Recorder>, local: &mut ShardLocal) -> Vec<u8> {
    let mut wire = Vec::new();
    while let Some(transmit) = session.poll_transmit(local) {
        let bytes: Vec<u8> = transmit.segments().iter().flat_map(|s| s.as_slice().to_vec()).collect();
        session.handle_transmitted(local, transmit, Ok(bytes.len()));
        wire.extend(bytes);
    }
    wire
}

#[test]
fn everything_before_an_oversize_frame_is_delivered_and_answered() {
    let mut config = Config::default();
    config.limits.max_frame_len = 4;
    let (mut session, mut local, recorder) = session(config);
    recorder.0.borrow_mut().reply = true;
    feed(&mut session, &mut local, &frames(&["ok", "fine", "12345", "lost"]));
    assert_eq!(recorder.events(), ["message ok", "message fine"]);
    assert_eq!(session.poll_action(&local), None, "replies are still queued");
    assert_eq!(transmit(&mut session, &mut local), frames(&["ok", "fine"]));
    assert_eq!(session.poll_action(&local), Some(Action::ShutdownWrite));
    assert!(session.wants_read(), "input is discarded until the peer ends");
    feed(&mut session, &mut local, &[0; 100]);
    assert_eq!(session.poll_action(&local), None);
    session.handle_eof(&mut local);
    assert_eq!(session.poll_action(&local), Some(Action::Close));
    assert_eq!(session.poll_action(&local), None, "each action once");
    session.finish(&mut local);
    assert_eq!(recorder.events(), ["close Frame length 5 exceeds limit 4"]);
}

/// When, whether more was wanted, and how much was queued.
type Wish = (&'static str, bool, usize);

/// Sends while the connection wants more; what it wants is noted whenever it is called.
#[derive(Clone, Default)]
struct Source(Rc<RefCell<Vec<Wish>>>);

impl Source {
    fn send(&self, event: &'static str, conn: &mut Context<'_>) {
        self.0.borrow_mut().push((event, conn.is_writable(), conn.queued_bytes()));
        while conn.is_writable() {
            conn.send(&[7; 96]).unwrap();
        }
        self.0.borrow_mut().push(("backed up", conn.is_writable(), conn.queued_bytes()));
        conn.send("one more is not refused").unwrap();
    }
}

impl Handler for Source {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.send("open", conn);
    }

    fn on_message(&mut self, conn: &mut Context<'_>, _message: Message<'_>) {
        self.0.borrow_mut().push(("message", conn.is_writable(), 0));
    }

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        self.send("drain", conn);
    }

    fn on_close(&mut self, conn: &mut Context<'_>, _reason: &CloseReason) {
        self.0.borrow_mut().push(("close", conn.is_writable(), 0));
    }
}

#[test]
fn a_source_that_stops_when_nothing_more_is_wanted_is_told_when_to_go_on() {
    let mut config = Config::default();
    config.limits.high_watermark_bytes = 1000;
    config.limits.low_watermark_bytes = 500;
    let (source, mut local) = (Source::default(), ShardLocal::default());
    let peer = PeerInfo::new(crate::PeerAddr::Unknown);
    let mut session =
        Session::new(ConnId::new(0, 1, 2), peer, Arc::new(config), Owner::handler(source.clone()));
    session.open(&mut local);
    let transmit = session.poll_transmit(&mut local).unwrap();
    session.handle_bytes(&mut local, &Unleased(&frames(&["x"])));
    session.handle_transmitted(&mut local, transmit, Ok(600));
    session.abort(CloseReason::Local);
    session.finish(&mut local);
    let seen = source.0.take();
    let wanted = [
        ("open", true),
        ("backed up", false),
        ("message", false),
        ("drain", true),
        ("backed up", false),
        ("close", false),
    ];
    assert_eq!(seen.iter().map(|(event, wants, _)| (*event, *wants)).collect::<Vec<_>>(), wanted);
    assert!(seen.iter().all(|(_, _, queued)| *queued <= 1100), "{seen:?}");
}

#[test]
fn a_pause_stops_in_the_middle_of_a_buffer_and_loses_nothing() {
    let (mut session, mut local, recorder) = session(Config::default());
    recorder.0.borrow_mut().pause_after = 2;
    let wire = frames(&["a", "b", "c", "d", "e"]);
    let (first, second) = wire.split_at(18);
    feed(&mut session, &mut local, first);
    assert_eq!(recorder.events(), ["message a", "message b"]);
    assert!(!session.wants_read());
    feed(&mut session, &mut local, second);
    session.handle_eof(&mut local);
    assert_eq!(recorder.events(), [""; 0], "neither data nor the end passes a pause");
    let sender = Context { conn: &mut session.conn, local: &mut local }.sender();
    recorder.0.borrow_mut().pause_after = 1;
    sender.resume();
    session.handle_remote(&mut local);
    assert_eq!(recorder.events(), ["message c"]);
    sender.resume();
    session.handle_remote(&mut local);
    assert_eq!(recorder.events(), ["message d", "message e"]);
    assert_eq!(session.poll_action(&local), Some(Action::Close));
    session.finish(&mut local);
    assert_eq!(recorder.events(), ["close the peer closed the connection"]);
}

#[test]
fn a_panic_closes_its_connection_after_flushing_what_was_answered() {
    let (mut session, mut local, recorder) = session(Config::default());
    recorder.0.borrow_mut().reply = true;
    recorder.0.borrow_mut().panic_on = Some(b"boom".to_vec());
    feed(&mut session, &mut local, &frames(&["a", "boom", "b"]));
    assert_eq!(recorder.events(), ["message a", "message boom"]);
    assert_eq!(transmit(&mut session, &mut local), frames(&["a"]));
    assert_eq!(session.poll_action(&local), Some(Action::ShutdownWrite));
    session.handle_eof(&mut local);
    assert_eq!(session.connection().close_reason(), Some(&CloseReason::HandlerPanicked));
    session.finish(&mut local);
    assert_eq!(recorder.events(), [""; 0], "a handler that panicked is not called again");
    assert_eq!(Rc::strong_count(&recorder.0), 1, "it is dropped");
    assert_eq!((local.stats.panics, local.stats.connections, local.stats.closed), (1, 0, 1));
}

#[test]
fn an_eof_inside_a_frame_is_named() {
    let (mut session, mut local, recorder) = session(Config::default());
    feed(&mut session, &mut local, &[0, 0, 0, 2, b'x']);
    session.handle_eof(&mut local);
    assert_eq!(session.poll_action(&local), Some(Action::Close));
    session.finish(&mut local);
    assert_eq!(recorder.events(), ["close the peer closed the connection in the middle of a frame"]);
}

#[test]
fn replies_pause_the_peer_that_does_not_read_them() {
    let mut config = Config::default();
    config.limits.high_watermark_bytes = 3000;
    config.limits.low_watermark_bytes = 1000;
    let (mut session, mut local, recorder) = session(config);
    recorder.0.borrow_mut().reply = true;
    let big = "x".repeat(1000);
    let big = big.as_str();
    feed(&mut session, &mut local, &frames(&[big; 10]));
    assert_eq!(recorder.events().len(), 3);
    assert!(!session.wants_read());
    let wire = transmit(&mut session, &mut local);
    assert_eq!(wire, frames(&[big; 10]));
    assert!(session.wants_read());
    assert_eq!(recorder.events().iter().filter(|e| *e == "drain").count(), 3);
}

#[test]
fn a_slow_frame_is_closed_at_its_deadlines() {
    let at = |s: u64| Time::from_nanos(s * 1_000_000_000);
    let (mut session, mut local, _recorder) = session(Config::default());
    local.now = at(1);
    feed(&mut session, &mut local, &[0, 1, 0, 0]);
    assert_eq!(session.poll_timeout(), Some(at(31)), "no byte for 30 s");
    for second in 2..=31 {
        local.now = at(second);
        feed(&mut session, &mut local, &[0; 100]);
        session.handle_timeout(&mut local);
    }
    assert_eq!(session.connection().close_reason(), Some(&CloseReason::FrameTimeout), "3 kB in 30 s");
}

#[test]
fn a_pause_in_the_middle_of_a_frame_only_delays_its_deadline() {
    let at = |s: u64| Time::from_nanos(s * 1_000_000_000);
    let (mut session, mut local, _recorder) = session(Config::default());
    feed(&mut session, &mut local, &[0, 1, 0, 0]);
    let mut cx = Context { conn: &mut session.conn, local: &mut local };
    let sender = cx.sender();
    cx.pause();
    assert_eq!(session.poll_timeout(), None, "the peer cannot go on");
    local.now = at(100);
    sender.resume();
    session.handle_remote(&mut local);
    assert_eq!(session.poll_timeout(), Some(at(130)));
}

#[test]
fn a_fast_enough_frame_may_take_long() {
    let at = |s: u64| Time::from_nanos(s * 1_000_000_000);
    let (mut session, mut local, recorder) = session(Config::default());
    feed(&mut session, &mut local, &[0, 1, 0, 0]);
    for second in 1..=60 {
        local.now = at(second);
        feed(&mut session, &mut local, &[b'x'; 1080]);
        session.handle_timeout(&mut local);
    }
    feed(&mut session, &mut local, &[b'x'; 65536 - 60 * 1080]);
    assert_eq!(recorder.events().len(), 1);
    assert_eq!(session.poll_timeout(), None, "idle costs no timer");
}

#[test]
fn a_peer_that_takes_nothing_is_stalled_only_while_backed_up() {
    let mut config = Config::default();
    config.limits.high_watermark_bytes = 100;
    config.limits.low_watermark_bytes = 50;
    let (mut session, mut local, _) = session(config);
    let mut cx = Context { conn: &mut session.conn, local: &mut local };
    cx.send("short").unwrap();
    assert_eq!(session.poll_timeout(), None);
    let mut cx = Context { conn: &mut session.conn, local: &mut local };
    cx.send(&[0; 200]).unwrap();
    assert_eq!(session.poll_timeout(), Some(Time::ZERO + Duration::from_secs(30)));
    local.now = Time::ZERO + Duration::from_secs(29);
    let part = session.poll_transmit(&mut local).unwrap();
    session.handle_transmitted(&mut local, part, Ok(1));
    assert_eq!(session.poll_timeout(), Some(Time::ZERO + Duration::from_secs(59)), "progress");
    local.now = Time::ZERO + Duration::from_secs(59);
    session.handle_timeout(&mut local);
    assert_eq!(session.poll_timeout(), None, "a deadline that passed is not asked for again");
    assert_eq!(session.poll_action(&local), Some(Action::Close));
    assert_eq!(session.connection().close_reason(), Some(&CloseReason::Stalled));
}

#[test]
fn a_flush_of_no_time_ends_with_the_deadline_that_began_it() {
    let mut config = Config::default();
    config.limits.close_flush_timeout = Duration::ZERO;
    let (mut session, mut local, _) = session(config);
    feed(&mut session, &mut local, &[0]);
    local.now = session.poll_timeout().unwrap();
    session.handle_timeout(&mut local);
    assert_eq!(session.poll_timeout(), None);
    assert_eq!(session.poll_action(&local), Some(Action::Close));
    assert_eq!(session.connection().close_reason(), Some(&CloseReason::FrameTimeout));
}

#[test]
fn a_close_gives_up_on_a_peer_that_never_ends() {
    let (mut session, mut local, _) = session(Config::default());
    session.close(&mut local, CloseReason::Shutdown);
    assert_eq!(session.poll_action(&local), Some(Action::ShutdownWrite));
    local.now = session.poll_timeout().unwrap();
    session.handle_timeout(&mut local);
    assert_eq!(session.poll_action(&local), Some(Action::Close));
    assert_eq!(session.connection().close_reason(), Some(&CloseReason::Shutdown));
}

#[test]
fn discarded_input_is_bounded() {
    let mut config = Config::default();
    config.limits.linger_bytes_max = 1000;
    let (mut session, mut local, _) = session(config);
    session.close(&mut local, CloseReason::Local);
    feed(&mut session, &mut local, &[0; 1000]);
    assert_eq!(session.poll_action(&local), Some(Action::ShutdownWrite));
    feed(&mut session, &mut local, &[0; 1]);
    assert_eq!(session.poll_action(&local), Some(Action::Close));
}

#[test]
fn shard_counters_balance() {
    let (mut session, mut local, recorder) = session(Config::default());
    recorder.0.borrow_mut().reply = true;
    feed(&mut session, &mut local, &frames(&["a", "b"]));
    assert_eq!(session.connection().queued_bytes(), frames(&["a", "b"]).len());
    let sent = transmit(&mut session, &mut local).len() as u64;
    assert_eq!(session.connection().queued_bytes(), 0);
    session.handle_eof(&mut local);
    session.finish(&mut local);
    let expected = ShardStats {
        opened: 1,
        closed: 1,
        messages_in: 2,
        messages_out: 2,
        bytes_in: sent,
        bytes_out: sent,
        ..ShardStats::default()
    };
    assert_eq!(local.stats, expected);
}
