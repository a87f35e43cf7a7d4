//! How a link is set up.

use std::sync::{Arc, Mutex};

use qwormhole_proto::{Backoff, ConfigError, PeerInfo, Service};

use crate::address::{Address, AddressError};
use crate::client::Client;
use crate::error::{ConnectError, StartError};
use crate::housekeeper;
use crate::link::Link;
use crate::link::course::{Course, MakeHandler};
use crate::link::inbox::LinkInbox;
use crate::link::state::{Bounds, Shared};

/// Sets up a [`Link`]. Made by [`Client::link`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `open` or `open_with`"]
pub struct LinkBuilder {
    client: Client,
    address: Result<Address, AddressError>,
    backoff: Backoff,
    pending_bytes_max: usize,
    events_max: usize,
    require_connected: bool,
}

impl LinkBuilder {
    pub(crate) fn new(client: Client, address: Result<Address, AddressError>) -> Self {
        Self {
            client,
            address,
            backoff: Backoff::default(),
            pending_bytes_max: PENDING_BYTES_MAX,
            events_max: EVENTS_MAX,
            require_connected: false,
        }
    }

    /// How long to wait between attempts, and how often to try. Default [`Backoff::default`]: 300 ms, doubled up
    /// to 10 s, with full jitter, without end.
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Bytes that may wait for a connection, bookkeeping included; a single message always may. Default 1 MiB.
    /// Worst-case memory: this, or one message if that is longer.
    pub fn pending_bytes_max(mut self, bytes: usize) -> Self {
        self.pending_bytes_max = bytes;
        self
    }

    /// Whether sending fails with [`SendErrorKind::NotConnected`](crate::SendErrorKind::NotConnected) while
    /// nothing is connected, instead of queueing the message. Default false.
    pub fn require_connected_for_send(mut self, required: bool) -> Self {
        self.require_connected = required;
        self
    }

    /// Events that may wait to be taken; beyond, the oldest are dropped and counted. Default 256.
    pub fn events_max(mut self, events: usize) -> Self {
        self.events_max = events;
        self
    }

    /// Begins to connect, for async code; returns at once. What arrives is taken with [`Link::recv`].
    ///
    /// # Errors
    ///
    /// An address or an option that cannot work. A server that cannot be reached is none: see
    /// [`LinkEvent`](crate::LinkEvent).
    pub fn open(self) -> Result<Link, ConnectError> {
        let inbox = LinkInbox::new(self.client.inbox_limits());
        let filled = inbox.clone();
        self.begin(inbox, Box::new(move |_| Box::new(filled.filler())))
    }

    /// Begins to connect, with handlers on the client's shards; returns at once. `service` makes the handler of
    /// each connection; a closure `|peer: &PeerInfo| -> impl Handler` is a service. What the handler sends in
    /// `on_open` leaves before messages that were queued. [`Link::recv`] gives no messages then.
    ///
    /// # Errors
    ///
    /// As [`LinkBuilder::open`].
    pub fn open_with<S>(self, mut service: S) -> Result<Link, ConnectError>
    where
        S: Service + Send,
        S::Handler: Send,
    {
        let inbox = LinkInbox::new(self.client.inbox_limits());
        self.begin(inbox, Box::new(move |peer: &PeerInfo| Box::new(service.accept(peer))))
    }

    fn begin(self, inbox: Arc<LinkInbox>, make_handler: MakeHandler) -> Result<Link, ConnectError> {
        let address = self.address?;
        let fault = |option, fix| Err(StartError::from(ConfigError { option, fix }).into());
        self.backoff.validate().map_err(StartError::from)?;
        if self.pending_bytes_max == 0 {
            return fault("pending_bytes_max", "must be at least 1 byte");
        }
        if self.events_max == 0 {
            return fault("events_max", "must be at least 1 event");
        }
        let limits = self.client.limits();
        let shared = Shared::new(Bounds {
            pending_bytes_max: self.pending_bytes_max,
            events_max: self.events_max,
            max_send_frame_len: limits.max_send_frame_len,
            require_connected: self.require_connected,
        });
        let course = Course {
            shared: shared.clone(),
            inbox: inbox.clone(),
            close_flush_timeout: limits.close_flush_timeout,
            client: self.client,
            address: address.clone(),
            backoff: self.backoff,
            make_handler: Arc::new(Mutex::new(make_handler)),
        };
        housekeeper::spawn(course.run()).map_err(|_| ConnectError::TooManyConnections { address })?;
        Ok(Link::new(shared, inbox))
    }
}

/// A few seconds of a talkative application, and what one connection stages.
const PENDING_BYTES_MAX: usize = 1 << 20;
/// An hour of retries at the longest default delay is about as many.
const EVENTS_MAX: usize = 256;
