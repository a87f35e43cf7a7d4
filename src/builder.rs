//! How a server is set up.

use std::fmt;
use std::net::TcpListener;
#[cfg(unix)]
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use qwormhole_proto::handshake::HandshakePolicy;
use qwormhole_proto::{
    CloseReason, ConfigError, ConnId, Endpoint, Fanout, PeerInfo, RejectHook, Service, TlsRole,
};

use crate::address::{Address, AddressError};
use crate::builder_options::shared_options;
use crate::error::StartError;
use crate::host::{Host, Running};
use crate::housekeeping::{Chores, Housekeeping};
use crate::listen::{Binding, Target};
use crate::listener::Listener;
use crate::options::{Options, cpus_allowed};
use crate::security::{server_handshake, server_tls};
use crate::server::{Server, ServerParts};
use crate::telemetry::Telemetry;

/// Sets up a [`Server`] or a [`Listener`]. Made by [`Server::builder`]; every option has a default that is safe
/// on the internet.
#[must_use = "nothing listens before `start` or `listen`"]
pub struct ServerBuilder {
    targets: Vec<Target>,
    options: Options,
    max_connections: usize,
    unix_mode: Option<u32>,
    handshake: Option<HandshakePolicy>,
    allow: Option<Box<AllowPeer>>,
    chores: Chores,
}

type AllowPeer = dyn Fn(&PeerInfo) -> bool + Send + Sync;

