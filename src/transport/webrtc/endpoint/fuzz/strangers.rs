//! Strangers who dial an address of ours, and those who only do as if.

use std::{net::SocketAddr, time::Duration};

use ::stun::{
    agent::TransactionId,
    attributes::ATTR_ICE_CONTROLLING,
    fingerprint::FINGERPRINT,
    integrity::MessageIntegrity,
    message::{BINDING_SUCCESS, Message},
};

use super::{
    super::{super::fingerprint::Fingerprint, direct::check, stun::decode},
    World, address, play, suffer,
};
use crate::{config::Limits, script::Script};

/// The second end lets strangers in: the first one, and as many others as a fuzzer thinks of. Nobody gets in who has
/// not answered, there are never too many, and nothing is left in the end.
pub fn strangers(bytes: &[u8]) {
    play(bytes, |world, script| {
        if world.ends[1].strangers.is_none() {
            world.ends[1].let_strangers_in();
        }
        let happened = world.meet(script);
        world.ends[1].assert_strangers_bounded(|host| world.answered.contains(host));
        happened
    });
}

/// A check by which the user of this name dials.
fn request(name: &str) -> Vec<u8> {
    check(name, TransactionId::new(), ATTR_ICE_CONTROLLING).unwrap()
}

/// What the user of this name answers to a question.
pub(in super::super) fn answer(name: &str, asked: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::new();
    let key = MessageIntegrity::new_short_term_integrity(name.to_owned());
    message
        .build(&[
            Box::new(decode(asked)?.transaction_id),
            Box::new(BINDING_SUCCESS),
            Box::new(key),
            Box::new(FINGERPRINT),
        ])
        .ok()?;
    Some(message.raw)
}

fn somewhere(script: &mut Script<'_>) -> Option<SocketAddr> {
    let (host, port) = (script.byte()?, script.byte()?);
    Some(SocketAddr::from(([9, 1, 0, host], 1 + u16::from(port))))
}

fn name(script: &mut Script<'_>) -> Option<String> {
    Some(format!("libp2p+webrtc+v1/{}", script.byte()?))
}

impl World {
    fn meet(&mut self, script: &mut Script<'_>) -> Option<()> {
        let (operation, now) = (script.below(10)?, self.now);
        match operation {
            0 => {
                let (from, name) = (somewhere(script)?, name(script)?);
                self.arrives(from, request(&name));
            }
            1 => {
                let (from, name) = (somewhere(script)?, name(script)?);
                if let Some(answer) = self.sent.get(&from).and_then(|it| answer(&name, it)) {
                    self.answers(from, answer);
                }
            }
            2 => {
                let (from, bytes) = (somewhere(script)?, script.bytes()?);
                self.arrives(from, bytes.to_vec());
            }
            3 => {
                // More of one host than there is room for.
                let (host, name) = (script.byte()?, name(script)?);
                for n in 0..=Limits::DIRECT_SETUPS_PER_HOST {
                    let from = SocketAddr::from(([9, 1, 1, host], 1 + n as u16));
                    let name = format!("{name}/{n}");
                    self.arrives(from, request(&name));
                    self.settle();
                    let asked = self.sent.remove(&from);
                    if let Some(answer) = asked.and_then(|it| answer(&name, &it)) {
                        self.answers(from, answer);
                    }
                }
            }
            4 => {
                let certificate = &self.ends[1].certificate.certificate;
                let fingerprint = match script.below(4)? {
                    0 => Fingerprint::from_certificate(&[]),
                    _ => Fingerprint::from_certificate(certificate),
                };
                let key = self.ends[0].dial_address(now, address(1), fingerprint);
                self.connections.push((0, key));
            }
            5 => self.run(Duration::from_millis(10 * u64::from(script.byte()?))),
            6 => self.fates.extend(script.bytes()?.iter().take(64)),
            7 => {
                for (n, key) in self.connections.clone() {
                    if let Some((channel, ..)) = self.ends[n].noise(key) {
                        self.channels.push((n, key, channel));
                    }
                    self.ends[n].set_proven(now, key);
                }
            }
            8 => self.ends[1].turn_strangers_away(),
            _ => {
                let n = script.below(2)?;
                self.talk(n, script.bytes()?);
            }
        }
        Some(())
    }

    fn answers(&mut self, from: SocketAddr, answer: Vec<u8>) {
        self.answered.insert(from.ip());
        self.arrives(from, answer);
    }

    fn arrives(&mut self, from: SocketAddr, datagram: Vec<u8>) {
        for datagram in suffer(self.fates.pop_front(), datagram) {
            self.ends[1].handle_datagram(self.now, address(1), from, &datagram);
        }
    }
}
