//! Making connections.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_channel::oneshot;
use qwormhole_proto::handshake::ClientHandshake;
use qwormhole_proto::{
    ClientTls, CloseReason, Config, Context, Dial, Handler, Limits, Message, OpenSocket, Sender, ShardStats,
    ShutdownReport,
};
use socket2::{SockAddr, Socket};

use crate::address::{Address, AddressError};
use crate::backend::BackendReport;
use crate::builder_options::shared_options;
use crate::client_engine::{ClientEngine, ClientHandler};
use crate::connection::Connection;
use crate::environment::Environment;
use crate::error::{ConnectError, StartError};
use crate::inbox::{Inbox, InboxLimits};
use crate::interface::InterfaceAddrs;
use crate::link::LinkBuilder;
use crate::listen::unix_addr;
use crate::off_thread::off_thread;
use crate::options::Options;
use crate::resolve::resolve;
use crate::security::{client_handshake, client_tls, client_tls_by_address, towards};
use crate::socket::SocketOptions;
use crate::telemetry::Telemetry;

/// Makes connections; cheap to clone. Works on any async runtime, and without one.
///
/// All clients of a process share one engine with one shard, started by the first and running until the end of
/// the process or [`Client::shutdown`]. A client with [`ClientBuilder::shards`], [`ClientBuilder::cpus`] or another
/// [`ClientBuilder::wait`] than the default has an engine of its own; it runs until the client's clones and
/// [`Connection`]s are dropped, and then closes what is left gracefully in the background.
#[derive(Clone, Debug)]
pub struct Client {
    engine: Arc<ClientEngine>,
    setup: Arc<Setup>,
}

/// What the connections of a client are made of.
#[derive(Debug)]
struct Setup {
    config: Arc<Config>,
    sockets: SocketOptions,
    inbox: InboxLimits,
    connect_timeout: Option<Duration>,
    tls: Option<ClientTls>,
    /// For `tls://` addresses where TLS was not configured.
    tls_by_address: OnceLock<ClientTls>,
    environment: Environment,
}

/// Sets up a [`Client`]. Made by [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `connect`, `open` or `build`"]
pub struct ClientBuilder {
    options: Options,
    connect_timeout: Option<Duration>,
    handshake: Option<ClientHandshake>,
}

