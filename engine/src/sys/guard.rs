//! A test allocator that watches what the kernel may touch.
//!
//! A sanitizer does not see the kernel's reads and writes. So in tests every allocation large enough to be sent
//! gets pages of its own; freed, they become inaccessible and stay so for a while, so that a late access by the
//! kernel fails with `EFAULT` instead of reading someone else's bytes. And freeing memory that an operation in
//! flight refers to ends the process with the guilty stack.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::message::Message;
use super::ops::Kind;

struct Guard;

#[global_allocator]
static GUARD: Guard = Guard;

thread_local! {
    /// Violations are counted instead of ending the process: the guard's own test.
    static COUNTED: Cell<Option<usize>> = const { Cell::new(None) };
}

// SAFETY: small requests go to the system allocator unchanged. Others get whole pages that nobody else has;
// `dealloc` and `realloc` are decided by the layout in the same way as `alloc` was.
unsafe impl GlobalAlloc for Guard {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_guarded(layout) {
            // SAFETY: the caller's promise is passed on.
            return unsafe { System.alloc(layout) };
        }
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), pages(layout), prot, flags, -1, 0) };
        if start == libc::MAP_FAILED { ptr::null_mut() } else { start.cast() }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        if !is_guarded(layout) {
            // SAFETY: the caller's promise is passed on.
            return unsafe { System.dealloc(start, layout) };
        }
        if in_flight(start as usize, layout.size()) {
            violation(layout);
        }
        let len = pages(layout);
        // SAFETY: the pages were mapped by `alloc` for this allocation alone.
        unsafe { libc::mprotect(start.cast(), len, libc::PROT_NONE) };
        let oldest = {
            let mut quarantine = QUARANTINE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let (list, next) = &mut *quarantine;
            let oldest = std::mem::replace(&mut list[*next], (start as usize, len));
            *next = (*next + 1) % QUARANTINE_LEN;
            oldest
        };
        if oldest.1 > 0 {
            // SAFETY: the pages left the quarantine, nobody has had them since they were freed.
            unsafe { libc::munmap(oldest.0 as *mut libc::c_void, oldest.1) };
        }
    }
}

/// Notes the memory of an operation that the kernel is about to see.
pub(super) fn enter(kind: &Kind) {
    each_range(kind, |start, len| {
        let free = SLOTS
            .iter()
            .find(|(slot, _)| slot.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok());
        if let Some((_, slot_len)) = free {
            slot_len.store(len, Ordering::Release);
        }
    });
}

/// The kernel is done with an operation.
pub(super) fn leave(kind: &Kind) {
    each_range(kind, |start, len| {
        let held = SLOTS.iter().find(|(slot, slot_len)| {
            slot.load(Ordering::Acquire) == start && slot_len.load(Ordering::Acquire) == len
        });
        if let Some((slot, slot_len)) = held {
            slot_len.store(0, Ordering::Release);
            slot.store(0, Ordering::Release);
        }
    });
}

fn each_range(kind: &Kind, mut visit: impl FnMut(usize, usize)) {
    match kind {
        Kind::Send { transmit, message, .. } => {
            for segment in transmit.segments() {
                let bytes = segment.as_slice();
                visit(bytes.as_ptr() as usize, bytes.len());
            }
            if let Some(message) = message {
                visit(message.start(), Message::len());
            }
        }
        Kind::Accept { .. } | Kind::Recv { .. } | Kind::Connect { .. } => {}
    }
}

fn in_flight(start: usize, len: usize) -> bool {
    SLOTS.iter().any(|(slot, slot_len)| {
        let (other, other_len) = (slot.load(Ordering::Acquire), slot_len.load(Ordering::Acquire));
        other != 0 && other < start + len && start < other + other_len
    })
}

fn violation(layout: Layout) {
    if let Some(count) = COUNTED.get() {
        COUNTED.set(Some(count + 1));
        return;
    }
    eprintln!("{layout:?} freed while an operation in flight refers to it");
    std::process::abort();
}

/// Everything that is ever sent is at least this large: buffers of the pool, gather lists, shared payloads.
fn is_guarded(layout: Layout) -> bool {
    layout.size() >= 1024 && layout.align() <= PAGE
}

fn pages(layout: Layout) -> usize {
    layout.size().div_ceil(PAGE) * PAGE
}

const PAGE: usize = 4096;
/// Freed allocations that stay inaccessible, newest last.
const QUARANTINE_LEN: usize = 2048;
static QUARANTINE: Mutex<([(usize, usize); QUARANTINE_LEN], usize)> =
    Mutex::new(([(0, 0); QUARANTINE_LEN], 0));
/// Ranges in flight, of all rings of the process; more than these go unwatched.
static SLOTS: [(AtomicUsize, AtomicUsize); 4096] =
    [const { (AtomicUsize::new(0), AtomicUsize::new(0)) }; 4096];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use qwormhole_proto::{Segment, Transmit};

    use super::*;
    use crate::sys::Socket;

    fn send(len: usize) -> Kind {
        let (socket, _peer) =
            socket2::Socket::pair(socket2::Domain::UNIX, socket2::Type::STREAM, None).expect("a pair");
        let mut transmit = Transmit::default();
        transmit.push(Segment::Chunk { buf: vec![7; len], start: 0 });
        Kind::Send { _socket: Arc::new(Socket::from(socket)), transmit, message: None }
    }

    #[test]
    fn freeing_memory_under_an_operation_is_seen_and_after_its_end_is_not() {
        COUNTED.set(Some(0));
        let early = send(4096);
        enter(&early);
        let range = each_first(&early);
        drop(early);
        assert_eq!(COUNTED.get(), Some(1));
        // The kernel never saw this operation; forget it.
        SLOTS.iter().filter(|(slot, _)| slot.load(Ordering::Acquire) == range).for_each(|(slot, len)| {
            len.store(0, Ordering::Release);
            slot.store(0, Ordering::Release);
        });
        let late = send(4096);
        enter(&late);
        leave(&late);
        drop(late);
        assert_eq!(COUNTED.get(), Some(1));
        COUNTED.set(None);
    }

    fn each_first(kind: &Kind) -> usize {
        let mut first = 0;
        each_range(kind, |start, _| first = start);
        first
    }
}
