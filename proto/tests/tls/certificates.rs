//! Authorities and certificates made for a test, and the clock they are judged by.

use std::sync::Arc;

use qwormhole_proto::{ClientTls, NoFiles, ServerTls, TlsClock, TlsOptions};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};

/// A time within every certificate: 2026-01-01.
pub(crate) const NOW_S: u64 = 1_767_225_600;
pub(crate) const YEAR_S: u64 = 366 * 24 * 3600;
pub(crate) const HOST: &str = "worm.test";

/// A certificate authority.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, as PEM text.
pub(crate) struct Leaf {
    pub(crate) cert: String,
    pub(crate) der: Vec<u8>,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `names`, valid from 2020 to 2030.
    pub(crate) fn sign(&self, names: &[&str]) -> Leaf {
        self.sign_params(&params(names, "leaf"))
    }

    /// A certificate that is good for a client only.
    pub(crate) fn sign_for_client(&self) -> Leaf {
        let mut params = params(&[], "client");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign_params(&params)
    }

    fn sign_params(&self, params: &CertificateParams) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { cert: cert.pem(), der: cert.der().to_vec(), key: key.serialize_pem() }
    }

    pub(crate) fn server(&self) -> TlsOptions {
        self.sign(&[HOST]).options()
    }

    /// A client that trusts this authority.
    pub(crate) fn client(&self) -> TlsOptions {
        options().ca(self.pem.as_str())
    }
}

impl Leaf {
    /// A certificate that signed itself; one for an authority is what `openssl req -x509` makes.
    pub(crate) fn self_signed(as_authority: bool) -> Self {
        let mut params = params(&[HOST], "alone");
        if as_authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self { cert: cert.pem(), der: cert.der().to_vec(), key: key.serialize_pem() }
    }

    pub(crate) fn options(&self) -> TlsOptions {
        options().cert(self.cert.as_str()).key(self.key.as_str())
    }
}

pub(crate) fn options() -> TlsOptions {
    TlsOptions::new().clock(at(NOW_S))
}

#[derive(Debug)]
struct Fixed(Option<u64>);

impl TlsClock for Fixed {
    fn unix_time_s(&self) -> Option<u64> {
        self.0
    }
}

pub(crate) fn at(unix_time_s: u64) -> Arc<dyn TlsClock> {
    Arc::new(Fixed(Some(unix_time_s)))
}

pub(crate) fn no_clock() -> Arc<dyn TlsClock> {
    Arc::new(Fixed(None))
}

pub(crate) fn client(options: &TlsOptions) -> ClientTls {
    ClientTls::new(options, &NoFiles).unwrap()
}

pub(crate) fn server(options: &TlsOptions) -> ServerTls {
    ServerTls::new(options, &NoFiles).unwrap()
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    params
}
