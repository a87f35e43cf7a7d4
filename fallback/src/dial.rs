//! Connections to be made.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use qwormhole_proto::{ConnectError, ConnectRace, Dial, Handler, OpenSocket, Owner, RaceStep};
use socket2::{SockAddr, Socket};
use tokio::net::TcpSocket;
use tokio::task::{JoinError, JoinSet, spawn_local};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::drive::{Driven, drive};
use crate::seat::Seat;
use crate::shard::Shard;
use crate::stream::Stream;

/// A [`Dial`] on its way to a shard, whatever its handler.
pub(crate) trait PendingDial: Send {
    /// Begins the attempts on `shard`.
    fn start(self: Box<Self>, shard: &Rc<Shard>);

    /// Reports that there will be none.
    fn refuse(self: Box<Self>, error: ConnectError);
}

impl<H: Handler + Send> PendingDial for Dial<H, SockAddr, Socket> {
    fn start(self: Box<Self>, shard: &Rc<Shard>) {
        match Seat::take(shard, None) {
            Some(seat) => {
                spawn_local(connect(seat, *self));
            }
            None => self.refuse(ConnectError::TooManyConnections),
        }
    }

    fn refuse(self: Box<Self>, error: ConnectError) {
        let Self { handler, failed, .. } = *self;
        report(handler, failed, error);
    }
}

/// Makes one connection and starts its task, or reports why not.
async fn connect<H: Handler>(seat: Seat, dial: Dial<H, SockAddr, Socket>) {
    let Dial { addrs, open_socket, config, handler, timeout, failed } = dial;
    let outcome = tokio::select! {
        biased;
        () = seat.told_to_end() => Err(ConnectError::ShuttingDown),
        outcome = within(timeout, race(&seat, addrs, &open_socket)) => outcome,
    };
    match outcome {
        Ok(stream) => {
            let peer = stream.peer_info();
            spawn_local(drive(Driven::new(seat, stream, peer, config, Owner::dialed(handler, failed))));
        }
        Err(error) => {
            // The place is free when the caller hears of it.
            drop(seat);
            report(handler, failed, error);
        }
    }
}

/// Tells the caller that there is no connection; the handler is gone by then. A panic of the caller's code
/// must not take the shard with it.
fn report<H>(handler: H, failed: Box<dyn FnOnce(ConnectError) + Send>, error: ConnectError) {
    let told = AssertUnwindSafe(move || {
        drop(handler);
        failed(error);
    });
    if catch_unwind(told).is_err() {
        tracing::error!("panic in the report of a failed connection attempt");
    }
}

async fn within(
    timeout: Option<Duration>,
    race: impl Future<Output = Result<Stream, ConnectError>>,
) -> Result<Stream, ConnectError> {
    match timeout.and_then(|timeout| Instant::now().checked_add(timeout)) {
        Some(deadline) => timeout_at(deadline, race).await.unwrap_or(Err(ConnectError::TimedOut)),
        None => race.await,
    }
}

/// Attempts the addresses until one answers; dropping the race drops its attempts.
async fn race(
    seat: &Seat,
    addrs: Vec<SockAddr>,
    open_socket: &OpenSocket<SockAddr, Socket>,
) -> Result<Stream, ConnectError> {
    let clock = seat.shard().clock;
    let mut race = ConnectRace::new(addrs);
    let mut attempts = JoinSet::new();
    let mut last_error = ConnectError::NoAddress;
    loop {
        match race.poll(clock.now()) {
            RaceStep::Attempt(addr) => {
                attempts.spawn_local(attempt(open_socket.clone(), addr));
            }
            RaceStep::Failed => return Err(last_error),
            RaceStep::Wait(until) => tokio::select! {
                Some(ended) = attempts.join_next() => match ended.unwrap_or_else(|error| Err(panicked(&error))) {
                    Ok(stream) => return Ok(stream),
                    Err(error) => {
                        last_error = ConnectError::Failed(error);
                        race.handle_failure();
                    }
                },
                () = sleep_until(until.map_or_else(Instant::now, |at| clock.instant(at))), if until.is_some() => {}
            },
        }
    }
}

async fn attempt(open_socket: OpenSocket<SockAddr, Socket>, addr: SockAddr) -> io::Result<Stream> {
    let socket = open_socket(&addr)?;
    socket.set_nonblocking(true)?;
    if let Some(addr) = addr.as_socket() {
        return TcpSocket::from_std_stream(socket.into()).connect(addr).await.map(Stream::Tcp);
    }
    #[cfg(unix)]
    if addr.is_unix() {
        return attempt_unix(socket, &addr).await.map(Stream::Unix);
    }
    Err(io::Error::new(io::ErrorKind::Unsupported, "neither an IP nor a unix address"))
}

/// A unix socket whose listener has no room answers "try again" and tells nobody when there is room: it is
/// asked again, after 1 ms doubling to 100 ms, until the dial's timeout.
#[cfg(unix)]
async fn attempt_unix(socket: Socket, addr: &SockAddr) -> io::Result<tokio::net::UnixStream> {
    let mut delay = UNIX_RETRY_MIN;
    loop {
        match socket.connect(addr) {
            Ok(()) => return tokio::net::UnixStream::from_std(socket.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(UNIX_RETRY_MAX);
            }
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                let stream = tokio::net::UnixStream::from_std(socket.into())?;
                stream.writable().await?;
                return match stream.take_error()? {
                    Some(error) => Err(error),
                    None => Ok(stream),
                };
            }
            Err(error) => return Err(error),
        }
    }
}

/// `open_socket` is the user's code.
fn panicked(error: &JoinError) -> io::Error {
    io::Error::other(format!("the attempt ended early: {error}"))
}

#[cfg(unix)]
const UNIX_RETRY_MIN: Duration = Duration::from_millis(1);
#[cfg(unix)]
const UNIX_RETRY_MAX: Duration = Duration::from_millis(100);
