//! What the transports ask of the machine that they run on.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use tokio::runtime::Handle;

/// The runtime that this runs in. Sockets, timers and tasks of tokio panic outside of one.
pub(super) fn runtime() -> io::Result<Handle> {
    Handle::try_current().map_err(io::Error::other)
}

/// The address that the system sends from to reach `target`. No packet is sent. A socket bound to
/// it needs no watch over the interfaces, as one bound to all of them would.
pub(super) fn source_ip(target: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match target {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let probe = UdpSocket::bind((any, 0))?;
    probe.connect(target)?;
    Ok(probe.local_addr()?.ip())
}
