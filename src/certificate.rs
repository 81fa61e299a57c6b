//! The certificate of webrtc-direct, whose hash is part of the addresses at which a node is dialed.

use std::fmt;

use pem::Pem;

/// What a node shows to those who dial its `/webrtc-direct` addresses, which name its hash. A node that keeps it
/// from one start to the next, beside its key, keeps its addresses.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// In DER (X.509), as is the key (PKCS #8).
    pub(crate) certificate: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The system has no randomness.
    #[error("no certificate could be made")]
    NotMade,
    /// A text is not in the PEM format.
    #[error("no PEM")]
    NoPem(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A text in the PEM format is not one certificate with its key.
    #[error("not one certificate with its key")]
    Incomplete,
    /// The certificate is longer than [`Limits::CERTIFICATE_LEN`](crate::config::Limits::CERTIFICATE_LEN).
    #[error("a certificate of {len} bytes is too long")]
    TooLong {
        /// Its length in DER, in bytes.
        len: usize,
    },
    /// Its key cannot be read.
    #[error("the key cannot be read")]
    BadKey,
}

pub(crate) const CERTIFICATE: &str = "CERTIFICATE";
pub(crate) const KEY: &str = "PRIVATE KEY";

impl Certificate {
    /// The certificate with its private key, which is to be kept like one.
    pub fn to_pem(&self) -> String {
        pem::encode_many(&[
            Pem::new(CERTIFICATE, &self.certificate[..]),
            Pem::new(KEY, &self.key[..]),
        ])
    }
}

/// Without its private key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}
