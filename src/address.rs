//! Where to listen and whom to call.

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// An address to listen on or to connect to.
///
/// | text | meaning |
/// |---|---|
/// | `tcp://host:port`, `host:port` | TCP; the host is a name, an IPv4 address or an IPv6 address in brackets |
/// | `tls://host:port` | the same with TLS |
/// | `unix:/path` | a unix socket in the file system |
/// | `unix:@name` | an abstract unix socket, Linux only |
///
/// Names are resolved when the address is used, not when it is parsed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// TCP over IPv4 or IPv6.
    Tcp {
        /// A name, or a numeric address without brackets.
        host: String,
        /// The port; 0 lets the system choose when listening.
        port: u16,
    },
    /// TLS over TCP.
    Tls {
        /// A name, or a numeric address without brackets; a server's certificate must be for it.
        host: String,
        /// The port; 0 lets the system choose when listening.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
    /// The name of an abstract unix socket, without the leading `@`.
    Abstract(String),
}

impl Address {
    /// Whether the address says that TLS is to be spoken. It may be without: see
    /// [`ClientBuilder::tls`](crate::ClientBuilder::tls).
    pub const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls { .. })
    }

    /// The same with TLS, where an address can say so.
    pub(crate) fn over_tls(self) -> Self {
        match self {
            Self::Tcp { host, port } => Self::Tls { host, port },
            other => other,
        }
    }

    /// The socket address, when the address is TCP or TLS and its host is numeric.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let (Self::Tcp { host, port } | Self::Tls { host, port }) = self else { return None };
        Some(SocketAddr::new(host.parse::<IpAddr>().ok()?, *port))
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fault = |problem| AddressError { address: text.to_owned(), problem };
        if text.is_empty() {
            return Err(fault("is empty; write tcp://host:port, tls://host:port or unix:/path"));
        }
        if let Some(path) = text.strip_prefix("unix:") {
            return parse_unix(path).map_err(fault);
        }
        match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tcp") => parse_tcp(rest).map_err(fault),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("tls") => {
                parse_tcp(rest).map(Self::over_tls).map_err(fault)
            }
            Some(_) => {
                Err(fault("has an unknown scheme; known are tcp://host:port, tls://host:port and unix:/path"))
            }
            None => parse_tcp(text).map_err(fault),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "tcp://{}:{port}", Bracketed(host)),
            Self::Tls { host, port } => write!(f, "tls://{}:{port}", Bracketed(host)),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Abstract(name) => write!(f, "unix:@{name}"),
        }
    }
}

/// IPv6 addresses stand in brackets.
struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

impl From<SocketAddr> for Address {
    fn from(addr: SocketAddr) -> Self {
        let host = match addr {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
            _ => addr.ip().to_string(),
        };
        Self::Tcp { host, port: addr.port() }
    }
}

impl TryFrom<&str> for Address {
    type Error = AddressError;

    fn try_from(text: &str) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<&String> for Address {
    type Error = AddressError;

    fn try_from(text: &String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<&Self> for Address {
    fn from(address: &Self) -> Self {
        address.clone()
    }
}

/// A text that is not an [`Address`], what is wrong with it and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address {address:?} {problem}")]
pub struct AddressError {
    address: String,
    problem: &'static str,
}

impl AddressError {
    /// The text that was given.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl From<Infallible> for AddressError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

fn parse_tcp(text: &str) -> Result<Address, &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) =
                rest.split_once(']').ok_or("lacks the closing bracket of its IPv6 address")?;
            let bare = host.split_once('%').map_or(host, |(bare, _zone)| bare);
            bare.parse::<Ipv6Addr>().map_err(|_| "has no IPv6 address between its brackets")?;
            (host, after.strip_prefix(':').ok_or(NO_PORT)?)
        }
        None => {
            let (host, port) = text.rsplit_once(':').ok_or(NO_PORT)?;
            if host.contains(':') {
                return Err("has an IPv6 address without brackets; write tcp://[::1]:9000");
            }
            (host, port)
        }
    };
    if host.is_empty() {
        return Err("lacks a host; to listen everywhere write tcp://0.0.0.0:port or tcp://[::]:port");
    }
    if host.len() > HOST_LEN_MAX
        || host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#".contains(c))
    {
        return Err("has a host that is not a name or an address; write tcp://host:port");
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BAD_PORT);
    }
    let port = if port.is_empty() { Err(NO_PORT) } else { port.parse().map_err(|_| BAD_PORT) }?;
    Ok(Address::Tcp { host: host.to_owned(), port })
}

