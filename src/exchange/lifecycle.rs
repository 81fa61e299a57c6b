//! How connections and their links come and go: hello, and what the end of a link means to everything
//! that used it.

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use rand::RngExt;
use web_time::Instant;

use super::{
    Dial, Established, Exchange, Output, Phase, Side,
    address::{ip_of, is_webrtc, reach_of_introducer},
    link::{Link, Live, Purpose, State, tags},
};
use crate::{
    config::Limits,
    error::{LinkError, ProtocolError, Refusal},
    event::{Origin, PxpEvent, Via},
    message::{Frame, Hello, Refuse, Subject, weight},
};

/// How a link ends.
#[derive(Debug)]
pub(super) enum End {
    /// The remote ended it without a word. Other protocols may still use the connection.
    Eof,
    /// One side said that it wants no more of it, or its connection is gone already.
    Announced,
    Failed(LinkError),
}

impl From<LinkError> for End {
    fn from(error: LinkError) -> Self {
        Self::Failed(error)
    }
}

impl Exchange {
    pub(super) fn on_dialing(&mut self, peer: PeerId, connection: ConnectionId) {
        let is_own = self.queries.attempting(&peer).is_some();
        let brought_by = self.answers.brought_by(&peer).filter(|_| !is_own);
        self.dials.insert(connection, Dial { peer, brought_by });
        self.queries.on_dialing(&peer, connection);
    }

    pub(super) fn on_failed(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        error: Option<LinkError>,
    ) {
        if let Some(Dial { peer, .. }) = self.dials.remove(&connection) {
            self.on_dial_failed(now, connection);
            if let Some(view) = &mut self.view {
                view.on_dial_failed(&peer);
            }
        } else if let Some(error) = error.filter(|_| self.phase != Phase::Closed) {
            let peer = None;
            self.event(PxpEvent::LinkFailed {
                peer,
                connection,
                error,
            });
        }
    }

    pub(super) fn on_established(&mut self, now: Instant, established: Established) {
        let Established {
            connection,
            peer,
            side,
            remote,
            via,
        } = established;
        let dial = self.dials.remove(&connection);
        let is_ours = match side {
            Side::Dialer => dial.is_some(),
            Side::Listener => self.answers.contains(&peer) || self.queries.expects(&peer),
        };
        let is_wanted = self.answers.contains(&peer)
            || self.queries.attempting(&peer).is_some()
            || self.view.as_ref().is_some_and(|view| view.expects(&peer));
        if is_ours && !is_wanted {
            // Who it was for has given up, and nobody was told that it might come.
            return self
                .outputs
                .push_back(Output::CloseConnection { peer, connection });
        }
        let link = Link {
            peer,
            side,
            purpose: if is_ours || via == Via::Stream {
                Purpose::Exchange
            } else {
                Purpose::Shared
            },
            is_brought: dial.is_some_and(|dial| dial.brought_by.is_some()),
            reach: reach_of_introducer(&remote).min(self.reach),
            ip: ip_of(&remote),
            is_webrtc: is_webrtc(&remote),
            via,
            dialed: (side == Side::Dialer && via == Via::Direct).then_some(remote),
            state: State::Waiting {
                until: now + Limits::HELLO_TIME,
            },
            wake: None,
        };
        self.links.insert(connection, link);
        self.wake_link(connection);
        if via == Via::Signaled {
            self.on_set_up(&peer, side);
        }
        if is_ours {
            self.on_attempt_connected(now, &peer, connection);
        }
    }

    pub(super) fn on_moved(&mut self, connection: ConnectionId, remote: &Multiaddr) {
        if let Some(link) = self.links.get_mut(&connection) {
            let stun = link.stun();
            link.reach = reach_of_introducer(remote).min(self.reach);
            link.ip = ip_of(remote);
            self.neighbors.on_moved(connection, stun, link.stun());
        }
    }

    pub(super) fn on_closed(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        error: Option<LinkError>,
    ) {
        self.end_link(now, connection, error.map_or(End::Announced, End::Failed));
        self.links.remove(&connection);
        self.finish_closing();
    }

    /// Says hello, unless there is a reason not to.
    pub(super) fn on_link_opened(&mut self, now: Instant, connection: ConnectionId) {
        let Some(link) = self.links.get(&connection) else {
            return;
        };
        if !matches!(link.state, State::Waiting { .. }) {
            return;
        }
        if self.is_closed() {
            self.refuse_link(now, connection, Refusal::Closing, End::Announced);
        } else if self.is_one_too_many(now, link) {
            self.refuse_link(now, connection, Refusal::Full, LinkError::Full.into());
        } else {
            self.greet(now, connection);
        }
    }

    fn greet(&mut self, now: Instant, connection: ConnectionId) {
        let (salt, accepting) = (self.rng.random(), self.is_accepting());
        let hello = Hello {
            salt,
            networks: tags(&self.local, salt, &self.networks),
            accepting,
            stun_port: self.stun_port,
        };
        if let Some(link) = self.links.get_mut(&connection) {
            link.state = State::Greeting {
                salt,
                announced: self.networks.clone(),
                accepting,
                until: now + Limits::HELLO_TIME,
            };
            self.send(connection, Frame::Hello(hello));
            self.wake_link(connection);
        }
    }

