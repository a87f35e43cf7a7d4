//! The loop of runtimes whose reads and writes own their buffers while they are under way.

use std::io;

use anyhow::{Result, bail};

use super::inbox::Inbox;
use super::talk::Talk;
use super::tuning::Tuning;

/// A socket of such a runtime.
pub(crate) trait OwnedSocket {
    /// Reads once into the room behind what `buffer` holds.
    async fn append(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>);

    /// Writes all of `buffer`.
    async fn write_all(&mut self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>);
}

/// Lets `talk` have its conversation. Both buffers are reused: many messages come with a read, and all that they
/// are answered with leaves with one write.
///
/// # Errors
///
/// Why it ended before it was over.
pub(crate) async fn converse(mut socket: impl OwnedSocket, mut talk: Talk, tuning: Tuning) -> Result<()> {
    let (mut inbox, mut out) = (Inbox::new(tuning.read_bytes), Vec::new());
    loop {
        talk.more(&mut out);
        while !out.is_empty() {
            let (outcome, buffer) = socket.write_all(out).await;
            outcome?;
            out = buffer;
            out.clear();
            if !talk.is_over() {
                talk.more(&mut out);
            }
        }
        if talk.is_over() {
            return Ok(());
        }
        let (outcome, buffer) = socket.append(inbox.lend()).await;
        inbox.restore(buffer);
        match outcome {
            Ok(0) if talk.speaks_first() => bail!("the peer closed it"),
            Ok(0) => return Ok(()),
            Ok(_) => inbox.deliver(&mut talk, &mut out)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error.into()),
        }
    }
}
