//! What JavaScript asks for: an object that came as JSON, checked and turned into the facade's builders.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use qwormhole::handshake::{ClientHandshake, HandshakePolicy, NegentropicSigner, Tag, Verifier};
use qwormhole::{
    Address, AddressError, Backend, Environment, Framing, Limits, RateLimit, Runtime, SocketOptions,
    StartError,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::facts::note_accepted;
use crate::tls::TlsWishes;

/// Options of clients and servers. Unknown keys and those of another type than expected are the glue's affair.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Wishes {
    pub(crate) host: Option<String>,
    pub(crate) port: u16,
    pub(crate) path: Option<String>,
    framing: Option<String>,
    max_frame_length: Option<u32>,
    backend: Option<String>,
    pub(crate) tls: Option<TlsWishes>,
    keep_alive: Option<bool>,
    keep_alive_delay_ms: Option<f64>,
    idle_timeout_ms: Option<f64>,
    rate_limit_bytes_per_sec: Option<f64>,
    rate_limit_burst_bytes: Option<f64>,
    queue_bytes_max: Option<f64>,
    inbox_bytes: Option<f64>,
    pub(crate) allow_half_open: bool,
    // Clients.
    pub(crate) connect_timeout_ms: Option<f64>,
    local_address: Option<String>,
    local_port: Option<u16>,
    interface_name: Option<String>,
    handshake: Option<HandshakeWishes>,
    // Servers.
    protocol_version: Option<String>,
    require_signed: bool,
    pub(crate) max_clients: Option<f64>,
    pub(crate) shards: Option<usize>,
    reuse_port: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HandshakeWishes {
    protocol_version: String,
    tags: Map<String, Value>,
    signer: Option<SignerWishes>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignerWishes {
    secret_key: String,
}

impl Wishes {
    /// Of the JSON that the glue wrote.
    ///
    /// # Errors
    ///
    /// Which key has a value of the wrong type.
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| format!("Invalid options: {error}"))
    }

    pub(crate) fn framing(&self) -> Framing {
        match self.framing.as_deref() {
            Some("none" | "kcp-arq" | "quic-stream") => Framing::None,
            _ => Framing::LengthPrefixed,
        }
    }

    /// Where to listen or whom to call.
    pub(crate) fn address(&self) -> Result<Address, AddressError> {
        match &self.path {
            Some(path) => format!("unix:{path}").parse(),
            None => {
                let host = self.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(HOST).to_owned();
                // As in a URL; elsewhere in Node brackets are no part of an address.
                let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
                Ok(Address::Tcp { host: bare.to_owned(), port: self.port })
            }
        }
    }

    /// Bytes that JavaScript may queue on one connection. Half of them may have moved on to the shard's own queue, so
    /// that the sum stays below the option.
    pub(crate) fn queue_bytes_max(&self) -> usize {
        (bytes(self.queue_bytes_max).unwrap_or(QUEUE_BYTES_MAX) / 2).max(1)
    }

    /// Bytes of one connection that wait for JavaScript before reading stops.
    pub(crate) fn inbox_bytes(&self) -> usize {
        bytes(self.inbox_bytes).unwrap_or(INBOX_BYTES).max(1)
    }

    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.max_frame_len = self.max_frame_length.filter(|len| *len > 0).unwrap_or(limits.max_frame_len);
        // As QWormhole: only the receiver has a limit, besides the queue's.
        limits.max_send_frame_len = u32::MAX;
        limits.remote_bytes_max = self.queue_bytes_max();
        // QWormhole waits for slow peers; what they may cost is bounded by the queue.
        limits.stall_timeout = Duration::ZERO;
        limits.idle_timeout = millis(self.idle_timeout_ms).unwrap_or_default();
        limits
    }

    pub(crate) fn sockets(&self) -> Result<SocketOptions, String> {
        let mut sockets = SocketOptions::default();
        sockets.reuse_port = self.reuse_port;
        if self.keep_alive == Some(false) {
            sockets.keepalive = None;
        } else if let Some(delay) = millis(self.keep_alive_delay_ms).filter(|delay| !delay.is_zero()) {
            sockets.keepalive = Some(delay);
        }
        if self.local_address.is_some() || self.local_port.is_some_and(|port| port > 0) {
            let text = self.local_address.as_deref().unwrap_or(HOST);
            let ip: IpAddr = text.parse().map_err(|_| format!("Invalid local address: {text}"))?;
            sockets.local_addr = Some(SocketAddr::new(ip, self.local_port.unwrap_or(0)));
        }
        sockets.interface.clone_from(&self.interface_name);
        Ok(sockets)
    }

    pub(crate) fn rate_limit(&self) -> Option<RateLimit> {
        let rate = self.rate_limit_bytes_per_sec.filter(|rate| *rate >= 1.0)? as u64;
        // A smaller burst could not be kept by timers.
        let burst =
            self.rate_limit_burst_bytes.filter(|burst| *burst >= 1.0).map_or(rate, |burst| burst as u64);
        Some(RateLimit::new(rate).with_burst(burst.max(rate.div_ceil(BURSTS_PER_S)).max(1)))
    }

    /// What the facade starts from. QWormhole's native classes do not look at the environment; the package reads it
    /// in JavaScript. What is left to the engine is how bytes are cut and how fast they leave.
    pub(crate) fn runtime(&self) -> Result<Runtime, StartError> {
        let mut environment = Environment::read()?;
        environment.protocol_version = None;
        environment.require_handshake = None;
        environment.tls = Environment::default().tls;
        let builder = Runtime::builder().environment(environment);
        match self.backend.as_deref().and_then(|name| name.parse::<Backend>().ok()) {
            Some(backend) => builder.backend(backend),
            None => builder,
        }
        .build()
    }

    /// By which rules a server accepts handshakes, if it asks for any.
    pub(crate) fn policy(&self) -> Option<HandshakePolicy> {
        let version = self.protocol_version.as_ref().filter(|version| !version.is_empty())?;
        let policy = HandshakePolicy::new(version.as_str()).verifier(Verifier::sync(|handshake, _| {
            note_accepted(handshake);
            true
        }));
        Some(if self.require_signed { policy.require_signed() } else { policy })
    }

    /// The handshake of a client, if it sends one.
    pub(crate) fn handshake(&self) -> Result<Option<ClientHandshake>, String> {
        let Some(wishes) = &self.handshake else { return Ok(None) };
        let mut handshake = ClientHandshake::new(wishes.protocol_version.as_str());
        for (name, value) in &wishes.tags {
            handshake = handshake.tag(name, tag(name, value)?);
        }
        if let Some(signer) = &wishes.signer {
            let signer = NegentropicSigner::from_pkcs8_base64(&signer.secret_key);
            handshake = handshake.signer(signer.map_err(|error| error.to_string())?);
        }
        Ok(Some(handshake))
    }
}

