//! A server whose connections are taken by async code.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use qwormhole_proto::{
    BroadcastPolicy, CloseReason, ConnId, Payload, PeerInfo, Priority, SendError, SendErrorKind, Sender,
    ShardStats, ShutdownReport,
};

use crate::address::Address;
use crate::backend::BackendReport;
use crate::builder::ServerBuilder;
use crate::connection::Connection;
use crate::error::StartError;
use crate::inbox::{Inbox, InboxLimits};
use crate::off_thread::off_thread;
use crate::server::Server;
use crate::telemetry::Telemetry;

/// Yields the connections that a server accepts; made by [`ServerBuilder::listen`]. Works on any async
/// runtime, and without one.
///
/// A connection waits here at most once, so `max_connections` bounds the queue. Dropping the listener ends the
/// server and all of its connections at once; [`Listener::shutdown`] ends them gracefully.
pub struct Listener {
    /// `None` once it was shut down.
    server: Option<Server>,
    addrs: Vec<Address>,
    report: BackendReport,
    queue: Arc<AcceptQueue>,
}

impl Listener {
    pub(crate) fn start(builder: ServerBuilder, inbox: InboxLimits) -> Result<Self, StartError> {
        let queue = Arc::<AcceptQueue>::default();
        let accepted = queue.clone();
        let server = builder.start_with(move |_shard| {
            let accepted = accepted.clone();
            move |_peer: &PeerInfo| {
                let accepted = accepted.clone();
                Inbox::new(inbox, Box::new(move |connection| accepted.push(connection)))
            }
        })?;
        let (addrs, report) = (server.local_addrs().to_vec(), server.backend().clone());
        Ok(Self { server: Some(server), addrs, report, queue })
    }

    /// The next connection. `None` after [`Listener::shutdown`], once those that waited were taken.
    ///
    /// # Cancel safety
    ///
    /// A future dropped before it is ready has taken no connection.
    pub async fn accept(&mut self) -> Option<Connection> {
        poll_fn(|cx| self.queue.poll_accept(cx)).await
    }

    /// Where the server listens; see [`Server::local_addrs`].
    pub fn local_addrs(&self) -> &[Address] {
        &self.addrs
    }

    /// Which driver runs, and why.
    pub const fn backend(&self) -> &BackendReport {
        &self.report
    }

    /// Counters of each shard; empty after the shutdown.
    pub fn stats(&self) -> Vec<ShardStats> {
        self.server.as_ref().map(Server::stats).unwrap_or_default()
    }

    /// The sum over all shards; zeroes after the shutdown.
    pub fn snapshot(&self) -> Telemetry {
        Telemetry::of(&self.stats())
    }

    /// Connections that were admitted and have not ended; see [`Server::connection_count`].
    pub fn connection_count(&self) -> usize {
        self.server.as_ref().map_or(0, Server::connection_count)
    }

    /// Looks a connection up; see [`Server::connection`]. `None` after the shutdown.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn connection(&self, id: ConnId) -> Option<Sender> {
        self.server.as_ref()?.connection(id).await
    }

    /// Sends one message to every open connection; see [`Server::broadcast`].
    ///
    /// # Errors
    ///
    /// As [`Server::broadcast_with`], and after the shutdown.
    pub fn broadcast<P: Payload>(&self, payload: P) -> Result<(), SendError<P>> {
        self.broadcast_with(Priority::DEFAULT, BroadcastPolicy::default(), payload)
    }

    /// Sends one message to every open connection; see [`Server::broadcast_with`].
    ///
    /// # Errors
    ///
    /// As [`Server::broadcast_with`], and after the shutdown.
    pub fn broadcast_with<P: Payload>(
        &self,
        priority: Priority,
        policy: BroadcastPolicy,
        payload: P,
    ) -> Result<(), SendError<P>> {
        self.running(payload, |server, payload| server.broadcast_with(priority, policy, payload))
    }

    /// As [`Listener::broadcast_with`], to every connection but `except`.
    ///
    /// # Errors
    ///
    /// As [`Server::broadcast_with`], and after the shutdown.
    pub fn broadcast_except<P: Payload>(
        &self,
        except: ConnId,
        priority: Priority,
        policy: BroadcastPolicy,
        payload: P,
    ) -> Result<(), SendError<P>> {
        self.running(payload, |server, payload| server.broadcast_except(except, priority, policy, payload))
    }

    fn running<P>(
        &self,
        payload: P,
        send: impl FnOnce(&Server, P) -> Result<(), SendError<P>>,
    ) -> Result<(), SendError<P>> {
        match &self.server {
            Some(server) => send(server, payload),
            None => Err(SendError { kind: SendErrorKind::Closed(CloseReason::Shutdown), payload }),
        }
    }

    /// Ends the server as [`Server::shutdown`] does, without blocking the task: messages accepted for sending
    /// still leave within the deadline, messages received can still be read. A second call does nothing.
    ///
    /// # Cancel safety
    ///
    /// A future dropped after its first poll leaves the shutdown going on in the background.
    pub async fn shutdown(&mut self, deadline: Duration) -> ShutdownReport {
        let Some(server) = self.server.take() else { return ShutdownReport::default() };
        let queue = self.queue.clone();
        let stopped = off_thread(move || {
            let report = server.shutdown(deadline);
            queue.close();
            report
        });
        stopped.await.unwrap_or_default()
    }
}

impl Stream for Listener {
    type Item = Connection;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        self.queue.poll_accept(cx)
    }
}

/// Shards must not keep connections that nobody can take any more.
impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.server.take());
        self.queue.close();
        drop(self.queue.take());
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("addrs", &self.addrs)
            .field("backend", &self.report)
            .finish_non_exhaustive()
    }
}

/// Connections that were accepted and not taken yet.
#[derive(Default)]
struct AcceptQueue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    connections: VecDeque<Connection>,
    waker: Option<Waker>,
    closed: bool,
}

impl AcceptQueue {
    fn push(&self, connection: Connection) {
        let mut waiting = self.lock();
        if waiting.closed {
            drop(waiting);
            drop(connection);
            return;
        }
        waiting.connections.push_back(connection);
        let waker = waiting.waker.take();
        drop(waiting);
        waker.into_iter().for_each(Waker::wake);
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        let mut waiting = self.lock();
        if let Some(connection) = waiting.connections.pop_front() {
            return Poll::Ready(Some(connection));
        }
        if waiting.closed {
            return Poll::Ready(None);
        }
        if !waiting.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            waiting.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let waker = waiting.waker.take();
        drop(waiting);
        waker.into_iter().for_each(Waker::wake);
    }

    fn take(&self) -> VecDeque<Connection> {
        mem::take(&mut self.lock().connections)
    }

    /// Held for the length of a move only.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
