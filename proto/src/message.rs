//! A received message, borrowed from the buffer the kernel wrote.

use std::fmt;
use std::mem;
use std::ops::{Deref, Range};

use bytes::Bytes;

use crate::payload::Payload;

/// A filled receive buffer of a driver.
pub trait RecvBuffer {
    /// The received bytes.
    fn as_slice(&self) -> &[u8];

    /// Shares `range` of the buffer without a copy and keeps the buffer alive until the result is dropped;
    /// `None` when the shard's lease budget is used up (the caller copies).
    fn lease(&self, range: Range<usize>) -> Option<Bytes>;
}

/// A plain slice is a buffer that cannot be leased: simulated networks, data held while reading was paused.
impl RecvBuffer for [u8] {
    fn as_slice(&self) -> &[u8] {
        self
    }

    fn lease(&self, _range: Range<usize>) -> Option<Bytes> {
        None
    }
}

/// Memory of its own, shared by reference count; the lease budget is the caller's affair.
impl RecvBuffer for Bytes {
    fn as_slice(&self) -> &[u8] {
        self
    }

    fn lease(&self, range: Range<usize>) -> Option<Bytes> {
        Some(self.slice(range))
    }
}

/// One received message; derefs to its bytes and is gone when the handler returns.
///
/// To keep it, call [`Context::lease`](crate::Context::lease) or copy it.
pub struct Message<'a>(Source<'a>);

enum Source<'a> {
    /// Whole inside the driver's buffer, `at` bytes from its start.
    Whole { payload: &'a [u8], buffer: &'a dyn RecvBuffer, at: usize },
    /// Spanned buffers; the memory is taken by the first lease.
    Stitched(&'a mut Vec<u8>),
}

impl<'a> Message<'a> {
    pub(crate) fn whole(payload: &'a [u8], buffer: &'a dyn RecvBuffer, at: usize) -> Self {
        Self(Source::Whole { payload, buffer, at })
    }

    pub(crate) fn stitched(payload: &'a mut Vec<u8>) -> Self {
        Self(Source::Stitched(payload))
    }
}

impl Deref for Message<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Source::Whole { payload, .. } => payload,
            Source::Stitched(payload) => payload,
        }
    }
}

impl Payload for Message<'_> {
    #[inline]
    fn as_bytes(&self) -> &[u8] {
        self
    }

    /// Leases the receive buffer, within the shard's budget.
    fn into_shared(self) -> Result<Bytes, Self> {
        match self.0 {
            Source::Whole { payload, buffer, at } => {
                buffer.lease(at..at + payload.len()).ok_or(Self(Source::Whole { payload, buffer, at }))
            }
            Source::Stitched(payload) => Ok(Bytes::from(mem::take(payload))),
        }
    }
}

/// Shows the length only: payloads never reach logs.
impl fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_payload() {
        let secret: &[u8] = b"secret";
        let message = Message::whole(secret, &secret, 0);
        assert_eq!(format!("{message:?}"), "Message(6 bytes)");
    }

    #[test]
    fn a_stitched_message_is_shared_without_a_copy() {
        let mut stitched = vec![1, 2, 3];
        let address = stitched.as_ptr();
        let shared = Message::stitched(&mut stitched).into_shared().unwrap();
        assert_eq!((shared.as_ptr(), &shared[..]), (address, &[1, 2, 3][..]));
    }

    impl RecvBuffer for &[u8] {
        fn as_slice(&self) -> &[u8] {
            self
        }

        fn lease(&self, _range: Range<usize>) -> Option<Bytes> {
            None
        }
    }
}
