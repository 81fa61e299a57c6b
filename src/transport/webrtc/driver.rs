//! The one task that gives the endpoint datagrams, time and this machine's addresses, and sends what
//! it has to send. It decides nothing but whose turn it is.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::{
    runtime,
    time::{Sleep, sleep_until},
};

use super::{
    endpoint::Endpoint,
    interfaces::{Change, Interfaces},
    servers,
    shared::{Handle, Shared, State},
    socket::{Inbox, Outbox, Sockets},
};
use crate::config::{FoundServer, Stun};

/// How many datagrams are handled before what they give rise to is taken out: `dimpl` keeps 30 of
/// a connection's.
const BATCH: usize = 16;

/// How many batches are handled before other tasks get a turn: about a millisecond's worth.
const MAX_TURNS: usize = 4;

/// How long the first offers wait for this machine's addresses, which are there within a millisecond
/// if it has any.
const START_TIMEOUT: Duration = Duration::from_millis(200);

/// How long connections that nobody asks for any more may take to close, in which the last data is
/// repeated once if it was lost.
const END_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the driver of all signaled connections in `runtime`, in whose context this is called. It ends when all
/// handles are gone, or with the runtime.
///
/// # Errors
///
/// If there is no socket, or no certificate.
pub(super) fn start(runtime: &runtime::Handle, stun: Stun) -> io::Result<Handle> {
    let sockets = bind(stun.service.unwrap_or(0))?;
    let mut endpoint = Endpoint::new().ok_or_else(|| io::Error::other("no certificate"))?;
    if stun.service.is_some() {
        endpoint.serve_stun(sockets.port());
    }
    let servers = servers::resolve(stun.servers).fuse().boxed();
    let interfaces = Interfaces::new();
    Ok(spawn(runtime, endpoint, sockets, interfaces, servers))
}

/// The same, for one socket that is bound to `address`.
///
/// # Errors
///
/// If there is no such socket.
pub(super) fn start_at(
    runtime: &runtime::Handle,
    endpoint: Endpoint,
    address: SocketAddr,
) -> io::Result<Handle> {
    let sockets = Sockets::bind_at(address)?;
    let interfaces = match address.ip() {
        ip if ip.is_unspecified() => Interfaces::new(),
        ip => Interfaces::one(ip),
    };
    let servers = stream::empty().boxed();
    Ok(spawn(runtime, endpoint, sockets, interfaces, servers))
}

fn spawn(
    runtime: &runtime::Handle,
    endpoint: Endpoint,
    sockets: Sockets,
    interfaces: Interfaces,
    servers: BoxStream<'static, Vec<FoundServer>>,
) -> Handle {
    let shared = Shared::new(endpoint);
    let handle = Handle::new(shared.clone());
    let deadline = Instant::now() + START_TIMEOUT;
    runtime.spawn(Driver {
        shared,
        sockets,
        inbox: Inbox::new(),
        outbox: Outbox::default(),
        interfaces,
        servers,
        timer: Box::pin(sleep_until(deadline.into())),
        starting: Some(deadline),
        ending: None,
    });
    handle
}

fn bind(wanted: u16) -> io::Result<Sockets> {
    let sockets = Sockets::bind(wanted)?;
    let port = sockets.port();
    if wanted != 0 && wanted != port {
        tracing::warn!(%wanted, %port, "the port is not to be had, so another one is used");
    }
    if !sockets.have_one_port() {
        tracing::debug!(%port, "IPv6 has another port, at which nobody asks how it looks from outside");
    }
    Ok(sockets)
}

