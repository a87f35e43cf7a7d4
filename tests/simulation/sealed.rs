//! TLS for simulated ends: a fixed clock, and signatures of one length, so that a seed is a schedule.

use std::sync::Arc;

use qwormhole_proto::{ClientTls, NoFiles, ServerTls, TlsClock, TlsFilter, TlsOptions, TlsRole};
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};

/// Both sides' options.
pub(crate) struct Sealed {
    client: ClientTls,
    server: ServerTls,
}

impl Sealed {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        let params = CertificateParams::new([HOST.to_string()]).expect("a name");
        let cert = params.self_signed(&key).expect("a certificate").pem();
        let client = TlsOptions::new().ca(cert.as_str()).clock(Arc::new(Clock));
        let server = TlsOptions::new().cert(cert).key(key.serialize_pem()).clock(Arc::new(Clock));
        Self {
            client: ClientTls::new(&client, &NoFiles).expect("good options"),
            server: ServerTls::new(&server, &NoFiles).expect("good options"),
        }
    }

    pub(crate) fn server(&self) -> TlsRole {
        TlsRole::Server(self.server.clone())
    }

    pub(crate) fn client(&self) -> TlsRole {
        TlsRole::Client { tls: self.client.clone(), server_name: HOST.into() }
    }

    /// The first bytes of a client.
    pub(crate) fn first_flight(&self) -> Vec<u8> {
        let mut records = Vec::new();
        TlsFilter::client(&self.client, HOST).expect("a good name").write_tls(&mut records);
        records
    }
}

/// A moment at which the certificate is valid.
#[derive(Debug)]
struct Clock;

impl TlsClock for Clock {
    fn unix_time_s(&self) -> Option<u64> {
        Some(1_800_000_000)
    }
}

const HOST: &str = "worm.test";
