//! What refused connections leave behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use qwormhole::{Context, Handler, Limits, Message, PeerInfo, Server, TlsOptions};

use crate::live_bytes;
use crate::support::attacker::{Attacker, Bad, strict};
use crate::support::certs::Authority;
use crate::support::{Bed, PATIENCE};

/// Connections counted, after as many that warm up in the same way.
const TIMES: u64 = 1000;
/// Attackers at a time.
const THREADS: u64 = 100;
/// Bytes that may be live after [`TIMES`] connections more than before them: 4 per connection, less than the
/// smallest thing that could leak. Not zero, because buffers and lists that are kept for reuse are as many as the
/// busiest moment needed, and when that is is a matter of timing.
const TOLERANCE: i64 = 4_000;
/// What leaks shows in every round; a new busiest moment does not come often.
const ROUNDS_MAX: usize = 10;

struct Sink;

impl Handler for Sink {
    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}
}

/// What a server told about its refusals.
#[derive(Default)]
struct Told {
    refused: AtomicU64,
    misnamed: AtomicU64,
}

/// After [`TIMES`] handshakes that are `bad` in the same way, the heap is as before them.
pub(crate) fn leave_nothing(bed: Bed, bad: Bad) {
    let authority = Authority::new("authority");
    let identity = authority.issue(&["127.0.0.1"]);
    let told = Arc::<Told>::default();
    let tell = told.clone();
    let mut limits = Limits::default();
    // Silence is refused in time, and nothing else is for being late.
    limits.handshake_timeout = if bad == Bad::Silent { Duration::from_millis(200) } else { PATIENCE };
    let mut server = bed.server().bind("127.0.0.1:0").expect("bind").handshake(strict()).limits(limits);
    let over_tls = bad == Bad::WrongFingerprint;
    if over_tls {
        server = server.tls(TlsOptions::new().key(&*identity.key).cert(&*identity.cert));
    }
    let server = server.on_reject(move |_, reason| {
        tell.misnamed.fetch_add(u64::from(!bad.is_named_by(reason)), Ordering::SeqCst);
        tell.refused.fetch_add(1, Ordering::SeqCst);
    });
    let server = server.start(|_: &PeerInfo| Sink).expect("start");
    let attacker = Attacker::new(&server.local_addrs()[0], over_tls.then(|| authority.pem()));
    attacker.introduce();
    wait_until(&server, |stats| stats.closed == 1);
    attack(&server, &attacker, bad, &told, TIMES);
    let mut grown = Vec::new();
    while grown.last().is_none_or(|grown| *grown > TOLERANCE) {
        assert!(grown.len() < ROUNDS_MAX, "{bad:?}, {bed:?}: each {TIMES} times cost {grown:?} bytes");
        let before = live_bytes();
        attack(&server, &attacker, bad, &told, (grown.len() as u64 + 2) * TIMES);
        grown.push(live_bytes() - before);
    }
    println!("{:?}, {bad:?}: {grown:?} bytes", bed.backend);
    assert_eq!(told.misnamed.load(Ordering::SeqCst), 0);
    let stats = server.stats()[0];
    assert_eq!((stats.opened, stats.messages_in, stats.connections), (1, 0, 0));
}

/// Attacks until `total` were refused, and waits until their connections are over.
fn attack(server: &Server, attacker: &Attacker, bad: Bad, told: &Told, total: u64) {
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..TIMES / THREADS {
                    attacker.attack(bad).unwrap_or_else(|error| panic!("{bad:?}: {error}"));
                }
            });
        }
    });
    wait_until(server, |stats| stats.rejected == total);
    assert_eq!(told.refused.load(Ordering::SeqCst), total, "each is told once");
}

fn wait_until(server: &Server, done: impl Fn(&qwormhole::ShardStats) -> bool) {
    let start = Instant::now();
    while !done(&server.stats()[0]) {
        assert!(start.elapsed() < PATIENCE, "{:?}", server.stats());
        thread::sleep(Duration::from_millis(1));
    }
}
