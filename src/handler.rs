//! The one `/pxp/1.0.0` substream of a connection, in a swarm. It knows how a substream comes about
//! and goes away; every decision about what is said on it is the core's.

mod framed;
mod link;

#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::FutureExt;
use futures_timer::Delay;
use libp2p::{
    Stream, StreamProtocol,
    core::upgrade::ReadyUpgrade,
    swarm::{
        ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
        handler::{
            ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
        },
    },
};

use self::link::Link;
use crate::{config::Limits, error::LinkError, message::Frame};

/// The protocol that a link speaks.
pub const PROTOCOL_NAME: StreamProtocol = StreamProtocol::new("/pxp/1.0.0");

/// How long a connection that nobody else uses is kept for a dialer that was not heard of yet: as
/// long as it may take to open the substream.
const GRACE: Duration = Limits::OPEN_TIME;

/// Which end of the connection we are, and so who opens the substream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Dialer,
    Listener,
}

/// What a link is told.
#[derive(Debug)]
#[expect(
    private_interfaces,
    reason = "public for the trait's sake, and nobody can name it"
)]
pub enum ToLink {
    /// Ignored unless the link is open.
    Send(Frame),
    /// Says farewell: a [`FromLink::Closed`] follows within a second, also where the link was never
    /// opened. Ignored if one came before.
    Close,
}

/// What happens on a link.
#[derive(Debug)]
#[expect(
    private_interfaces,
    reason = "public for the trait's sake, and nobody can name it"
)]
pub enum FromLink {
    /// Frames may be sent. Comes once, first.
    Opened,
    /// With how many bytes it came in.
    Frame(Frame, usize),
    /// Comes once, last: `Ok` after the end of either side, in order. Without an
    /// [`Opened`](Self::Opened) before it, the link could not be opened or was not to be. Where the
    /// connection closes before the link was open, nothing comes.
    Closed(Result<(), LinkError>),
}

/// The handler of one connection, for one link in its life. Public for the trait's sake.
pub struct Handler {
    state: State,
}

enum State {
    /// The substream has yet to be asked for.
    Dialing,
    /// The substream is being opened.
    Opening,
    /// The dialer has yet to open the substream, which is welcome also when the grace is over.
    Awaiting(Option<Delay>),
    /// Boxed, since most handlers of a busy node are on connections without one.
    Linked(Box<Link<Stream>>),
    /// It is over before it began, and nobody was told yet.
    Failed(Result<(), LinkError>),
    Ended,
}

impl Handler {
    pub(crate) fn new(role: Role) -> Self {
        let state = match role {
            Role::Dialer => State::Dialing,
            Role::Listener => State::Awaiting(Some(Delay::new(GRACE))),
        };
        Self { state }
    }

    fn on_inbound(&mut self, stream: Stream) {
        match self.state {
            State::Awaiting(_) => self.state = State::Linked(Box::new(Link::new(stream))),
            _ => tracing::debug!("dropped a substream beside the one there may be"),
        }
    }

    fn on_outbound(&mut self, stream: Stream) {
        if let State::Opening = self.state {
            self.state = State::Linked(Box::new(Link::new(stream)));
        }
    }

    fn on_outbound_failed(&mut self, error: LinkError) {
        if let State::Opening = self.state {
            self.state = State::Failed(Err(error));
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = ToLink;
    type ToBehaviour = FromLink;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    /// The same for both roles and always, since remotes may remember what we support.
    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        substream_protocol()
    }

    fn connection_keep_alive(&self) -> bool {
        match self.state {
            State::Dialing | State::Opening | State::Linked(_) => true,
            State::Awaiting(ref grace) => grace.is_some(),
            State::Failed(_) | State::Ended => false,
        }
    }

    fn on_behaviour_event(&mut self, command: ToLink) {
        match (&mut self.state, command) {
            (State::Linked(link), command) => link.on_command(command),
            (State::Dialing | State::Opening | State::Awaiting(_), ToLink::Close) => {
                self.state = State::Failed(Ok(()));
            }
            _ => {}
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), FromLink>> {
        let event = match &mut self.state {
            State::Dialing => {
                self.state = State::Opening;
                let protocol = substream_protocol();
                return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
            }
            State::Awaiting(grace) => {
                if let Some(delay) = grace {
                    ready!(delay.poll_unpin(cx));
                    *grace = None;
                }
                return Poll::Pending;
            }
            State::Linked(link) => ready!(link.poll(cx)),
            State::Failed(result) => FromLink::Closed(result.clone()),
            State::Opening | State::Ended => return Poll::Pending,
        };
        if let FromLink::Closed(_) = event {
            self.state = State::Ended;
        }
        Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(event))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<Option<FromLink>> {
        let event = match &mut self.state {
            State::Linked(link) => ready!(link.poll_close(cx)),
            _ => None,
        };
        if let None | Some(FromLink::Closed(_)) = event {
            self.state = State::Ended;
        }
        Poll::Ready(event)
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol, ..
            }) => {
                self.on_inbound(protocol);
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol, ..
            }) => self.on_outbound(protocol),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { error, .. }) => {
                self.on_outbound_failed(match error {
                    StreamUpgradeError::NegotiationFailed => LinkError::Unsupported,
                    StreamUpgradeError::Timeout => LinkError::NoHello,
                    StreamUpgradeError::Io(error) => LinkError::Io(Arc::new(error)),
                    StreamUpgradeError::Apply(never) => match never {},
                });
            }
            _ => {}
        }
    }
}

fn substream_protocol() -> SubstreamProtocol<ReadyUpgrade<StreamProtocol>> {
    SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL_NAME), ()).with_timeout(Limits::OPEN_TIME)
}
