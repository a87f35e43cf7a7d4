//! Handshakes that a strict server refuses: each ends its connection once, with its name and without a reset.

use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Instant;

use qwormhole::{CloseReason, Limits, Server, TlsOptions};

use crate::support::attacker::{Attacker, Bad, DEADLINE, strict};
use crate::support::certs::Authority;
use crate::support::record::{Answer, Record, Seen, recorders};
use crate::support::{Bed, PATIENCE, on_every_backend};

on_every_backend!(
    bad_handshakes_end_the_connection_once_with_their_reason,
    bad_handshakes_over_tls_end_the_connection_once_with_their_reason,
);

const TIMES: usize = 4;

fn bad_handshakes_end_the_connection_once_with_their_reason(bed: Bed) {
    let (server, record, rejected) = serve(bed, None);
    let attacker = Attacker::new(&server.local_addrs()[0], None);
    let all = Bad::ALL.iter().filter(|bad| **bad != Bad::WrongFingerprint);
    attack(server, &record, &rejected, &attacker, all);
}

fn bad_handshakes_over_tls_end_the_connection_once_with_their_reason(bed: Bed) {
    let authority = Authority::new("authority");
    let identity = authority.issue(&["127.0.0.1"]);
    let tls = TlsOptions::new().key(&*identity.key).cert(&*identity.cert);
    let (server, record, rejected) = serve(bed, Some(tls));
    let attacker = Attacker::new(&server.local_addrs()[0], Some(authority.pem()));
    attack(server, &record, &rejected, &attacker, Bad::ALL.iter());
}

fn serve(bed: Bed, tls: Option<TlsOptions>) -> (Server, Record, Receiver<CloseReason>) {
    let (service, record) = recorders(Answer::Nothing);
    let (reject, rejected) = channel();
    let mut limits = Limits::default();
    limits.handshake_timeout = DEADLINE;
    let mut server = bed.server().bind("127.0.0.1:0").expect("bind").handshake(strict()).limits(limits);
    if let Some(tls) = tls {
        server = server.tls(tls);
    }
    let server = server.on_reject(move |_, reason| drop(reject.send(reason.clone())));
    (server.start(service).expect("start"), record, rejected)
}

fn attack<'a>(
    server: Server,
    record: &Record,
    rejected: &Receiver<CloseReason>,
    attacker: &Attacker,
    all: impl Iterator<Item = &'a Bad>,
) {
    attacker.introduce();
    assert_eq!(record.next(), Seen::Open);
    assert!(matches!(record.next(), Seen::Close(_)));
    let mut count = 0;
    for bad in all {
        for _ in 0..TIMES {
            attacker.attack(*bad).unwrap_or_else(|error| panic!("{bad:?}: {error}"));
            let reason = rejected.recv_timeout(PATIENCE).expect("rejected");
            assert!(bad.is_named_by(&reason), "{bad:?}: {reason:?}");
            count += 1;
        }
    }
    assert!(record.is_silent(), "nothing of a refused handshake reaches the application");
    // What the server publishes is up to a turn old.
    let start = Instant::now();
    while server.stats()[0].rejected < count && start.elapsed() < PATIENCE {
        thread::yield_now();
    }
    let stats = server.stats()[0];
    assert_eq!((stats.rejected, stats.opened, stats.messages_in, stats.panics), (count, 1, 0, 0));
    let report = server.shutdown(PATIENCE);
    assert_eq!((report.cut, report.leaked_bytes, report.buffers_out), (0, 0, 0));
    assert!(rejected.try_recv().is_err(), "each is told once");
}
