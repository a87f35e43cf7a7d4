//! By which rules a server accepts a handshake.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use super::fault::HandshakeFault;
use super::info::HandshakeInfo;
use super::negentropic::{Verified, verify};
use super::payload::{HANDSHAKE_BYTES_MAX, Handshake};
use super::replay::ReplayGuard;
use super::tags::{Tag, Tags};
use super::tls::{FINGERPRINT_TAG, FINGERPRINT256_TAG, TransportFacts, session_key};
use super::verifier::{Answer, Verifier};
use crate::error::ConfigError;
use crate::peer::PeerInfo;

/// What a server demands of a handshake. A server without a policy expects none: every frame is a message.
///
/// Checks come in this order, the first that fails names the reason: size, JSON, depth, schema, **signature**
/// (always, also when there is a verifier), `require_signed`, version, TLS fingerprint, replay, verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakePolicy {
    /// Version of the application's protocol that a peer must speak if it names one; letter by letter. A
    /// handshake without a version passes, as QWormhole's do: a verifier with allowed versions refuses it.
    /// Default `None`: a handshake is expected, of any version.
    pub protocol_version: Option<String>,
    /// Refuses handshakes without a signature. Default off: they count as plain ones, and an attacker may turn
    /// a signed one into a plain one. A signature proves a key, not a permission: that is the verifier's word.
    pub require_signed: bool,
    /// Has the last word. Default none.
    pub verifier: Option<Verifier>,
    /// Accepts each signed handshake once. Default off. What it remembers is shared by clones of the policy.
    pub replay: Option<ReplayGuard>,
    /// Longest handshake in bytes, inclusive, from 64 bytes to 64 KiB; default 64 KiB. Reading one takes up to
    /// about 64 times its length for a moment.
    pub bytes_max: usize,
    /// Batch size of the two trusting policies in [`HandshakeInfo::policy`] (`QW_WRITEV_BATCH_SIZE`); zero is
    /// the same as `None`. Default `None`: 64 and 32.
    pub batch_size: Option<u32>,
}

impl HandshakePolicy {
    /// The default policy for this version.
    pub fn new(protocol_version: impl Into<String>) -> Self {
        Self { protocol_version: Some(protocol_version.into()), ..Self::default() }
    }

    /// With a demand for a signature.
    #[must_use]
    pub fn require_signed(mut self) -> Self {
        self.require_signed = true;
        self
    }

    /// With a verifier.
    #[must_use]
    pub fn verifier(mut self, verifier: Verifier) -> Self {
        self.verifier = Some(verifier);
        self
    }

    /// With a replay guard.
    #[must_use]
    pub fn replay(mut self, guard: ReplayGuard) -> Self {
        self.replay = Some(guard);
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// Names the option at fault and what would be accepted.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let fault = |option, fix| Err(ConfigError { option, fix });
        if self.protocol_version.as_ref().is_some_and(String::is_empty) {
            return fault("protocol_version", "must not be empty");
        }
        if !(BYTES_MIN..=HANDSHAKE_BYTES_MAX).contains(&self.bytes_max) {
            return fault("handshake.bytes_max", "must be from 64 to 65536 bytes");
        }
        Ok(())
    }

    /// Judges the first payload of a connection at `unix_ms`. Nothing of a refused one may reach the
    /// application.
    pub fn judge(
        &self,
        payload: &[u8],
        transport: &TransportFacts,
        peer: &PeerInfo,
        unix_ms: u64,
    ) -> Judgement {
        match self.judge_built_in(payload, transport, unix_ms) {
            Ok((handshake, verified, info)) => {
                let record = self.record(&handshake, verified, unix_ms);
                self.ask(handshake, peer, info, record)
            }
            Err(fault) => Judgement::Reject(fault),
        }
    }

    /// Everything but the verifier's word.
    fn judge_built_in(
        &self,
        payload: &[u8],
        transport: &TransportFacts,
        unix_ms: u64,
    ) -> Result<(Handshake, Option<Verified>, Box<HandshakeInfo>), HandshakeFault> {
        let handshake = Handshake::parse_within(payload, self.bytes_max)?;
        let verified = verify(&handshake)?;
        if self.require_signed && verified.is_none() {
            return Err(HandshakeFault::Unsigned);
        }
        if let (Some(own), Some(theirs)) = (&self.protocol_version, handshake.version())
            && *theirs != own.as_str()
        {
            return Err(HandshakeFault::VersionMismatch);
        }
        let mut info = Box::new(HandshakeInfo::of(&handshake, self.batch_size));
        check_fingerprints(&info.tags, transport)?;
        if let (Some(guard), Some(verified), Some(ts)) = (&self.replay, &verified, handshake.ts()) {
            guard.check(ts, &verified.signature_digest, unix_ms)?;
        }
        info.public_key = verified.map(|verified| verified.public_key);
        info.tls.clone_from(&transport.tls);
        if let (Some(tls), Some(material)) = (&mut info.tls, &transport.exported_key) {
            tls.session_key = Some(session_key(material, info.neg_hash.as_deref()));
        }
        Ok((handshake, verified, info))
    }

