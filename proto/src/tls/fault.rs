//! What goes wrong on a TLS connection.

use rustls::{CertificateError, Error, InvalidMessage, PeerIncompatible};

use super::alert::TlsAlert;

/// Why a TLS connection ended. Unless said otherwise the peer is at fault, or its configuration and this side's do
/// not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFault {
    /// The peer ended the connection with this alert: it has an objection, see its log.
    #[error("peer sent alert: {0}")]
    Alert(TlsAlert),
    /// The first bytes are not TLS: the peer speaks plain text, or something else.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// The stream ended without the peer saying so by TLS: something may be missing.
    #[error("the connection ended without a TLS close_notify: it may have been cut")]
    Truncated,
    /// The stream ended before the handshake was complete.
    #[error("the connection ended in the middle of the TLS handshake")]
    HandshakeTruncated,
    /// The certificate's time is over.
    #[error("the peer's certificate has expired")]
    CertificateExpired,
    /// The certificate's time has not begun; perhaps a clock is wrong.
    #[error("the peer's certificate is not valid yet")]
    CertificateNotYetValid,
    /// No authority of `tls.ca` signed the certificate.
    #[error("no authority in `tls.ca` (or of the platform, without it) signed the peer's certificate")]
    UnknownIssuer,
    /// The certificate is another one's.
    #[error("the server's certificate is not for `{expected}` but for {}", list(presented))]
    NameMismatch {
        /// The name that was asked for.
        expected: String,
        /// Up to eight of the names in the certificate. Only subject alternative names count.
        presented: Vec<String>,
    },
    /// The certificate may not be used for this role.
    #[error("the peer's certificate is for another purpose")]
    CertificatePurpose,
    /// The authority took the certificate back.
    #[error("the peer's certificate is revoked")]
    CertificateRevoked,
    /// Anything else about the certificate.
    #[error("the peer's certificate is not acceptable: {0}")]
    CertificateInvalid(String),
    /// The client has no certificate, and the server needs one.
    #[error("the client presented no certificate")]
    CertificateMissing,
    /// The certificate is not among the pinned ones.
    #[error("TLS fingerprint mismatch: the peer's certificate is {presented}")]
    FingerprintMismatch {
        /// The SHA-256 fingerprint of the certificate that the peer presented.
        presented: String,
    },
    /// The peer has no version of TLS that is allowed here.
    #[error("the peer and this side have no TLS version in common")]
    NoSharedVersion,
    /// The client offered only protocols that the server does not have.
    #[error("the peer and this side have no application protocol (ALPN) in common")]
    NoSharedAlpn,
    /// No cipher suite, key exchange or signature suits both ends.
    #[error("the peer and this side have no TLS cipher in common: {0}")]
    NoSharedCipher(String),
    /// A record was changed on its way, or the peers' keys differ.
    #[error("a TLS record failed its integrity check")]
    Corrupted,
    /// The peer's handshake is larger than the 64 KiB that are kept of it.
    #[error("the peer's TLS handshake is too large")]
    HandshakeTooLarge,
    /// Nobody's fault: TLS 1.2 has no way to renew the keys of a connection, and these have encrypted the 2^24 records
    /// that are safe. Connect again, or use TLS 1.3, which renews them by itself.
    #[error("the keys of this TLS 1.2 connection are used up")]
    KeysUsedUp,
    /// The peer broke the rules of TLS in another way.
    #[error("the peer broke the TLS protocol: {0}")]
    Protocol(String),
    /// This side's fault: the host is no name that a certificate could have. Set `tls.server_name`.
    #[error("`{name}` is neither a DNS name nor an IP address; set `tls.server_name`")]
    InvalidServerName {
        /// The host.
        name: String,
    },
    /// This side's fault: the system gave no randomness, no time or no keys.
    #[error("TLS failed on this side: {0}")]
    Local(String),
}

