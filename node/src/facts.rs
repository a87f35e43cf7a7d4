//! What JavaScript is told about connections, as JSON: it happens once per connection, and JavaScript reads JSON faster
//! than native code makes objects.

use std::cell::Cell;

use qwormhole::handshake::{HandshakeFault, HandshakeInfo, Tag, TlsSnapshot};
use qwormhole::{CloseReason, ConnectError, PeerAddr, PeerInfo, StartError, TlsFacts};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::lane::Fault;

/// A connection that opened.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Opened {
    #[serde(flatten)]
    remote: Remote,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls>,
    #[serde(skip_serializing_if = "Option::is_none")]
    handshake: Option<Handshake>,
}

/// A connection that ended, or could not be made.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ended {
    had_error: bool,
    code: String,
    message: String,
}

/// A connection that ended before it was open.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rejected {
    #[serde(flatten)]
    remote: Remote,
    /// Whether it was let in and then failed, or was refused at once.
    admitted: bool,
    #[serde(flatten)]
    ended: Ended,
}

/// A server that could not start.
#[derive(Serialize)]
pub(crate) struct NotStarted {
    code: String,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Remote {
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_port: Option<u16>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tls {
    #[serde(skip_serializing_if = "Option::is_none")]
    alpn_protocol: Option<String>,
    protocol: String,
    cipher: String,
    authorized: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_fingerprint256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls_session_key: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Handshake {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_index: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    neg_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<Tls>,
    /// All of it, as JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<String>,
}

thread_local! {
    /// The handshake that this shard accepted last. A connection opens in the same breath, on the same thread.
    static ACCEPTED: Cell<Option<String>> = const { Cell::new(None) };
}

/// Keeps the payload of a handshake for the connection that opens next.
pub(crate) fn note_accepted(handshake: &qwormhole::handshake::Handshake) {
    ACCEPTED.set(Some(String::from_utf8_lossy(&handshake.encode()).into_owned()));
}

impl Opened {
    pub(crate) fn of(peer: &PeerInfo) -> Self {
        Self {
            remote: Remote::of(&peer.addr),
            tls: peer.tls.as_deref().map(Tls::of_facts),
            handshake: peer.handshake.as_deref().map(Handshake::of),
        }
    }
}

impl Ended {
    /// A connection that was open.
    pub(crate) fn of(reason: &CloseReason, fault: Option<Fault>) -> Self {
        match fault {
            // As a timeout in `net`: nothing went wrong.
            None => Self {
                had_error: reason.had_error() && *reason != CloseReason::IdleTimeout,
                code: code(reason).into(),
                message: message(reason),
            },
            Some(fault) => Self::by_fault(fault),
        }
    }

    /// A connection that this side cut.
    pub(crate) fn by_fault(fault: Fault) -> Self {
        match fault {
            Fault::QueueFull => Self::with_error("E_BACKPRESSURE", "Backpressure limit exceeded"),
            Fault::TooLarge => Self::with_error("E_FRAME_TOO_LARGE", "A message exceeds the frame limit"),
        }
    }

    /// A connection that was not made.
    pub(crate) fn unconnected(error: &ConnectError) -> Self {
        let code = match error {
            ConnectError::TimedOut { .. } => "E_CONNECT_TIMEOUT".into(),
            ConnectError::Interface { .. } => "E_INTERFACE_NOT_FOUND".into(),
            ConnectError::Resolve { .. } | ConnectError::NoAddress { .. } => "ENOTFOUND".into(),
            ConnectError::Failed { source, .. } => system_code(source),
            ConnectError::Closed { reason, .. } => code(reason).into(),
            ConnectError::Start(_) | ConnectError::Address(_) => "E_OPTION".into(),
            _ => "E_CONNECT".to_owned(),
        };
        Self::with_error(&code, &error.to_string())
    }

    /// A connection that JavaScript gave up before it was made.
    pub(crate) fn given_up() -> Self {
        Self { had_error: false, code: "local".into(), message: CloseReason::Local.to_string() }
    }

    pub(crate) fn with_error(code: &str, message: &str) -> Self {
        Self { had_error: true, code: code.into(), message: message.into() }
    }
}

impl Rejected {
    pub(crate) fn of(peer: &PeerInfo, reason: &CloseReason) -> Self {
        Self {
            remote: Remote::of(&peer.addr),
            admitted: !matches!(reason, CloseReason::Refused | CloseReason::NotAllowed),
            ended: Ended { had_error: true, code: code(reason).into(), message: message(reason) },
        }
    }
}

impl NotStarted {
    pub(crate) fn of(error: &StartError) -> Self {
        let code = match error {
            StartError::Bind { source, .. } => system_code(source),
            _ => "E_OPTION".to_owned(),
        };
        Self { code, message: error.to_string() }
    }
}

impl Remote {
    /// An IPv4 peer of a dual-stack listener has its plain address.
    fn of(addr: &PeerAddr) -> Self {
        match addr {
            PeerAddr::Ip(addr) => Self {
                remote_address: Some(addr.ip().to_canonical().to_string()),
                remote_port: Some(addr.port()),
            },
            PeerAddr::Unix(path) => Self {
                remote_address: path.as_ref().map(|path| path.display().to_string()),
                remote_port: None,
            },
            _ => Self { remote_address: None, remote_port: None },
        }
    }
}

impl Tls {
    fn of_facts(facts: &TlsFacts) -> Self {
        Self {
            alpn_protocol: facts.alpn.clone(),
            protocol: facts.version.to_string(),
            cipher: facts.cipher.to_owned(),
            authorized: facts.authorized,
            peer_fingerprint: facts.peer_fingerprint.clone(),
            peer_fingerprint256: facts.peer_fingerprint256.clone(),
            tls_session_key: None,
        }
    }

    fn of_snapshot(snapshot: &TlsSnapshot) -> Self {
        Self {
            alpn_protocol: snapshot.alpn.clone(),
            protocol: snapshot.protocol.clone(),
            cipher: snapshot.cipher.clone(),
            authorized: snapshot.authorized,
            peer_fingerprint: snapshot.peer_fingerprint.clone(),
            peer_fingerprint256: snapshot.peer_fingerprint256.clone(),
            tls_session_key: snapshot.session_key.clone(),
        }
    }
}

impl Handshake {
    fn of(info: &HandshakeInfo) -> Self {
        let tags = info.tags.iter().map(|(name, tag)| (name.to_string_lossy().into_owned(), value(tag)));
        Self {
            version: info.version.clone(),
            tags: (!info.tags.is_empty()).then(|| tags.collect()),
            n_index: info.n_index,
            neg_hash: info.neg_hash.clone(),
            tls: info.tls.as_ref().map(Tls::of_snapshot),
            payload: ACCEPTED.take(),
        }
    }
}

/// What JavaScript parses.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    // Structures of texts and numbers are always JSON.
    serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned())
}

fn value(tag: Tag) -> Value {
    match tag {
        Tag::Text(text) => Value::String(text.to_string_lossy().into_owned()),
        Tag::Number(number) if number.fract() == 0.0 && number.abs() < SAFE_INTEGER => (number as i64).into(),
        Tag::Number(number) => number.into(),
    }
}

/// QWormhole's code where it has one, else a short name.
fn code(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::PeerClosed => "peer-closed",
        CloseReason::PeerTruncated => "truncated",
        CloseReason::PeerReset => "ECONNRESET",
        CloseReason::FrameTooLarge(_) => "E_FRAME_TOO_LARGE",
        CloseReason::FrameTimeout => "frame-timeout",
        CloseReason::Stalled => "stalled",
        CloseReason::Backpressure => "E_BACKPRESSURE",
        CloseReason::IdleTimeout => "idle",
        CloseReason::Local => "local",
        CloseReason::Shutdown => "shutdown",
        CloseReason::Handshake(fault) => fault.code().unwrap_or("E_INVALID_HANDSHAKE"),
        CloseReason::HandshakeTimeout => "handshake-timeout",
        CloseReason::HandshakeOverload => "handshake-overload",
        CloseReason::Tls(_) => "tls",
        CloseReason::Refused => "E_MAX_CLIENTS",
        CloseReason::NotAllowed => "not-allowed",
        _ => "E_TRANSPORT",
    }
}