impl ServerBuilder {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            targets: Vec::new(),
            options,
            max_connections: CONNECTIONS_MAX,
            unix_mode: None,
            handshake: None,
            allow: None,
            chores: Chores::default(),
        }
    }

    /// Adds an address to listen on; see [`Address`] for what it may look like. Binding happens in `start`,
    /// which also resolves names, on the calling thread: every address of a name is bound. `[::]` takes IPv4
    /// too, unless `0.0.0.0` is bound beside it.
    ///
    /// The file of a unix socket is replaced if no server answers there any more, and removed at the end.
    ///
    /// # Errors
    ///
    /// What is wrong with the address and what would be right.
    pub fn bind<A>(mut self, address: A) -> Result<Self, AddressError>
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
    {
        self.targets.push(Target::Address(address.try_into()?));
        Ok(self)
    }

    /// Adds a listener that is bound already. Its first shard accepts and hands connections out in turn.
    pub fn bind_listener(mut self, listener: TcpListener) -> Self {
        self.targets.push(Target::Socket(listener.into()));
        self
    }

    /// Adds a bound TCP or unix stream socket, for instance one inherited from a parent process. The file of a
    /// unix socket stays its owner's.
    #[cfg(unix)]
    pub fn bind_fd(mut self, socket: impl Into<OwnedFd>) -> Self {
        self.targets.push(Target::Socket(socket.into().into()));
        self
    }

    /// Adds the listeners that systemd passed (`LISTEN_FDS`), none if it passed none. Can be used once per
    /// process: the variables are removed. Call it before the process has other threads, because it changes
    /// the environment.
    ///
    /// # Errors
    ///
    /// A descriptor that is not a TCP or unix stream socket.
    #[cfg(unix)]
    pub fn bind_inherited(mut self) -> Result<Self, StartError> {
        let mut inherited = listenfd::ListenFd::from_env();
        for index in 0..inherited.len() {
            let socket = match inherited.take_tcp_listener(index) {
                Ok(listener) => listener.map(Into::into),
                Err(_) => inherited
                    .take_unix_listener(index)
                    .map_err(|source| StartError::Bind {
                        address: "an inherited descriptor".to_owned(),
                        source,
                    })?
                    .map(Into::into),
            };
            self.targets.extend(socket.map(Target::Socket));
        }
        Ok(self)
    }

    /// The number of shards, each one thread; 1 to 256. Default: the CPUs the process may use by its affinity
    /// mask and its quota, at most 256.
    pub fn shards(mut self, shards: usize) -> Self {
        self.options.shards = Some(shards);
        self
    }

    /// Pins the shards to these CPUs, in turn. Default: none is pinned.
    pub fn cpus(mut self, cpus: impl IntoIterator<Item = usize>) -> Self {
        self.options.cpus = cpus.into_iter().collect();
        self
    }

    /// Connections open at a time, over all addresses and shards; more are refused and counted. Default
    /// 16,384. Worst-case memory of one connection: see [`Limits`](crate::Limits).
    pub fn max_connections(mut self, max_connections: usize) -> Self {
        self.max_connections = max_connections;
        self
    }

    shared_options!();

    /// Asks every client for a handshake before its handler is made, and by which rules it is accepted. Default:
    /// none is expected, unless `QWORMHOLE_PROTOCOL_VERSION` or `QWORMHOLE_REQUIRE_HANDSHAKE` is set.
    pub fn handshake(mut self, policy: HandshakePolicy) -> Self {
        self.handshake = Some(policy);
        self
    }

    /// Asks `allow` about each peer that connects, once there is a place for it: `max_connections` comes first.
    /// A refused peer is closed at once, counted and reported to [`ServerBuilder::on_reject`]. Runs on a shard's
    /// thread before anything is read, and must not block; a panic refuses. Default: everybody is allowed.
    pub fn allow(mut self, allow: impl Fn(&PeerInfo) -> bool + Send + Sync + 'static) -> Self {
        self.allow = Some(Box::new(allow));
        self
    }

    /// Tells `callback` of every connection that ended before its handler was opened, and why: refused by
    /// `max_connections` ([`CloseReason::Refused`]) or by [`ServerBuilder::allow`] ([`CloseReason::NotAllowed`]),
    /// or a service that panicked. Neither `on_open` nor `on_close` runs for such a connection. Runs on a shard's
    /// thread and must not block; panics are contained. Default: nobody is told.
    pub fn on_reject(mut self, callback: impl Fn(&PeerInfo, &CloseReason) + Send + Sync + 'static) -> Self {
        self.options.config.on_reject = RejectHook::new(callback);
        self
    }

    /// Calls `callback` with the server's counters every `interval` in which they changed, and a last time when
    /// the server has ended. It runs on a thread of its own, one per server, which ends with the server:
    /// dropping the server waits for a call under way. Panics are contained. `interval` must be above zero; 1 s
    /// is a good one. Default: nobody is told, and there is no thread.
    pub fn on_telemetry(
        mut self,
        interval: Duration,
        callback: impl FnMut(&Telemetry) + Send + 'static,
    ) -> Self {
        self.chores.interval = interval;
        self.chores.on_telemetry = Some(Box::new(callback));
        self
    }

    /// Publishes the server's counters to the process' recorder of the `metrics` facade, at the interval of
    /// [`ServerBuilder::on_telemetry`], or every second. Names: `qwormhole_connections`,
    /// `qwormhole_bytes_total{dir}`, `qwormhole_frames_total{dir}` and `qwormhole_*_total` for the other fields of
    /// [`Telemetry`]. Servers of one process add up.
    #[cfg(feature = "metrics")]
    pub fn publish_metrics(mut self) -> Self {
        self.chores.metrics = true;
        self
    }

    /// Permissions of unix socket files, such as `0o660`: who may connect. Default: what the process' umask
    /// leaves.
    #[cfg(unix)]
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.unix_mode = Some(mode);
        self
    }

    /// Starts the server. Each shard gets a clone of `service`; a closure `|peer: &PeerInfo| -> impl Handler`
    /// is a service.
    ///
    /// # Errors
    ///
    /// An option that cannot work, an address that cannot be bound, a backend that cannot run. Nothing is left
    /// running or bound then.
    pub fn start<S: Service + Clone + Send>(self, service: S) -> Result<Server, StartError> {
        self.start_with(move |_shard| service.clone())
    }

    /// Starts the server with services that are made on their shards, once each, and need neither be `Clone`
    /// nor `Send`.
    ///
    /// # Errors
    ///
    /// As [`ServerBuilder::start`].
    pub fn start_with<S, F>(mut self, make_service: F) -> Result<Server, StartError>
    where
        S: Service,
        F: Fn(usize) -> S + Clone + Send + 'static,
    {
        let connections_max = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        if !(1..=ConnId::SLOTS_MAX).contains(&connections_max) {
            let fix = "must be between 1 and 16,777,216";
            return Err(ConfigError { option: "max_connections", fix }.into());
        }
        let environment = self.options.environment()?;
        let tls = server_tls(self.options.tls.take(), &environment)?;
        if tls.is_none() && self.targets.iter().any(Target::asks_for_tls) {
            let fix = "a tls:// address needs a key and a certificate: call `tls`, or set QWORMHOLE_TLS_KEY and _CERT";
            return Err(ConfigError { option: "tls", fix }.into());
        }
        self.options.config.tls = tls.clone().map(TlsRole::Server);
        self.options.config.rate_limit = self.options.config.rate_limit.or(environment.rate_limit);
        self.options.slicing = self.options.slicing.or(environment.slicing);
        self.options.config.handshake = server_handshake(self.handshake.take(), &environment)?;
        if self.chores.interval.is_zero() {
            return Err(
                ConfigError { option: "on_telemetry", fix: "must have an interval above zero" }.into()
            );
        }
        let options = self.options.driver_options(cpus_allowed(), connections_max, "qwormhole")?;
        let binding = Binding {
            shards: options.shards,
            unix_mode: self.unix_mode,
            options: &self.options.sockets,
            limits: &self.options.config.limits,
        };
        let mut bound = binding.bind(self.targets)?;
        if tls.is_some() {
            bound.addrs = bound.addrs.into_iter().map(Address::over_tls).collect();
        }
        let host = Host::start(self.options.backend, &options, make_service)?;
        let config = Arc::new(self.options.config);
        let endpoint = Endpoint::new(self.max_connections).with_on_reject(config.on_reject.clone());
        let endpoint = match self.allow {
            Some(allow) => endpoint.with_allow(allow),
            None => endpoint,
        };
        let housekeeping = Housekeeping::start(self.chores, host.watch()).map_err(StartError::Thread)?;
        for (group, address) in bound.groups.into_iter().zip(&bound.addrs) {
            host.listen(group, endpoint.clone(), config.clone())
                .map_err(|source| StartError::Bind { address: address.to_string(), source })?;
        }
        let report = host.report().clone();
        let fanout = Fanout::new(config);
        let parts = ServerParts { housekeeping, endpoint, fanout, report, addrs: bound.addrs, tls };
        let server = Server::new(Box::new(host), parts);
        #[cfg(unix)]
        let server = server.with_files(bound.files);
        Ok(server)
    }

    /// Starts a server whose connections are taken by async code.
    ///
    /// # Errors
    ///
    /// As [`ServerBuilder::start`].
    pub fn listen(self) -> Result<Listener, StartError> {
        let inbox = self.options.inbox;
        Listener::start(self, inbox)
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("targets", &self.targets)
            .field("options", &self.options)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// Below the descriptors most systems grant a service.
const CONNECTIONS_MAX: usize = 16 << 10;
