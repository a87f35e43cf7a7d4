//! The kernel side of the engine: the io_uring implementation of [`Ring`](crate::ring::Ring).
//!
//! The only module of the crate that may contain `unsafe`. Everything the kernel may read or write is owned
//! here until the kernel has said that it is done:
//!
//! * `ops` owns what an operation refers to until its last completion;
//! * `pool` owns the receive memory until the ring and the last lease are gone;
//! * `watch` sees ends of streams that receives miss;
//! * `uring` ends all operations before it closes the ring, or leaks what it cannot end.

mod affinity;
mod buffer_ring;
#[cfg(test)]
mod guard;
mod limits;
mod mapping;
mod message;
mod ops;
mod pool;
mod self_test;
mod setup;
mod socket;
mod syscall;
mod teardown;
#[cfg(test)]
mod tests;
mod uring;
mod waker;
mod watch;

pub use socket2::SockAddr;

pub use affinity::pin_to_cpu;
pub use pool::PoolBuffer;
pub use socket::Socket;
pub use uring::{RingOptions, UringRing};

pub(crate) use limits::{Memlock, kernel_release, memlock};
pub(crate) use self_test::self_test;
pub(crate) use setup::{Missing, Plan, find_plan};