fn message(reason: &CloseReason) -> String {
    match reason {
        CloseReason::Refused => "Max clients reached".to_owned(),
        CloseReason::Handshake(HandshakeFault::NotJson { at }) => {
            format!("Failed to parse handshake: not JSON at byte {at}")
        }
        CloseReason::Handshake(HandshakeFault::Payload { path, .. }) if path == "type" => {
            "Invalid handshake payload: missing type".to_owned()
        }
        CloseReason::Handshake(HandshakeFault::Signature) => {
            "Invalid handshake signature: it, or the hash that it covers, does not verify".to_owned()
        }
        reason => reason.to_string(),
    }
}

/// The system's name of an error, as Node gives it.
fn system_code(error: &std::io::Error) -> String {
    use std::io::ErrorKind;
    let name = match error.kind() {
        ErrorKind::ConnectionRefused => "ECONNREFUSED",
        ErrorKind::ConnectionReset => "ECONNRESET",
        ErrorKind::AddrInUse => "EADDRINUSE",
        ErrorKind::AddrNotAvailable => "EADDRNOTAVAIL",
        ErrorKind::PermissionDenied => "EACCES",
        ErrorKind::NotFound => "ENOENT",
        ErrorKind::TimedOut => "ETIMEDOUT",
        ErrorKind::HostUnreachable => "EHOSTUNREACH",
        ErrorKind::NetworkUnreachable => "ENETUNREACH",
        _ if error.raw_os_error().is_none() => "ENOTFOUND",
        _ => "E_TRANSPORT",
    };
    name.to_owned()
}

/// Above this a whole number of JavaScript is no longer exact.
const SAFE_INTEGER: f64 = 9_007_199_254_740_992.0;
