//! TLS options of JavaScript.

use qwormhole::{TlsExporter, TlsOptions};
use serde::Deserialize;

/// The TLS object of the options; key material is PEM text.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TlsWishes {
    key: Option<String>,
    cert: Option<String>,
    passphrase: Option<String>,
    ca: Vec<String>,
    alpn_protocols: Vec<String>,
    request_cert: Option<bool>,
    reject_unauthorized: Option<bool>,
    servername: Option<String>,
    export_keying_material: Option<ExporterWishes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ExporterWishes {
    label: Option<String>,
    length: Option<usize>,
    /// Bytes as numbers.
    context: Vec<u8>,
}

impl TlsWishes {
    /// For the side that connects.
    pub(crate) fn of_client(&self) -> TlsOptions {
        let options = self.shared();
        match self.reject_unauthorized {
            Some(false) => options.dangerous().accept_any_certificate(),
            _ => options,
        }
    }

    /// For the side that listens. As in Node, `rejectUnauthorized` without `requestCert` has no meaning, and with it a
    /// client needs a valid certificate unless it says false.
    pub(crate) fn of_server(&self) -> TlsOptions {
        let request = self.request_cert.unwrap_or(false);
        let options = self.shared().request_cert(request);
        match self.reject_unauthorized {
            Some(false) if request => options.dangerous().accept_any_certificate(),
            _ => options,
        }
    }

    fn shared(&self) -> TlsOptions {
        let mut options = TlsOptions::new();
        if let Some(key) = &self.key {
            options = options.key(key.as_str());
        }
        if let Some(cert) = &self.cert {
            options = options.cert(cert.as_str());
        }
        if let Some(passphrase) = &self.passphrase {
            options = options.passphrase(passphrase);
        }
        if !self.alpn_protocols.is_empty() {
            options = options.alpn_protocols(&self.alpn_protocols);
        }
        if let Some(name) = self.servername.as_ref().filter(|name| !name.is_empty()) {
            options = options.server_name(name);
        }
        if let Some(wishes) = &self.export_keying_material {
            options = options.export_keying_material(exporter(wishes));
        }
        self.ca.iter().fold(options, |options, ca| options.ca(ca.as_str()))
    }
}

/// Shows no key material.
impl std::fmt::Debug for TlsWishes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsWishes").field("servername", &self.servername).finish_non_exhaustive()
    }
}

fn exporter(wishes: &ExporterWishes) -> TlsExporter {
    let defaults = TlsExporter::default();
    TlsExporter {
        label: wishes.label.clone().unwrap_or(defaults.label),
        length: wishes.length.unwrap_or(defaults.length),
        context: wishes.context.clone(),
    }
}
