//! WebRTC whose descriptions travel as signals through a peer that both ends have: the fast way to a
//! new peer. And WebRTC that needs none, since it is dialed by an address. A pure [`endpoint`] holds connections, and
//! thin shells around it give it sockets, time and libp2p's traits; nothing here knows what a signal is signed with or
//! what runs on the connections.

use std::{
    collections::VecDeque,
    future, io,
    task::{Context, Poll},
};

use futures::FutureExt;
use libp2p::{
    Multiaddr, PeerId,
    core::{
        muxing::StreamMuxerBox,
        transport::{ListenerId, TransportEvent},
    },
    multiaddr::Protocol,
};

pub(super) use self::direct::{Direct, dial_target, listen_target};
use self::{
    muxer::Muxer,
    shared::{Handle, Phase, State},
};
use super::{Connecting, host};
use crate::{
    config::Stun,
    signaling::{Command, Notice},
};

mod certificate;
mod direct;
mod driver;
mod endpoint;
mod fingerprint;
mod framing;
mod interfaces;
mod muxer;
mod servers;
mod shared;
mod socket;
mod substream;
mod waiting;

#[cfg(any(test, fuzzing))]
pub(crate) use self::{endpoint::fuzz, framing::fuzz as stream_fuzz};

/// Whom this address leads to, if it is one of a set-up by signals.
pub(super) fn signaled_peer(address: &Multiaddr) -> Option<PeerId> {
    let mut parts = address.iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(Protocol::WebRTC), Some(Protocol::P2p(peer)), None) => Some(peer),
        _ => None,
    }
}

/// The route to peers by signals.
pub(super) struct Signaled {
    /// Under which incoming connections are reported. Nobody listens: signals announce them.
    id: ListenerId,
    shell: Shell,
    /// At most one for each command between two polls.
    declined: VecDeque<Notice>,
}

/// The sockets and their driver.
enum Shell {
    /// Not inside of a runtime so far.
    Unstarted(Stun),
    Running(Handle),
    /// There are no sockets, or no more.
    Unavailable,
}

impl Signaled {
    pub(super) fn new(stun: Stun) -> Self {
        Self {
            id: ListenerId::next(),
            shell: Shell::Unstarted(stun),
            declined: VecDeque::new(),
        }
    }

    /// Ready if commands may come. They wait until this machine's addresses are known.
    pub(super) fn poll_ready(&mut self, cx: &Context<'_>) -> Poll<()> {
        let Some(handle) = self.start() else {
            return Poll::Ready(());
        };
        let phase = handle.poll(|state, _| match state.phase() {
            Phase::Starting => state.wait_for_transport(cx),
            phase => Poll::Ready(phase),
        });
        if phase == Poll::Ready(Phase::Over) {
            self.shell = Shell::Unavailable;
        }
        phase.map(drop)
    }

    pub(super) fn handle_command(&mut self, command: Command) {
        match self.start() {
            Some(handle) => handle.act(|state, now| state.endpoint.handle_command(now, command)),
            None => self.declined.extend(command.declined()),
        }
    }

    /// What is to be told to the core. What follows from a command at once is there at once.
    pub(super) fn poll_notice(&mut self, cx: &Context<'_>) -> Poll<Notice> {
        if let Some(notice) = self.declined.pop_front() {
            return Poll::Ready(notice);
        }
        let Some(handle) = self.start() else {
            return Poll::Pending;
        };
        handle.poll(|state, _| match state.notices.pop_front() {
            Some(notice) => Poll::Ready(notice),
            None => state.wait_for_transport(cx),
        })
    }

    /// Claims the connection to `peer` that is being set up. `commands` are those so far, with the
    /// answer among them: from then on it may be up at any time, and must be claimed before that.
    pub(super) fn dial(
        &mut self,
        peer: PeerId,
        commands: impl Iterator<Item = Command>,
    ) -> Connecting {
        let Some(handle) = self.start().cloned() else {
            self.declined.extend(commands.filter_map(Command::declined));
            return future::ready(Err(NotSetUp.into())).boxed();
        };
        let key = handle.act(|state, now| {
            commands.for_each(|command| state.endpoint.handle_command(now, command));
            state.endpoint.dial(&peer)
        });
        let muxer = key.map(|key| Muxer::signaled(handle, key, peer));
        async move {
            let muxer = muxer.ok_or(NotSetUp)?;
            future::poll_fn(|cx| muxer.poll_connected(cx)).await?;
            Ok((peer, StreamMuxerBox::new(muxer)))
        }
        .boxed()
    }

    /// Reports connections that the other side dials.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Poll<TransportEvent<Connecting, io::Error>> {
        let id = self.id;
        let Some(handle) = self.start() else {
            return Poll::Pending;
        };
        let incoming = handle.poll(|state, _| state.poll_incoming(cx));
        incoming.map(|(key, peer)| {
            let muxer = Muxer::signaled(handle.clone(), key, peer);
            TransportEvent::Incoming {
                listener_id: id,
                local_addr: Protocol::WebRTC.into(),
                send_back_addr: Multiaddr::from(Protocol::WebRTC).with(Protocol::P2p(peer)),
                upgrade: future::ready(Ok((peer, StreamMuxerBox::new(muxer)))).boxed(),
            }
        })
    }

    fn start(&mut self) -> Option<&Handle> {
        if let Shell::Unstarted(stun) = &mut self.shell
            && let Ok(runtime) = host::runtime()
        {
            self.shell = match driver::start(&runtime, std::mem::take(stun)) {
                Ok(handle) => Shell::Running(handle),
                Err(error) => {
                    tracing::debug!(%error, "no signaled connections: there is no socket");
                    Shell::Unavailable
                }
            };
        }
        match &self.shell {
            Shell::Running(handle) => Some(handle),
            Shell::Unstarted(_) | Shell::Unavailable => None,
        }
    }
}

impl Drop for Signaled {
    fn drop(&mut self) {
        if let Shell::Running(handle) = &self.shell {
            handle.act(State::drop_transport);
        }
    }
}

/// Why a dial came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no connection to this peer is being set up")]
struct NotSetUp;

impl From<NotSetUp> for io::Error {
    fn from(error: NotSetUp) -> Self {
        Self::new(io::ErrorKind::NotFound, error)
    }
}

#[cfg(test)]
mod tests;
