//! Which servers help this node through NATs, as WebRTC applications name them.

#[cfg(feature = "webrtc")]
use std::net::SocketAddr;
use std::{fmt, net::Ipv6Addr, str::FromStr};

/// A server that helps a node through NATs.
///
/// A STUN server tells it how it looks from outside. It is given as a URI of RFC 7064, `stun:host` or
/// `stun:host:port`. A TURN server also carries the data where no straight way leads, over UDP. It is given
/// as a URI of RFC 7065, `turn:host` or `turn:host:port`, and by what it knows us ([`IceServer::turn`]). An IPv6
/// address stands in brackets. The default port is 3478.
///
/// ```
/// use pxp::IceServer;
///
/// let server: IceServer = "stun:stun.example.org".parse()?;
/// assert_eq!(server.to_string(), "stun:stun.example.org:3478");
/// let server = IceServer::turn("turn:turn.example.org", "user", "password")?;
/// assert_eq!(server.to_string(), "turn:turn.example.org:3478");
/// # Ok::<(), pxp::IceServerError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IceServer {
    /// A name, or an address without brackets.
    host: String,
    port: u16,
    /// A TURN server's.
    credentials: Option<Credentials>,
}

/// What a TURN server knows us by: its long-term credentials (RFC 8489, section 9.2).
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
}

/// Where a server was found.
#[cfg(feature = "webrtc")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundServer {
    pub(crate) address: SocketAddr,
    /// A TURN server's.
    pub(crate) credentials: Option<Credentials>,
}

/// RFC 8489, section 8.1.
const DEFAULT_PORT: u16 = 3478;

/// The longest name that DNS allows.
const MAX_NAME_LEN: usize = 253;

/// The longest user name that STUN carries, and the longest password that is worth anything.
const MAX_CREDENTIAL_LEN: usize = 508;

impl IceServer {
    /// A TURN server and what it knows us by, for as long as the node runs.
    ///
    /// # Errors
    ///
    /// If `uri` is no TURN URI, or asks for TCP or TLS; [`IceServerError::Credentials`] if the user name or the
    /// password is empty or longer than 508 bytes.
    pub fn turn(uri: &str, username: &str, password: &str) -> Result<Self, IceServerError> {
        let rest = match split_scheme(uri)? {
            (Scheme::Turn, rest) => rest,
            (Scheme::Stun, _) => return Err(IceServerError::Scheme),
        };
        let rest = match rest.split_once('?') {
            Some((rest, transport)) if transport.eq_ignore_ascii_case("transport=udp") => rest,
            Some(_) => return Err(IceServerError::TransportUnsupported),
            None => rest,
        };
        let is_usable = |text: &str| (1..=MAX_CREDENTIAL_LEN).contains(&text.len());
        if !is_usable(username) || !is_usable(password) {
            return Err(IceServerError::Credentials);
        }
        let (host, port) = split_host(rest)?;
        let credentials = Some(Credentials {
            username: username.to_owned(),
            password: password.to_owned(),
        });
        Ok(Self {
            host,
            port,
            credentials,
        })
    }

    #[cfg(feature = "webrtc")]
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    #[cfg(feature = "webrtc")]
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// It was found at `address`.
    #[cfg(feature = "webrtc")]
    pub(crate) fn found_at(&self, address: SocketAddr) -> FoundServer {
        FoundServer {
            address,
            credentials: self.credentials.clone(),
        }
    }
}

impl FromStr for IceServer {
    type Err = IceServerError;

    fn from_str(uri: &str) -> Result<Self, IceServerError> {
        let rest = match split_scheme(uri)? {
            (Scheme::Stun, rest) => rest,
            (Scheme::Turn, _) => return Err(IceServerError::Credentials),
        };
        let (host, port) = split_host(rest)?;
        Ok(Self {
            host,
            port,
            credentials: None,
        })
    }
}

enum Scheme {
    Stun,
    Turn,
}

fn split_scheme(uri: &str) -> Result<(Scheme, &str), IceServerError> {
    let (scheme, rest) = uri.split_once(':').ok_or(IceServerError::Scheme)?;
    match scheme.to_ascii_lowercase().as_str() {
        "stun" => Ok((Scheme::Stun, rest)),
        "turn" => Ok((Scheme::Turn, rest)),
        "stuns" | "turns" => Err(IceServerError::TlsUnsupported),
        _ => Err(IceServerError::Scheme),
    }
}

/// Splits what comes after the scheme into host and port.
fn split_host(rest: &str) -> Result<(String, u16), IceServerError> {
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or(IceServerError::Host)?;
            let host: Ipv6Addr = host.parse().map_err(|_| IceServerError::Host)?;
            (host.to_string(), port)
        }
        None => {
            let (host, port) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
            if !is_name(host) {
                return Err(IceServerError::Host);
            }
            (host.to_owned(), port)
        }
    };
    let port = parse_port(port).ok_or(IceServerError::Port)?;
    Ok((host, port))
}

/// Whether it may be a name of DNS, or an IPv4 address.
fn is_name(host: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=MAX_NAME_LEN).contains(&host.len()) && host.bytes().all(is_part)
}

/// Reads nothing, or a colon and a port.
fn parse_port(rest: &str) -> Option<u16> {
    if rest.is_empty() {
        return Some(DEFAULT_PORT);
    }
    let digits = rest.strip_prefix(':')?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|port| *port != 0)
}

