//! The ring against the real kernel.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use qwormhole_proto::{RecvBuffer, Segment, Transmit};

use super::{RingOptions, Socket, UringRing};
use crate::ring::{Completion, Ring};

mod alone;
mod buffers;
mod ending;
mod traffic;

fn ring(buffers: u16) -> UringRing {
    UringRing::with_options(&RingOptions { buffers, buffer_len: 1024, ..RingOptions::default() }).unwrap()
}

fn pair() -> (Arc<Socket>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Arc::new(socket2::Socket::from(OwnedFd::from(ours)).into()), theirs)
}

fn transmit<B: Into<Bytes>>(parts: impl IntoIterator<Item = B>) -> Transmit {
    let mut transmit = Transmit::default();
    parts.into_iter().for_each(|part| transmit.push(Segment::Shared(part.into())));
    transmit
}

/// The next completion; panics when none comes.
fn next(ring: &mut UringRing) -> Completion<UringRing> {
    for _ in 0..1000 {
        if let Some(done) = ring.pop() {
            return done;
        }
        ring.enter(Some(Duration::from_millis(10))).unwrap();
    }
    panic!("no completion: {ring:?}");
}

fn bytes(done: &Completion<UringRing>) -> Vec<u8> {
    done.buffer.as_ref().map(|buffer| buffer.as_slice().to_vec()).unwrap_or_default()
}
