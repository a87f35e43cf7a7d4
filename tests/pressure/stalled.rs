//! A reader that stops: what it costs, whom it disturbs, and how it ends.

use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use qwormhole::{
    Client, CloseReason, Connection, Context, Handler, InboxLimits, Limits, Message, PeerInfo, SendErrorKind,
    Server, SocketOptions, TlsOptions,
};

use crate::support::certs::Authority;
use crate::support::{Bed, PATIENCE, block_on, on_every_backend};

on_every_backend!(
    a_reader_that_resumes_misses_nothing,
    a_reader_that_resumes_misses_nothing_over_tls,
    a_reader_that_never_resumes_is_closed_as_stalled,
    a_reader_that_never_resumes_is_closed_as_stalled_over_tls,
);

const FRAMES: u64 = 100_000;
const OUTBOX: usize = 256 << 10;
const INBOX: usize = 64 << 10;
/// Receive buffers that were handed to the kernel when the inbox was full.
const UNDER_WAY: u64 = 2 << 20;

/// Frame `n`: 200 to 300 bytes that follow from its number.
fn frame(n: u64) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let len = 200 + (state >> 32) % 101;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// What the streaming handler saw, when it is over.
#[derive(Clone, Debug, Default)]
struct Course {
    refusals: u64,
    drains: u64,
    queued_most: usize,
    closed: Option<CloseReason>,
}

/// Echoes, until it is asked to stream.
struct Serving {
    next: u64,
    pending: Option<Vec<u8>>,
    owed: bool,
    course: Course,
    over: Sender<Course>,
}

impl Serving {
    fn pump(&mut self, conn: &mut Context<'_>) {
        while self.pending.is_some() || self.next < FRAMES {
            let message = self.pending.take().unwrap_or_else(|| {
                self.next += 1;
                frame(self.next - 1)
            });
            let sent = conn.send(message);
            self.course.queued_most = self.course.queued_most.max(conn.queued_bytes());
            if let Err(refused) = sent {
                assert_eq!(refused.kind, SendErrorKind::Full);
                self.pending = Some(refused.payload);
                self.owed = true;
                self.course.refusals += 1;
                return;
            }
        }
    }
}

impl Handler for Serving {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        if *message == *b"stream" {
            self.pump(conn);
        } else {
            conn.reply(message).expect("room");
        }
    }

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        self.course.drains += 1;
        assert!(self.owed || self.next == FRAMES, "one drain per crossing");
        self.owed = false;
        self.pump(conn);
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        if self.next > 0 {
            self.course.closed = Some(reason.clone());
            let _ = self.over.send(self.course.clone());
        }
    }
}

/// A server, a connection that streams and is not read, and one that echoes.
struct Stage {
    server: Server,
    client: Client,
    stream: Connection,
    echo: Connection,
    over: std::sync::mpsc::Receiver<Course>,
}

impl Stage {
    fn new(bed: Bed, tls: bool, stall_timeout: Duration) -> Self {
        let authority = Authority::new("authority");
        let identity = authority.issue(&["127.0.0.1"]);
        let mut limits = Limits::default();
        limits.max_backpressure_bytes = OUTBOX;
        limits.high_watermark_bytes = OUTBOX / 2;
        limits.low_watermark_bytes = OUTBOX / 4;
        limits.stall_timeout = stall_timeout;
        let mut inbox = InboxLimits::default();
        inbox.bytes_max = INBOX;
        // The kernel's own buffers grow to tens of megabytes, which would take the whole stream.
        let mut sockets = SocketOptions::default();
        sockets.recv_buffer_bytes = Some(1 << 20);
        let mut server = bed.server().bind("127.0.0.1:0").expect("bind").limits(limits);
        let mut client = Client::builder().backend(bed.backend).shards(1).inbox(inbox).sockets(sockets);
        if tls {
            server = server.tls(TlsOptions::new().key(&*identity.key).cert(&*identity.cert));
            client = client.tls(TlsOptions::new().ca(authority.pem()));
        }
        let (tell, over) = channel();
        let service = move |_: &PeerInfo| {
            let over = tell.clone();
            Serving { next: 0, pending: None, owed: false, course: Course::default(), over }
        };
        let server = server.start(service).expect("start");
        let client = client.build().expect("build");
        let connect = || block_on(client.connect(&server.local_addrs()[0])).expect("connect");
        let (stream, echo) = (connect(), connect());
        Self { stream, echo, server, client, over }
    }

