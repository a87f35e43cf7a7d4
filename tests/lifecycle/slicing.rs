//! How much of one connection leaves at once: what the law of slices sees of real sockets.

use std::thread;

use bytes::Bytes;
use qwormhole::{CloseReason, Context, Handler, Message, PeerInfo, SendErrorKind, Slicing};

use crate::support::peer::Peer;
use crate::support::{Bed, on_every_backend};

on_every_backend!(alone: slices_follow_what_sockets_take_unless_they_are_fixed);

const MESSAGES: u32 = 64;

/// Sends `left` messages of 1 MiB as fast as they are taken, then ends.
struct Source {
    payload: Bytes,
    left: u32,
}

impl Source {
    fn send(&mut self, conn: &mut Context<'_>) {
        while self.left > 0 {
            match conn.send(self.payload.clone()) {
                Ok(()) => self.left -= 1,
                Err(refused) if refused.kind == SendErrorKind::Full => return,
                Err(refused) => panic!("{refused}"),
            }
        }
        conn.close();
    }
}

impl Handler for Source {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.send(conn);
    }

    fn on_message(&mut self, _conn: &mut Context<'_>, _message: Message<'_>) {}

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        self.send(conn);
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, reason: &CloseReason) {
        assert_eq!((self.left, reason), (0, &CloseReason::Local));
    }
}

fn read_all(mut peer: Peer, payload: &Bytes) {
    assert!((0..MESSAGES).all(|_| peer.recv_frame() == *payload), "every byte, in order");
    assert_eq!(peer.read_to_end().expect("a clean end"), [0; 0]);
}

fn slices_follow_what_sockets_take_unless_they_are_fixed(bed: Bed) {
    let payload = Bytes::from((0..1u32 << 20).map(|n| n.wrapping_mul(31) as u8).collect::<Vec<_>>());
    for slicing in [Slicing::Auto, Slicing::Guarded, Slicing::Off, Slicing::Fixed(20_000), Slicing::Frames(1)]
    {
        let handed = payload.clone();
        let service = move |_: &PeerInfo| Source { payload: handed.clone(), left: MESSAGES };
        let server =
            bed.server().slicing(slicing).bind("127.0.0.1:0").expect("bind").start(service).expect("start");
        let address = server.local_addrs()[0].clone();
        // Alone a turn may take long, in company it may not: one of the two moves the slices from where they begin.
        for readers in [1, 2] {
            let read = || read_all(Peer::connect(&address), &payload);
            thread::scope(|scope| (0..readers).for_each(|_| drop(scope.spawn(read))));
        }
        let changes: u64 = server.stats().iter().map(|shard| shard.slice_changes).sum();
        let adapts = matches!(slicing, Slicing::Auto | Slicing::Guarded);
        assert_eq!(changes > 0, adapts, "{slicing:?}: {changes} changes");
    }
}
