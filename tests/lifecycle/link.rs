//! Links: what a client does when its server is away, wrong or silent.

use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use qwormhole::{
    Backoff, Client, CloseReason, ConnectError, Context, Handler, InboxLimits, Jitter, Link, LinkBuilder,
    LinkError, LinkEvent, Message, PeerInfo, SendErrorKind, Server,
};

use crate::support::peer::Peer;
use crate::support::record::{Answer, Record, Seen, recorders};
use crate::support::resources::Resources;
use crate::support::{Bed, PATIENCE, block_on, on_every_backend};

on_every_backend!(
    a_server_that_accepts_and_closes_at_once_is_tried_less_and_less_often,
    what_was_queued_leaves_first_once_the_server_is_there,
    a_close_during_the_backoff_gives_back_what_was_not_sent,
    a_close_delivers_what_was_queued_and_nothing_overtakes_it,
    what_a_dying_connection_did_not_take_goes_to_the_next,
    a_full_queue_refuses_and_makes_senders_wait,
    sending_without_a_connection_can_be_refused,
    a_link_gives_up_when_its_attempts_are_used_up,
    a_link_gives_up_when_its_client_is_shut_down,
    a_flush_tells_of_a_connection_that_ended_with_messages,
    a_slow_reader_gets_every_message_of_every_connection,
    a_handler_that_panics_is_replaced_and_greets_first,
    a_hundred_links_share_one_thread,
);
on_every_backend!(alone: a_link_dropped_during_its_dial_leaves_nothing);

/// A link with short, exact delays.
pub(crate) fn link(bed: Bed, address: &str) -> LinkBuilder {
    let client = Client::builder().backend(bed.backend).build().expect("a client");
    client.link(address).reconnect(exact(5, 80))
}

/// A backoff without jitter, in milliseconds.
pub(crate) fn exact(initial_ms: u64, max_ms: u64) -> Backoff {
    let mut backoff = Backoff::default();
    backoff.initial = Duration::from_millis(initial_ms);
    backoff.max = Duration::from_millis(max_ms);
    backoff.jitter = Jitter::None;
    backoff
}

/// A port where nobody listens.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("bind").local_addr().expect("bound")
}

/// A recording server on an address that may have been used before.
fn serve(bed: Bed, address: SocketAddr, answer: Answer) -> (Server, Record) {
    let (service, record) = recorders(answer);
    let server = bed.server().bind(address).expect("a valid address").start(service).expect("start");
    (server, record)
}

/// Waits for the first event that `wanted` recognizes.
fn wait_for<T>(link: &Link, mut wanted: impl FnMut(&LinkEvent) -> Option<T>) -> T {
    loop {
        let event = block_on(link.next_event()).expect("the link goes on");
        if let Some(found) = wanted(&event) {
            return found;
        }
    }
}

fn a_failed_attempt(event: &LinkEvent) -> Option<()> {
    matches!(event, LinkEvent::ConnectFailed { .. }).then_some(())
}

fn a_retry(event: &LinkEvent) -> Option<(u32, Duration)> {
    match event {
        LinkEvent::Reconnecting { attempt, delay } => Some((*attempt, *delay)),
        _ => None,
    }
}

fn a_server_that_accepts_and_closes_at_once_is_tried_less_and_less_often(bed: Bed) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound").to_string();
    let rude = thread::spawn(move || {
        for _ in 0..8 {
            drop(listener.accept().expect("a connection"));
        }
    });
    let link = link(bed, &address).open().expect("open");
    let retries: Vec<(u32, u64)> = (0..7)
        .map(|_| {
            let (attempt, delay) = wait_for(&link, a_retry);
            (attempt, u64::try_from(delay.as_millis()).expect("short"))
        })
        .collect();
    assert_eq!(retries, [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 80), (7, 80)]);
    rude.join().expect("eight connections");
}

