//! The UDP sockets of all signaled connections, one of each address family. Datagrams go through
//! them in batches, and both ways our own end's address goes with them. It knows nothing of what is
//! in a datagram.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    task::{Context, Poll, ready},
};

use quinn_udp::{UdpSockRef, UdpSocketState};
use socket2::{Domain, SockAddr, Type};
use tokio::{io::Interest, net::UdpSocket};

pub(super) use self::{inbox::Inbox, outbox::Outbox};

mod inbox;
mod outbox;

/// What each socket asks the system to buffer, either way: 30 ms of a gigabit a second, in which a
/// busy machine gets around to the driver. The system may give less.
const BUFFER_SIZE: usize = 4 << 20;

/// All sockets of a node.
pub(super) struct Sockets {
    /// One or two. Who received last comes last.
    sockets: VecDeque<Socket>,
    port: u16,
}

impl Sockets {
    /// Binds `port` of all interfaces, or a free one if it is 0 or taken. Both families get the same
    /// one if possible. A family that this machine has not is done without.
    ///
    /// # Errors
    ///
    /// If it has neither.
    pub(super) fn bind(port: u16) -> io::Result<Self> {
        let bind = |ip: IpAddr, port| {
            let bound = Socket::bind(ip, port).or_else(|_| Socket::bind(ip, 0));
            bound.inspect_err(|error| tracing::debug!(%error, "no {ip}"))
        };
        let v4 = bind(Ipv4Addr::UNSPECIFIED.into(), port);
        let port_of = |socket: &Socket| socket.address.port();
        let port = v4.as_ref().map_or(port, port_of);
        let v6 = bind(Ipv6Addr::UNSPECIFIED.into(), port);
        let sockets: VecDeque<_> = match (v4, v6) {
            (Err(error), Err(_)) => return Err(error),
            (v4, v6) => v4.into_iter().chain(v6).collect(),
        };
        let port = sockets.front().map_or(0, port_of);
        Ok(Self { sockets, port })
    }

    /// Binds one address, of one interface or of all that have its family.
    ///
    /// # Errors
    ///
    /// If it is not to be had.
    pub(super) fn bind_at(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::bind(address.ip(), address.port())?;
        let port = socket.address.port();
        Ok(Self {
            sockets: VecDeque::from([socket]),
            port,
        })
    }

    /// The port of the first family, and of the other one too if possible.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whether [`Self::port`] is that of both families.
    pub(super) fn have_one_port(&self) -> bool {
        let mut sockets = self.sockets.iter();
        sockets.all(|socket| socket.address.port() == self.port)
    }

    /// Our address on an interface that has `ip`.
    pub(super) fn address(&self, ip: IpAddr) -> Option<SocketAddr> {
        let socket = self.of_family(ip)?;
        Some(SocketAddr::new(ip, socket.address.port()))
    }

    /// Puts what has arrived at one socket into an empty `inbox`. To be called again until it is
    /// pending.
    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>, inbox: &mut Inbox) -> Poll<()> {
        let received = self
            .sockets
            .iter()
            .any(|socket| socket.poll_receive(cx, inbox).is_ready());
        match received {
            true => {
                self.sockets.rotate_left(1);
                Poll::Ready(())
            }
            false => Poll::Pending,
        }
    }

    /// Sends all of `outbox`. What cannot be sent is dropped, as the network might have done; what
    /// cannot be sent yet stays.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, outbox: &mut Outbox) -> Poll<()> {
        while let Some(destination) = outbox.destination() {
            match self.of_family_mut(destination.ip()) {
                Some(socket) => ready!(socket.poll_send(cx, outbox)),
                None => outbox.drop_first(1),
            }
        }
        Poll::Ready(())
    }

    fn of_family(&self, ip: IpAddr) -> Option<&Socket> {
        let mut sockets = self.sockets.iter();
        sockets.find(|socket| socket.address.is_ipv4() == ip.is_ipv4())
    }

    fn of_family_mut(&mut self, ip: IpAddr) -> Option<&mut Socket> {
        let mut sockets = self.sockets.iter_mut();
        sockets.find(|socket| socket.address.is_ipv4() == ip.is_ipv4())
    }
}

struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    /// Its IP is the unspecified one, or that of the only interface.
    address: SocketAddr,
    /// How many datagrams the system takes in one call.
    max_segments: usize,
}

impl Socket {
    fn bind(ip: IpAddr, port: u16) -> io::Result<Self> {
        let address = SocketAddr::new(ip, port);
        let io = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if address.is_ipv6() {
            // The other family has a socket of its own.
            io.set_only_v6(true)?;
        }
        io.bind(&SockAddr::from(address))?;
        // Smaller buffers lose datagrams under load, and do else.
        let _ = io.set_recv_buffer_size(BUFFER_SIZE);
        let _ = io.set_send_buffer_size(BUFFER_SIZE);
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        let io = UdpSocket::from_std(io.into())?;
        Ok(Self {
            address: io.local_addr()?,
            max_segments: state.max_gso_segments(),
            io,
            state,
        })
    }

    fn poll_receive(&self, cx: &mut Context<'_>, inbox: &mut Inbox) -> Poll<()> {
        loop {
            if ready!(self.io.poll_recv_ready(cx)).is_err() {
                // The runtime shuts down.
                return Poll::Pending;
            }
            let received = self.io.try_io(Interest::READABLE, || {
                inbox.receive(&self.io, &self.state, self.address)
            });
            // Every failure counts as nothing to read, so that it is not repeated at once.
            if received.is_ok() {
                return Poll::Ready(());
            }
        }
    }

    /// Sends some of `outbox`, the first of which is of this family.
    fn poll_send(&mut self, cx: &mut Context<'_>, outbox: &mut Outbox) -> Poll<()> {
        let Some(batch) = outbox.batch(self.max_segments) else {
            return Poll::Ready(());
        };
        let sent = loop {
            if ready!(self.io.poll_send_ready(cx)).is_err() {
                return Poll::Pending;
            }
            let sent = self.io.try_io(Interest::WRITABLE, || {
                let socket = UdpSockRef::from(&self.io);
                self.state.try_send(socket, &batch.transmit)
            });
            if !matches!(&sent, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                break sent;
            }
        };
        let (count, to) = (batch.count, batch.transmit.destination);
        match sent {
            Ok(()) => {
                if outbox.is_split() {
                    // Alone it is taken: this interface takes no batches.
                    self.max_segments = 1;
                }
                outbox.drop_first(count);
            }
            Err(_) if count > 1 => outbox.split(count),
            Err(error) => {
                tracing::trace!(%to, %error, "a datagram could not be sent");
                outbox.drop_first(count);
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests;
