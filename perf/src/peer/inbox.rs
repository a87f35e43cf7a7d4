//! Received bytes.

use anyhow::Result;

use super::talk::{FRAME_HEADER, FRAME_MAX, Talk};

/// The bytes of one connection that were received and not used yet, in one buffer that is reused. What is left
/// over of a message moves to the front only when the room behind it gets small.
///
/// It grows only for a message that is longer than it, up to the longest message allowed.
#[derive(Debug)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    /// Up to here they were used.
    used: usize,
}

impl Inbox {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), used: 0 }
    }

    /// The buffer to append received bytes to: with room behind what it holds.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        if self.used == self.bytes.len() {
            self.bytes.clear();
            self.used = 0;
        }
        let rest = self.bytes.len() - self.used;
        let needed = self.started_len().unwrap_or(0).max(rest + 1);
        let cramped = self.bytes.capacity() - self.bytes.len() < self.bytes.capacity() / 4;
        if self.used > 0 && (cramped || self.used + needed > self.bytes.capacity()) {
            self.bytes.drain(..self.used);
            self.used = 0;
        }
        if needed > self.bytes.capacity() {
            self.bytes.reserve_exact(needed - self.bytes.len());
        }
        &mut self.bytes
    }

    /// [`Inbox::buffer`], to be given away until the system has filled it.
    pub(crate) fn lend(&mut self) -> Vec<u8> {
        std::mem::take(self.buffer())
    }

    /// Takes the lent buffer back.
    pub(crate) fn restore(&mut self, bytes: Vec<u8>) {
        self.bytes = bytes;
    }

    /// Lets `talk` hear what is complete.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes.
    pub(crate) fn deliver(&mut self, talk: &mut Talk, out: &mut Vec<u8>) -> Result<()> {
        self.used += talk.hear(&self.bytes[self.used..], out)?;
        Ok(())
    }

    /// Length of the message that has begun, header included, if that is known and allowed.
    fn started_len(&self) -> Option<usize> {
        let header = self.bytes[self.used..].first_chunk::<FRAME_HEADER>()?;
        let len = u32::from_be_bytes(*header) as usize;
        (len <= FRAME_MAX).then_some(FRAME_HEADER + len)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::job::{Job, Load, Side};
    use crate::systems::ServerRole;
    use crate::tally::Tally;

    #[test]
    fn messages_of_any_length_get_through_a_small_buffer_in_pieces() {
        let job = Job { load: Load::default(), ..Job::of_test(Side::Server) };
        let mut talk = Talk::serving(ServerRole::Echo, &job, &Arc::new(Tally::new())).unwrap();
        let mut sent = Vec::new();
        for len in [0, 1, 700, 63, 5000, 64, 2, 0, 900] {
            sent.extend_from_slice(&(len as u32).to_be_bytes());
            sent.extend((0..len).map(|at| (at * 7 + len) as u8));
        }
        for piece in [1, 3, 64, 1000, sent.len()] {
            let (mut inbox, mut out) = (Inbox::new(256), Vec::new());
            for mut bytes in sent.chunks(piece) {
                while !bytes.is_empty() {
                    let mut buffer = inbox.lend();
                    let room = buffer.capacity() - buffer.len();
                    assert!(room > 0);
                    let (now, later) = bytes.split_at(room.min(bytes.len()));
                    buffer.extend_from_slice(now);
                    inbox.restore(buffer);
                    inbox.deliver(&mut talk, &mut out).unwrap();
                    bytes = later;
                }
            }
            assert_eq!(out, sent, "in pieces of {piece}");
            assert!(inbox.bytes.capacity() <= 5004 + 256, "{}", inbox.bytes.capacity());
        }
    }

    #[test]
    fn a_longer_message_than_allowed_is_refused_before_any_memory_is_taken() {
        let mut talk =
            Talk::serving(ServerRole::Echo, &Job::of_test(Side::Server), &Arc::new(Tally::new())).unwrap();
        let mut inbox = Inbox::new(256);
        inbox.buffer().extend_from_slice(&u32::MAX.to_be_bytes());
        assert!(inbox.deliver(&mut talk, &mut Vec::new()).unwrap_err().to_string().contains("limit"));
        assert!(inbox.buffer().capacity() <= 512);
    }
}