fn what_was_queued_leaves_first_once_the_server_is_there(bed: Bed) {
    let address = free_address();
    let mut link = link(bed, &address.to_string()).open().expect("open");
    for n in 0..100u8 {
        link.try_send([n; 100].as_slice()).expect("room");
    }
    (0..2).for_each(|_| wait_for(&link, a_failed_attempt));
    assert!(!link.is_connected());
    let (_server, record) = serve(bed, address, Answer::Echo);
    for n in 100..200u8 {
        block_on(link.send([n; 100].as_slice())).expect("accepted");
    }
    block_on(link.flush()).expect("everything left");
    for n in 0..200u8 {
        assert_eq!(block_on(link.recv()).expect("an echo")[..], [n; 100]);
    }
    assert!(link.is_connected());
    assert!(block_on(link.close()).is_empty());
    assert_eq!(block_on(link.recv()), None);
    assert_eq!(record.next(), Seen::Open);
    assert_eq!(record.until_close().1, CloseReason::PeerClosed);
}

fn a_close_during_the_backoff_gives_back_what_was_not_sent(bed: Bed) {
    let address = free_address().to_string();
    let mut link = link(bed, &address).reconnect(exact(3_600_000, 3_600_000)).open().expect("open");
    let sender = link.sender();
    block_on(link.send("first")).expect("queued");
    block_on(link.send("second")).expect("queued");
    wait_for(&link, a_retry);
    let begun = Instant::now();
    assert_eq!(block_on(link.close()), ["first", "second"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "the delay is not waited for");
    let refused = block_on(sender.send("third")).expect_err("closed");
    assert_eq!((refused.kind, refused.payload), (SendErrorKind::Closed(CloseReason::Local), "third"));
    assert!(block_on(link.next_event()).is_none());
    assert_eq!(block_on(link.recv()), None);
    assert!(matches!(block_on(link.connected()), Err(LinkError::Closed)));
}

fn a_close_delivers_what_was_queued_and_nothing_overtakes_it(bed: Bed) {
    let address = free_address();
    // More than a connection stages at a time, so that the rest is still queued when the close comes.
    let mut link = link(bed, &address.to_string()).pending_bytes_max(8 << 20).open().expect("open");
    for n in 0..64u8 {
        link.try_send(vec![n; 100_000]).expect("room");
    }
    wait_for(&link, a_failed_attempt);
    let (_server, record) = serve(bed, address, Answer::Nothing);
    block_on(link.connected()).expect("connected");
    for n in 64..100u8 {
        link.try_send(vec![n]).or_else(|full| block_on(link.send(full.payload))).expect("accepted");
    }
    assert!(block_on(link.close()).is_empty());
    assert_eq!(record.next(), Seen::Open);
    let (messages, reason) = record.until_close();
    assert_eq!(reason, CloseReason::PeerClosed);
    assert_eq!(messages.iter().map(|message| message[0]).collect::<Vec<_>>(), Vec::from_iter(0..100));
}

fn what_a_dying_connection_did_not_take_goes_to_the_next(bed: Bed) {
    const COUNT: u8 = 200;
    let address = free_address();
    let link = link(bed, &address.to_string()).pending_bytes_max(32 << 20).open().expect("open");
    for n in 0..COUNT {
        link.try_send(vec![n; 100_000]).expect("room");
    }
    let listener = TcpListener::bind(address).expect("bind");
    // Takes one message, and dies while there is more than a connection can hold.
    let mut first = Peer::Tcp(listener.accept().expect("a connection").0);
    assert_eq!(first.recv_frame()[0], 0);
    drop(first);
    let mut second = Peer::Tcp(listener.accept().expect("a connection").0);
    second.set_timeout(Some(PATIENCE));
    let begun = second.recv_frame()[0];
    assert!(begun > 1, "what the first connection took is not sent again");
    for n in begun + 1..COUNT {
        assert_eq!(second.recv_frame(), vec![n; 100_000]);
    }
}

fn a_link_dropped_during_its_dial_leaves_nothing(bed: Bed) {
    // The engine that clients share starts now and stays.
    let (server, _record) = serve(bed, free_address(), Answer::Nothing);
    let address = server.local_addrs()[0].to_string();
    drop(block_on(Client::builder().backend(bed.backend).connect(address.as_str())).expect("connect"));
    let before = Resources::now();
    for n in 0..50 {
        let link = link(bed, &address).open().expect("open");
        link.try_send(vec![n; 1000]).expect("room");
        if n % 2 == 0 {
            wait_for(&link, |event| matches!(event, LinkEvent::Connecting { .. }).then_some(()));
        }
        drop(link);
    }
    before.assert_back();
}

fn a_full_queue_refuses_and_makes_senders_wait(bed: Bed) {
    let address = free_address();
    let mut link = link(bed, &address.to_string()).pending_bytes_max(2500).open().expect("open");
    link.try_send(vec![0; 1000]).expect("room");
    link.try_send(vec![1; 1000]).expect("room");
    let refused = link.try_send(vec![2; 1000]).expect_err("full");
    assert_eq!((refused.kind, refused.payload), (SendErrorKind::Full, vec![2; 1000]));
    let too_large = link.try_send(vec![0; (4 << 20) + 1]).expect_err("too large");
    assert!(matches!(too_large.kind, SendErrorKind::TooLarge { .. }));
    let sender = link.sender();
    let waiting = thread::spawn(move || {
        for n in 2..10 {
            block_on(sender.send(vec![n; 1000])).expect("accepted when there is room");
        }
    });
    wait_for(&link, a_failed_attempt);
    let (_server, _record) = serve(bed, address, Answer::Echo);
    for n in 0..10 {
        assert_eq!(block_on(link.recv()).expect("an echo"), vec![n; 1000]);
    }
    waiting.join().expect("everything was accepted");
}

fn sending_without_a_connection_can_be_refused(bed: Bed) {
    let address = free_address();
    let builder = link(bed, &address.to_string()).require_connected_for_send(true);
    let mut link = builder.open().expect("open");
    let refused = block_on(link.send("early")).expect_err("not connected");
    assert_eq!((refused.kind, refused.payload), (SendErrorKind::NotConnected, "early"));
    let (_server, _record) = serve(bed, address, Answer::Echo);
    block_on(link.connected()).expect("connected");
    block_on(link.send("now")).expect("connected");
    assert_eq!(block_on(link.recv()).expect("an echo"), "now");
}

fn a_link_gives_up_when_its_attempts_are_used_up(bed: Bed) {
    let mut backoff = exact(1, 1);
    backoff.attempts_max = Some(3);
    let link = link(bed, &free_address().to_string()).reconnect(backoff);
    let mut link = link.open().expect("open");
    block_on(link.send("never")).expect("queued");
    assert_eq!(block_on(link.recv()), None, "the link has ended");
    let events: Vec<LinkEvent> = block_on(link.events().collect());
    let short: Vec<String> = events.iter().map(short).collect();
    let expected = [
        "connecting 0",
        "failed",
        "reconnecting 1",
        "connecting 1",
        "failed",
        "reconnecting 2",
        "connecting 2",
        "failed",
        "reconnecting 3",
        "connecting 3",
        "failed",
        "gave up",
    ];
    assert_eq!(short, expected);
    let refused = block_on(link.send("late")).expect_err("gave up");
    assert_eq!((refused.kind, refused.payload), (SendErrorKind::NotConnected, "late"));
    assert_eq!(block_on(link.flush()), Err(SendErrorKind::NotConnected));
    let error = block_on(link.connected()).expect_err("gave up");
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(block_on(link.close()), ["never"]);
    for address in ["nohost", "ftp://a:1"] {
        let error = crate::link::link(bed, address).open().expect_err("a mistake");
        assert!(matches!(error, ConnectError::Address(_)), "{error}");
    }
    let error = crate::link::link(bed, "a:1").reconnect(exact(0, 1)).open().expect_err("a mistake");
    assert!(error.to_string().contains("reconnect.initial"), "{error}");
}

pub(crate) fn short(event: &LinkEvent) -> String {
    match event {
        LinkEvent::Connecting { attempt } => format!("connecting {attempt}"),
        LinkEvent::ConnectFailed { .. } => "failed".into(),
        LinkEvent::Connected { .. } => "connected".into(),
        LinkEvent::Disconnected { .. } => "disconnected".into(),
        LinkEvent::Reconnecting { attempt, .. } => format!("reconnecting {attempt}"),
        LinkEvent::GaveUp { .. } => "gave up".into(),
        other => format!("{other:?}"),
    }
}

fn a_link_gives_up_when_its_client_is_shut_down(bed: Bed) {
    let (server, _record) = serve(bed, free_address(), Answer::Echo);
    let client = Client::builder().backend(bed.backend).shards(1).build().expect("a client");
    let link = client.link(&server.local_addrs()[0]).reconnect(exact(1, 1)).open().expect("open");
    block_on(link.connected()).expect("connected");
    block_on(client.shutdown(Duration::from_secs(5)));
    let reason = wait_for(&link, |event| match event {
        LinkEvent::Disconnected { reason } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, CloseReason::Shutdown);
    let error = wait_for(&link, |event| match event {
        LinkEvent::GaveUp { error } => Some(error.clone()),
        _ => None,
    });
    let LinkError::Connect(error) = error else { panic!("{error}") };
    assert!(matches!(*error, ConnectError::ShuttingDown { .. }), "{error}");
}

fn a_flush_tells_of_a_connection_that_ended_with_messages(bed: Bed) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("bound").to_string();
    let link = link(bed, &address).open().expect("open");
    let (first, _) = listener.accept().expect("a connection");
    block_on(link.connected()).expect("connected");
    block_on(link.send("flushed")).expect("accepted");
    assert_eq!(block_on(link.flush()), Ok(()));
    block_on(link.send("not flushed")).expect("accepted");
    drop(first);
    wait_for(&link, |event| matches!(event, LinkEvent::Disconnected { .. }).then_some(()));
    assert!(matches!(block_on(link.flush()), Err(SendErrorKind::Closed(_))), "it may be lost");
    let (_second, _) = listener.accept().expect("a connection");
    block_on(link.send("again")).expect("accepted");
    assert_eq!(block_on(link.flush()), Ok(()), "told once");
}

/// Sends twenty numbered messages and closes.
struct Burst;

impl Handler for Burst {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        for n in 0..20u8 {
            conn.send([n; 10].as_slice()).expect("room");
        }
        conn.close();
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

fn a_slow_reader_gets_every_message_of_every_connection(bed: Bed) {
    let server = bed.server().bind("127.0.0.1:0").expect("bind").start(|_: &PeerInfo| Burst).expect("start");
    let mut inbox = InboxLimits::default();
    inbox.messages_max = 4;
    let client = Client::builder().backend(bed.backend).inbox(inbox).build().expect("a client");
    let mut link = client.link(&server.local_addrs()[0]).reconnect(exact(1, 1)).open().expect("open");
    block_on(link.connected()).expect("connected");
    for connection in 0..5 {
        for n in 0..20u8 {
            let message = block_on(link.next()).expect("a message");
            assert_eq!(message[..], [n; 10], "connection {connection}");
        }
        // Some rounds of a reader that does not come back at once.
        (0..connection * 100).for_each(|_| thread::yield_now());
    }
}

/// Greets, and panics when it is told to.
struct Fragile;

impl Handler for Fragile {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        conn.send("greeting").expect("room");
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, message: Message<'_>) {
        assert_ne!(&*message, b"panic", "asked to panic");
    }
}

fn a_handler_that_panics_is_replaced_and_greets_first(bed: Bed) {
    let address = free_address();
    let link = link(bed, &address.to_string()).open_with(|_: &PeerInfo| Fragile).expect("open");
    link.try_send("queued").expect("room");
    wait_for(&link, a_failed_attempt);
    let (_server, record) = serve(bed, address, Answer::Echo);
    let message = |text: &str| Seen::Message(text.into());
    assert_eq!(record.next(), Seen::Open);
    assert_eq!((record.next(), record.next()), (message("greeting"), message("queued")));
    block_on(link.send("panic")).expect("accepted");
    let reason = wait_for(&link, |event| match event {
        LinkEvent::Disconnected { reason } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, CloseReason::HandlerPanicked);
    assert_eq!(record.next(), message("panic"));
    while record.next() != Seen::Open {}
    assert_eq!(record.next(), message("greeting"));
}

fn a_hundred_links_share_one_thread(bed: Bed) {
    let address = free_address();
    let mut links: Vec<Link> =
        (0..100).map(|_| link(bed, &address.to_string()).open().expect("open")).collect();
    links.iter().for_each(|link| wait_for(link, a_failed_attempt));
    let names = std::fs::read_dir("/proc/self/task").expect("proc is mounted").filter_map(|task| {
        // A thread may end meanwhile.
        std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
    });
    assert_eq!(names.filter(|name| name.trim() == "qwormhole-link").count(), 1);
    let (_server, _record) = serve(bed, address, Answer::Echo);
    for link in &mut links {
        block_on(link.send("hello")).expect("accepted");
    }
    for link in &mut links {
        assert_eq!(block_on(link.recv()).expect("an echo"), "hello");
    }
}
