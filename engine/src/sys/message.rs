//! The gather list of a send.

use std::fmt;
use std::mem;
use std::ptr;

use qwormhole_proto::{Segment, Transmit};

/// A message header and the list it points to; recycled between sends.
pub(super) struct Message(Box<Parts>);

/// At one stable address on the heap: the kernel is given it.
struct Parts {
    header: libc::msghdr,
    list: [libc::iovec; Transmit::SEGMENTS_MAX],
}

impl Message {
    pub(super) fn new() -> Self {
        // SAFETY: for `msghdr` all zeroes is the empty header: no name, no list, no control data.
        let header = unsafe { mem::zeroed() };
        Self(Box::new(Parts { header, list: [EMPTY; Transmit::SEGMENTS_MAX] }))
    }

    /// Describes `segments`, as many as fit; the address to give to the kernel. It is valid while neither this
    /// message nor the segments' memory goes away or changes.
    pub(super) fn describe(&mut self, segments: &[Segment]) -> *const libc::msghdr {
        let Parts { header, list } = &mut *self.0;
        for (slot, segment) in list.iter_mut().zip(segments) {
            let bytes = segment.as_slice();
            *slot = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        }
        header.msg_iov = list.as_mut_ptr();
        header.msg_iovlen = segments.len().min(list.len()) as _;
        &raw const *header
    }

    /// Where that memory starts.
    #[cfg(test)]
    pub(super) fn start(&self) -> usize {
        ptr::from_ref(&*self.0) as usize
    }

    /// Bytes of memory the kernel may read here.
    pub(super) const fn len() -> usize {
        size_of::<Parts>()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message").field("segments", &self.0.header.msg_iovlen).finish_non_exhaustive()
    }
}

const EMPTY: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
