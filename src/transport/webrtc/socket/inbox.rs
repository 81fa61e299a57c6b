//! Datagrams between the system, which gives many at once, and who handles them one by one.

use std::{
    array,
    collections::VecDeque,
    io::{self, IoSliceMut},
    net::SocketAddr,
    ops::Range,
};

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use tokio::net::UdpSocket;

/// How many buffers are filled in one call. One holds a single datagram or, where the system joins
/// those of one sender, up to 64.
const BUFFERS: usize = 8;

/// The most that the system puts into one of them.
const BUFFER_SIZE: usize = 1 << 16;

/// Received datagrams in the order of their arrival.
pub(in super::super) struct Inbox {
    /// Pages of it that were never used take up no memory.
    memory: Vec<u8>,
    /// What is in it and was not taken yet.
    datagrams: VecDeque<Place>,
}

struct Place {
    local: SocketAddr,
    remote: SocketAddr,
    range: Range<usize>,
}

/// One datagram.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Datagram<'a> {
    /// Where it arrived: with our IP if the system tells it, else with the unspecified one.
    pub(in super::super) local: SocketAddr,
    pub(in super::super) remote: SocketAddr,
    pub(in super::super) contents: &'a [u8],
}

impl Inbox {
    pub(in super::super) fn new() -> Self {
        Self {
            memory: vec![0; BUFFERS * BUFFER_SIZE],
            datagrams: VecDeque::new(),
        }
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    pub(in super::super) fn next(&mut self) -> Option<Datagram<'_>> {
        let Place {
            local,
            remote,
            range,
        } = self.datagrams.pop_front()?;
        let contents = self.memory.get(range)?;
        Some(Datagram {
            local,
            remote,
            contents,
        })
    }

    /// Takes what has arrived at the socket of the unspecified address `bound`. Overwrites what was
    /// not taken yet.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, if nothing has or it cannot be read.
    pub(super) fn receive(
        &mut self,
        socket: &UdpSocket,
        state: &UdpSocketState,
        bound: SocketAddr,
    ) -> io::Result<()> {
        self.datagrams.clear();
        let mut metas = [RecvMeta::default(); BUFFERS];
        let mut free = self.memory.chunks_exact_mut(BUFFER_SIZE);
        let mut buffers: [_; BUFFERS] =
            array::from_fn(|_| IoSliceMut::new(free.next().unwrap_or_default()));
        let count = match state.recv(UdpSockRef::from(socket), &mut buffers, &mut metas) {
            Ok(count) => count,
            // How Windows says that an earlier datagram of ours was not wanted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    tracing::debug!(%error, "cannot receive");
                }
                return Err(io::ErrorKind::WouldBlock.into());
            }
        };
        for (buffer, meta) in metas.iter().take(count).enumerate() {
            self.split(buffer * BUFFER_SIZE, meta, bound);
        }
        Ok(())
    }

    /// Notes the datagrams of one buffer: all are as long as its stride, but the last.
    fn split(&mut self, start: usize, meta: &RecvMeta, bound: SocketAddr) {
        let local = SocketAddr::new(meta.dst_ip.unwrap_or(bound.ip()), bound.port());
        let stride = meta.stride.max(1);
        let places = (0..meta.len).step_by(stride).map(|offset| Place {
            local,
            remote: meta.addr,
            range: start + offset..start + meta.len.min(offset + stride),
        });
        self.datagrams.extend(places);
    }
}
