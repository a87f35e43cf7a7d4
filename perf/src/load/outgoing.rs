//! Bytes that leave on one connection.

use anyhow::{Context as _, Result};
use rustix::fd::OwnedFd;
use rustix::io::Errno;

/// Frames that the kernel has not taken yet.
#[derive(Default)]
pub(super) struct Outgoing {
    bytes: Vec<u8>,
    written: usize,
}

impl Outgoing {
    /// Queues a frame.
    pub(super) fn push(&mut self, message: &[u8]) {
        self.bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(message);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes what waits, as far as the kernel takes it.
    pub(super) fn write(&mut self, socket: &OwnedFd) -> Result<()> {
        while self.written < self.bytes.len() {
            match rustix::io::write(socket, &self.bytes[self.written..]) {
                Ok(len) => self.written += len,
                Err(Errno::INTR) => (),
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error).context("the connection is lost"),
            }
        }
        self.bytes.clear();
        self.written = 0;
        Ok(())
    }
}
