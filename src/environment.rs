//! What the environment says about servers and clients.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use qwormhole_proto::{RateLimit, Slicing};

use crate::error::StartError;

/// Options that the operator sets through environment variables, typed and checked. An option set in code wins
/// over them, and they win over defaults. A variable that is not set leaves its option as it is; so does an empty
/// one, except where a yes or no is expected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Environment {
    /// `QWORMHOLE_PROTOCOL_VERSION`: the protocol version that clients announce and servers ask for.
    pub protocol_version: Option<String>,
    /// `QWORMHOLE_REQUIRE_HANDSHAKE`: whether servers refuse peers without an acceptable handshake.
    pub require_handshake: Option<bool>,
    /// `QWORMHOLE_HANDSHAKE_ALLOWED_VERSIONS`: the versions such a server accepts, separated by commas; `None`
    /// means the protocol version only.
    pub handshake_allowed_versions: Option<Vec<String>>,
    /// `QWORMHOLE_HANDSHAKE_REQUIRED_TAGS`: the tags such a server asks for, `key` or `key=value`, separated by
    /// commas.
    pub handshake_required_tags: Vec<RequiredTag>,
    /// How much of one connection is submitted at once: `QWORMHOLE_FORCE_SLICE_BYTES` (bytes), else
    /// `QWORMHOLE_FORCE_SLICE` (frames), else `QWORMHOLE_ADAPTIVE_SLICES` (`off`, `guarded`, `aggressive`, `auto`).
    pub slicing: Option<Slicing>,
    /// `QWORMHOLE_FORCE_RATE_BYTES`: bytes per second that each connection may send, with a burst of as much.
    pub rate_limit: Option<RateLimit>,
    /// `QWORMHOLE_BIND_HOST`: where [`Runtime::listen`](crate::Runtime::listen) listens.
    pub bind_host: Option<String>,
    /// The variables that begin with `QWORMHOLE_TLS_`.
    pub tls: TlsEnvironment,
}

/// A tag that a handshake must carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequiredTag {
    /// Its name.
    pub key: String,
    /// Its value; `None` accepts any.
    pub value: Option<String>,
}

/// TLS as the environment describes it. `Debug` shows no key material.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsEnvironment {
    /// `QWORMHOLE_TLS_ENABLED`: whether connections use TLS.
    pub enabled: Option<bool>,
    /// `QWORMHOLE_TLS_KEY`, else `QWORMHOLE_TLS_KEY_PATH`; `QWORMHOLE_TLS_CERT`, else `QWORMHOLE_TLS_CERT_PATH`;
    /// `QWORMHOLE_TLS_PASSPHRASE`.
    pub server: TlsIdentity,
    /// The same with `QWORMHOLE_TLS_CLIENT_` in front.
    pub client: TlsIdentity,
    /// `QWORMHOLE_TLS_CA`, else the files of `QWORMHOLE_TLS_CA_PATHS` (separated by commas), else the one of
    /// `QWORMHOLE_TLS_CA_PATH`. Empty when none is set.
    pub ca: Vec<PemSource>,
    /// `QWORMHOLE_TLS_REQUEST_CERT`: whether servers ask clients for a certificate.
    pub request_cert: Option<bool>,
    /// `QWORMHOLE_TLS_REJECT_UNAUTHORIZED`: whether a peer whose certificate cannot be verified is refused.
    pub reject_unauthorized: Option<bool>,
    /// `QWORMHOLE_TLS_SERVERNAME`: the name that clients ask for and check.
    pub server_name: Option<String>,
    /// `QWORMHOLE_TLS_ALPN`: protocols in order of preference, separated by commas. Empty when not set.
    pub alpn_protocols: Vec<String>,
}

/// A key, its certificate chain and what decrypts the key.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsIdentity {
    /// The private key.
    pub key: Option<PemSource>,
    /// The certificate chain.
    pub cert: Option<PemSource>,
    /// What an encrypted key is decrypted with.
    pub passphrase: Option<String>,
}

