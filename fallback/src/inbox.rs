//! What other threads ask of a shard.

use std::sync::Arc;
use std::time::Instant;

use qwormhole_proto::{Admission, Config};
use socket2::Socket;
use tokio::sync::{mpsc, oneshot};

use crate::accept::Listening;
use crate::dial::PendingDial;

/// The shard's ends of its channels.
pub(crate) struct Inbox {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) listeners: mpsc::Receiver<Listening>,
    /// The shutdown deadline. Dropping the sender stops at once.
    pub(crate) stop: oneshot::Receiver<Instant>,
}

/// The other ends.
pub(crate) struct Outlet {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) listeners: mpsc::Sender<Listening>,
    pub(crate) stop: oneshot::Sender<Instant>,
}

/// One connection to be made or taken over.
pub(crate) enum Command {
    /// Make a connection.
    Dial(Box<dyn PendingDial>),
    /// Take over a connection that another shard accepted.
    Accepted { socket: Socket, admission: Admission, config: Arc<Config> },
}

/// The channels of a shard; at most `connections_max` (at least one) commands wait.
pub(crate) fn channels(connections_max: u32) -> (Outlet, Inbox) {
    let (commands, commands_out) = mpsc::channel(connections_max.max(1) as usize);
    let (listeners, listeners_out) = mpsc::channel(LISTENERS_WAITING_MAX);
    let (stop, stop_out) = oneshot::channel();
    let inbox = Inbox { commands: commands_out, listeners: listeners_out, stop: stop_out };
    (Outlet { commands, listeners, stop }, inbox)
}

/// Listeners the shard has not looked at yet; more at once are refused.
const LISTENERS_WAITING_MAX: usize = 1024;