    pub(super) fn on_link_closed(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        result: Result<(), LinkError>,
    ) {
        let Some(link) = self.links.get_mut(&connection) else {
            return;
        };
        let peer = link.peer;
        let closes_connection = match link.state {
            State::Ending { closes_connection } => {
                link.state = State::Ended;
                closes_connection
            }
            _ => self.end_link(
                now,
                connection,
                result.map_or_else(End::Failed, |()| End::Eof),
            ),
        };
        if closes_connection {
            self.outputs
                .push_back(Output::CloseConnection { peer, connection });
        }
        self.finish_closing();
    }

    pub(super) fn on_frame(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        frame: Frame,
        len: usize,
    ) {
        let Some(link) = self.links.get_mut(&connection) else {
            return;
        };
        let result = match (&mut link.state, frame) {
            (State::Waiting { .. } | State::Ending { .. } | State::Ended, _) => Ok(()),
            (
                _,
                Frame::Refuse(Refuse {
                    subject: Subject::Link,
                    reason,
                }),
            ) => {
                self.on_link_refused(now, connection, reason);
                Ok(())
            }
            (State::Greeting { .. }, Frame::Hello(hello)) => {
                self.on_hello(now, connection, hello);
                Ok(())
            }
            (State::Greeting { .. }, _) => Err(ProtocolError::NoHello),
            (State::Live(live), frame) => {
                live.receive(now);
                self.count_frame(now, connection, len).and_then(|()| {
                    self.wake_link(connection);
                    self.on_live_frame(now, connection, frame)
                })
            }
        };
        if let Err(error) = result {
            let error = LinkError::from(error);
            self.refuse_link(now, connection, Refusal::Protocol, error.into());
        }
    }

    fn count_frame(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        len: usize,
    ) -> Result<(), ProtocolError> {
        let allowance = self.allowance(connection);
        match allowance.is_some_and(|it| it.frames.take_n(Limits::FRAMES, now, weight(len))) {
            true => Ok(()),
            false => Err(ProtocolError::Flood),
        }
    }

    fn on_live_frame(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        frame: Frame,
    ) -> Result<(), ProtocolError> {
        match frame {
            Frame::Hello(_) => return Err(ProtocolError::SecondHello),
            Frame::GetPeers(request) => self.on_get_peers(now, connection, request),
            Frame::Peers(peers) => self.on_peers(now, connection, peers),
            Frame::Signal(signal) => self.on_signal(now, connection, signal),
            Frame::Refuse(refuse) => self.on_refuse(now, connection, refuse),
            Frame::Update(update) => self.on_update(now, connection, update)?,
            Frame::Ping(nonce) => self.send(connection, Frame::Pong(nonce)),
            Frame::Pong(_) | Frame::Unknown => {}
        }
        Ok(())
    }

    fn on_hello(&mut self, now: Instant, connection: ConnectionId, hello: Hello) {
        let is_accepting = self.is_accepting();
        if self
            .links
            .get(&connection)
            .is_some_and(|link| self.is_one_too_many(now, link))
        {
            return self.refuse_link(now, connection, Refusal::Full, LinkError::Full.into());
        }
        let Some(link) = self.links.get_mut(&connection) else {
            return;
        };
        let State::Greeting {
            salt,
            announced,
            accepting,
            ..
        } = &link.state
        else {
            return;
        };
        let told_accepting = *accepting;
        let peer = link.peer;
        let mut live = Live::new(hello, *salt, announced.clone(), link.via, now);
        live.recognise(&self.networks, &peer);
        if live.shared().next().is_none() {
            return self.refuse_network(now, connection);
        }
        live.update_due = live.announced != self.networks || told_accepting != is_accepting;
        link.state = State::Live(Box::new(live));
        self.neighbors.on_moved(connection, None, link.stun());
        let is_first = self.roster.add(peer, connection);
        self.place(&peer);
        self.wake_link(connection);
        if is_first {
            self.allowances.hold(now, peer, &self.limits);
            self.on_peer_connected(now, peer, connection);
        }
        if let Some(view) = &mut self.view {
            view.on_linked(&peer);
        }
        self.announce_acceptance(now);
    }