/// Text in PEM, or where it is. `Debug` shows the path only.
#[derive(Clone, PartialEq, Eq)]
pub enum PemSource {
    /// The text; `\n` written as two characters has become a line break.
    Inline(String),
    /// A file, read when the TLS configuration is built.
    File(PathBuf),
}

impl Environment {
    /// Reads the variables of this process.
    ///
    /// # Errors
    ///
    /// [`StartError::Variable`] names a variable whose value means nothing, and what would be accepted.
    pub fn read() -> Result<Self, StartError> {
        Self::from_map(std::env::vars_os())
    }

    /// As [`Environment::read`], from names and values given here. Other variables are ignored.
    ///
    /// # Errors
    ///
    /// As [`Environment::read`].
    pub fn from_map<K, V>(variables: impl IntoIterator<Item = (K, V)>) -> Result<Self, StartError>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let named = variables.into_iter().filter_map(|(name, value)| {
            let name = name.into().into_string().ok()?;
            name.starts_with(PREFIX).then(|| (name, value.into()))
        });
        let variables = Variables(named.collect());
        Ok(Self {
            protocol_version: variables.text("QWORMHOLE_PROTOCOL_VERSION")?,
            require_handshake: variables.flag("QWORMHOLE_REQUIRE_HANDSHAKE")?,
            handshake_allowed_versions: variables.list("QWORMHOLE_HANDSHAKE_ALLOWED_VERSIONS")?,
            handshake_required_tags: required_tags(&variables)?,
            slicing: slicing(&variables)?,
            rate_limit: variables.number("QWORMHOLE_FORCE_RATE_BYTES")?.map(RateLimit::new),
            bind_host: variables.text("QWORMHOLE_BIND_HOST")?,
            tls: TlsEnvironment::from_variables(&variables)?,
        })
    }
}

impl TlsEnvironment {
    fn from_variables(variables: &Variables) -> Result<Self, StartError> {
        Ok(Self {
            enabled: variables.flag("QWORMHOLE_TLS_ENABLED")?,
            server: TlsIdentity {
                key: variables.pem("QWORMHOLE_TLS_KEY", "QWORMHOLE_TLS_KEY_PATH")?,
                cert: variables.pem("QWORMHOLE_TLS_CERT", "QWORMHOLE_TLS_CERT_PATH")?,
                passphrase: variables.secret("QWORMHOLE_TLS_PASSPHRASE")?,
            },
            client: TlsIdentity {
                key: variables.pem("QWORMHOLE_TLS_CLIENT_KEY", "QWORMHOLE_TLS_CLIENT_KEY_PATH")?,
                cert: variables.pem("QWORMHOLE_TLS_CLIENT_CERT", "QWORMHOLE_TLS_CLIENT_CERT_PATH")?,
                passphrase: variables.secret("QWORMHOLE_TLS_CLIENT_PASSPHRASE")?,
            },
            ca: authorities(variables)?,
            request_cert: variables.flag("QWORMHOLE_TLS_REQUEST_CERT")?,
            reject_unauthorized: variables.flag("QWORMHOLE_TLS_REJECT_UNAUTHORIZED")?,
            server_name: variables.text("QWORMHOLE_TLS_SERVERNAME")?,
            alpn_protocols: variables.list("QWORMHOLE_TLS_ALPN")?.unwrap_or_default(),
        })
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("key", &self.key)
            .field("cert", &self.cert)
            .field("passphrase", &self.passphrase.as_ref().map(|_| HIDDEN))
            .finish()
    }
}

impl fmt::Debug for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inline(_) => f.debug_tuple("Inline").field(&HIDDEN).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// The variables that may be ours. Empty values count as not set, except for flags.
struct Variables(BTreeMap<String, OsString>);

impl Variables {
    fn text(&self, name: &'static str) -> Result<Option<String>, StartError> {
        let Some(value) = self.0.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        let text = value.to_str().ok_or_else(|| fault(name, value.to_string_lossy(), CHOICES_TEXT))?;
        Ok(Some(text.to_owned()))
    }

