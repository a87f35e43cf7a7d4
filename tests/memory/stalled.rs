//! What a connection holds while its reader stands still.

use std::thread;
use std::time::{Duration, Instant};

use qwormhole::{
    Client, Context, Handler, InboxLimits, Limits, Message, PeerInfo, Server, SocketOptions, TlsOptions,
};

use crate::live_bytes;
use crate::support::certs::Authority;
use crate::support::{Bed, PATIENCE, block_on};

const OUTBOX: usize = 256 << 10;
const INBOX: usize = 128 << 10;
const FRAME: usize = 250;
/// What both ends may hold beside their limits: what was received before reading stopped (receive buffers that were
/// handed to the kernel already), the smaller buffers it outgrew, kept for reuse, one submission per end (and its
/// records, with TLS), and 32 bytes per message that waits in the inbox.
const BESIDE: i64 = 2 << 20;

/// Sends as much as its outbox takes, for ever.
struct Endless;

impl Endless {
    fn fill(conn: &mut Context<'_>) {
        while conn.send(&[7; FRAME]).is_ok() {}
    }
}

impl Handler for Endless {
    fn on_message(&mut self, conn: &mut Context<'_>, _message: Message<'_>) {
        Self::fill(conn);
    }

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        Self::fill(conn);
    }
}

/// Both ends together hold no more than their limits while nobody reads.
pub(crate) fn hold_their_limits(bed: Bed, tls: bool) {
    let authority = Authority::new("authority");
    let identity = authority.issue(&["127.0.0.1"]);
    let mut limits = Limits::default();
    limits.max_backpressure_bytes = OUTBOX;
    limits.high_watermark_bytes = OUTBOX / 2;
    limits.low_watermark_bytes = OUTBOX / 4;
    let mut inbox = InboxLimits::default();
    inbox.bytes_max = INBOX;
    // The kernel's own buffers would grow to tens of megabytes.
    let mut sockets = SocketOptions::default();
    sockets.recv_buffer_bytes = Some(1 << 20);
    let mut server = bed.server().bind("127.0.0.1:0").expect("bind").limits(limits);
    let mut client = Client::builder().backend(bed.backend).shards(1).inbox(inbox).sockets(sockets);
    if tls {
        server = server.tls(TlsOptions::new().key(&*identity.key).cert(&*identity.cert));
        client = client.tls(TlsOptions::new().ca(authority.pem()));
    }
    let server = server.start(|_: &PeerInfo| Endless).expect("start");
    let client = client.build().expect("build");
    let mut conn = block_on(client.connect(&server.local_addrs()[0])).expect("connect");
    let before = live_bytes();
    block_on(conn.send("go")).expect("send");
    wait_until_still(&server, &client);
    let held = live_bytes() - before;
    println!("{:?}, TLS: {tls}: {held} bytes held", bed.backend);
    assert!(held <= (OUTBOX + INBOX) as i64 + BESIDE, "{held} bytes, {bed:?}, TLS: {tls}");
    assert!(held >= (OUTBOX / 2) as i64, "{held} bytes: nobody stood still");
    for _ in 0..10_000 {
        assert_eq!(block_on(conn.recv()).expect("open").expect("a message"), [7; FRAME][..]);
    }
    conn.abort();
}

fn wait_until_still(server: &Server, client: &Client) {
    let start = Instant::now();
    let mut before = (0, 0);
    loop {
        let now = (server.snapshot().bytes_out, client.snapshot().bytes_in);
        if now == before && now.1 > (INBOX / 2) as u64 {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{now:?}");
        before = now;
        thread::sleep(Duration::from_millis(100));
    }
}
