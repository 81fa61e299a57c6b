//! The certificate of webrtc-direct, whose hash is part of the addresses at which a node is dialed.

use std::fmt;

use libp2p_webrtc::tokio;

/// What a node shows to those who dial its `/webrtc-direct` addresses, which name its hash. A node that keeps it
/// from one start to the next, beside its key, keeps its addresses.
#[derive(Clone, PartialEq)]
pub struct Certificate(pub(crate) tokio::Certificate);

/// A text that holds no certificate with its key in the PEM format.
#[derive(Debug, thiserror::Error)]
#[error("there is no certificate with its key in PEM")]
pub struct CertificateError(#[source] Option<tokio::certificate::Error>);

/// How many characters of base64 the eight bytes take that say when the certificate expires.
const EXPIRY_LEN: usize = 11;

impl Certificate {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if the system has no randomness.
    pub fn generate() -> Result<Self, CertificateError> {
        let certificate = tokio::Certificate::generate(&mut rand::rng());
        certificate
            .map(Self)
            .map_err(|error| CertificateError(Some(error)))
    }

    /// The certificate that [`Self::to_pem`] wrote.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if it is none.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        if !is_whole(pem) {
            return Err(CertificateError(None));
        }
        let certificate = tokio::Certificate::from_pem(pem);
        certificate
            .map(Self)
            .map_err(|error| CertificateError(Some(error)))
    }

    /// The certificate with its private key, which is to be kept like one.
    pub fn to_pem(&self) -> String {
        self.0.serialize_pem()
    }
}

/// Whether the first block is as long as what is read from it. The reader takes that for granted.
fn is_whole(pem: &str) -> bool {
    // What stands before it, its begin, and then the block.
    let first = pem.split("-----").nth(2).unwrap_or_default();
    let digits = first.chars().filter(char::is_ascii_alphanumeric);
    digits.count() >= EXPIRY_LEN
}

/// Without its private key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let certificate = Certificate::generate().unwrap();
        let pem = certificate.to_pem();
        assert!(Certificate::from_pem(&pem).unwrap() == certificate);
        assert!(Certificate::generate().unwrap() != certificate);
        let expiry = pem.lines().nth(1).unwrap();
        let short = pem.replacen(expiry, "AAAA", 1);
        let late = format!("a certificate, and more\n{short}");
        let half = &pem[..pem.len() / 2];
        for damaged in ["", "certificate", half, &pem[10..], &short, &late] {
            assert!(Certificate::from_pem(damaged).is_err(), "{damaged}");
        }
    }
}