impl Client {
    /// Sets up a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new(Options::default())
    }

    /// Connects, for async code. A name's addresses are raced (Happy Eyeballs, RFC 8305).
    ///
    /// # Errors
    ///
    /// Which address could not be reached, and why.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped, an attempt that has begun goes on until it fails or its connection is
    /// closed at once.
    pub async fn connect<A>(&self, address: A) -> Result<Connection, ConnectError>
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
    {
        let address = address.try_into().map_err(AddressError::from)?;
        let (opened, open) = oneshot::channel();
        // A connection that nobody waits for any more closes itself.
        let arrive = Box::new(move |connection| drop(opened.send(connection)));
        let handler = Box::new(Inbox::new(self.setup.inbox, arrive));
        let connection: Connection = self.dial(address, handler, open).await?;
        Ok(connection.keep(self.engine.clone()))
    }

    /// Connects, with a handler on the client's shard. Resolves when `on_open` has run; the sender reaches the
    /// connection from any thread and does not keep it open.
    ///
    /// # Errors
    ///
    /// Which address could not be reached, and why; the handler is dropped.
    ///
    /// # Cancel safety
    ///
    /// As [`Client::connect`].
    pub async fn open<A, H>(&self, address: A, handler: H) -> Result<Sender, ConnectError>
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
        H: Handler + Send,
    {
        let address = address.try_into().map_err(AddressError::from)?;
        let (opened, open) = oneshot::channel();
        self.dial(address, Box::new(Opening { handler, opened: Some(opened) }), open).await
    }

    /// A connection that is made again whenever it is lost; see [`Link`](crate::Link). Nothing happens before
    /// [`LinkBuilder::open`].
    pub fn link<A>(&self, address: A) -> LinkBuilder
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
    {
        LinkBuilder::new(self.clone(), address.try_into().map_err(AddressError::from))
    }

    /// Which driver runs, and why.
    pub fn backend(&self) -> &BackendReport {
        self.engine.report()
    }

    /// Counters of each shard of the engine, a snapshot at most one turn old.
    pub fn stats(&self) -> Vec<ShardStats> {
        self.engine.stats()
    }

    /// The sum over all shards of the engine, a snapshot at most one turn old.
    pub fn snapshot(&self) -> Telemetry {
        Telemetry::of(&self.stats())
    }

    /// Closes every connection of the client's engine gracefully, cuts what is left at the deadline and ends
    /// the engine. If the engine is shared, this is about the connections of all its clients; clients that are
    /// built afterwards share another.
    ///
    /// # Cancel safety
    ///
    /// A future dropped after its first poll leaves the shutdown going on in the background.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        let engine = self.engine.clone();
        off_thread(move || engine.shutdown(deadline)).await.unwrap_or_default()
    }

    /// Hands `handler` to the engine and waits for what it sends through `open` when the connection is there.
    pub(crate) async fn dial<T>(
        &self,
        address: Address,
        handler: ClientHandler,
        open: oneshot::Receiver<T>,
    ) -> Result<T, ConnectError> {
        let begun = Instant::now();
        let addrs = match system_addrs(&address).await {
            Ok(addrs) if addrs.is_empty() => return Err(ConnectError::NoAddress { address }),
            Ok(addrs) => addrs,
            Err(source) => return Err(ConnectError::Resolve { address, source }),
        };
        let (addrs, interface) = self.setup.coming_from(&address, addrs)?;
        let timeout = self.setup.connect_timeout.map(|limit| limit.saturating_sub(begun.elapsed()));
        if timeout.is_some_and(|left| left.is_zero()) {
            return Err(ConnectError::TimedOut { address });
        }
        let (failed, failure) = oneshot::channel();
        let dial = Dial {
            addrs,
            open_socket: self.open_socket(interface),
            config: self.config_for(&address).await?,
            handler,
            timeout,
            failed: Box::new(move |error| drop(failed.send(error))),
        };
        self.engine.connect(dial).map_err(StartError::from)?;
        if let Ok(opened) = open.await {
            return Ok(opened);
        }
        // The handler was dropped before it was opened. An engine that ends drops the dial without a word.
        let error = failure.await.unwrap_or(qwormhole_proto::ConnectError::ShuttingDown);
        Err(ConnectError::from_driver(address, error))
    }

    /// The bounds of each connection.
    pub(crate) fn limits(&self) -> &Limits {
        &self.setup.config.limits
    }

    /// The bounds of what waits for a reading task.
    pub(crate) fn inbox_limits(&self) -> InboxLimits {
        self.setup.inbox
    }

    /// What a connection to `address` speaks: TLS if the client was told to use it, or the address says so.
    async fn config_for(&self, address: &Address) -> Result<Arc<Config>, StartError> {
        let tls = match &self.setup.tls {
            Some(tls) => tls.clone(),
            None if !address.is_tls() => return Ok(self.setup.config.clone()),
            None => match self.setup.tls_by_address.get() {
                Some(tls) => tls.clone(),
                None => {
                    // Reads files.
                    let environment = self.setup.environment.clone();
                    let made = off_thread(move || client_tls_by_address(&environment)).await;
                    let tls = made.unwrap_or_else(|| client_tls_by_address(&self.setup.environment))?;
                    self.setup.tls_by_address.get_or_init(|| tls).clone()
                }
            },
        };
        let mut config = Config::clone(&self.setup.config);
        config.tls = Some(towards(tls, address));
        Ok(Arc::new(config))
    }

    fn open_socket(&self, interface: Option<InterfaceAddrs>) -> OpenSocket<SockAddr, Socket> {
        let setup = self.setup.clone();
        Arc::new(move |addr: &SockAddr| setup.sockets.open_to(addr, interface.as_ref(), &setup.config.limits))
    }
}

impl Setup {
    /// The addresses of the option `interface`, and those of `addrs` that can be reached from there.
    fn coming_from(
        &self,
        address: &Address,
        addrs: Vec<SockAddr>,
    ) -> Result<(Vec<SockAddr>, Option<InterfaceAddrs>), ConnectError> {
        let is_tcp = matches!(address, Address::Tcp { .. } | Address::Tls { .. });
        let name = self.sockets.interface.as_ref();
        let Some(name) = name.filter(|_| is_tcp && self.sockets.local_addr.is_none()) else {
            return Ok((addrs, None));
        };
        let missing =
            |detail| ConnectError::Interface { address: address.clone(), interface: name.clone(), detail };
        let interface = InterfaceAddrs::of(name)
            .map_err(|source| ConnectError::Failed { address: address.clone(), source })?
            .ok_or_else(|| missing(""))?;
        let addrs = interface.reachable(addrs);
        if addrs.is_empty() {
            Err(missing(": it has no address of the peer's family"))
        } else {
            Ok((addrs, Some(interface)))
        }
    }
}

