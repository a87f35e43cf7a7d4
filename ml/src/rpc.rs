//! An HTTP service that answers.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};
use ureq::http::{HeaderName, HeaderValue, Uri};
use ureq::{Agent, Error};

use crate::adapter::Adapter;
use crate::error::{AdapterError, SelectionError};

/// Asks an HTTP service: posts the metrics as JSON, the answer's body is the result. An empty body means `{}`.
///
/// The timeout covers everything from the name's resolution to the body's last byte. Redirects are not followed,
/// proxies of the environment are not used, no connection is kept. Memory of a query: the metrics as text, the
/// answer up to `answer_bytes_max`, and the value read from it.
pub struct Rpc {
    agent: Agent,
    options: RpcOptions,
}

/// Options of [`Rpc`].
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RpcOptions {
    /// Whom to ask: `http://` or, with the feature `https`, `https://`.
    pub url: String,
    /// Headers to send besides the content's. None by default.
    pub headers: Vec<(String, String)>,
    /// How long one query may take, 1 ms to 1 h. Default 5 s.
    pub timeout: Duration,
    /// Bytes of an answer's body at most, 1 to 64 MiB. Default 1 MiB.
    pub answer_bytes_max: usize,
}

impl RpcOptions {
    /// The default options for a service.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            headers: Vec::new(),
            timeout: Duration::from_secs(5),
            answer_bytes_max: 1 << 20,
        }
    }
}

impl Rpc {
    /// Makes the adapter; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// An option cannot work; the error names it and shows no value, for addresses and headers hold secrets.
    pub fn new(options: RpcOptions) -> Result<Self, SelectionError> {
        let refuse = |option, fix| Err(SelectionError::Option { option, fix });
        let secure = match options.url.parse::<Uri>() {
            Ok(uri) if uri.host().is_none_or(str::is_empty) => return refuse("url", URL),
            Ok(uri) if uri.scheme_str() == Some("http") => false,
            Ok(uri) if uri.scheme_str() == Some("https") && cfg!(feature = "https") => true,
            Ok(uri) if uri.scheme_str() == Some("https") => {
                return refuse("url", "https:// needs the feature `https` of qwormhole-ml");
            }
            _ => return refuse("url", URL),
        };
        for (name, value) in &options.headers {
            if HeaderName::try_from(name.as_str()).is_err() || HeaderValue::try_from(value.as_str()).is_err()
            {
                return refuse(
                    "headers",
                    "a name is not one of a header, or a value has a control character",
                );
            }
        }
        if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&options.timeout) {
            return refuse("timeout", "must be between 1 ms and 1 h");
        }
        if !(1..=ANSWER_BYTES_MAX).contains(&options.answer_bytes_max) {
            return refuse("answer_bytes_max", "must be between 1 and 64 MiB");
        }
        Ok(Self { agent: agent(options.timeout, secure)?, options })
    }

    fn failed(&self, error: Error) -> AdapterError {
        match error {
            Error::Timeout(_) => AdapterError::TimedOut { adapter: NAME, timeout: self.options.timeout },
            Error::BodyExceedsLimit(_) => self.too_large(),
            other => AdapterError::Request(other.into()),
        }
    }

    fn too_large(&self) -> AdapterError {
        AdapterError::TooLarge { adapter: NAME, bytes_max: self.options.answer_bytes_max }
    }
}

impl Adapter for Rpc {
    fn name(&self) -> &str {
        NAME
    }

    fn query(&self, metrics: &Value) -> Result<Value, AdapterError> {
        let mut request = self.agent.post(&self.options.url).content_type("application/json");
        for (name, value) in &self.options.headers {
            request = request.header(name, value);
        }
        let body = metrics.to_string();
        let mut answer = request.send(body.as_str()).map_err(|error| self.failed(error))?;
        if !answer.status().is_success() {
            return Err(AdapterError::Status { status: answer.status().as_u16() });
        }
        let bytes_max = self.options.answer_bytes_max;
        // One byte more tells an answer that is too long from one that just fits.
        let body = answer.body_mut().with_config().limit(bytes_max as u64 + 1).read_to_vec();
        let body = body.map_err(|error| self.failed(error))?;
        if body.len() > bytes_max {
            return Err(self.too_large());
        }
        parse(NAME, &body)
    }
}

/// Shows no value that may be a secret.
impl fmt::Debug for RpcOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("RpcOptions")
            .field("headers", &names)
            .field("timeout", &self.timeout)
            .field("answer_bytes_max", &self.answer_bytes_max)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rpc").field(&self.options).finish()
    }
}

/// What an adapter's service answered; nothing means an empty object.
pub(crate) fn parse(adapter: &'static str, answer: &[u8]) -> Result<Value, AdapterError> {
    if answer.trim_ascii().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_slice(answer).map_err(|source| AdapterError::NotJson { adapter, source })
}

fn agent(timeout: Duration, secure: bool) -> Result<Agent, SelectionError> {
    let config = Agent::config_builder()
        .timeout_global(Some(timeout))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_idle_connections(0)
        .proxy(None)
        .user_agent(concat!("qwormhole-ml/", env!("CARGO_PKG_VERSION")));
    #[cfg(feature = "https")]
    let config = if secure { config.tls_config(tls()?) } else { config };
    #[cfg(not(feature = "https"))]
    assert!(!secure, "refused before");
    Ok(config.build().into())
}

/// TLS with the certificates the system trusts.
#[cfg(feature = "https")]
fn tls() -> Result<ureq::tls::TlsConfig, SelectionError> {
    use std::sync::Arc;

    use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

    // Certificates that cannot be read are left out: the others may be all that is needed.
    let found = rustls_native_certs::load_native_certs().certs;
    if found.is_empty() {
        let fix = "https:// needs certificates to trust, and this system has none (see SSL_CERT_FILE)";
        return Err(SelectionError::Option { option: "url", fix });
    }
    let roots = found.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect();
    Ok(TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(roots)))
        .build())
}

const NAME: &str = "rpc";
const URL: &str = "must be http://HOST[:PORT]/PATH or https://HOST[:PORT]/PATH";
pub(crate) const TIMEOUT_MIN: Duration = Duration::from_millis(1);
pub(crate) const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;