fn parse_unix(text: &str) -> Result<Address, &'static str> {
    if cfg!(not(unix)) {
        return Err("is a unix socket, which this platform does not have");
    }
    if text.contains('\0') {
        return Err("contains a NUL byte");
    }
    if let Some(name) = text.strip_prefix('@') {
        return match name.len() {
            _ if cfg!(not(target_os = "linux")) => Err("is an abstract unix socket, which only Linux has"),
            0 => Err("lacks the name after unix:@"),
            1..=UNIX_LEN_MAX => Ok(Address::Abstract(name.to_owned())),
            _ => Err("has a name of more than 107 bytes"),
        };
    }
    // `unix:///path` is how other tools write an absolute path; `unix://name` would be a host.
    let path = match text.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) => return Err("has two slashes and no absolute path; write unix:/path"),
        None => text,
    };
    match path.len() {
        0 => Err("lacks a path; write unix:/path"),
        1..=UNIX_LEN_MAX => Ok(Address::Unix(Path::new(path).to_owned())),
        _ => Err("has a path of more than 107 bytes, more than a unix socket can have"),
    }
}

const NO_PORT: &str = "lacks a port; write tcp://host:port";
const BAD_PORT: &str = "has a port that is not a number from 0 to 65535";
/// Longest name of the domain name system.
const HOST_LEN_MAX: usize = 253;
/// `sun_path` holds 108 bytes, one of them for the end.
const UNIX_LEN_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn problem(text: &str) -> String {
        let error = text.parse::<Address>().unwrap_err();
        assert_eq!(error.address(), text);
        error.to_string()
    }

    #[test]
    fn every_spelling_of_tcp_means_the_same() {
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        assert_eq!("tcp://example.org:7000".parse(), Ok(tcp("example.org", 7000)));
        assert_eq!("TCP://10.0.0.7:1".parse(), Ok(tcp("10.0.0.7", 1)));
        assert_eq!("localhost:0".parse(), Ok(tcp("localhost", 0)));
        assert_eq!("[::1]:9000".parse(), Ok(tcp("::1", 9000)));
        assert_eq!("tcp://[fe80::1%eth0]:9".parse(), Ok(tcp("fe80::1%eth0", 9)));
        assert_eq!(Address::from("[::1]:5".parse::<SocketAddr>().unwrap()), tcp("::1", 5));
    }

    #[test]
    fn what_is_displayed_parses_back() {
        for text in [
            "tcp://h:1",
            "tls://h:1",
            "tls://[::1]:1",
            "tcp://[::]:65535",
            "tcp://[fe80::1%eth0]:9",
            "tcp://127.0.0.1:0",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn unix_sockets_have_a_path_or_an_abstract_name() {
        assert_eq!("unix:/run/q.sock".parse(), Ok(Address::Unix("/run/q.sock".into())));
        assert_eq!("unix:///run/q.sock".parse(), Ok(Address::Unix("/run/q.sock".into())));
        assert_eq!("unix:q.sock".parse(), Ok(Address::Unix("q.sock".into())));
        assert_eq!("unix:@q".parse(), Ok(Address::Abstract("q".into())));
        assert_eq!("unix:@q".parse::<Address>().unwrap().to_string(), "unix:@q");
        assert!(problem("unix:").contains("lacks a path"));
        assert!(problem("unix:@").contains("lacks the name"));
        assert!(problem("unix://run/q").contains("write unix:/path"));
        assert!(problem("unix:/a\0b").contains("NUL"));
        assert!(format!("unix:/{}", "x".repeat(106)).parse::<Address>().is_ok());
        assert!(problem(&format!("unix:/{}", "x".repeat(107))).contains("107 bytes"));
        assert!(problem(&format!("unix:@{}", "x".repeat(108))).contains("107 bytes"));
    }

    #[test]
    fn mistakes_are_named_with_what_would_be_right() {
        assert!(problem("").contains("is empty"));
        assert!(problem("host").contains("lacks a port"));
        assert!(problem("tcp://host").contains("lacks a port"));
        assert!(problem("tcp://host:").contains("lacks a port"));
        assert!(problem("[::1]").contains("lacks a port"));
        assert!(problem("host:65536").contains("0 to 65535"));
        assert!(problem("host:+1").contains("0 to 65535"));
        assert!(problem("tcp://host:80/path").contains("0 to 65535"));
        assert!(problem(":9000").contains("0.0.0.0"));
        assert!(problem("::1:9000").contains("without brackets"));
        assert!(problem("[::1:9000").contains("closing bracket"));
        assert!(problem("[host]:1").contains("no IPv6 address"));
        assert!(problem("a b:1").contains("not a name"));
        assert!(problem("ws://host:1").contains("known are tcp://host:port, tls://host:port and unix:/path"));
    }

    #[test]
    fn only_numeric_hosts_have_a_socket_address() {
        let addr = |text: &str| text.parse::<Address>().unwrap().socket_addr();
        assert_eq!(addr("127.0.0.1:5"), Some(SocketAddr::from(([127, 0, 0, 1], 5))));
        assert_eq!(addr("[::1]:5").map(|addr| addr.port()), Some(5));
        assert_eq!(addr("localhost:5"), None);
    }
}
