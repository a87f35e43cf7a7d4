//! Names to addresses, never on a shard.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use futures_channel::oneshot;
use qwormhole_proto::interleave;

/// The addresses of a host, in the order to try them. Numeric hosts take no lookup; names are looked up by a
/// thread of their own, started with the first one, through the system's resolver.
///
/// # Errors
///
/// What the resolver says, or `WouldBlock` when [`LOOKUPS_MAX`] lookups wait already.
///
/// # Cancel safety
///
/// A lookup that has begun goes on; one that waits is skipped once nobody wants its result.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    let (answer, answered) = oneshot::channel();
    let lookup = Lookup { host: host.to_owned(), port, answer };
    queue()?.try_send(lookup).map_err(|refused| match refused {
        TrySendError::Full(_) => {
            io::Error::new(io::ErrorKind::WouldBlock, "too many names wait for the resolver")
        }
        TrySendError::Disconnected(_) => gone(),
    })?;
    answered.await.map_err(|_| gone())?.map(interleave)
}

/// As [`resolve`], on the calling thread, in the resolver's own order.
pub(crate) fn resolve_here(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    match host.parse::<IpAddr>() {
        Ok(ip) => Ok(vec![SocketAddr::new(ip, port)]),
        Err(_) => (host, port).to_socket_addrs().map(Iterator::collect),
    }
}

struct Lookup {
    host: String,
    port: u16,
    answer: oneshot::Sender<io::Result<Vec<SocketAddr>>>,
}

/// The way to the resolver's thread, started on first use.
fn queue() -> io::Result<&'static SyncSender<Lookup>> {
    static QUEUE: OnceLock<Option<SyncSender<Lookup>>> = OnceLock::new();
    let queue = QUEUE.get_or_init(|| {
        let (queue, lookups) = sync_channel(LOOKUPS_MAX);
        let started = thread::Builder::new().name("qwormhole-resolve".into()).spawn(move || run(&lookups));
        started.ok().map(|_| queue)
    });
    queue.as_ref().ok_or_else(gone)
}

fn run(lookups: &Receiver<Lookup>) {
    for Lookup { host, port, answer } in lookups {
        if !answer.is_canceled() {
            // Nobody waits for the answer any more if this fails.
            let _ = answer.send(resolve_here(&host, port));
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the resolver's thread could not be started")
}

/// Lookups that may wait; a busy client has no more names than this.
const LOOKUPS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_and_numbers_resolve() {
        let addrs = pollster::block_on(resolve("localhost", 7)).unwrap();
        assert!(addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 7) && !addrs.is_empty());
        let addrs = pollster::block_on(resolve("::1", 8)).unwrap();
        assert_eq!(addrs, ["[::1]:8".parse().unwrap()]);
    }

    #[test]
    fn a_name_that_does_not_exist_is_an_error() {
        assert!(pollster::block_on(resolve("does-not-exist.invalid", 7)).is_err());
    }
}