    fn on_peer_connected(&mut self, now: Instant, peer: PeerId, connection: ConnectionId) {
        let Some(link) = self.links.get(&connection) else {
            return;
        };
        let (side, via) = (link.side, link.via);
        let networks: Vec<_> = link
            .live()
            .into_iter()
            .flat_map(Live::shared)
            .cloned()
            .collect();
        let addresses = self.addresses_of_attempt(&peer);
        let is_introduced = self.is_introduced(link);
        let introducer = self.end_introduction_by(&peer, via);
        let origin = match (self.end_found(&peer, &networks), introducer, side) {
            (Some(found), ..) => found,
            (None, Some(by), _) => Origin::Introduced { by },
            (None, None, Side::Dialer) => Origin::Dialed,
            (None, None, Side::Listener) => Origin::Accepted,
        };
        tracing::debug!(%peer, ?origin, "connected");
        if let Some(view) = &mut self.view
            && let Some(link) = self.links.get_mut(&connection)
        {
            // One that we dialed for a query that is over came by the wish of others.
            let is_left_over = link.purpose == Purpose::Exchange && !view.expects(&peer);
            let origin = match origin {
                Origin::Dialed if is_left_over && link.via != Via::Stream => Origin::Accepted,
                origin => origin,
            };
            let addresses = link.dialed.take().into_iter().chain(addresses).collect();
            if is_introduced && matches!(origin, Origin::Accepted | Origin::Introduced { .. }) {
                view.on_arrival(now);
            }
            view.on_connected(now, peer, origin, link.ip, addresses);
        }
        self.event(PxpEvent::Connected {
            peer,
            connection,
            networks,
            origin,
            via,
        });
        self.on_attempt_missed(now, &peer);
    }

    fn on_link_refused(&mut self, now: Instant, connection: ConnectionId, reason: Refusal) {
        if reason == Refusal::Full
            && let Some(view) = &mut self.view
            && let Some(link) = self.links.get_mut(&connection)
            && link.purpose == Purpose::Shared
            && let Some(address) = link.dialed.take()
        {
            view.on_bootstrap_full(link.peer, address);
        }
        let end = match reason {
            Refusal::Closing => End::Announced,
            Refusal::Network => LinkError::NoSharedNetwork.into(),
            reason => LinkError::Refused(reason).into(),
        };
        self.close_link(now, connection, end);
    }

    pub(super) fn refuse_network(&mut self, now: Instant, connection: ConnectionId) {
        let error = LinkError::NoSharedNetwork;
        self.refuse_link(now, connection, Refusal::Network, error.into());
    }

    /// Ends a link whose substream is there, and says why.
    pub(super) fn refuse_link(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        reason: Refusal,
        end: End,
    ) {
        let subject = Subject::Link;
        self.send(connection, Frame::Refuse(Refuse { subject, reason }));
        self.close_link(now, connection, end);
    }

    /// Ends a link whose substream is there.
    pub(super) fn close_link(&mut self, now: Instant, connection: ConnectionId, end: End) {
        let closes_connection = self.end_link(now, connection, end);
        if let Some(link) = self.links.get_mut(&connection) {
            let peer = link.peer;
            link.state = State::Ending { closes_connection };
            self.outputs
                .push_back(Output::CloseLink { peer, connection });
        }
    }

    /// Ends a link for all who use it. Whether its connection is of no use any more.
    pub(super) fn end_link(&mut self, now: Instant, connection: ConnectionId, end: End) -> bool {
        let Some(link) = self.links.get_mut(&connection) else {
            return false;
        };
        let peer = link.peer;
        let is_ours = link.purpose == Purpose::Exchange;
        let is_vanished = matches!(end, End::Failed(LinkError::Silent));
        let error = match (&link.state, end) {
            (State::Ending { .. } | State::Ended, _) => return false,
            (State::Greeting { .. }, End::Eof) => Some(LinkError::NoHello),
            (_, End::Failed(error)) => Some(error),
            (_, End::Eof | End::Announced) => None,
        };
        self.neighbors.on_moved(connection, link.stun(), None);
        let live = match std::mem::replace(&mut link.state, State::Ended) {
            State::Live(live) => Some(live),
            _ => None,
        };
        let is_unused = is_ours && live.is_none();
        let is_lost = is_vanished && (is_ours || link.is_webrtc);
        if let Some(error) = error
            && self.phase != Phase::Closed
        {
            tracing::debug!(%peer, %connection, %error, "link failed");
            let peer = Some(peer);
            self.event(PxpEvent::LinkFailed {
                peer,
                connection,
                error,
            });
        }
        match (live, &mut self.view) {
            (Some(live), _) => self.on_live_link_ended(now, peer, connection, *live),
            (None, Some(view)) => view.on_dial_failed(&peer),
            (None, None) => {}
        }
        self.on_introducer_gone(now, connection);
        self.on_attempt_link_ended(now, connection);
        is_unused || is_lost
    }

    fn on_live_link_ended(
        &mut self,
        now: Instant,
        peer: PeerId,
        connection: ConnectionId,
        live: Live,
    ) {
        let is_last = self.roster.remove(&peer, connection);
        self.place(&peer);
        self.drop_legs(connection, live.legs);
        if is_last {
            tracing::debug!(%peer, "disconnected");
            self.allowances.release(now, peer);
            self.wake_expiries();
            self.disown_introductions(&peer);
            if let Some(view) = &mut self.view {
                view.on_disconnected(now, &peer);
            }
            self.event(PxpEvent::Disconnected { peer });
        }
        self.announce_acceptance(now);
    }
}
