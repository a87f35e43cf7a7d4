//! Handshakes that no server may accept, and who sends them.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use qwormhole::handshake::{
    ClientHandshake, HandshakeFault, HandshakePolicy, NegentropicSigner, ReplayGuard, ReplayWindow,
};
use qwormhole::{Address, CloseReason};

use super::peer::Peer;
use super::{frame, tls_peer};

/// What is wrong with a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    Tampered,
    Replayed,
    Unsigned,
    WrongVersion,
    /// Names another certificate than was presented; wrong over TLS only.
    WrongFingerprint,
    Silent,
    Garbage,
    Deep,
    /// One megabyte of JSON.
    Huge,
}

impl Bad {
    pub(crate) const ALL: [Self; 9] = [
        Self::Tampered,
        Self::Replayed,
        Self::Unsigned,
        Self::WrongVersion,
        Self::WrongFingerprint,
        Self::Silent,
        Self::Garbage,
        Self::Deep,
        Self::Huge,
    ];

    /// Whether this is the reason that a server gives.
    pub(crate) fn is_named_by(self, reason: &CloseReason) -> bool {
        let CloseReason::Handshake(fault) = reason else {
            return self == Self::Silent && *reason == CloseReason::HandshakeTimeout;
        };
        match self {
            Self::Tampered => *fault == HandshakeFault::Signature,
            Self::Replayed => *fault == HandshakeFault::Replayed,
            Self::Unsigned => *fault == HandshakeFault::Unsigned,
            Self::WrongVersion => *fault == HandshakeFault::VersionMismatch,
            Self::WrongFingerprint => *fault == HandshakeFault::TlsFingerprintMismatch,
            Self::Silent => false,
            Self::Garbage => *fault == HandshakeFault::NotJson { at: 0 },
            Self::Deep => *fault == HandshakeFault::TooDeep { limit: 32 },
            Self::Huge => matches!(fault, HandshakeFault::TooLarge { len: 1_048_576.., limit: 65_536 }),
        }
    }
}

/// The policy that every [`Bad`] handshake violates.
pub(crate) fn strict() -> HandshakePolicy {
    let guard = ReplayGuard::new(ReplayWindow::default()).expect("defaults are valid");
    HandshakePolicy::new("1.0.0").require_signed().replay(guard)
}

/// Connects to one server with bad handshakes.
pub(crate) struct Attacker {
    address: Address,
    tls: Option<Arc<rustls::ClientConfig>>,
    signed: ClientHandshake,
    replayed: Vec<u8>,
}

impl Attacker {
    /// For the server at `address`, over TLS if it is of this authority.
    pub(crate) fn new(address: &Address, authority: Option<&str>) -> Self {
        let signer = NegentropicSigner::from_seed(&[9; 32]).expect("a seed");
        let signed = ClientHandshake::new("1.0.0").signer(signer);
        let replayed = encode(&signed);
        Self { address: address.clone(), tls: authority.map(tls_peer::trusting), signed, replayed }
    }

    /// Says what will be replayed for the first time: this one is accepted. Returns when the server has ended it.
    pub(crate) fn introduce(&self) {
        let mut stream = self.connect();
        stream.write_all(&frame(&self.replayed)).expect("write");
        drop(stream);
    }

    /// Makes one bad connection. Returns when the server has ended it; whatever it sent, or a reset, is an error.
    pub(crate) fn attack(&self, bad: Bad) -> io::Result<()> {
        let mut stream = self.connect();
        match self.payload(bad) {
            Some(payload) => stream.write_all(&frame(&payload))?,
            // Shakes TLS' hands and no others.
            None => stream.flush()?,
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        if answer.is_empty() { Ok(()) } else { Err(io::Error::other("the server answered")) }
    }

    fn connect(&self) -> Box<dyn Stream> {
        match &self.tls {
            Some(config) => Box::new(tls_peer::connect(&self.address, config)),
            None => Box::new(Peer::connect(&self.address)),
        }
    }

    fn payload(&self, bad: Bad) -> Option<Vec<u8>> {
        Some(match bad {
            Bad::Tampered => {
                let mut payload = encode(&self.signed.clone().tag("role", "guest"));
                let at = payload.windows(5).position(|window| window == b"guest").expect("the tag");
                payload[at..at + 5].copy_from_slice(b"admin");
                payload
            }
            Bad::Replayed => self.replayed.clone(),
            Bad::Unsigned => encode(&ClientHandshake::new("1.0.0")),
            Bad::WrongVersion => {
                let mut handshake = self.signed.clone();
                handshake.protocol_version = "1.0.1".to_owned();
                encode(&handshake)
            }
            Bad::WrongFingerprint => encode(&self.signed.clone().tag("tlsFingerprint256", "AA:BB:CC")),
            Bad::Silent => return None,
            Bad::Garbage => b"\x16\x03\x01 GET / HTTP/1.1".to_vec(),
            Bad::Deep => [&br#"{"type":"handshake","x":"#[..], &[b'['; 10_000]].concat(),
            Bad::Huge => {
                let mut payload = br#"{"type":"handshake","version":"1.0.0","x":[0"#.to_vec();
                payload.extend(b",0".repeat(1 << 19));
                payload.extend(b"]}");
                payload
            }
        })
    }
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// The payload of a handshake made now.
pub(crate) fn encode(handshake: &ClientHandshake) -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    handshake.encode(&[], now.as_millis() as u64, fastrand::u128(..).to_be_bytes()).expect("a handshake")
}

/// Long enough for an honest handshake on a loaded machine, short enough to wait for.
pub(crate) const DEADLINE: Duration = Duration::from_millis(800);
