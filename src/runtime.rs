//! Defaults that the servers and clients of one program share.

use qwormhole_proto::Backoff;
use qwormhole_proto::handshake::{ClientHandshake, HandshakePolicy};

use crate::address::{Address, AddressError};
use crate::builder::ServerBuilder;
use crate::builder_options::shared_options;
use crate::client::ClientBuilder;
use crate::connection::Connection;
use crate::environment::Environment;
use crate::error::{ConnectError, StartError};
use crate::link::LinkBuilder;
use crate::listener::Listener;
use crate::options::Options;

/// Options set once for all servers and clients of a program; cheap to clone. It runs nothing by itself.
///
/// What is set on a builder that the runtime gave wins over the runtime's options, which win over the environment,
/// which wins over defaults.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let runtime = qwormhole::Runtime::builder().bind_host("127.0.0.1").build()?;
/// let mut listener = runtime.listen(0)?;
/// pollster::block_on(async {
///     let mut conn = runtime.connect(&listener.local_addrs()[0]).await?;
///     conn.send("hello").await?;
///     let mut accepted = listener.accept().await.ok_or("the listener ended")?;
///     assert_eq!(accepted.recv().await.ok_or("the connection ended")??, "hello");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Runtime {
    defaults: RuntimeBuilder,
    environment: Environment,
}

/// Sets up a [`Runtime`]. Made by [`Runtime::builder`].
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is set up before `build`"]
pub struct RuntimeBuilder {
    options: Options,
    handshake: Option<ClientHandshake>,
    policy: Option<HandshakePolicy>,
    backoff: Backoff,
    bind_host: Option<String>,
}

impl Runtime {
    /// Sets up a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// A server with the runtime's options.
    pub fn server(&self) -> ServerBuilder {
        let builder = ServerBuilder::new(self.defaults.options.clone());
        self.defaults.policy.iter().cloned().fold(builder, ServerBuilder::handshake)
    }

    /// A client with the runtime's options.
    pub fn client(&self) -> ClientBuilder {
        let builder = ClientBuilder::new(self.defaults.options.clone());
        self.defaults.handshake.iter().cloned().fold(builder, ClientBuilder::handshake)
    }

    /// Listens on `port` of the bind host: the option, else `QWORMHOLE_BIND_HOST`, else `127.0.0.1`. Port 0 lets
    /// the system choose.
    ///
    /// # Errors
    ///
    /// As [`ServerBuilder::listen`].
    pub fn listen(&self, port: u16) -> Result<Listener, StartError> {
        let host = self.defaults.bind_host.as_ref().or(self.environment.bind_host.as_ref());
        let host = host.map_or(BIND_HOST, String::as_str);
        // An address is given in brackets where a port follows; here none does.
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        self.server().bind(Address::Tcp { host: bare.to_owned(), port })?.listen()
    }

    /// Connects; see [`Client::connect`](crate::Client::connect).
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::build`] and [`Client::connect`](crate::Client::connect).
    ///
    /// # Cancel safety
    ///
    /// As [`Client::connect`](crate::Client::connect).
    pub async fn connect<A>(&self, address: A) -> Result<Connection, ConnectError>
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
    {
        self.client().connect(address).await
    }

    /// Sets up a connection that is made again whenever it is lost; see [`Link`](crate::Link).
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::build`].
    pub fn link<A>(&self, address: A) -> Result<LinkBuilder, StartError>
    where
        A: TryInto<Address>,
        AddressError: From<A::Error>,
    {
        Ok(self.client().build()?.link(address).reconnect(self.defaults.backoff.clone()))
    }

    /// What the environment said when the runtime was built.
    pub const fn environment(&self) -> &Environment {
        &self.environment
    }
}

impl RuntimeBuilder {
    shared_options!();

    /// The handshake that clients send; see [`ClientBuilder::handshake`].
    pub fn handshake(mut self, handshake: ClientHandshake) -> Self {
        self.handshake = Some(handshake);
        self
    }

    /// The rules by which servers accept handshakes; see [`ServerBuilder::handshake`].
    pub fn handshake_policy(mut self, policy: HandshakePolicy) -> Self {
        self.policy = Some(policy);
        self
    }

    /// How long links wait between attempts. Default [`Backoff::default`].
    pub fn reconnect(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Where [`Runtime::listen`] listens: a name or a numeric address; `0.0.0.0` or `::` for every interface.
    /// Default `127.0.0.1`, so that nobody serves the network without having said so.
    pub fn bind_host(mut self, host: impl Into<String>) -> Self {
        self.bind_host = Some(host.into());
        self
    }

    /// What to take for the environment. Default [`Environment::read`] in [`RuntimeBuilder::build`].
    pub fn environment(mut self, environment: Environment) -> Self {
        self.options.environment = Some(environment);
        self
    }

    /// Makes the runtime.
    ///
    /// # Errors
    ///
    /// An environment variable or an option that cannot work.
    pub fn build(self) -> Result<Runtime, StartError> {
        let mut defaults = self;
        defaults.options.config.validate()?;
        defaults.options.inbox.validate()?;
        defaults.backoff.validate()?;
        defaults.policy.as_ref().map_or(Ok(()), HandshakePolicy::validate)?;
        defaults.handshake.as_ref().map_or(Ok(()), ClientHandshake::validate)?;
        let environment = defaults.options.environment()?;
        defaults.options.environment = Some(environment.clone());
        Ok(Runtime { defaults, environment })
    }
}

/// Reached from this machine only.
const BIND_HOST: &str = "127.0.0.1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Framing, Limits};

    fn host_of(runtime: &Runtime) -> String {
        let listener = runtime.listen(0).unwrap();
        let Address::Tcp { host, .. } = &listener.local_addrs()[0] else { panic!("not TCP") };
        host.clone()
    }

    #[test]
    fn an_option_wins_over_the_environment_and_that_over_the_default() {
        let environment = |host: &str| Environment::from_map([("QWORMHOLE_BIND_HOST", host)]).unwrap();
        let builder = || Runtime::builder().environment(environment("127.0.0.2"));
        assert_eq!(host_of(&builder().bind_host("127.0.0.3").build().unwrap()), "127.0.0.3");
        assert_eq!(host_of(&builder().build().unwrap()), "127.0.0.2");
        let default = Runtime::builder().environment(Environment::default()).build().unwrap();
        assert_eq!(host_of(&default), "127.0.0.1");
        let brackets = Runtime::builder().environment(environment("[::1]")).build().unwrap();
        assert_eq!(host_of(&brackets), "::1");
    }

    #[test]
    fn options_reach_servers_and_clients() {
        let mut limits = Limits::default();
        limits.max_send_frame_len = 3;
        let runtime = Runtime::builder()
            .environment(Environment::default())
            .limits(limits)
            .framing(Framing::None)
            .build()
            .unwrap();
        for debug in [format!("{:?}", runtime.server()), format!("{:?}", runtime.client())] {
            assert!(debug.contains("max_send_frame_len: 3") && debug.contains("framing: None"), "{debug}");
        }
    }

    #[test]
    fn an_option_that_cannot_work_is_refused_at_once() {
        let mut backoff = Backoff::default();
        backoff.multiplier = 0.0;
        let error = Runtime::builder().reconnect(backoff).build().unwrap_err();
        assert!(error.to_string().contains("reconnect.multiplier"), "{error}");
    }
}
