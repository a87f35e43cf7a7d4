//! The bound of every stream: bytes without messages over a bare socket, checked like messages. A message is as many
//! bytes as a framed one has on the wire, so that figures compare.
//!
//! Tuned: blocking reads and writes of one reused buffer, of the size that measured best; what is written is the
//! same memory again and again.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::Result;

use super::{ClientRole, Part, ServerRole, System};
use crate::job::{Backend, Job};
use crate::pattern::Pattern;
use crate::peer::part::{drive, serve_on, start};
use crate::peer::talk::FRAME_HEADER;
use crate::peer::tuning::Tuning;
use crate::tally::Tally;

pub(crate) struct RawStream;

impl System for RawStream {
    fn name(&self) -> &'static str {
        "raw-stream"
    }

    fn about(&self) -> &'static str {
        "bound: unframed bytes over a bare socket (stream only)"
    }

    fn diagnose(&self) -> Result<Backend, String> {
        Ok(backend())
    }

    fn serve(&self, job: &Job, _role: ServerRole, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        let (size, tally_there) = (job.load.size, tally.clone());
        serve_on(1, job, tally, backend(), tuning, move |listener| {
            accept(&listener, size, tuning, &tally_there)
        })
    }

    fn drive(&self, _role: ClientRole, job: &Job, tally: &Arc<Tally>) -> Result<Box<dyn Part>> {
        let tuning = TUNING.or_environment()?;
        let (size, tally_there) = (job.load.size, tally.clone());
        drive(job, tally, backend(), tuning, move |socket| send(&socket, size, tuning, &tally_there))
    }

    fn serves(&self, role: ServerRole) -> Result<(), &'static str> {
        match role {
            ServerRole::Sink => Ok(()),
            _ => Err("it moves bytes one way only"),
        }
    }

    fn drives(&self, role: ClientRole) -> Result<(), &'static str> {
        match role {
            ClientRole::Stream => Ok(()),
            _ => Err("it knows no messages: stream only"),
        }
    }
}

/// Bytes that both ends know, as often as needed; counts those that passed as messages.
struct Passage {
    bytes: bytes::Bytes,
    wire_len: usize,
    passed: u64,
    counted: u64,
}

impl Passage {
    fn new(size: usize) -> Self {
        let bytes = Pattern::new(PERIOD).sequence(0).current_shared();
        Self { bytes, wire_len: size + FRAME_HEADER, passed: 0, counted: 0 }
    }

    /// What comes next, at most `max` bytes.
    fn next(&self, max: usize) -> &[u8] {
        let at = (self.passed % PERIOD as u64) as usize;
        &self.bytes[at..PERIOD.min(at + max)]
    }

    /// Messages that are complete with `len` more bytes.
    fn pass(&mut self, len: usize) -> u64 {
        self.passed += len as u64;
        let messages = self.passed / self.wire_len as u64;
        let new = messages - self.counted;
        self.counted = messages;
        new
    }

    /// Bytes that the last message still needs.
    fn missing(&self) -> usize {
        let wire_len = self.wire_len as u64;
        (self.passed.next_multiple_of(wire_len) - self.passed) as usize
    }

    /// Whether `bytes` are what comes next; goes on behind them.
    fn accept(&mut self, mut bytes: &[u8]) -> (bool, u64) {
        let (mut same, mut messages) = (true, 0);
        while !bytes.is_empty() {
            let expected = self.next(bytes.len());
            let (now, later) = bytes.split_at(expected.len());
            same &= now == expected;
            messages += self.pass(now.len());
            bytes = later;
        }
        (same, messages)
    }
}

fn accept(listener: &TcpListener, size: usize, tuning: Tuning, tally: &Arc<Tally>) -> Result<()> {
    for socket in listener.incoming() {
        let (socket, tally) = (socket?, tally.clone());
        start("connection", move || receive(socket, size, tuning, &tally))?;
    }
    Ok(())
}

fn receive(mut socket: TcpStream, size: usize, tuning: Tuning, tally: &Tally) {
    let mut buffer = vec![0; tuning.read_bytes];
    let mut passage = Passage::new(size);
    loop {
        let len = match socket.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // Whoever drives the connection tells.
            Err(_) => return,
        };
        let (same, messages) = passage.accept(&buffer[..len]);
        tally.add_received(messages);
        tally.add_corrupt(u64::from(!same));
    }
}

/// Writes until the round is over, and then the rest of the last message.
fn send(mut socket: &TcpStream, size: usize, tuning: Tuning, tally: &Tally) -> Result<()> {
    let mut passage = Passage::new(size);
    loop {
        let max = if tally.is_stopping() { passage.missing() } else { tuning.write_bytes };
        if max == 0 {
            return Ok(());
        }
        match socket.write(passage.next(max)) {
            Ok(len) => tally.add_sent(passage.pass(len)),
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(error) => return Err(error.into()),
        }
    }
}

fn backend() -> Backend {
    Backend { kind: String::from("blocking"), detail: String::from("read and write") }
}

const TUNING: Tuning = Tuning::new(128 << 10, 512 << 10);
/// When the bytes repeat; a multiple of the buffers, so that each write is whole.
const PERIOD: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_when_their_last_byte_passes() {
        let mut passage = Passage::new(64);
        assert_eq!((passage.pass(67), passage.missing()), (0, 1));
        assert_eq!((passage.pass(1), passage.missing()), (1, 0));
        assert_eq!((passage.pass(68 * 3 + 1), passage.missing()), (3, 67));
    }

    #[test]
    fn what_one_end_sends_the_other_accepts_and_nothing_else() {
        let (mut sender, mut receiver) = (Passage::new(64), Passage::new(64));
        let mut wire = Vec::new();
        while wire.len() < 3 * PERIOD {
            let next = sender.next(9999).to_vec();
            sender.pass(next.len());
            wire.extend(next);
        }
        for piece in wire.chunks(7777) {
            assert!(receiver.accept(piece).0);
        }
        assert_eq!(receiver.counted, sender.counted);
        assert!(!receiver.accept(&wire[1..11]).0, "out of place");
    }
}