struct Driver {
    shared: Arc<Shared>,
    sockets: Sockets,
    inbox: Inbox,
    outbox: Outbox,
    interfaces: Interfaces,
    servers: BoxStream<'static, Vec<FoundServer>>,
    timer: Pin<Box<Sleep>>,
    /// Until when this machine's addresses are waited for, if they are.
    starting: Option<Instant>,
    /// Until when the last connections may close, once all handles are gone.
    ending: Option<Instant>,
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.register_driver(cx);
        self.poll_surroundings(cx);
        for _ in 0..MAX_TURNS {
            let received = self.poll_receive(cx);
            let deadline = self.turn();
            let is_full = !self.outbox.has_room();
            let sent = self.poll_send(cx);
            let is_idle = received.is_pending() && (sent.is_pending() || !is_full);
            if self.is_over(is_idle && sent.is_ready()) {
                self.shared.with(|state, now| state.endpoint.give_back(now));
                self.turn();
                let _ = self.poll_send(cx); // what is not taken at once is not waited for
                return Poll::Ready(());
            }
            if is_idle {
                ready!(self.poll_timer(cx, deadline));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Driver {
    /// Tells the endpoint what has become of addresses and servers.
    fn poll_surroundings(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(change) = self.interfaces.poll(cx) {
            let ip = match change {
                Change::Gained(network) => network.addr(),
                Change::Lost(ip) => ip,
            };
            let Some(address) = self.sockets.address(ip) else {
                continue;
            };
            self.shared.with(|state, now| match change {
                Change::Gained(network) => state.endpoint.add_address(now, address, network),
                Change::Lost(_) => state.endpoint.remove_address(now, address),
            });
        }
        while let Poll::Ready(Some(servers)) = self.servers.poll_next_unpin(cx) {
            self.shared
                .with(|state, now| state.endpoint.set_servers(now, &servers));
        }
        let is_ready = |until| self.interfaces.has_told() || until <= Instant::now();
        if self.starting.is_some_and(is_ready) {
            self.starting = None;
            self.shared.with(|state, _| state.set_running());
        }
    }

    /// Ready if there is or may be something to handle.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.inbox.is_empty() {
            true => self.sockets.poll_receive(cx, &mut self.inbox),
            false => Poll::Ready(()),
        }
    }

    /// Handles a batch and what is due, and fetches what is to be sent. Returns when to come back.
    fn turn(&mut self) -> Option<Instant> {
        let Self { inbox, outbox, .. } = self;
        self.shared.with(|state, now| {
            for _ in 0..BATCH {
                let Some(datagram) = inbox.next() else {
                    break;
                };
                let (local, remote) = (datagram.local, datagram.remote);
                state
                    .endpoint
                    .handle_datagram(now, local, remote, datagram.contents);
            }
            if state.endpoint.next_deadline().is_some_and(|due| due <= now) {
                state.endpoint.handle_timeout(now);
            }
            state.dispatch(now);
            while outbox.has_room()
                && let Some(transmit) = state.endpoint.poll_transmit()
            {
                outbox.push(transmit);
            }
            state.endpoint.next_deadline()
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sockets.poll_send(cx, &mut self.outbox)
    }

    /// Ready when the time has come.
    fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let deadlines = [deadline, self.starting, self.ending];
        let Some(deadline) = deadlines.into_iter().flatten().min() else {
            return Poll::Pending;
        };
        if self.timer.deadline() != deadline.into() {
            self.timer.as_mut().reset(deadline.into());
        }
        self.timer.as_mut().poll(cx)
    }

    /// Whether nobody needs this driver any more, and all connections are closed. `is_idle` if all is sent.
    fn is_over(&mut self, is_idle: bool) -> bool {
        if self.shared.has_handles() {
            return false;
        }
        let has_connections = |state: &mut State, _| state.endpoint.has_connections();
        let is_done = is_idle && !self.shared.with(has_connections);
        let now = Instant::now();
        let Some(until) = self.ending else {
            self.ending = Some(now + END_TIMEOUT);
            self.servers = stream::empty().boxed();
            self.shared.with(|state, _| state.endpoint.stop_asking());
            return is_done;
        };
        is_done || until <= now
    }
}

/// The runtime drops its tasks when it is shut down. Nobody shall wait for this one then.
impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.end();
    }
}
