//! Options that servers and clients set alike.

/// Methods of a builder whose `options` are [`Options`](crate::options::Options).
macro_rules! shared_options {
    () => {
        /// Which driver to use. Default [`Backend::Auto`](crate::Backend::Auto).
        pub fn backend(mut self, backend: $crate::Backend) -> Self {
            self.options.backend = backend;
            self
        }

        /// How a shard without work waits, on the engine; the portable driver always sleeps. A client with another
        /// mode than the default gets an engine of its own. Default: [`WaitMode::Auto`](crate::WaitMode::Auto).
        pub fn wait(mut self, mode: $crate::WaitMode) -> Self {
            self.options.wait = mode;
            self
        }

        /// How much of one connection is submitted before the others get their turn. Clients that ask for different
        /// slices share no engine. Default: what the environment says (`QWORMHOLE_FORCE_SLICE_BYTES`,
        /// `QWORMHOLE_FORCE_SLICE`, `QWORMHOLE_ADAPTIVE_SLICES`), else [`Slicing::Auto`](crate::Slicing::Auto).
        pub fn slicing(mut self, slicing: $crate::Slicing) -> Self {
            self.options.slicing = Some(slicing);
            self
        }

        /// The bounds of each connection.
        pub fn limits(mut self, limits: $crate::Limits) -> Self {
            self.options.config.limits = limits;
            self
        }

        /// How messages are told apart. Default [`Framing::LengthPrefixed`](crate::Framing::LengthPrefixed).
        pub fn framing(mut self, framing: $crate::Framing) -> Self {
            self.options.config.framing = framing;
            self
        }

        /// Options of the sockets. Accepted connections inherit those of the listening sockets.
        pub fn sockets(mut self, options: $crate::SocketOptions) -> Self {
            self.options.sockets = options;
            self
        }

        /// How much may wait for a task that reads from a [`Connection`](crate::Connection); of no use to
        /// handlers.
        pub fn inbox(mut self, limits: $crate::InboxLimits) -> Self {
            self.options.inbox = limits;
            self
        }

        /// TLS from the first byte, never less: a peer without it is refused by name. What is not set here comes
        /// from the environment (`QWORMHOLE_TLS_…`). Default: none, unless `QWORMHOLE_TLS_ENABLED` says so.
        pub fn tls(mut self, options: $crate::TlsOptions) -> Self {
            self.options.tls = Some(options);
            self
        }

        /// How fast messages may leave, per connection. Default: what `QWORMHOLE_FORCE_RATE_BYTES` says, else as fast
        /// as the peer takes them.
        pub fn rate_limit(mut self, limit: impl Into<Option<$crate::RateLimit>>) -> Self {
            self.options.config.rate_limit = limit.into();
            self
        }

        /// A message sent at every interval, behind everything else. Default: none.
        pub fn heartbeat(mut self, heartbeat: impl Into<Option<$crate::Heartbeat>>) -> Self {
            self.options.config.heartbeat = heartbeat.into();
            self
        }

        /// Tells `callback` of every connection that ended, rejected ones included: who the peer was, why and what
        /// was moved. It runs on a shard's thread after the handler and must not block. Default: nobody is told.
        pub fn on_trust_snapshot(
            mut self,
            callback: impl Fn(&$crate::TrustSnapshot) + Send + Sync + 'static,
        ) -> Self {
            self.options.config.on_trust_snapshot = qwormhole_proto::TrustHook::new(callback);
            self
        }

        /// Whether a connection may go on sending after its peer ended the other direction. Default false: what is
        /// queued then still leaves and the connection closes. With true, `Handler::on_peer_end` decides, which closes
        /// by default; a [`Connection`](crate::Connection) sees the end of its messages and sends until it is closed
        /// or dropped. A peer that vanishes meanwhile is noticed when something is sent to it.
        pub fn allow_half_open(mut self, allow: bool) -> Self {
            self.options.config.allow_half_open = allow;
            self
        }

        /// What happens when a message finds its connection's outbox full. Default:
        /// [`OverflowPolicy::Refuse`](crate::OverflowPolicy::Refuse).
        pub fn overflow(mut self, policy: $crate::OverflowPolicy) -> Self {
            self.options.config.overflow = policy;
            self
        }
    };
}

pub(crate) use shared_options;
