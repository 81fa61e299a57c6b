//! Values that several messages share. Each conversion says what becomes of a value that this
//! version cannot use.

use libp2p::Multiaddr;

use super::generated::Reason;
use crate::{
    address::is_dialable,
    config::Limits,
    error::{ProtocolError, Refusal},
};

/// An id of 16 bytes, of whatever meaning, from the field of that name.
pub(super) fn id<'a, T>(bytes: &'a [u8], field: &'static str) -> Result<T, ProtocolError>
where
    T: TryFrom<&'a [u8]>,
{
    T::try_from(bytes).map_err(|_| ProtocolError::Field(field))
}

/// Returns the first few addresses that can be dialed. Another one, say of a protocol yet to be invented,
/// must not hide them.
pub(super) fn read_addresses(addresses: Vec<Vec<u8>>) -> Vec<Multiaddr> {
    addresses
        .into_iter()
        .filter(|bytes| may_travel(bytes))
        .filter_map(|bytes| Multiaddr::try_from(bytes).ok())
        .filter(is_dialable)
        .take(Limits::ADDRESSES)
        .collect()
}

/// The first few addresses that the remote will not leave out.
pub(super) fn write_addresses(addresses: &[Multiaddr]) -> Vec<Vec<u8>> {
    addresses
        .iter()
        .map(Multiaddr::to_vec)
        .filter(|bytes| may_travel(bytes))
        .take(Limits::ADDRESSES)
        .collect()
}

/// The empty address parses, but leads nowhere.
fn may_travel(address: &[u8]) -> bool {
    (1..=Limits::ADDRESS_LEN).contains(&address.len())
}

/// A reason that came later than this version is a reason all the same.
pub(super) fn read_reason(reason: i32) -> Refusal {
    match Reason::try_from(reason) {
        Ok(Reason::Network) => Refusal::Network,
        Ok(Reason::Expired) => Refusal::Expired,
        Ok(Reason::Gone) => Refusal::Gone,
        Ok(Reason::Busy) => Refusal::Busy,
        Ok(Reason::Full) => Refusal::Full,
        Ok(Reason::NotAccepting) => Refusal::NotAccepting,
        Ok(Reason::BadSignal) => Refusal::BadSignal,
        Ok(Reason::Closing) => Refusal::Closing,
        Ok(Reason::Protocol) => Refusal::Protocol,
        Ok(Reason::Unspecified) | Err(_) => Refusal::Other,
    }
}

pub(super) fn write_reason(refusal: Refusal) -> i32 {
    let reason = match refusal {
        Refusal::Network => Reason::Network,
        Refusal::Expired => Reason::Expired,
        Refusal::Gone => Reason::Gone,
        Refusal::Busy => Reason::Busy,
        Refusal::Full => Reason::Full,
        Refusal::NotAccepting => Reason::NotAccepting,
        Refusal::BadSignal => Reason::BadSignal,
        Refusal::Closing => Reason::Closing,
        Refusal::Protocol => Reason::Protocol,
        Refusal::Other => Reason::Unspecified,
    };
    reason.into()
}
