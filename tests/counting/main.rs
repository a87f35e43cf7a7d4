//! Heap allocations of the steady state, counted. Alone in its binary: the allocator counts for everybody.

#[path = "../support/mod.rs"]
mod support;

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};

use qwormhole::{Client, CloseReason, Context, Handler, Message, PeerInfo};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::support::{Bed, block_on};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const CONNECTIONS: usize = 64;
const DEPTH: usize = 16;
const WARM: u64 = 100_000;
const END: u64 = 1_000_000;

/// What all clients share: the count of replies and the allocations seen at two of them.
struct Count {
    /// Everybody is connected; what comes before is not counted.
    begun: AtomicBool,
    replies: AtomicU64,
    at_warm: AtomicU64,
    at_end: AtomicU64,
    done: Sender<()>,
}

fn allocations() -> u64 {
    let stats = ALLOCATOR.stats();
    (stats.allocations + stats.reallocations) as u64
}

struct Ping(Arc<Count>);

impl Handler for Ping {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        for _ in 0..DEPTH {
            conn.send(&[7; 64]).expect("room");
        }
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        assert_eq!(message.len(), 64);
        let count = &self.0;
        if !count.begun.load(Ordering::Acquire) {
            conn.send(message).expect("room");
            return;
        }
        match count.replies.fetch_add(1, Ordering::Relaxed) + 1 {
            WARM => count.at_warm.store(allocations(), Ordering::Relaxed),
            END => {
                count.at_end.store(allocations(), Ordering::Relaxed);
                count.done.send(()).expect("the test listens");
            }
            _ => {}
        }
        conn.send(message).expect("room");
    }

    fn on_close(&mut self, _conn: &mut Context<'_>, _reason: &CloseReason) {}
}

struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        conn.reply(message).expect("small");
    }
}

fn steady_state_allocates_nothing(bed: Bed) {
    let server = bed.server().bind("127.0.0.1:0").expect("bind").start(|_: &PeerInfo| Echo).expect("start");
    let address = server.local_addrs()[0].to_string();
    let (done, wait) = channel();
    let zero = AtomicU64::default;
    let begun = AtomicBool::new(false);
    let count = Arc::new(Count { begun, replies: zero(), at_warm: zero(), at_end: zero(), done });
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let builder = Client::builder().backend(bed.backend);
            block_on(builder.open(address.as_str(), Ping(count.clone()))).expect("connect")
        })
        .collect();
    count.begun.store(true, Ordering::Release);
    wait.recv().expect("the end is reached");
    let between = count.at_end.load(Ordering::Relaxed) - count.at_warm.load(Ordering::Relaxed);
    clients.iter().for_each(qwormhole::Sender::abort);
    assert_eq!(between, 0, "allocations between message {WARM} and {END}, both ends of {bed:?}");
}

/// One test, because the other backend's would be counted too.
#[test]
fn the_handler_path_allocates_nothing_per_message_on_any_backend() {
    steady_state_allocates_nothing(Bed::new(qwormhole::Backend::IoUring));
    steady_state_allocates_nothing(Bed::new(qwormhole::Backend::Tokio));
}
