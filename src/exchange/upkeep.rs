//! What keeps links up while they live: timers, pings, and telling each other what has changed.

use std::collections::HashMap;

use libp2p::{PeerId, swarm::ConnectionId};
use rand::RngExt;
use web_time::Instant;

use super::{Exchange, Output, link::State, roster::Member, timer::Timer};
use crate::{
    error::{LinkError, ProtocolError, Refusal},
    message::{Frame, Update},
};

impl Exchange {
    pub(super) fn on_update(
        &mut self,
        now: Instant,
        connection: ConnectionId,
        update: Update,
    ) -> Result<(), ProtocolError> {
        if let Some(live) = self.live_mut(connection) {
            live.update(now, update)?;
            self.refresh(now, connection);
        }
        Ok(())
    }

    /// Our networks, or the remote's, changed: the link is over if they share none any more.
    pub(super) fn refresh(&mut self, now: Instant, connection: ConnectionId) {
        let networks = self.networks.clone();
        let Some(link) = self.links.get_mut(&connection) else {
            return;
        };
        let peer = link.peer;
        let Some(live) = link.live_mut() else {
            return;
        };
        live.recognise(&networks, &peer);
        if live.shared().next().is_none() {
            self.refuse_network(now, connection);
        } else {
            self.place(&peer);
            if let Some(view) = &mut self.view {
                view.on_networks_changed(&peer);
            }
        }
    }

    /// Makes a peer a member of the networks that its live links name, newer links first.
    pub(super) fn place(&mut self, peer: &PeerId) {
        let mut places = HashMap::new();
        for connection in self.roster.links(peer) {
            let Some(live) = self.live(*connection) else {
                continue;
            };
            for network in live.shared() {
                let member = Member {
                    peer: *peer,
                    link: *connection,
                    accepting: live.accepting,
                };
                places.insert(network.clone(), member);
            }
        }
        self.roster.place(peer, &places);
    }

    /// Tells all peers when it changes whether we accept introductions.
    pub(super) fn announce_acceptance(&mut self, now: Instant) {
        let accepting = self.is_accepting();
        if self.told_accepting != accepting {
            self.told_accepting = accepting;
            self.announce(now);
        }
    }

    /// Tells all peers what has changed about us, each at most once a second.
    pub(super) fn announce(&mut self, now: Instant) {
        for connection in self.connections() {
            let Some(live) = self.live_mut(connection) else {
                continue;
            };
            live.update_due = true;
            if live.may_update(now) {
                self.send_update(now, connection);
            } else {
                self.wake_link(connection);
            }
        }
    }

    pub(super) fn on_link_timer(&mut self, now: Instant, connection: ConnectionId) {
        let Some(link) = self.links.get_mut(&connection) else {
            return;
        };
        if link.wake.is_none_or(|wake| wake > now) {
            return; // superseded
        }
        link.wake = None;
        if link.deadline().is_some_and(|deadline| deadline <= now) {
            self.on_link_deadline(now, connection);
        }
        self.wake_link(connection);
    }

    fn on_link_deadline(&mut self, now: Instant, connection: ConnectionId) {
        let Some(link) = self.links.get_mut(&connection) else {
            return;
        };
        match &mut link.state {
            State::Waiting { .. } => {
                let peer = link.peer;
                self.end_link(now, connection, LinkError::NoHello.into());
                self.outputs
                    .push_back(Output::CloseConnection { peer, connection });
            }
            State::Greeting { .. } => {
                self.refuse_link(
                    now,
                    connection,
                    Refusal::Protocol,
                    LinkError::NoHello.into(),
                );
            }
            State::Live(live) if live.is_dead(now) => {
                self.close_link(now, connection, LinkError::Silent.into());
            }
            State::Live(live) => {
                let is_silent = live.is_silent(now);
                if is_silent {
                    live.pinged = Some(now);
                    let nonce = self.rng.random();
                    self.send(connection, Frame::Ping(nonce));
                } else {
                    self.send_update(now, connection);
                }
            }
            State::Ending { .. } | State::Ended => {}
        }
    }

    fn send_update(&mut self, now: Instant, connection: ConnectionId) {
        let (local, networks, accepting) = (self.local, self.networks.clone(), self.is_accepting());
        if let Some(live) = self.live_mut(connection) {
            live.update_due = false;
            live.updated = Some(now);
            let tags = live.tags(&local, &networks);
            live.announced = networks;
            self.send(
                connection,
                Frame::Update(Update {
                    networks: tags,
                    accepting,
                }),
            );
        }
    }

    /// Sets the timer of a link, if it has to be earlier than the one that is set.
    pub(super) fn wake_link(&mut self, connection: ConnectionId) {
        let Some(link) = self.links.get_mut(&connection) else {
            return;
        };
        let Some(deadline) = link.deadline() else {
            return;
        };
        if link.wake.is_none_or(|wake| deadline < wake) {
            link.wake = Some(deadline);
            self.timers.set(deadline, Timer::Link(connection));
        }
    }
}
