//! The task of one listening socket.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use qwormhole_proto::{AcceptBackoff, Admission, Config, Endpoint, Service};
use socket2::Socket;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use crate::inbox::Command;
use crate::shard::Shard;
use crate::stream::Stream;

/// A listening socket and what it takes to serve it.
pub(crate) struct Listening {
    pub(crate) listener: Listener,
    pub(crate) endpoint: Endpoint,
    pub(crate) config: Arc<Config>,
    /// The other shards, when this one accepts for them too.
    pub(crate) others: Vec<mpsc::Sender<Command>>,
}

/// A listening socket of one shard's runtime.
#[derive(Debug)]
pub(crate) enum Listener {
    /// IPv4 or IPv6.
    Tcp(TcpListener),
    /// A unix stream socket.
    #[cfg(unix)]
    Unix(UnixListener),
}

impl Listener {
    /// Takes a listening socket into the runtime at hand.
    pub(crate) fn from_socket(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        #[cfg(unix)]
        if socket.local_addr()?.is_unix() {
            return UnixListener::from_std(socket.into()).map(Self::Unix);
        }
        TcpListener::from_std(socket.into()).map(Self::Tcp)
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            #[cfg(unix)]
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// Accepts until cancelled. A system that is out of descriptors or memory is asked again after a while.
pub(crate) async fn run<S: Service>(shard: Rc<Shard>, listening: Listening) {
    let mut backoff = AcceptBackoff::default();
    let mut turn = 0;
    loop {
        match listening.listener.accept().await {
            Ok(stream) => {
                backoff.handle_success();
                if let Some(admission) = shard.admit(&listening.endpoint, &stream) {
                    place::<S>(&shard, &listening, &mut turn, stream, admission);
                }
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                let retry_at = backoff.handle_failure(shard.clock.now());
                tracing::warn!(%error, "cannot accept; trying again later");
                sleep_until(shard.clock.instant(retry_at)).await;
            }
        }
    }
}

/// Gives a connection to the next shard in turn; to this one if the next has no room.
fn place<S: Service>(
    shard: &Rc<Shard>,
    listening: &Listening,
    turn: &mut usize,
    stream: Stream,
    admission: Admission,
) {
    let config = listening.config.clone();
    let other = turn.checked_sub(1).and_then(|index| listening.others.get(index));
    *turn = (*turn + 1) % (listening.others.len() + 1);
    let Some(place) = other.and_then(|other| other.try_reserve().ok()) else {
        shard.open_accepted::<S>(stream, admission, config);
        return;
    };
    match stream.into_socket() {
        Ok(socket) => place.send(Command::Accepted { socket, admission, config }),
        Err(error) => tracing::debug!(%error, "cannot hand a connection over"),
    }
}

/// Whether a failed accept is the fault of the connection that was to be accepted: the next one may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_one_connection_are_passed_over() {
        assert!(concerns_one_connection(&io::ErrorKind::ConnectionAborted.into()));
        assert!(!concerns_one_connection(&io::ErrorKind::OutOfMemory.into()));
        assert!(
            !concerns_one_connection(&io::ErrorKind::PermissionDenied.into()),
            "a filter answers at once"
        );
        #[cfg(target_os = "linux")]
        for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE, rustix::io::Errno::NOBUFS] {
            assert!(!concerns_one_connection(&errno.into()), "{errno}");
        }
    }
}