impl ClientBuilder {
    pub(crate) const fn new(options: Options) -> Self {
        Self { options, connect_timeout: Some(CONNECT_TIMEOUT), handshake: None }
    }

    /// Gives the client an engine of its own with this many shards, each one thread; 1 to 256. Connections use
    /// them in turn. Default: the engine that all clients share, with one shard.
    pub fn shards(mut self, shards: usize) -> Self {
        self.options.shards = Some(shards);
        self
    }

    /// Gives the client an engine of its own whose shards are pinned to these CPUs, in turn.
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.options.cpus = cpus.into_iter().collect();
        self
    }

    shared_options!();

    /// Sends this handshake before anything else. Default: none, unless `QWORMHOLE_PROTOCOL_VERSION` is set.
    pub fn handshake(mut self, handshake: ClientHandshake) -> Self {
        self.handshake = Some(handshake);
        self
    }

    /// How long a connection may take to come about, over all attempts and the name's lookup; a lookup that
    /// hangs is noticed when it ends. `None` leaves it to the system. Default 10 s.
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect_timeout = timeout.into();
        self
    }

    /// Makes the client, and starts its engine if it is the first to use it.
    ///
    /// # Errors
    ///
    /// An option that cannot work, or a backend that cannot run.
    pub fn build(self) -> Result<Client, StartError> {
        let Self { mut options, connect_timeout, handshake } = self;
        let environment = options.environment()?;
        let tls = client_tls(options.tls.take(), &environment)?;
        options.config.handshake = client_handshake(handshake, &environment)?;
        options.config.rate_limit = options.config.rate_limit.or(environment.rate_limit);
        options.slicing = options.slicing.or(environment.slicing);
        options.config.validate()?;
        options.inbox.validate()?;
        let engine = if options.needs_own_engine() {
            Arc::new(ClientEngine::start(&options, 1)?)
        } else {
            ClientEngine::shared(options.backend, options.slicing.unwrap_or_default())?
        };
        let setup = Setup {
            config: Arc::new(options.config),
            sockets: options.sockets,
            inbox: options.inbox,
            connect_timeout,
            tls,
            tls_by_address: OnceLock::new(),
            environment,
        };
        Ok(Client { engine, setup: Arc::new(setup) })
    }

    /// [`ClientBuilder::build`] and [`Client::connect`] in one.
    ///
    /// # Errors
    ///
    /// As both.
    ///
    /// # Cancel safety
    ///
    /// As [`Client::connect`].
    pub async fn connect<A>(self, address: A) -> Result<Connection, ConnectError>
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
    {
        self.build()?.connect(address).await
    }

    /// [`ClientBuilder::build`] and [`Client::open`] in one. An engine of the client's own would end with this
    /// call; keep the [`Client`] instead.
    ///
    /// # Errors
    ///
    /// As both.
    ///
    /// # Cancel safety
    ///
    /// As [`Client::connect`].
    pub async fn open<A, H>(self, address: A, handler: H) -> Result<Sender, ConnectError>
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
        H: Handler + Send,
    {
        self.build()?.open(address, handler).await
    }
}

/// A user's handler until somebody was told that its connection is open.
struct Opening<H> {
    handler: H,
    opened: Option<oneshot::Sender<Sender>>,
}

impl<H: Handler> Handler for Opening<H> {
    fn on_open(&mut self, conn: &mut Context<'_>) {
        self.handler.on_open(conn);
        let sender = conn.sender();
        if self.opened.take().is_some_and(|opened| opened.send(sender).is_err()) {
            conn.close();
        }
    }

    fn on_message(&mut self, conn: &mut Context<'_>, message: Message<'_>) {
        self.handler.on_message(conn, message);
    }

    fn on_batch_end(&mut self, conn: &mut Context<'_>) {
        self.handler.on_batch_end(conn);
    }

    fn on_drain(&mut self, conn: &mut Context<'_>) {
        self.handler.on_drain(conn);
    }

    fn on_peer_end(&mut self, conn: &mut Context<'_>) {
        self.handler.on_peer_end(conn);
    }

    fn on_close(&mut self, conn: &mut Context<'_>, reason: &CloseReason) {
        self.handler.on_close(conn, reason);
    }
}

/// The addresses to try, in order.
async fn system_addrs(address: &Address) -> std::io::Result<Vec<SockAddr>> {
    match address {
        Address::Tcp { host, port } | Address::Tls { host, port } => {
            Ok(resolve(host, *port).await?.into_iter().map(SockAddr::from).collect())
        }
        unix => Ok(vec![unix_addr(unix)?]),
    }
}

/// Long enough for two lost SYNs (1 s, 3 s, 7 s), short enough for a person who waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
