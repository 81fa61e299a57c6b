//! Which ICE checks of the other end, and which answers to ours, the engine is to see: it believes where they come
//! from, and keeps whatever address it learns by them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Instant,
};

use str0m::{
    Input,
    net::{Protocol, Receive},
};

use super::{
    super::{
        Closed,
        demux::{Pair, TransactionId, place},
        farewells,
        stun::{decode, mapped_address},
    },
    Connection,
};
use crate::config::Limits;

impl Connection {
    /// Whether a check is to be answered, and followed by ours.
    pub(super) fn on_request(&mut self, now: Instant, pair: Pair, contents: &[u8]) -> bool {
        // Where we dialed is where the other end is.
        let is_elsewhere = self.dialed_address() && !self.targets.is_named(place(pair.1));
        !is_elsewhere
            && self.is_signed(now, pair, contents)
            && self.targets.ask(place(pair.1), contents.len())
    }

    /// Whether the engine is to see what answers a check of ours, which was `successful` unless it was refused.
    pub(super) fn on_response(
        &mut self,
        now: Instant,
        pair: Pair,
        contents: &[u8],
        successful: Option<TransactionId>,
    ) -> bool {
        if !self.is_signed(now, pair, contents) {
            return false;
        }
        self.targets.answer(place(pair.1));
        self.hear(now);
        let Some(transaction) = successful else {
            return self.on_refusal(contents);
        };
        let Some(seen) = self.mapping(contents) else {
            return false;
        };
        self.paths.answer(now, pair, transaction);
        self.window.measure(self.paths.round_trip());
        // An ICE-lite end never sends a check of its own by which its address could be learned.
        self.answered = Some((pair, seen));
        true
    }

    /// Ends the connection if the other side says that it is over there, for its last words may have been lost. Returns
    /// true if the engine is to see the response.
    fn on_refusal(&mut self, response: &[u8]) -> bool {
        let is_over = self.is_connected() && farewells::is_farewell(response);
        if is_over {
            self.finish(Closed::Remote);
        }
        !is_over
    }

    /// Returns true if the sender has the ICE password, and a response answers a check of ours.
    ///
    /// The engine would verify nothing of what comes from where its data goes (`str0m` 0.25, lib.rs `Rtc::accepts`), so it
    /// is not told where this comes from.
    fn is_signed(&mut self, now: Instant, (local, _): Pair, contents: &[u8]) -> bool {
        let accepted = self.run(|rtc| {
            let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            let receive = Receive::new(Protocol::Udp, nowhere, local, contents);
            Ok(receive.is_ok_and(|receive| rtc.accepts(&Input::Receive(now, receive))))
        });
        accepted == Some(true)
    }

    /// Returns where the other end sees us, if it may say so.
    fn mapping(&mut self, response: &[u8]) -> Option<SocketAddr> {
        let mapped = decode(response).as_ref().and_then(mapped_address)?;
        let has_room = self.mapped.len() < Limits::MAPPED_ADDRESSES;
        let may_be = self.mapped.contains(&mapped) || has_room && self.mapped.insert(mapped);
        may_be.then_some(mapped)
    }
}
