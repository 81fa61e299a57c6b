//! Which server to ask for this node's public address, as WebRTC applications write it.

use std::{fmt, net::Ipv6Addr, str::FromStr};

/// A server that tells a node how it looks from outside: a STUN server, given as a URI of RFC 7064,
/// `stun:host` or `stun:host:port`. An IPv6 address stands in brackets. The default port is 3478.
///
/// ```
/// let server: pxp::IceServer = "stun:stun.example.org".parse()?;
/// assert_eq!(server.to_string(), "stun:stun.example.org:3478");
/// # Ok::<(), pxp::IceServerError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IceServer {
    /// A name, or an address without brackets.
    host: String,
    port: u16,
}

/// RFC 8489, section 8.1.
const DEFAULT_PORT: u16 = 3478;

/// The longest name that DNS allows.
const MAX_NAME_LEN: usize = 253;

impl IceServer {
    #[cfg(feature = "webrtc")]
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    #[cfg(feature = "webrtc")]
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for IceServer {
    type Err = IceServerError;

    fn from_str(uri: &str) -> Result<Self, IceServerError> {
        let (scheme, rest) = uri.split_once(':').ok_or(IceServerError::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "stun" => {}
            "stuns" => return Err(IceServerError::StunsUnsupported),
            "turn" | "turns" => return Err(IceServerError::TurnUnsupported),
            _ => return Err(IceServerError::Scheme),
        }
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
        Ok(Self { host, port })
    }
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
        let Self { host, port } = self;
        match host.contains(':') {
            true => write!(f, "stun:[{host}]:{port}"),
            false => write!(f, "stun:{host}:{port}"),
        }
    }
}

/// Why a string is no [`IceServer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IceServerError {
    /// It is a TURN server, which carries the data itself.
    #[error("TURN servers are not supported yet, only STUN servers: stun:host:port")]
    TurnUnsupported,
    /// It is a STUN server over TLS, for which RFC 7064 has the scheme `stuns`.
    #[error("STUN over TLS is not supported, only over UDP: stun:host:port")]
    StunsUnsupported,
    /// It does not begin with a scheme that names a server of ICE.
    #[error("an ICE server is given as stun:host:port")]
    Scheme,
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
            ("turn:example.org", TurnUnsupported),
            ("turns:example.org:443?transport=tcp", TurnUnsupported),
            ("stuns:example.org", StunsUnsupported),
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
    fn a_name_is_as_long_as_dns_allows() {
        for (len, ok) in [(252, true), (253, true), (254, false)] {
            let uri = format!("stun:{}", "a".repeat(len));
            assert_eq!(uri.parse::<IceServer>().is_ok(), ok, "{len}");
        }
    }
}
