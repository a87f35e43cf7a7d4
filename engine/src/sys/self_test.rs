//! A short trial of everything the engine relies on, on this kernel, in this sandbox.
//!
//! Version numbers say little: distributions port features back, and sandboxes forbid single operations.

use std::io;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use qwormhole_proto::{RecvBuffer, Segment, Transmit};
use socket2::{Domain, SockAddr, Type};

use super::setup::Plan;
use super::socket::Socket;
use super::uring::{RingOptions, UringRing};
use crate::ring::{Completion, Op, Ring, Token};

/// A feature that does not work.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What was tried.
    pub(crate) step: &'static str,
    /// What happened.
    pub(crate) error: io::Error,
}

impl Failure {
    /// Whether the ring itself could not be opened.
    pub(crate) fn is_setup(&self) -> bool {
        self.step == RING
    }
}

/// Tries every feature on a small ring; settles how receives are made. Takes well under 5 ms when all is well.
///
/// # Errors
///
/// The first feature that does not work.
pub(crate) fn self_test(plan: Plan) -> Result<Plan, Failure> {
    let options = trial_options();
    let mut ring = UringRing::build(plan, &options).map_err(|error| Failure { step: RING, error })?;
    let mut plan = plan;
    if plan.recv_multishot && receive(&mut ring).is_err() {
        plan.recv_multishot = false;
        ring = UringRing::build(plan, &options).map_err(|error| Failure { step: RING, error })?;
    }
    if !plan.recv_multishot {
        receive_once(&mut ring)
            .map_err(|error| Failure { step: "receiving into provided buffers", error })?;
    }
    let steps: [(&'static str, Step); 4] = [
        ("running out of receive buffers", exhaust),
        ("sending from several pieces of memory", send),
        ("accepting until cancelled", accept),
        ("being woken by another thread", wake),
    ];
    for (step, run) in steps {
        run(&mut ring).map_err(|error| Failure { step, error })?;
    }
    Ok(plan)
}

/// The ring of the trial: as small as it can be. One buffer more than a test of receiving fills before it enters
/// again: without deferred completions the kernel may look for the next one in between.
pub(crate) fn trial_options() -> RingOptions {
    RingOptions { buffers: 4, buffer_len: 256, connections_max: 8, sq_entries: 8 }
}

type Step = fn(&mut UringRing) -> io::Result<()>;

fn receive(ring: &mut UringRing) -> io::Result<()> {
    let (socket, mut peer) = pair()?;
    ring.push(Token(1), Op::Recv { socket: socket.clone() });
    for byte in [7, 8] {
        peer.write_all(&[byte])?;
        let done = next(ring)?;
        expect(done.more && done.result == 1 && holds(&done, &[byte]), &done)?;
    }
    drop(peer);
    let done = next(ring)?;
    expect(!done.more && done.result == 0, &done)
}

fn receive_once(ring: &mut UringRing) -> io::Result<()> {
    let (socket, mut peer) = pair()?;
    for byte in [7, 8] {
        peer.write_all(&[byte])?;
        ring.push(Token(1), Op::Recv { socket: socket.clone() });
        let done = next(ring)?;
        expect(!done.more && done.result == 1 && holds(&done, &[byte]), &done)?;
    }
    Ok(())
}

/// Holds every buffer of the pool; a receive must end with `ENOBUFS` then, and work again afterwards.
fn exhaust(ring: &mut UringRing) -> io::Result<()> {
    let (socket, mut peer) = pair()?;
    let mut held = Vec::new();
    for _ in 0..ring.buffers() {
        ring.push(Token(2), Op::Recv { socket: socket.clone() });
        peer.write_all(b"x")?;
        held.push(next(ring)?);
        // Where receives go on, only the first was needed.
        while held.last().is_some_and(|done| done.more) && held.len() < ring.buffers() {
            peer.write_all(b"x")?;
            held.push(next(ring)?);
        }
        if held.len() == ring.buffers() {
            break;
        }
    }
    peer.write_all(b"y")?;
    if held.last().is_none_or(|done| !done.more) {
        ring.push(Token(2), Op::Recv { socket: socket.clone() });
    }
    let starved = next(ring)?;
    expect(!starved.more && starved.result == -libc::ENOBUFS, &starved)?;
    held.clear();
    let op = ring.push(Token(3), Op::Recv { socket });
    let done = next(ring)?;
    expect(done.result == 1 && holds(&done, b"y"), &done)?;
    if done.more {
        ring.cancel(op);
        let done = next(ring)?;
        expect(!done.more, &done)?;
    }
    Ok(())
}

fn send(ring: &mut UringRing) -> io::Result<()> {
    let (socket, mut peer) = pair()?;
    let mut transmit = Transmit::default();
    transmit.push(Segment::Shared(Bytes::from_static(b"one")));
    transmit.push(Segment::Shared(Bytes::from_static(b"two")));
    ring.push(Token(4), Op::Send { socket, transmit });
    let done = next(ring)?;
    expect(!done.more && done.result == 6 && done.transmit.is_some(), &done)?;
    let mut got = [0; 6];
    peer.read_exact(&mut got)?;
    expect(&got == b"onetwo", &done)
}

fn accept(ring: &mut UringRing) -> io::Result<()> {
    let listener = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // An empty name makes the kernel choose an abstract one: no file, no network.
    listener.bind(&SockAddr::unix("")?)?;
    listener.listen(4)?;
    let addr = listener.local_addr()?;
    let op = ring.push(Token(5), Op::Accept { listener: Arc::new(listener.into()) });
    for _ in 0..2 {
        let client = Arc::new(socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?.into());
        ring.push(Token(6), Op::Connect { socket: client, addr: addr.clone() });
        let (one, other) = (next(ring)?, next(ring)?);
        let (accepted, connected) = if one.token == Token(5) { (one, other) } else { (other, one) };
        expect(accepted.more && accepted.socket.is_some(), &accepted)?;
        expect(connected.token == Token(6) && connected.result == 0, &connected)?;
    }
    ring.cancel(op);
    let done = next(ring)?;
    expect(!done.more && done.token == Token(5), &done)
}

/// A poll that ends with each wake would be armed again, find the counter still raised and never let the ring
/// sleep.
fn wake(ring: &mut UringRing) -> io::Result<()> {
    let wake = ring.waker();
    for _ in 0..2 {
        wake();
        let start = Instant::now();
        ring.enter(Some(PATIENCE))?;
        if start.elapsed() >= PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        while ring.pop().is_some() {}
    }
    if ring.waker_armed { Ok(()) } else { Err(io::Error::other("the poll of the event ended")) }
}

fn pair() -> io::Result<(Arc<Socket>, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let ours = socket2::Socket::from(OwnedFd::from(ours));
    Ok((Arc::new(ours.into()), theirs))
}

fn next(ring: &mut UringRing) -> io::Result<Completion<UringRing>> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = ring.pop() {
            return Ok(done);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        ring.enter(Some(left))?;
    }
}

fn holds(done: &Completion<UringRing>, bytes: &[u8]) -> bool {
    done.buffer.as_ref().is_some_and(|buffer| buffer.as_slice() == bytes)
}

fn expect(fine: bool, done: &Completion<UringRing>) -> io::Result<()> {
    if fine {
        return Ok(());
    }
    if done.result < 0 {
        return Err(io::Error::from_raw_os_error(-done.result));
    }
    Err(io::Error::other(format!("unexpected completion {done:?}")))
}

const RING: &str = "opening a ring with receive buffers";
/// For a kernel that never answers; a loaded machine needs more than the usual microseconds.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::find_plan;
    use crate::sys::setup::Setup;

    #[test]
    fn every_way_to_set_up_a_ring_works() {
        let best = find_plan().unwrap().unwrap();
        for setup in Setup::LADDER {
            for recv_multishot in [true, false] {
                let plan = Plan { setup, recv_multishot, ..best };
                let tested = self_test(plan).unwrap_or_else(|failure| panic!("{plan:?}: {failure:?}"));
                assert_eq!(tested, plan, "this kernel has all of it");
            }
        }
    }
}