fn tag(name: &str, value: &Value) -> Result<Tag, String> {
    match value {
        Value::String(text) => Ok(text.as_str().into()),
        Value::Number(number) => Ok(number.as_f64().unwrap_or_default().into()),
        _ => Err(format!("Invalid handshake payload: tag {name} must be a string or a number")),
    }
}

fn bytes(option: Option<f64>) -> Option<usize> {
    option.filter(|bytes| *bytes >= 1.0).map(|bytes| bytes as usize)
}

/// Milliseconds of JavaScript; fractions count.
pub(crate) fn millis(option: Option<f64>) -> Option<Duration> {
    let ms = option.filter(|ms| ms.is_finite() && *ms >= 0.0)?;
    Some(Duration::from_secs_f64(ms.min(MILLIS_MAX) / 1000.0))
}

/// Every interface of IPv4.
const HOST: &str = "0.0.0.0";
/// What a client may queue that nobody takes; then it gets an error and a close.
const QUEUE_BYTES_MAX: usize = 256 << 20;
/// A few milliseconds of a fast link, and small beside a process of Node.
const INBOX_BYTES: usize = 1 << 20;
/// As the facade asks.
const BURSTS_PER_S: u64 = 50;
/// A hundred days.
const MILLIS_MAX: f64 = 100.0 * 24.0 * 3_600_000.0;
