//! The fingerprint of a certificate, by SHA-256. It knows nothing of what certificates are for.

use libp2p::core::multihash::Multihash;
use sha2::{Digest, Sha256};

/// The number of SHA-256 among multihashes.
const SHA2_256: u64 = 0x12;

/// The SHA-256 hash of a certificate, by which an address or the other end of a connection names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Returns the fingerprint of a certificate in DER.
    pub(super) fn from_certificate(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Returns the fingerprint that is this multihash. `None` if that is of another hash function.
    pub(super) fn from_multihash(hash: &Multihash<64>) -> Option<Self> {
        let digest = (hash.code() == SHA2_256).then(|| hash.digest())?;
        Self::from_digest(digest)
    }

    /// Returns the fingerprint of these 32 bytes.
    pub(super) fn from_digest(digest: &[u8]) -> Option<Self> {
        digest.try_into().ok().map(Self)
    }

    /// Returns the hash.
    pub(super) fn digest(&self) -> &[u8] {
        &self.0
    }

    /// Returns the multihash, as an address has it.
    pub(super) fn to_multihash(self) -> Multihash<64> {
        Multihash::wrap(SHA2_256, &self.0).unwrap_or_default() // 32 bytes fit into 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_survives_its_multihash() {
        let fingerprint = Fingerprint::from_certificate(b"certificate");
        let hash = fingerprint.to_multihash();
        assert_eq!(hash.to_bytes()[..2], [0x12, 32]);
        assert_eq!(hash.to_bytes()[2..], *fingerprint.digest());
        assert_eq!(Fingerprint::from_multihash(&hash), Some(fingerprint));
    }

    #[test]
    fn a_multihash_of_another_kind_is_no_fingerprint() {
        for (code, len) in [(0x13, 32), (SHA2_256, 31), (SHA2_256, 33)] {
            let hash = Multihash::wrap(code, &vec![1; len]).unwrap();
            assert_eq!(Fingerprint::from_multihash(&hash), None, "{code} {len}");
        }
    }

    #[test]
    fn a_fingerprint_is_that_of_libp2p_webrtc() {
        let theirs = libp2p_webrtc_utils::Fingerprint::from_certificate(b"certificate");
        let ours = Fingerprint::from_certificate(b"certificate");
        assert_eq!(ours.to_multihash(), theirs.to_multihash());
    }
}