    /// What remains to be remembered once the verifier accepts: only then, or anybody could fill the guard.
    fn record(&self, handshake: &Handshake, verified: Option<Verified>, unix_ms: u64) -> Option<Record> {
        let guard = self.replay.clone()?;
        Some(Record { guard, ts_ms: handshake.ts()?, digest: verified?.signature_digest, unix_ms })
    }

    fn ask(
        &self,
        handshake: Handshake,
        peer: &PeerInfo,
        info: Box<HandshakeInfo>,
        record: Option<Record>,
    ) -> Judgement {
        let answer = match &self.verifier {
            None => Ok(true),
            Some(Verifier::Sync(verify)) => contained(|| verify(&handshake, peer)),
            Some(Verifier::Async(verify)) => match contained(|| verify(handshake, peer.clone())) {
                Ok(answer) => return Judgement::Ask(Box::pin(Asking { answer: Some(answer), record }), info),
                Err(fault) => Err(fault),
            },
        };
        match answer.and_then(|accepted| settle(accepted, record.as_ref())) {
            Ok(()) => Judgement::Accept(info),
            Err(fault) => Judgement::Reject(fault),
        }
    }
}

impl Default for HandshakePolicy {
    fn default() -> Self {
        Self {
            protocol_version: None,
            require_signed: false,
            verifier: None,
            replay: None,
            bytes_max: HANDSHAKE_BYTES_MAX,
            batch_size: None,
        }
    }
}

/// What became of a handshake.
pub enum Judgement {
    /// The connection is open.
    Accept(Box<HandshakeInfo>),
    /// The verifier has to be waited for: poll the future, then it is open with this content, or not.
    Ask(Verdict, Box<HandshakeInfo>),
    /// The connection is to be closed for this reason.
    Reject(HandshakeFault),
}

impl fmt::Debug for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept(info) => f.debug_tuple("Accept").field(info).finish(),
            Self::Ask(_, info) => f.debug_tuple("Ask").field(info).finish(),
            Self::Reject(fault) => f.debug_tuple("Reject").field(fault).finish(),
        }
    }
}

/// The end of a judgement that has to be waited for. Never panics, also not when it is dropped; must not be polled after it is ready.
pub type Verdict = Pin<Box<dyn Future<Output = Result<(), HandshakeFault>> + Send>>;

/// A fingerprint among the tags must be that of the certificate which the peer presented.
fn check_fingerprints(tags: &Tags, transport: &TransportFacts) -> Result<(), HandshakeFault> {
    let Some(tls) = &transport.tls else { return Ok(()) };
    let presented =
        [(FINGERPRINT256_TAG, &tls.peer_fingerprint256), (FINGERPRINT_TAG, &tls.peer_fingerprint)];
    for (name, fingerprint) in presented {
        if let Some(Tag::Text(claimed)) = tags.get(name)
            && fingerprint.as_deref() != claimed.as_str().or(Some(""))
        {
            return Err(HandshakeFault::TlsFingerprintMismatch);
        }
    }
    Ok(())
}

/// An accepted handshake that the guard is yet to remember.
struct Record {
    guard: ReplayGuard,
    ts_ms: u64,
    digest: [u8; 32],
    unix_ms: u64,
}

fn settle(accepted: bool, record: Option<&Record>) -> Result<(), HandshakeFault> {
    if !accepted {
        return Err(HandshakeFault::Rejected);
    }
    record.map_or(Ok(()), |record| record.guard.record(record.ts_ms, &record.digest, record.unix_ms))
}

/// Runs the user's code; a panic refuses the handshake.
fn contained<T>(run: impl FnOnce() -> T) -> Result<T, HandshakeFault> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|_| HandshakeFault::VerifierPanicked)
}

/// The user's future, and what follows from its answer.
struct Asking {
    answer: Option<Answer>,
    record: Option<Record>,
}

impl Future for Asking {
    type Output = Result<(), HandshakeFault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(Err(HandshakeFault::VerifierPanicked));
        };
        let accepted = match contained(|| answer.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(accepted)) => settle(accepted, self.record.as_ref()),
            Err(fault) => Err(fault),
        };
        // By now its answer counts, even if it panics when it is dropped.
        self.give_up();
        Poll::Ready(accepted)
    }
}

impl Asking {
    /// The user's future may panic when it is dropped, too.
    fn give_up(&mut self) {
        let ended = self.answer.take();
        let _dropped = contained(|| drop(ended));
    }
}

/// A connection that ends first gives its verifier up.
impl Drop for Asking {
    fn drop(&mut self) {
        self.give_up();
    }
}

/// Below this hardly more than a version fits.
const BYTES_MIN: usize = 64;
