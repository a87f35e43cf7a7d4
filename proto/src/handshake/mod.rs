//! The handshake: one JSON frame from client to server, plain or signed ("negentropic"), and the rules by which
//! a server accepts it.
//!
//! Everything here is a pure function of its arguments: time and randomness come in, bytes and verdicts go out.
//! A client makes its frame with [`ClientHandshake::encode`], a server judges it with
//! [`HandshakePolicy::judge`]; the session decides when. Nothing a peer sends can make this code panic, and
//! what it costs is bounded by [`HANDSHAKE_BYTES_MAX`] and [`HANDSHAKE_DEPTH_MAX`].

mod ack;
mod client;
mod diagnostics;
mod entropy;
mod fault;
mod info;
pub mod json;
mod negentropic;
mod payload;
mod policy;
mod radix;
mod replay;
mod scan;
mod schema;
mod signer;
mod tags;
mod tls;
mod verifier;

pub use ack::HandshakeAck;
pub use client::ClientHandshake;
pub use diagnostics::{
    EntropyLevel, EntropyPace, MESSAGE_TYPES_WINDOW, MessageTypes, NegentropicSnapshot, Typed, message_type,
};
pub use entropy::{
    Coherence, EntropyMetrics, EntropyPolicy, EntropyVelocity, HandshakeMode, NEG_INDEX_DEFAULT, PolicyCodec,
    PolicyFraming,
};
pub use fault::HandshakeFault;
pub use info::HandshakeInfo;
pub use negentropic::{Verified, n_index, n_index_of_base64, neg_hash, nonce, verify};
pub use payload::{HANDSHAKE_BYTES_MAX, HANDSHAKE_DEPTH_MAX, Handshake};
pub use policy::{HandshakePolicy, Judgement, Verdict};
pub use replay::{ReplayGuard, ReplayWindow};
pub use scan::ObjectScanner;
pub use signer::{HandshakeSigner, KeyError, NegentropicSigner, SigningMoment};
pub use tags::{Tag, Tags};
pub(crate) use tls::session_key;
pub use tls::{TlsSnapshot, TransportFacts};
pub use verifier::{Answer, AsyncVerify, HandshakeVerifier, SyncVerify, Verifier};
