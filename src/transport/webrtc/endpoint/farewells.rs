//! Checks for connections that we have closed are refused (RFC 7675, section 5.2). A browser learns of the end of DTLS and
//! SCTP at once, but an application may look at the state of ICE only (js-libp2p does), which fails by this within one check
//! and without it after 15 s. Without it a dialer by an address would also be taken for a new one and be answered on.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use ::stun::{
    error_code::{CODE_FORBIDDEN, ErrorCodeAttribute},
    fingerprint::FINGERPRINT,
    integrity::MessageIntegrity,
    message::{BINDING_ERROR, Getter, Message},
};
use str0m::IceCreds;

use super::stun::decode;

/// How many closed connections are remembered, some 200 bytes each. The oldest are forgotten first.
const MAX_FAREWELLS: usize = 256;

/// How long one is remembered: a browser gives up after 15 s without an answer, and its page may have been asleep.
const FAREWELL_TIME: Duration = Duration::from_secs(30);

/// How many checks of one are refused, for refusals are lost. Others are dropped.
const MAX_REFUSALS: u8 = 8;

#[derive(Debug, Default)]
pub(super) struct Farewells {
    /// The oldest first.
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
            until: now + FAREWELL_TIME,
            refusals: 0,
        });
        if self.all.len() > MAX_FAREWELLS {
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
        if farewell.refusals >= MAX_REFUSALS || key().check(&mut message).is_err() {
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
