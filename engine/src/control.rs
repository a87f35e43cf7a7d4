//! What an engine tells its shards.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use qwormhole_proto::{Admission, Command, Config, ConnectError, Endpoint, Service, ShutdownReport};

use crate::mailbox::Mailbox;
use crate::ring::Ring;
use crate::shard::Shard;

/// One instruction to a shard.
pub(crate) enum Control<R: Ring, S: Service> {
    /// Accept on this socket; with `spread`, hand connections out to all shards in turn.
    Listen { socket: R::Socket, endpoint: Endpoint, config: Arc<Config>, spread: bool },
    /// Take over a connection that another shard accepted.
    Adopt { socket: R::Socket, admission: Admission, config: Arc<Config> },
    /// Make a connection.
    Connect(ConnectJob<R, S>),
    /// Close everything within the deadline and end.
    Shutdown(Duration),
}

/// Starts a dial on its shard, or reports why it cannot. A closure, because only it needs the handler to be
/// `Send`; handlers made by a service never leave their shard.
pub(crate) type ConnectJob<R, S> = Box<dyn FnOnce(Result<&mut Shard<R, S>, ConnectError>) + Send>;

/// The way to instruct one shard; cheap to clone.
pub(crate) struct ShardHandle<R: Ring, S: Service> {
    controls: Sender<Control<R, S>>,
    mailbox: Arc<Mailbox>,
}

impl<R: Ring, S: Service> ShardHandle<R, S> {
    /// A handle and the shard's end of it.
    pub(crate) fn new(mailbox: Arc<Mailbox>) -> (Self, Receiver<Control<R, S>>) {
        Self::with_room(mailbox, CONTROLS_MAX)
    }

    /// As [`ShardHandle::new`], with room for `controls_max` instructions.
    pub(crate) fn with_room(mailbox: Arc<Mailbox>, controls_max: usize) -> (Self, Receiver<Control<R, S>>) {
        let (controls, receiver) = bounded(controls_max);
        (Self { controls, mailbox }, receiver)
    }

    /// Instructs the shard; gives the instruction back when its queue is full or it has ended.
    pub(crate) fn try_send(&self, control: Control<R, S>) -> Result<(), Control<R, S>> {
        match self.controls.try_send(control) {
            Ok(()) => {
                self.mailbox.wake();
                Ok(())
            }
            Err(TrySendError::Full(control) | TrySendError::Disconnected(control)) => Err(control),
        }
    }

    /// Asks something of the shard's connections; gives a lookup back while too many wait.
    pub(crate) fn command(&self, command: Command) -> Result<(), Command> {
        self.mailbox.command(command)
    }

    /// Instructs the shard, waiting for room in its queue; ignored when it has ended.
    pub(crate) fn send(&self, control: Control<R, S>) {
        if self.controls.send(control).is_ok() {
            self.mailbox.wake();
        }
    }
}

impl<R: Ring, S: Service> Clone for ShardHandle<R, S> {
    fn clone(&self) -> Self {
        Self { controls: self.controls.clone(), mailbox: self.mailbox.clone() }
    }
}

/// How a shard's thread ended.
pub(crate) type ShardEnd = ShutdownReport;

/// Instructions that may wait for one shard: more dials than this at once are refused, not queued.
const CONTROLS_MAX: usize = 4096;
