//! The gather list of a send.

use std::fmt;
use std::mem;
use std::ptr;

use qwormhole_proto::{Segment, Transmit};

/// A message header and the list it points to, at one stable address on the heap; recycled between sends.
pub(super) struct Message {
    header: libc::msghdr,
    list: [libc::iovec; Transmit::SEGMENTS_MAX],
}

impl Message {
    pub(super) fn new() -> Box<Self> {
        // SAFETY: for `msghdr` all zeroes is the empty header: no name, no list, no control data.
        let header = unsafe { mem::zeroed() };
        Box::new(Self { header, list: [EMPTY; Transmit::SEGMENTS_MAX] })
    }

    /// Describes `segments`, as many as fit; the address to give to the kernel. It is valid while neither this
    /// message nor the segments' memory goes away or changes.
    pub(super) fn describe(&mut self, segments: &[Segment]) -> *const libc::msghdr {
        for (slot, segment) in self.list.iter_mut().zip(segments) {
            let bytes = segment.as_slice();
            *slot = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        }
        self.header.msg_iov = self.list.as_mut_ptr();
        self.header.msg_iovlen = segments.len().min(self.list.len()) as _;
        &raw const self.header
    }

    /// Forgets what was described, so that no address of returned memory stays behind.
    pub(super) fn clear(&mut self) {
        self.header.msg_iovlen = 0;
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("segments", &self.header.msg_iovlen).finish_non_exhaustive()
    }
}

const EMPTY: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
