//! One TLS connection between a transport and a session.

use std::fmt;
use std::io::{BufRead, Write};
use std::sync::Arc;

use rustls::{CommonState, Connection, HandshakeKind, SupportedCipherSuite};
use rustls_pki_types::{CertificateDer, ServerName};

use super::client::{ClientEnd, ClientTls};
use super::clock::now;
use super::exporter::TlsExporter;
use super::facts::TlsFacts;
use super::fault::TlsFault;
use super::fingerprint::Fingerprints;
use super::presented::Presented;
use super::server::{Current, ServerEnd, ServerTls};
use super::suite::openssl_name;
use super::version::TlsVersion;

/// TLS on one connection. Plaintext leaves only after the peer's certificate was accepted, and arrives only from it.
///
/// A turn of the caller:
///
/// 1. Until the input is empty: [`read_tls`](Self::read_tls), then take all of [`plaintext`](Self::plaintext). Plaintext
///    of before a fault is genuine and still there after it.
/// 2. When [`is_handshaking`](Self::is_handshaking) has become false: look at [`facts`](Self::facts).
/// 3. [`write`](Self::write) what is to be sent, as far as it is taken.
/// 4. While [`wants_write`](Self::wants_write): send what [`write_tls`](Self::write_tls) yields; after a fault too, it
///    is the alert that tells the peer why.
///
/// Memory, beyond some KiB of keys: plaintext not yet taken is at most 80 KiB (ordinarily 36 KiB, none when the
/// caller takes it), ciphertext not yet decrypted 18 KiB (64 KiB during the handshake), plaintext or ciphertext not
/// yet sent 64 KiB and the handshake's own messages. A peer cannot make any of them grow further, whatever it sends
/// and however small the pieces; bytes that arrive one by one cost the same work each.
pub struct TlsFilter {
    connection: Connection,
    role: Role,
    facts: Option<Box<TlsFacts>>,
    fault: Option<TlsFault>,
    /// The first bytes that arrived, to tell another protocol from bad TLS.
    head: Head,
    /// Plaintext bytes that rustls holds.
    unread_bytes: usize,
    peer_has_closed: bool,
    closing: bool,
    /// Records written so far, and how many these keys may encrypt; TLS 1.3 renews its keys instead.
    records: u64,
    records_max: u64,
}

enum Role {
    Client { tls: ClientTls, name: ServerName<'static>, presented: Option<Arc<Presented>> },
    Server { tls: ServerTls, current: Arc<Current> },
}

impl TlsFilter {
    /// A client's connection to `host`, a name or an address; the first bytes to send are there at once.
    ///
    /// # Errors
    ///
    /// [`TlsFault::InvalidServerName`] when `server_name` is not set and `host` is no name of a server;
    /// [`TlsFault::Local`] when the system has no random bytes.
    pub fn client(tls: &ClientTls, host: &str) -> Result<Self, TlsFault> {
        let ClientEnd { connection, tls, name, presented } = tls.connect(host)?;
        Ok(Self::new(connection.into(), Role::Client { tls, name, presented }))
    }

    /// A server's connection, with the certificate that is current now.
    ///
    /// # Errors
    ///
    /// [`TlsFault::Local`] when the system has no random bytes.
    pub fn server(tls: &ServerTls) -> Result<Self, TlsFault> {
        let ServerEnd { connection, tls, current } = tls.accept()?;
        Ok(Self::new(connection.into(), Role::Server { tls, current }))
    }

    fn new(mut connection: Connection, role: Role) -> Self {
        connection.set_buffer_limit(Some(UNSENT_BYTES_MAX));
        Self {
            connection,
            role,
            facts: None,
            fault: None,
            head: Head::default(),
            unread_bytes: 0,
            peer_has_closed: false,
            closing: false,
            records: 0,
            records_max: u64::MAX,
        }
    }

    /// Takes bytes that arrived from the peer, as many as there is room for the plaintext of. When some are left:
    /// consume [`plaintext`](Self::plaintext) and call again. After a close notification, of the peer or of this side,
    /// everything is taken and ignored.
    ///
    /// # Errors
    ///
    /// What is wrong; every later call says the same. The alert for the peer, if it is to get one, is among what
    /// [`write_tls`](Self::write_tls) yields.
    pub fn read_tls(&mut self, input: &mut &[u8]) -> Result<(), TlsFault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        self.head.take(input);
        if self.closing {
            // rustls can say only one last thing: bad input now would have it send an alert after its notification,
            // which it takes for a mistake of its caller.
            *input = &[];
        }
        while !input.is_empty() && self.unread_bytes <= UNREAD_BYTES_PAUSE {
            if self.peer_has_closed {
                *input = &[];
                break;
            }
            if let Err(fault) = self.step(input) {
                self.fault = Some(fault.clone());
                return Err(fault);
            }
        }
        Ok(())
    }