impl fmt::Display for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        let scheme = self.credentials.as_ref().map_or("stun", |_| "turn");
        match host.contains(':') {
            true => write!(f, "{scheme}:[{host}]:{port}"),
            false => write!(f, "{scheme}:{host}:{port}"),
        }
    }
}

/// Without the password, as all that is logged.
impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Without the password, as all that is logged.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.username).finish()
    }
}

/// Why a string is no [`IceServer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IceServerError {
    /// It is to be used over TLS, for which RFC 7064 and RFC 7065 have the schemes `stuns` and `turns`.
    #[error("servers are used over UDP, not over TLS: stun:host:port or turn:host:port")]
    TlsUnsupported,
    /// It is to be used over something else than UDP.
    #[error("servers are used over UDP: turn:host:port or turn:host:port?transport=udp")]
    TransportUnsupported,
    /// It does not begin with a scheme that names a server of this kind.
    #[error("an ICE server is given as stun:host:port or turn:host:port")]
    Scheme,
    /// A TURN server takes a user name and a password ([`IceServer::turn`]), neither empty nor longer than
    /// 508 bytes.
    #[error("a TURN server takes a user name and a password, of up to 508 bytes each")]
    Credentials,
    /// The host is neither a name nor an address, or is an IPv6 address without brackets.
    #[error("the host is no name and no address; an IPv6 address stands in brackets")]
    Host,
    /// The port is no number from 1 to 65535, or something follows it.
    #[error("the port is no number from 1 to 65535")]
    Port,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_rfc_7064_writes_them() {
        for (uri, printed) in [
            ("stun:example.org", "stun:example.org:3478"),
            ("stun:example.org:8000", "stun:example.org:8000"),
            ("STUN:under_score.example", "stun:under_score.example:3478"),
            ("stun:192.0.2.1:1", "stun:192.0.2.1:1"),
            ("stun:[2001:db8::1]", "stun:[2001:db8::1]:3478"),
            ("stun:[2001:db8::1]:65535", "stun:[2001:db8::1]:65535"),
        ] {
            let server: IceServer = uri.parse().unwrap();
            assert_eq!(server.to_string(), printed);
            assert_eq!(printed.parse(), Ok(server));
        }
    }

    #[test]
    fn what_is_no_server_is_refused_with_the_reason() {
        use IceServerError::*;
        for (uri, error) in [
            ("turn:example.org", Credentials),
            ("turns:example.org:443?transport=tcp", TlsUnsupported),
            ("stuns:example.org", TlsUnsupported),
            ("", Scheme),
            ("example.org", Scheme),
            ("example.org:3478", Scheme),
            ("http://example.org", Scheme),
            ("stun:", Host),
            ("stun::3478", Host),
            ("stun://example.org", Host),
            ("stun:user@example.org", Host),
            ("stun:[2001:db8::1", Host),
            ("stun:[192.0.2.1]", Host),
            ("stun:[fe80::1%eth0]", Host),
            ("stun:ex ample", Host),
            ("stun:2001:db8::1", Port),
            ("stun:example.org:", Port),
            ("stun:example.org:0", Port),
            ("stun:example.org:65536", Port),
            ("stun:example.org:+1", Port),
            ("stun:example.org:3478?transport=udp", Port),
            ("stun:[2001:db8::1]3478", Port),
        ] {
            assert_eq!(uri.parse::<IceServer>(), Err(error), "{uri}");
        }
    }

    #[test]
    fn turn_servers_are_read_as_rfc_7065_writes_them_and_keep_their_password_to_themselves() {
        for (uri, printed) in [
            ("turn:example.org", "turn:example.org:3478"),
            ("TURN:[2001:db8::1]:1", "turn:[2001:db8::1]:1"),
            ("turn:192.0.2.1?transport=UDP", "turn:192.0.2.1:3478"),
        ] {
            let server = IceServer::turn(uri, "user", "secret").unwrap();
            assert_eq!(server.to_string(), printed);
            let logged = format!("{server:?} {:?}", server.credentials);
            assert!(!logged.contains("secret"), "{logged}");
        }
    }

    #[test]
    fn what_is_no_turn_server_is_refused_with_the_reason() {
        use IceServerError::*;
        let long = "x".repeat(509);
        for (uri, username, password, error) in [
            ("stun:example.org", "u", "p", Scheme),
            ("turns:example.org", "u", "p", TlsUnsupported),
            (
                "turn:example.org?transport=tcp",
                "u",
                "p",
                TransportUnsupported,
            ),
            ("turn:", "u", "p", Host),
            ("turn:example.org:0", "u", "p", Port),
            ("turn:example.org", "", "p", Credentials),
            ("turn:example.org", "u", "", Credentials),
            ("turn:example.org", &long, "p", Credentials),
            ("turn:example.org", "u", &long, Credentials),
        ] {
            let refused = IceServer::turn(uri, username, password);
            assert_eq!(refused, Err(error), "{uri}");
        }
        assert!(IceServer::turn("turn:example.org", &long[1..], &long[1..]).is_ok());
    }

    #[test]
    fn a_name_is_as_long_as_dns_allows() {
        for (len, ok) in [(252, true), (253, true), (254, false)] {
            let uri = format!("stun:{}", "a".repeat(len));
            assert_eq!(uri.parse::<IceServer>().is_ok(), ok, "{len}");
        }
    }
}
