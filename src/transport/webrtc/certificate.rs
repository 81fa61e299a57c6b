//! How the certificate of webrtc-direct is made and read, for which it takes the engine.

use str0m::config::DtlsCert;

use super::endpoint::{Endpoint, generate_certificate};
use crate::certificate::{CERTIFICATE, Certificate, CertificateError, KEY};

impl Certificate {
    /// A new one.
    ///
    /// # Errors
    ///
    /// [`CertificateError::NotMade`].
    pub fn generate() -> Result<Self, CertificateError> {
        let made = generate_certificate().ok_or(CertificateError::NotMade)?;
        Ok(Self {
            certificate: made.certificate,
            key: made.private_key,
        })
    }

    /// The certificate that [`Self::to_pem`] wrote.
    ///
    /// # Errors
    ///
    /// [`CertificateError`] if it is none.
    pub fn from_pem(pem: &str) -> Result<Self, CertificateError> {
        let blocks = pem::parse_many(pem).map_err(|error| CertificateError::NoPem(error.into()))?;
        let read = match &blocks[..] {
            [certificate, key] if (certificate.tag(), key.tag()) == (CERTIFICATE, KEY) => Self {
                certificate: certificate.contents().to_vec(),
                key: key.contents().to_vec(),
            },
            _ => return Err(CertificateError::Incomplete),
        };
        match Endpoint::is_usable(read.clone().into()) {
            true => Ok(read),
            false => Err(CertificateError::BadKey),
        }
    }
}

impl From<Certificate> for DtlsCert {
    fn from(Certificate { certificate, key }: Certificate) -> Self {
        Self {
            certificate,
            private_key: key,
        }
    }
}