    /// As [`Variables::text`], and a fault does not show the value.
    fn secret(&self, name: &'static str) -> Result<Option<String>, StartError> {
        self.text(name).map_err(|_| fault(name, HIDDEN, CHOICES_TEXT))
    }

    fn flag(&self, name: &'static str) -> Result<Option<bool>, StartError> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        let text = value.to_string_lossy();
        match text.trim().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => Ok(Some(true)),
            "0" | "false" | "no" | "off" => Ok(Some(false)),
            _ => Err(fault(name, text, CHOICES_FLAG)),
        }
    }

    /// A whole number above zero.
    fn number<N: FromStr + Default + PartialEq>(&self, name: &'static str) -> Result<Option<N>, StartError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let number = text.trim().parse().ok().filter(|number| *number != N::default());
        number.map(Some).ok_or_else(|| fault(name, text, CHOICES_NUMBER))
    }

    /// Elements without the blanks around them; empty ones are left out, and a list of none is not set.
    fn list(&self, name: &'static str) -> Result<Option<Vec<String>>, StartError> {
        let text = self.text(name)?.unwrap_or_default();
        let elements = text.split(',').map(str::trim).filter(|element| !element.is_empty());
        let list: Vec<String> = elements.map(str::to_owned).collect();
        Ok((!list.is_empty()).then_some(list))
    }

    /// The text of one variable, else the file that another one names.
    fn pem(&self, inline: &'static str, path: &'static str) -> Result<Option<PemSource>, StartError> {
        if let Some(text) = self.secret(inline)? {
            return Ok(Some(PemSource::Inline(text.replace("\\n", "\n"))));
        }
        let path = self.0.get(path).filter(|path| !path.is_empty());
        Ok(path.map(|path| PemSource::File(path.into())))
    }
}

fn slicing(variables: &Variables) -> Result<Option<Slicing>, StartError> {
    let name = "QWORMHOLE_ADAPTIVE_SLICES";
    let bytes = variables.number("QWORMHOLE_FORCE_SLICE_BYTES")?.map(Slicing::Fixed);
    let frames = variables.number("QWORMHOLE_FORCE_SLICE")?.map(Slicing::Frames);
    let mode = match variables.text(name)? {
        Some(text) => Some(text.parse().map_err(|_| fault(name, text, CHOICES_SLICING))?),
        None => None,
    };
    Ok(bytes.or(frames).or(mode))
}

fn required_tags(variables: &Variables) -> Result<Vec<RequiredTag>, StartError> {
    let name = "QWORMHOLE_HANDSHAKE_REQUIRED_TAGS";
    let tag = |element: String| {
        let (key, value) = match element.split_once('=') {
            Some((key, value)) => (key.trim(), Some(value.trim().to_owned())),
            None => (element.as_str(), None),
        };
        if key.is_empty() {
            return Err(fault(name, &element, "key, key=value, several of them separated by commas"));
        }
        Ok(RequiredTag { key: key.to_owned(), value })
    };
    variables.list(name)?.unwrap_or_default().into_iter().map(tag).collect()
}

fn authorities(variables: &Variables) -> Result<Vec<PemSource>, StartError> {
    let paths = variables.list("QWORMHOLE_TLS_CA_PATHS")?.unwrap_or_default();
    let one = variables.pem("QWORMHOLE_TLS_CA", "QWORMHOLE_TLS_CA_PATH")?;
    Ok(match one {
        Some(PemSource::Inline(text)) => vec![PemSource::Inline(text)],
        _ if !paths.is_empty() => paths.into_iter().map(|path| PemSource::File(path.into())).collect(),
        one => one.into_iter().collect(),
    })
}

fn fault(name: &'static str, value: impl Into<String>, choices: &'static str) -> StartError {
    StartError::Variable { name, value: value.into(), choices }
}

