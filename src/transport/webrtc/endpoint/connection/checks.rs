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
        demux::{Pair, TransactionId, attributes, place},
        farewells,
        stun::{decode, mapped_address},
    },
    Connection,
};
use crate::config::Limits;

impl Connection {
    /// Returns true if the engine may see a check.
    pub(super) fn on_request(&mut self, now: Instant, pair: Pair, contents: &[u8]) -> bool {
        // Where we dialed is where the other end is.
        let is_elsewhere = self.dialed_address() && !self.targets.is_named(place(pair.1));
        !is_elsewhere
            && self.is_signed(now, pair, contents)
            && self.targets.ask(place(pair.1), contents.len())
    }

    /// Returns true if the engine is to see what answers a check of ours, which was `successful` unless it was refused.
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
        if has_noise(contents) {
            return false;
        }
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

/// Returns true if a message has attributes that no check needs, and of each of which the engine warns before it looks
/// at the password (`is` 0.12.0, stun.rs:922, 988, 1032 and 1063).
fn has_noise(message: &[u8]) -> bool {
    const MAPPED_ADDRESS: u16 = 0x0001;
    const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    const ALTERNATE_SERVER: u16 = 0x8023;
    const NETWORK_COST: u16 = 0xc057;
    let body = message.get(STUN_HEADER..).unwrap_or_default();
    attributes(body).any(|(kind, value)| match kind {
        MAPPED_ADDRESS | UNKNOWN_ATTRIBUTES | ALTERNATE_SERVER => true,
        NETWORK_COST => value.len() != 4,
        _ => false,
    })
}

/// Of a message, in bytes (RFC 8489, section 5).
const STUN_HEADER: usize = 20;

#[cfg(test)]
mod tests {
    use super::has_noise;

    #[test]
    fn checks_with_attributes_that_fill_a_log_are_dropped() {
        for (kind, len, is_noise) in [
            (0x0001u16, 0u8, true),
            (0x0006, 8, false),
            (0x000a, 4, true),
            (0x8023, 8, true),
            (0xc057, 4, false),
            (0xc057, 0, true),
            (0xc057, 8, true),
        ] {
            let [a, b] = kind.to_be_bytes();
            let mut message = vec![0; 20];
            message.extend([0, 6, 0, 4, 1, 2, 3, 4, a, b, 0, len]);
            message.resize(32 + usize::from(len), 0);
            assert_eq!(has_noise(&message), is_noise, "{kind:x} {len}");
        }
    }
}
