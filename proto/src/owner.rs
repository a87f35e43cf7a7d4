//! Who will own the messages of a session: known from the start when we connect, made on acceptance when we
//! were connected to.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::close::CloseReason;
use crate::connection::Connection;
use crate::driver::ConnectError;
use crate::handler::{Handler, Service};
use crate::local::ShardLocal;
use crate::peer::PeerInfo;

/// The handler of a session, or the way to make it once the peer is accepted: only then is it known who the
/// peer is, and a rejected peer costs no handler.
pub struct Owner<H> {
    handler: Making<H>,
    failed: Option<DialFailed>,
}

/// Told that a connection never opened.
pub type DialFailed = Box<dyn FnOnce(ConnectError) + Send>;

enum Making<H> {
    Made(H),
    Later(Box<Make<H>>),
}

type Make<H> = dyn FnOnce(&mut ShardLocal, &PeerInfo) -> Option<H>;

impl<H: Handler> Owner<H> {
    /// A handler that exists.
    pub const fn handler(handler: H) -> Self {
        Self { handler: Making::Made(handler), failed: None }
    }

    /// A handler that exists, and whom to tell if its connection never opens.
    pub const fn dialed(handler: H, failed: DialFailed) -> Self {
        Self { handler: Making::Made(handler), failed: Some(failed) }
    }

    /// A handler that `make` makes when the peer is accepted.
    pub fn made_by(make: impl FnOnce(&PeerInfo) -> H + 'static) -> Self {
        Self { handler: Making::Later(Box::new(|_, peer| Some(make(peer)))), failed: None }
    }

    /// A handler that the shard's service, which must be an `S`, makes when the peer is accepted.
    pub fn of_service<S: Service<Handler = H>>() -> Self {
        let make = |local: &mut ShardLocal, peer: &PeerInfo| {
            local.service.downcast_mut::<S>().map(|service| service.accept(peer))
        };
        Self { handler: Making::Later(Box::new(make)), failed: None }
    }

    /// The handler; `None` if making it panicked, which is counted.
    pub(crate) fn make(self, local: &mut ShardLocal, peer: &PeerInfo) -> Option<H> {
        match self.handler {
            Making::Made(handler) => Some(handler),
            Making::Later(make) => {
                let made = catch_unwind(AssertUnwindSafe(|| make(local, peer)));
                local.stats.panics += u64::from(made.is_err());
                made.ok().flatten()
            }
        }
    }

    /// The connection ended before it opened: drops the handler, then tells whoever dialed it, or the server's
    /// hook. A panic of the user's code is contained and counted.
    pub(crate) fn reject(self, local: &mut ShardLocal, conn: &Connection, reason: &CloseReason) {
        let Self { handler, failed } = self;
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(handler)));
        local.stats.panics += u64::from(dropped.is_err());
        let Some(failed) = failed else {
            return reject(local, conn, reason);
        };
        let told = catch_unwind(AssertUnwindSafe(|| failed(ConnectError::Closed(reason.clone()))));
        local.stats.panics += u64::from(told.is_err());
    }
}

/// Counts a connection that ended before its handler was opened, and tells the server's hook.
pub(crate) fn reject(local: &mut ShardLocal, conn: &Connection, reason: &CloseReason) {
    local.stats.rejected += 1;
    conn.config.on_reject.call(&mut local.stats, &conn.peer, reason);
}

impl<H> fmt::Debug for Owner<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = matches!(self.handler, Making::Made(_));
        f.debug_struct("Owner").field("made", &made).finish_non_exhaustive()
    }
}
