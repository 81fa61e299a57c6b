//! Checks for connections that we have closed are refused (RFC 7675, section 5.2). A browser learns of the end of DTLS and
//! SCTP at once, but an application may look at the state of ICE only, as js-libp2p does. A refused check makes that fail at
//! once, and silence after 15 s. A late check over webrtc-direct that is not refused would also look like a new dialer's.

use std::{collections::VecDeque, time::Instant};

use ::stun::{
    error_code::{CODE_FORBIDDEN, ErrorCodeAttribute},
    fingerprint::FINGERPRINT,
    integrity::MessageIntegrity,
    message::{BINDING_ERROR, Getter, Message},
};
use str0m::IceCreds;

use super::stun::decode;
use crate::config::Limits;

#[derive(Debug, Default)]
pub(super) struct Farewells {
    /// The oldest first, at most [`Limits::REFUSED_CONNECTIONS`].
    all: VecDeque<Farewell>,
}

#[derive(Debug)]
struct Farewell {
    /// Of our end.
    credentials: IceCreds,
    until: Instant,
    refusals: u8,
}

impl Farewells {
    /// We have closed the connection whose checks come with these credentials.
    pub(super) fn add(&mut self, now: Instant, credentials: IceCreds) {
        self.all.push_back(Farewell {
            credentials,
            until: now + Limits::REFUSAL_TIME,
            refusals: 0,
        });
        if self.all.len() > Limits::REFUSED_CONNECTIONS {
            self.all.pop_front();
        }
    }

    /// Returns true if the user of this name was one of them.
    pub(super) fn knows(&mut self, now: Instant, ufrag: &str) -> bool {
        while self.all.front().is_some_and(|it| it.until <= now) {
            self.all.pop_front();
        }
        self.all.iter().any(|it| it.credentials.ufrag == ufrag)
    }

    /// Answers a check of the user of this name if it is signed. The answer is shorter than the check.
    pub(super) fn refuse(&mut self, ufrag: &str, request: &[u8]) -> Option<Vec<u8>> {
        let mut all = self.all.iter_mut();
        let farewell = all.find(|it| it.credentials.ufrag == ufrag)?;
        let mut message = decode(request)?;
        let key = || MessageIntegrity::new_short_term_integrity(farewell.credentials.pass.clone());
        if farewell.refusals >= Limits::REFUSED_CHECKS || key().check(&mut message).is_err() {
            return None;
        }
        let code = ErrorCodeAttribute {
            code: CODE_FORBIDDEN,
            reason: Vec::new(),
        };
        let mut refusal = Message::new();
        let transaction = message.transaction_id;
        refusal
            .build(&[
                Box::new(transaction),
                Box::new(BINDING_ERROR),
                Box::new(code),
                Box::new(key()),
                Box::new(FINGERPRINT),
            ])
            .ok()?;
        farewell.refusals += 1;
        (refusal.raw.len() <= request.len()).then_some(refusal.raw)
    }
}

/// Returns true if a response says that the connection is over.
pub(super) fn is_farewell(response: &[u8]) -> bool {
    let mut error = ErrorCodeAttribute::default();
    let is_error = |response: &Message| error.get_from(response).is_ok();
    decode(response).as_ref().is_some_and(is_error) && error.code == CODE_FORBIDDEN
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn credentials(n: usize) -> IceCreds {
        IceCreds {
            ufrag: format!("user{n}"),
            pass: "a password of our end".to_owned(),
        }
    }

    #[test]
    fn the_last_256_closed_connections_are_remembered() {
        let now = Instant::now();
        for count in [255, 256, 257] {
            let mut farewells = Farewells::default();
            (0..count).for_each(|n| farewells.add(now, credentials(n)));
            assert_eq!(
                farewells.knows(now, "user0"),
                count <= Limits::REFUSED_CONNECTIONS
            );
            assert!(farewells.knows(now, "user1"));
        }
    }

    #[test]
    fn a_closed_connection_is_remembered_for_30_s() {
        let now = Instant::now();
        for (ms, is_known) in [(29_999, true), (30_000, false), (30_001, false)] {
            let mut farewells = Farewells::default();
            farewells.add(now, credentials(0));
            let later = now + Duration::from_millis(ms);
            assert_eq!(farewells.knows(later, "user0"), is_known, "{ms}");
        }
    }
}