    fn step(&mut self, input: &mut &[u8]) -> Result<(), TlsFault> {
        let was_handshaking = self.connection.is_handshaking();
        self.connection.read_tls(input).map_err(|_| TlsFault::HandshakeTooLarge)?;
        let state = self.connection.process_new_packets().map_err(|error| match error {
            rustls::Error::InvalidMessage(_) if was_handshaking && !self.head.is_tls() => TlsFault::NotTls,
            error => error.into(),
        })?;
        self.unread_bytes = state.plaintext_bytes_to_read();
        self.peer_has_closed = state.peer_has_closed();
        if was_handshaking && !self.connection.is_handshaking() {
            self.facts = Some(Box::new(self.agreed()?));
            if let Some(SupportedCipherSuite::Tls12(suite)) = self.connection.negotiated_cipher_suite() {
                self.records_max = suite.common.confidentiality_limit.saturating_sub(RECORDS_SPARE);
            }
        }
        Ok(())
    }

    /// Decrypted bytes from the peer, at most one record (16 KiB) at a time; empty when there are none.
    pub fn plaintext(&mut self) -> &[u8] {
        self.connection.reader().into_first_chunk().unwrap_or(&[])
    }

    /// Drops the first `len` bytes of [`plaintext`](Self::plaintext).
    ///
    /// # Panics
    ///
    /// When `plaintext` has fewer.
    pub fn consume(&mut self, len: usize) {
        if len > 0 {
            self.connection.reader().consume(len);
            self.unread_bytes = self.unread_bytes.saturating_sub(len);
        }
    }

    /// Takes plaintext for the peer and says how much: less than given when 64 KiB wait to be sent. What is given
    /// during the handshake is sent after it; after [`close_notify`](Self::close_notify) and after a fault nothing is
    /// taken.
    pub fn write(&mut self, plaintext: &[u8]) -> usize {
        if self.closing || self.fault.is_some() {
            return 0;
        }
        let records = plaintext.len().min(UNSENT_BYTES_MAX).div_ceil(RECORD_BYTES_MAX) as u64;
        if self.records.saturating_add(records) > self.records_max {
            // Beyond its limit rustls would take the bytes and drop them.
            self.close_notify();
            self.fault = Some(TlsFault::KeysUsedUp);
            return 0;
        }
        let taken = self.connection.writer().write(plaintext).unwrap_or(0);
        self.records += taken.div_ceil(RECORD_BYTES_MAX) as u64;
        taken
    }

    /// Whether there are bytes to send.
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Appends everything that is to be sent to `out`.
    pub fn write_tls(&mut self, out: &mut Vec<u8>) {
        while self.connection.wants_write() {
            // A vector takes everything.
            if self.connection.write_tls(out).is_err() {
                break;
            }
        }
    }

    /// Ends the connection from this side: the peer is told that nothing more will be sent, and what still arrives from
    /// it is ignored. After a fault it does nothing: the alert said more.
    pub fn close_notify(&mut self) {
        if !self.closing && self.fault.is_none() {
            self.closing = true;
            self.connection.send_close_notify();
        }
    }

    /// The transport has ended; nothing more will be read. What is to be sent may still be written, because the peer
    /// may have ended its own direction only.
    ///
    /// # Errors
    ///
    /// [`TlsFault::Truncated`] or [`TlsFault::HandshakeTruncated`] when neither side announced it, the fault of before
    /// when there was one.
    pub fn handle_eof(&self) -> Result<(), TlsFault> {
        Err(match &self.fault {
            Some(fault) => fault.clone(),
            None if self.peer_has_closed || self.closing => return Ok(()),
            None if self.connection.is_handshaking() => TlsFault::HandshakeTruncated,
            None => TlsFault::Truncated,
        })
    }

    /// What ended the connection, also when no call could return it:
    /// [`TlsFault::KeysUsedUp`] comes up while writing.
    pub const fn fault(&self) -> Option<&TlsFault> {
        self.fault.as_ref()
    }

    /// Whether the handshake is not complete.
    pub fn is_handshaking(&self) -> bool {
        self.facts.is_none()
    }

    /// Whether the peer has said that it sends nothing more. It may wait for the same from this side before it closes
    /// (TLS 1.2 peers do): send what is left and call [`close_notify`](Self::close_notify).
    pub const fn peer_has_closed(&self) -> bool {
        self.peer_has_closed
    }

    /// What was agreed; `None` while the handshake is not complete.
    pub fn facts(&self) -> Option<&TlsFacts> {
        self.facts.as_deref()
    }

    /// These keys may encrypt `records` more records.
    #[cfg(test)]
    pub(crate) const fn limit_records(&mut self, records: u64) {
        self.records_max = self.records + records;
    }