impl From<Error> for TlsFault {
    fn from(error: Error) -> Self {
        match error {
            Error::AlertReceived(alert) => Self::Alert(TlsAlert(alert.into())),
            Error::InvalidCertificate(error) => certificate_fault(error),
            Error::NoCertificatesPresented => Self::CertificateMissing,
            Error::UnsupportedNameType => Self::CertificateInvalid("it has no usable name".into()),
            Error::NoApplicationProtocol => Self::NoSharedAlpn,
            Error::PeerIncompatible(why) => incompatibility(&why),
            Error::DecryptError => Self::Corrupted,
            Error::InvalidMessage(
                InvalidMessage::HandshakePayloadTooLarge | InvalidMessage::CertificatePayloadTooLarge,
            ) => Self::HandshakeTooLarge,
            Error::FailedToGetCurrentTime => Self::Local("the time is not known".into()),
            Error::FailedToGetRandomBytes => Self::Local("the system gives no random bytes".into()),
            Error::General(why) => Self::Local(why),
            Error::EncryptError | Error::HandshakeNotComplete | Error::Other(_) => {
                Self::Local(error.to_string())
            }
            other => Self::Protocol(other.to_string()),
        }
    }
}

fn certificate_fault(error: CertificateError) -> TlsFault {
    use CertificateError as Bad;
    match error {
        Bad::Expired | Bad::ExpiredContext { .. } => TlsFault::CertificateExpired,
        Bad::NotValidYet | Bad::NotValidYetContext { .. } => TlsFault::CertificateNotYetValid,
        Bad::UnknownIssuer => TlsFault::UnknownIssuer,
        Bad::Revoked => TlsFault::CertificateRevoked,
        Bad::InvalidPurpose | Bad::InvalidPurposeContext { .. } => TlsFault::CertificatePurpose,
        Bad::NotValidForNameContext { expected, presented } => TlsFault::NameMismatch {
            expected: expected.to_str().into_owned(),
            presented: presented.iter().take(NAMES_MAX).map(|name| plain_name(name)).collect(),
        },
        Bad::Other(other) => match other.0.downcast_ref::<TlsFault>() {
            Some(fault) => fault.clone(),
            None => TlsFault::CertificateInvalid(describe(&other)),
        },
        other => TlsFault::CertificateInvalid(other.to_string()),
    }
}

/// A name as people write it: `webpki` gives its kind too. What the peer made up must not break lines of a log.
fn plain_name(name: &str) -> String {
    let (dns, ip) = (name.strip_prefix("DnsName(\""), name.strip_prefix("IpAddress("));
    let bare =
        dns.and_then(|rest| rest.strip_suffix("\")")).or_else(|| ip?.strip_suffix(')')).unwrap_or(name);
    let printed = bare.chars().take(NAME_CHARS_MAX);
    printed.map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// Says in words what users meet most.
fn describe(other: &rustls::OtherError) -> String {
    match other.0.downcast_ref() {
        Some(webpki::Error::CaUsedAsEndEntity) => {
            "it is an authority's; list it in `tls.ca` itself or have it sign another one".into()
        }
        Some(webpki::Error::UnsupportedCertVersion) => "it is not an X.509 certificate of version 3".into(),
        _ => other.to_string(),
    }
}

fn incompatibility(why: &PeerIncompatible) -> TlsFault {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => TlsFault::NoSharedVersion,
        other => TlsFault::NoSharedCipher(format!("{other:?}")),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "no name at all".into() } else { names.join(", ") }
}

/// The list comes from the peer.
const NAMES_MAX: usize = 8;
/// Longest name of the domain name system.
const NAME_CHARS_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_say_what_happened() {
        let alert = TlsFault::from(Error::AlertReceived(rustls::AlertDescription::UnknownCA));
        assert_eq!(alert.to_string(), "peer sent alert: unknown CA");
        let mismatch = TlsFault::NameMismatch { expected: "a".into(), presented: Vec::new() };
        assert_eq!(mismatch.to_string(), "the server's certificate is not for `a` but for no name at all");
    }

    #[test]
    fn names_in_a_certificate_are_printed_as_people_write_them() {
        assert_eq!(plain_name("DnsName(\"worm.test\")"), "worm.test");
        assert_eq!(plain_name("IpAddress(127.0.0.1)"), "127.0.0.1");
        assert_eq!(plain_name("Unsupported(0x01)"), "Unsupported(0x01)");
        assert_eq!(plain_name("DnsName(\"a\nb\")"), "a\u{fffd}b");
        assert_eq!(plain_name(&"a".repeat(300)).len(), 253);
    }
}