const PREFIX: &str = "QWORMHOLE_";
const HIDDEN: &str = "(hidden)";
const CHOICES_FLAG: &str = "1, true, yes, on, 0, false, no, off";
const CHOICES_NUMBER: &str = "a whole number above 0";
const CHOICES_SLICING: &str = "off, guarded, aggressive, auto";
const CHOICES_TEXT: &str = "text in UTF-8";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, StartError> {
        Environment::from_map(variables.iter().map(|(name, value)| (*name, *value)))
    }

    fn inline(text: &str) -> Option<PemSource> {
        Some(PemSource::Inline(text.into()))
    }

    #[test]
    fn an_empty_environment_says_nothing() {
        assert_eq!(read(&[]).unwrap(), Environment::default());
        assert_eq!(read(&[("PATH", "x"), ("QWORMHOLE_BACKEND", "?")]).unwrap(), Environment::default());
        assert_eq!(read(&[("QWORMHOLE_BIND_HOST", "")]).unwrap(), Environment::default());
    }

    #[test]
    fn booleans_have_eight_spellings_in_any_case() {
        for (text, value) in [("1", true), ("TRUE", true), ("Yes", true), ("on", true)].into_iter().chain([
            ("0", false),
            ("False", false),
            ("NO", false),
            ("oFf", false),
        ]) {
            for name in FLAGS {
                let environment = read(&[(name, text)]).unwrap();
                let tls = &environment.tls;
                let flags =
                    [environment.require_handshake, tls.enabled, tls.request_cert, tls.reject_unauthorized];
                assert_eq!(flags.into_iter().flatten().collect::<Vec<_>>(), [value], "{name}={text}");
            }
        }
    }

    #[test]
    fn an_unknown_value_names_the_variable_and_the_choices() {
        for name in FLAGS {
            for value in ["", "2", "maybe", "truee"] {
                let text = read(&[(name, value)]).unwrap_err().to_string();
                assert!(text.contains(name) && text.contains("yes") && text.contains("off"), "{text}");
            }
        }
        let text = read(&[("QWORMHOLE_HANDSHAKE_REQUIRED_TAGS", "a,=b")]).unwrap_err().to_string();
        assert!(text.contains("QWORMHOLE_HANDSHAKE_REQUIRED_TAGS") && text.contains("key=value"), "{text}");
    }

    #[test]
    fn handshake_variables_are_texts_and_lists() {
        let environment = read(&[
            ("QWORMHOLE_PROTOCOL_VERSION", "2.0"),
            ("QWORMHOLE_HANDSHAKE_ALLOWED_VERSIONS", " 1.0, 2.0,,"),
            ("QWORMHOLE_HANDSHAKE_REQUIRED_TAGS", "role, zone = eu=1 ,"),
            ("QWORMHOLE_BIND_HOST", "::1"),
        ])
        .unwrap();
        assert_eq!(environment.protocol_version.as_deref(), Some("2.0"));
        assert_eq!(environment.handshake_allowed_versions, Some(vec!["1.0".into(), "2.0".into()]));
        let tag =
            |key: &str, value: Option<&str>| RequiredTag { key: key.into(), value: value.map(str::to_owned) };
        assert_eq!(environment.handshake_required_tags, [tag("role", None), tag("zone", Some("eu=1"))]);
        assert_eq!(environment.bind_host.as_deref(), Some("::1"));
        let none = read(&[("QWORMHOLE_HANDSHAKE_ALLOWED_VERSIONS", " ,")]).unwrap();
        assert_eq!(none.handshake_allowed_versions, None, "a list of nothing allows no more than none does");
    }

    #[test]
    fn slices_and_rates_are_forced_or_chosen_by_name() {
        let slicing = |variables: &[(&str, &str)]| read(variables).map(|environment| environment.slicing);
        let all = [
            ("QWORMHOLE_FORCE_SLICE_BYTES", "65536"),
            ("QWORMHOLE_FORCE_SLICE", "8"),
            ("QWORMHOLE_ADAPTIVE_SLICES", "guarded"),
        ];
        assert_eq!(slicing(&all).unwrap(), Some(Slicing::Fixed(65536)));
        assert_eq!(slicing(&all[1..]).unwrap(), Some(Slicing::Frames(8)));
        assert_eq!(slicing(&all[2..]).unwrap(), Some(Slicing::Guarded));
        let rate = read(&[("QWORMHOLE_FORCE_RATE_BYTES", "1000000")]).unwrap().rate_limit;
        assert_eq!(rate, Some(RateLimit::new(1_000_000)));
        for (name, choices) in [
            ("QWORMHOLE_FORCE_SLICE_BYTES", "above 0"),
            ("QWORMHOLE_FORCE_SLICE", "above 0"),
            ("QWORMHOLE_FORCE_RATE_BYTES", "above 0"),
            ("QWORMHOLE_ADAPTIVE_SLICES", "off, guarded, aggressive, auto"),
        ] {
            for value in ["0", "-1", "Off", "99999999999999999999"] {
                let text = read(&[(name, value)]).unwrap_err().to_string();
                assert!(text.contains(name) && text.contains(choices), "{text}");
            }
        }
    }

    #[test]
    fn inline_material_wins_over_files() {
        let tls = |variables: &[(&str, &str)]| read(variables).unwrap().tls;
        let both = tls(&[
            ("QWORMHOLE_TLS_KEY", "a\\nb"),
            ("QWORMHOLE_TLS_KEY_PATH", "k.pem"),
            ("QWORMHOLE_TLS_CERT_PATH", "c.pem"),
            ("QWORMHOLE_TLS_PASSPHRASE", "p"),
            ("QWORMHOLE_TLS_CLIENT_KEY_PATH", "ck.pem"),
            ("QWORMHOLE_TLS_CLIENT_CERT", "cc"),
            ("QWORMHOLE_TLS_CLIENT_PASSPHRASE", "cp"),
        ]);
        let file = |path: &str| Some(PemSource::File(path.into()));
        assert_eq!((both.server.key, both.server.cert), (inline("a\nb"), file("c.pem")));
        assert_eq!((both.client.key, both.client.cert), (file("ck.pem"), inline("cc")));
        assert_eq!(
            (both.server.passphrase.unwrap(), both.client.passphrase.unwrap()),
            ("p".into(), "cp".into())
        );
        let all =
            [("QWORMHOLE_TLS_CA", "x"), ("QWORMHOLE_TLS_CA_PATHS", "a, b"), ("QWORMHOLE_TLS_CA_PATH", "c")];
        assert_eq!(tls(&all).ca, [inline("x").unwrap()]);
        assert_eq!(tls(&all[1..]).ca, [file("a").unwrap(), file("b").unwrap()]);
        assert_eq!(tls(&all[2..]).ca, [file("c").unwrap()]);
        let names = tls(&[("QWORMHOLE_TLS_SERVERNAME", "h"), ("QWORMHOLE_TLS_ALPN", "q/1,q/2")]);
        assert_eq!(
            (names.server_name.unwrap(), names.alpn_protocols),
            ("h".into(), vec!["q/1".into(), "q/2".into()])
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let environment = read(&[
            ("QWORMHOLE_TLS_KEY", "hush"),
            ("QWORMHOLE_TLS_PASSPHRASE", "hush"),
            ("QWORMHOLE_TLS_CLIENT_PASSPHRASE", "hush"),
        ]);
        let text = format!("{environment:?}");
        assert!(!text.contains("hush") && text.contains("(hidden)"), "{text}");
    }

    #[test]
    #[cfg(unix)]
    fn a_secret_that_is_no_text_is_not_shown_either() {
        use std::os::unix::ffi::OsStringExt;
        let value = OsString::from_vec(b"hush\xff".into());
        for name in ["QWORMHOLE_TLS_KEY", "QWORMHOLE_TLS_PASSPHRASE"] {
            let text = Environment::from_map([(name, value.clone())]).unwrap_err().to_string();
            assert!(text.contains(name) && text.contains("UTF-8") && !text.contains("hush"), "{text}");
        }
    }

    const FLAGS: [&str; 4] = [
        "QWORMHOLE_REQUIRE_HANDSHAKE",
        "QWORMHOLE_TLS_ENABLED",
        "QWORMHOLE_TLS_REQUEST_CERT",
        "QWORMHOLE_TLS_REJECT_UNAUTHORIZED",
    ];
}
