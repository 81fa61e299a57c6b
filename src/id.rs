//! Names and numbers that identify things, each a type of its own. They know how they are made and
//! compared, and nothing of where they are used.

use std::{fmt, str::FromStr, sync::Arc};

use libp2p::PeerId;
use rand::{
    Rng, RngExt,
    distr::{Distribution, StandardUniform},
};
use sha2::{Digest, Sha256};

/// The name of a network: 1 to 255 bytes of UTF-8, the length limit of libp2p's rendezvous
/// namespaces.
///
/// Names are compared byte for byte, without Unicode normalisation. They never travel: peers
/// recognise a shared network by a salted hash of its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(Arc<str>);

impl NetworkId {
    /// The longest name, in bytes.
    pub const MAX_LEN: usize = 255;

    /// The one network of a simulation.
    #[cfg(feature = "simulator")]
    pub(crate) fn simulated() -> Self {
        Self("simulated".into())
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetworkId {
    type Err = NetworkIdError;

    fn from_str(name: &str) -> Result<Self, NetworkIdError> {
        match name.len() {
            0 => Err(NetworkIdError::Empty),
            1..=Self::MAX_LEN => Ok(Self(name.into())),
            len => Err(NetworkIdError::TooLong { len }),
        }
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a string is no [`NetworkId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkIdError {
    /// The name is empty.
    #[error("a network's name cannot be empty")]
    Empty,
    /// The name has more than [`NetworkId::MAX_LEN`] bytes.
    #[error(
        "a network's name has at most {} bytes, this one has {len}",
        NetworkId::MAX_LEN
    )]
    TooLong {
        /// The length of the refused name, in bytes.
        len: usize,
    },
}

/// One call of [`Behaviour::get_new_peer`](crate::Behaviour::get_new_peer), from its start to the
/// one event that ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub(crate) u64);

impl fmt::Display for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "query {}", self.0)
    }
}

/// Types of 16 bytes that differ in meaning only.
macro_rules! sixteen_bytes {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub(crate) [u8; 16]);

        impl $name {
            pub(crate) fn as_bytes(&self) -> &[u8] {
                &self.0
            }
        }

        impl Distribution<$name> for StandardUniform {
            fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> $name {
                $name(rng.random())
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = std::array::TryFromSliceError;

            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                bytes.try_into().map(Self)
            }
        }
    )*};
}

sixteen_bytes! {
    /// What an introducer hands out for a candidate: one use, for one asker.
    Token;
    /// One relayed negotiation on one link: the token on the asker's leg, the introducer's choice on
    /// the next.
    SessionId;
    /// One offer and all that answers it, chosen by the offerer.
    ExchangeId;
    /// Fresh for each hello and each exchange, so that network tags cannot be linked.
    Salt;
    /// A network's name as it travels: recognisable only to who knows the name.
    NetworkTag;
}

impl From<Token> for SessionId {
    fn from(token: Token) -> Self {
        Self(token.0)
    }
}

impl Token {
    /// The token at one place of an answer. All tokens of an answer share its random bytes: they are
    /// for the same asker, who may know one from another, and nobody else guesses 120 bits. So an
    /// answer draws once.
    pub(crate) fn new(answer: [u8; 15], place: u8) -> Self {
        let mut token = [place; 16];
        token
            .iter_mut()
            .zip(answer)
            .for_each(|(to, from)| *to = from);
        Self(token)
    }
}

impl ExchangeId {
    /// The salt of the network tag that travels in the signals of this exchange.
    pub(crate) fn salt(self) -> Salt {
        Salt(self.0)
    }
}

impl NetworkTag {
    /// The tag under which `sender` names `network`. The sender's id is part of it, so that nobody
    /// can pass off another's tags as its own.
    pub(crate) fn new(sender: &PeerId, salt: Salt, network: &NetworkId) -> Self {
        let digest = Sha256::new()
            .chain_update(b"pxp-network")
            .chain_update(sender.to_bytes())
            .chain_update(salt.0)
            .chain_update(network.as_str())
            .finalize();
        let mut tag = [0; 16];
        tag.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Self(tag)
    }
}

/// Correlates a [`Peers`](crate::message::Peers) with its request on one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestId(pub(crate) u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_between_1_and_255_bytes() {
        assert_eq!("".parse::<NetworkId>(), Err(NetworkIdError::Empty));
        for len in [1, 254, 255] {
            let name = "x".repeat(len);
            assert_eq!(name.parse::<NetworkId>().unwrap().as_str(), name);
        }
        let error = "x".repeat(256).parse::<NetworkId>();
        assert_eq!(error, Err(NetworkIdError::TooLong { len: 256 }));
    }

    #[test]
    fn a_name_is_utf8_measured_in_bytes() {
        assert_eq!("網路".parse::<NetworkId>().unwrap().to_string(), "網路");
        let error = "路".repeat(86).parse::<NetworkId>();
        assert_eq!(error, Err(NetworkIdError::TooLong { len: 258 }));
    }

    #[test]
    fn a_tag_depends_on_sender_salt_and_name() {
        let (alice, bob) = (PeerId::random(), PeerId::random());
        let (one, two) = (Salt([1; 16]), Salt([2; 16]));
        let [chat, game] = ["chat", "game"].map(|name| name.parse::<NetworkId>().unwrap());
        let tag = NetworkTag::new(&alice, one, &chat);
        assert_eq!(tag, NetworkTag::new(&alice, one, &chat));
        assert_ne!(tag, NetworkTag::new(&bob, one, &chat));
        assert_ne!(tag, NetworkTag::new(&alice, two, &chat));
        assert_ne!(tag, NetworkTag::new(&alice, one, &game));
    }
}
