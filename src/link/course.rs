//! The life of a link: dial, serve, wait, and again.

use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use futures_util::future::{Either, select};
use qwormhole_proto::{Backoff, CloseReason, Context, Handler, Message, PeerInfo};

use crate::address::Address;
use crate::client::Client;
use crate::client_engine::ClientHandler;
use crate::error::ConnectError;
use crate::housekeeper::Alarm;
use crate::link::event::{LinkError, LinkEvent};
use crate::link::inbox::LinkInbox;
use crate::link::state::{Over, Shared, keep_draining};

/// Makes the handler of one connection.
pub(crate) type MakeHandler = Box<dyn FnMut(&PeerInfo) -> ClientHandler + Send>;

/// What the housekeeping thread does for one link.
pub(crate) struct Course {
    pub(crate) shared: Arc<Shared>,
    pub(crate) inbox: Arc<LinkInbox>,
    pub(crate) client: Client,
    pub(crate) address: Address,
    pub(crate) backoff: Backoff,
    pub(crate) make_handler: Arc<Mutex<MakeHandler>>,
    pub(crate) close_flush_timeout: Duration,
}

impl Course {
    /// Runs until the link is closed or gives up.
    pub(crate) async fn run(self) {
        let mut attempt = 0;
        let why = loop {
            self.shared.tell(LinkEvent::Connecting { attempt });
            let failure = match self.connect().await {
                Ok(Over { reason, useful }) => {
                    attempt = if useful { 0 } else { attempt };
                    LinkError::Disconnected(reason)
                }
                Err(error) => {
                    let error = Arc::new(error);
                    self.shared.tell(LinkEvent::ConnectFailed { error: error.clone() });
                    LinkError::Connect(error)
                }
            };
            if self.is_closing() {
                break LinkError::Closed;
            }
            if matches!(&failure, LinkError::Connect(error) if !error.is_retryable()) {
                break failure;
            }
            attempt = attempt.saturating_add(1);
            let Some(delay) = self.backoff.delay(attempt, fastrand::u64(..)) else { break failure };
            // Later than any clock can tell is not at all.
            let Some(due) = Instant::now().checked_add(delay) else { break failure };
            self.shared.tell(LinkEvent::Reconnecting { attempt, delay });
            select(Alarm::at(due), pin!(self.closing())).await;
            if self.is_closing() {
                break LinkError::Closed;
            }
        };
        self.shared.end(why);
    }

    /// One attempt and, if it succeeds, the life of the connection.
    async fn connect(&self) -> Result<Over, ConnectError> {
        let (opened, open) = oneshot::channel();
        let handler = Supervised {
            shared: self.shared.clone(),
            make_handler: self.make_handler.clone(),
            handler: None,
            stage: Stage::Dialing(opened),
            begun: false,
            useful: false,
        };
        let dial = self.client.dial(self.address.clone(), Box::new(handler), open);
        if let Either::Left((dialed, _)) = select(pin!(dial), pin!(self.closing())).await {
            let failed = |reason: CloseReason| ConnectError::Failed {
                address: self.address.clone(),
                source: reason.into(),
            };
            dialed?.map_err(failed)?;
        }
        // A dial that was given up when the link closed may have succeeded just before.
        Ok(self.serve().await)
    }

    /// Until the connection is over: lets the queue drain into it, and closes it when the link closes.
    async fn serve(&self) -> Over {
        let mut over = pin!(self.over());
        if let Either::Left((over, _)) = select(&mut over, pin!(self.drain_until_closing())).await {
            return over;
        }
        if let Either::Left((over, _)) = select(&mut over, pin!(self.drain_the_rest())).await {
            return over;
        }
        if let Some(sender) = self.shared.lock().sender() {
            sender.close();
        }
        over.await
    }

    async fn drain_until_closing(&self) {
        select(pin!(self.closing()), pin!(keep_draining(&self.shared))).await;
    }

    /// What is queued at the end still leaves, if the connection takes it in time.
    async fn drain_the_rest(&self) {
        let empty = pin!(self.shared.wait(|state| state.is_drained().then_some(())));
        let draining = pin!(keep_draining(&self.shared));
        let drained = select(empty, draining);
        if let Some(late) = Instant::now().checked_add(self.close_flush_timeout) {
            select(Alarm::at(late), drained).await;
        } else {
            drained.await;
        }
    }

    /// The end of the connection; at once when there is none.
    async fn over(&self) -> Over {
        let nothing = || Over { reason: CloseReason::Local, useful: false };
        self.shared
            .wait(|state| state.sender().is_none().then(|| state.take_over().unwrap_or_else(nothing)))
            .await
    }

    async fn closing(&self) {
        self.shared.wait(|state| state.is_closing().then_some(())).await;
    }

    fn is_closing(&self) -> bool {
        self.shared.lock().is_closing()
    }
}

/// However it ends, nobody waits for ever.
impl Drop for Course {
    fn drop(&mut self) {
        self.shared.end(LinkError::Closed);
        self.inbox.end();
    }
}

/// The handler of one connection, watched: the link learns when it opens, is of use and ends.
struct Supervised {
    shared: Arc<Shared>,
    make_handler: Arc<Mutex<MakeHandler>>,
    handler: Option<ClientHandler>,
    stage: Stage,
    /// The transport is there, so that an end is the handler's and no longer the dial's.
    begun: bool,
    useful: bool,
}

enum Stage {
    /// Somebody waits to be told.
    Dialing(oneshot::Sender<Result<(), CloseReason>>),
    Open,
    /// The link knows the end, or does not care.
    Done,
}

impl Supervised {
    /// The connection is over, or never was; told once.
    fn end(&mut self, reason: CloseReason) {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            // Nobody waits any more if this fails.
            Stage::Dialing(opened) => drop(opened.send(Err(reason))),
            Stage::Open => self.shared.closed(reason, self.useful),
            Stage::Done => {}
        }
    }
}

impl Handler for Supervised {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.begun = true;
        self.useful = conn.peer().acknowledged;
        // What the handler sends first leaves before what is queued.
        let handler = (self.make_handler.lock().unwrap_or_else(PoisonError::into_inner))(conn.peer());
        self.handler.insert(handler).on_open(conn);
        let opened = self.shared.opened(conn.sender());
        let next = if opened { Stage::Open } else { Stage::Done };
        if let Stage::Dialing(waiting) = std::mem::replace(&mut self.stage, next) {
            let _ = waiting.send(Ok(()));
        }
        if !opened {
            conn.close();
        }
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        self.useful = true;
        if let Some(handler) = &mut self.handler {
            handler.on_message(conn, message);
        }
    }

    fn on_batch_end(&mut self, conn: &mut Context<'_>) {
        if let Some(handler) = &mut self.handler {
            handler.on_batch_end(conn);
        }
    }

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        if let Some(handler) = &mut self.handler {
            handler.on_drain(conn);
        }
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        if let Some(handler) = &mut self.handler {
            handler.on_close(conn, reason);
        }
        self.end(reason.clone());
    }
}

/// A handler that panicked is dropped without `on_close`.
impl Drop for Supervised {
    fn drop(&mut self) {
        // A dial that failed tells its own reason.
        if self.begun {
            self.end(CloseReason::HandlerPanicked);
        }
    }
}