    fn echo(&mut self, times: u64) {
        for n in 0..times {
            block_on(self.echo.send(format!("{n}"))).expect("send");
            let echoed = block_on(self.echo.recv()).expect("open").expect("echo");
            assert_eq!(echoed, format!("{n}"));
        }
    }

    fn wait_until_backed_up(&self) {
        let start = Instant::now();
        let mut before = 0;
        loop {
            let now = self.server.snapshot();
            if now.backpressure_events == now.drain_events + 1 && now.bytes_out == before {
                return;
            }
            before = now.bytes_out;
            assert!(start.elapsed() < PATIENCE, "{now:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn a_reader_that_resumes_misses_nothing(bed: Bed) {
    resume(bed, false);
}

fn a_reader_that_resumes_misses_nothing_over_tls(bed: Bed) {
    resume(bed, true);
}

fn resume(bed: Bed, tls: bool) {
    let mut stage = Stage::new(bed, tls, PATIENCE);
    block_on(stage.stream.send("stream")).expect("send");
    let (mut next, mut read_bytes) = (0, 0);
    let mut read = |stage: &mut Stage, until: u64| {
        while next < until {
            let message = block_on(stage.stream.recv()).expect("open").expect("a frame");
            assert!(message == frame(next), "frame {next}");
            read_bytes += message.len() as u64 + 4;
            next += 1;
        }
        read_bytes
    };
    for stop in [0, 10_000, 30_000] {
        let read_bytes = read(&mut stage, stop);
        stage.wait_until_backed_up();
        // Without TLS the bytes received are the frames: those in the inbox, and what was under way.
        let received = stage.client.snapshot().bytes_in;
        let waiting = received.saturating_sub(read_bytes);
        assert!(waiting < INBOX as u64 + UNDER_WAY, "{waiting} bytes wait for the reader");
        stage.echo(300);
        assert_eq!(stage.server.snapshot().connections, 2);
    }
    read(&mut stage, FRAMES);
    stage.echo(10);
    let Stage { server, stream, over, .. } = stage;
    drop(stream);
    let course = over.recv_timeout(PATIENCE).expect("closed");
    let snapshot = server.snapshot();
    assert_eq!(course.closed, Some(CloseReason::PeerClosed), "{course:?}");
    assert!(course.queued_most <= OUTBOX, "{course:?}");
    assert!(course.refusals >= 3, "{course:?}");
    // The last frames may cross the high watermark without being refused.
    assert!((course.refusals..=course.refusals + 1).contains(&course.drains), "{course:?}");
    assert_eq!((snapshot.drain_events, snapshot.backpressure_events), (course.drains, course.drains));
}

fn a_reader_that_never_resumes_is_closed_as_stalled(bed: Bed) {
    stall(bed, false);
}

fn a_reader_that_never_resumes_is_closed_as_stalled_over_tls(bed: Bed) {
    stall(bed, true);
}

fn stall(bed: Bed, tls: bool) {
    const STALL: Duration = Duration::from_millis(500);
    let mut stage = Stage::new(bed, tls, STALL);
    block_on(stage.stream.send("stream")).expect("send");
    let asked = Instant::now();
    while stage.over.try_recv().map(|course| check_stalled(&course)).is_err() {
        assert!(asked.elapsed() < PATIENCE, "closed in time");
        stage.echo(1);
    }
    assert!(asked.elapsed() >= STALL);
    stage.echo(100);
    assert_eq!(stage.server.snapshot().connections, 1);
    assert!(stage.over.try_recv().is_err(), "it ends once");
    // What had arrived is still there, in order and unchanged, and then the end.
    let mut next = 0;
    let end = loop {
        match block_on(stage.stream.recv()) {
            Some(Ok(message)) => assert!(message == frame(next), "frame {next}"),
            end => break end,
        }
        next += 1;
    };
    assert!(next < FRAMES && end.is_none_or(|end| end.is_err()), "after {next} frames");
}

fn check_stalled(course: &Course) {
    assert_eq!(course.closed, Some(CloseReason::Stalled), "{course:?}");
    assert!(course.queued_most <= OUTBOX, "{course:?}");
    assert_eq!(course.refusals, course.drains + 1, "{course:?}");
}