    fn agreed(&self) -> Result<TlsFacts, TlsFault> {
        let common: &CommonState = &self.connection;
        let unknown = || TlsFault::Local("the handshake agreed on nothing".into());
        let version = common.protocol_version().and_then(TlsVersion::negotiated).ok_or_else(unknown)?;
        let suite = common.negotiated_cipher_suite().ok_or_else(unknown)?;
        let presented = common.peer_certificates().unwrap_or_default();
        let (authorized, authorization_fault) = self.authorization(presented);
        let peer = presented.first().map(|certificate| Fingerprints::of(certificate));
        let own = self.own_fingerprints();
        Ok(TlsFacts {
            version,
            cipher: openssl_name(suite.suite()),
            alpn: common.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
            server_name: self.server_name(),
            authorized,
            authorization_fault,
            peer_certificates: presented.iter().map(|certificate| certificate.to_vec()).collect(),
            peer_fingerprint256: peer.as_ref().map(|peer| peer.sha256.clone()),
            peer_fingerprint: peer.map(|peer| peer.sha1),
            own_fingerprint256: own.map(|own| own.sha256.clone()),
            own_fingerprint: own.map(|own| own.sha1.clone()),
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
            keying_material: self.exporter().map(|exporter| self.export(exporter)).transpose()?,
        })
    }

    /// Judges the peer's certificate. Where invalid ones are refused, a complete handshake is the proof, also for a
    /// session that began with it. Otherwise it is judged again here, so that a resumed session is judged too.
    fn authorization(&self, presented: &[CertificateDer<'_>]) -> (bool, Option<TlsFault>) {
        let result = match &self.role {
            Role::Client { tls, .. } if tls.check().rejects() => Ok(()),
            Role::Client { tls, name, .. } => now(tls.config().time_provider.as_ref())
                .and_then(|now| tls.check().authorize(presented, name, now)),
            Role::Server { tls, current } => match tls.check() {
                None => return (false, None),
                Some(check) if check.rejects() => Ok(()),
                Some(check) => {
                    now(current.config.time_provider.as_ref()).and_then(|now| check.authorize(presented, now))
                }
            },
        };
        match result {
            Ok(()) => (!presented.is_empty(), None),
            Err(error) => (false, Some(error.into())),
        }
    }

    fn own_fingerprints(&self) -> Option<&Fingerprints> {
        match &self.role {
            Role::Client { tls, presented, .. } => presented
                .as_ref()
                .filter(|presented| presented.was_presented())
                .and_then(|_| tls.fingerprints()),
            Role::Server { current, .. } => Some(&current.identity.fingerprints),
        }
    }

    fn server_name(&self) -> Option<String> {
        match (&self.role, &self.connection) {
            (Role::Client { name, .. }, _) => Some(name.to_str().into_owned()),
            (Role::Server { .. }, Connection::Server(server)) => server.server_name().map(str::to_string),
            (Role::Server { .. }, Connection::Client(_)) => None,
        }
    }

    fn exporter(&self) -> Option<&TlsExporter> {
        match &self.role {
            Role::Client { tls, .. } => tls.exporter(),
            Role::Server { tls, .. } => tls.exporter(),
        }
    }

    /// Keying material for whoever asks; `None` for values that no exporter may have, and before the handshake is
    /// complete.
    pub(crate) fn export_checked(&self, exporter: &TlsExporter) -> Option<Vec<u8>> {
        exporter.check().ok()?;
        self.export(exporter).ok()
    }

    fn export(&self, exporter: &TlsExporter) -> Result<Vec<u8>, TlsFault> {
        let material = vec![0; exporter.length];
        let exported = self.connection.export_keying_material(
            material,
            exporter.label.as_bytes(),
            Some(&exporter.context),
        );
        exported.map_err(|error| TlsFault::Local(format!("keying material: {error}")))
    }
}

impl fmt::Debug for TlsFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFilter")
            .field("facts", &self.facts)
            .field("fault", &self.fault)
            .field("peer_has_closed", &self.peer_has_closed)
            .finish_non_exhaustive()
    }
}

/// The first two bytes of a stream.
#[derive(Default)]
struct Head {
    bytes: [u8; 2],
    len: usize,
}

impl Head {
    fn take(&mut self, input: &[u8]) {
        for byte in input {
            let Some(place) = self.bytes.get_mut(self.len) else { break };
            *place = *byte;
            self.len += 1;
        }
    }

    /// Whether a TLS record can begin like this: its type, then the version's first byte.
    fn is_tls(&self) -> bool {
        let [kind, major] = self.bytes;
        (20..=24).contains(&kind) && (self.len < 2 || major == 3)
    }
}

/// The most plaintext of one record.
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Records for the handshake and alerts, which are not counted one by one.
const RECORDS_SPARE: u64 = 1024;
/// Input is not taken while more plaintext than this waits: one record.
const UNREAD_BYTES_PAUSE: usize = 16 * 1024;
/// Plaintext or ciphertext that waits to be sent.
const UNSENT_BYTES_MAX: usize = 64 * 1024;
