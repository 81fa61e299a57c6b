//! How the certificate of webrtc-direct is made and read, for which it takes the engine.

use dimpl::crypto::aws_lc_rs;
use str0m::config::DtlsCert;

use super::endpoint::generate_certificate;
use crate::{
    certificate::{CERTIFICATE, Certificate, CertificateError, KEY},
    config::Limits,
};

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
        let len = read.certificate.len();
        if len > Limits::CERTIFICATE_LEN {
            return Err(CertificateError::TooLong { len });
        }
        // An engine that is made with a key that it cannot load panics.
        let keys = aws_lc_rs::default_provider().key_provider;
        match keys.load_private_key(&read.key) {
            Ok(_) => Ok(read),
            Err(_) => Err(CertificateError::BadKey),
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

#[cfg(test)]
mod tests {
    use proptest::{
        collection::vec,
        prelude::{ProptestConfig, any},
        proptest,
    };

    use super::*;

    fn pem_of(certificate: usize, key: &[u8]) -> String {
        let certificate = vec![7; certificate];
        let key = key.to_vec();
        Certificate { certificate, key }.to_pem()
    }

    #[test]
    fn a_certificate_has_2000_bytes() {
        let key = Certificate::generate().unwrap().key;
        for (len, is_fit) in [(1999, true), (2000, true), (2001, false)] {
            match Certificate::from_pem(&pem_of(len, &key)) {
                Ok(read) => assert!(is_fit && read.certificate.len() == len),
                Err(CertificateError::TooLong { len: told }) => assert!(!is_fit && told == len),
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        let key = Certificate::generate().unwrap().key;
        for len in 0..key.len() {
            let read = Certificate::from_pem(&pem_of(100, &key[..len]));
            assert!(matches!(read, Err(CertificateError::BadKey)), "{len}");
        }
    }

    #[test]
    fn the_file_of_libp2p_webrtc_is_refused() {
        let pem = Certificate::generate().unwrap().to_pem();
        for expires in [&[][..], &[1, 2, 3], &[0; 8]] {
            let expires = pem::encode(&pem::Pem::new("EXPIRES", expires));
            for text in [
                format!("{expires}{pem}"),
                format!("{pem}{expires}"),
                expires,
            ] {
                let read = Certificate::from_pem(&text);
                assert!(matches!(read, Err(CertificateError::Incomplete)));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

        #[test]
        fn any_text_is_a_certificate_or_an_error(key in vec(any::<u8>(), 0..200), place in 0..900usize, other in any::<char>()) {
            let _ = Certificate::from_pem(&pem_of(200, &key));
            let whole = Certificate::generate().unwrap().to_pem();
            let damaged = whole.chars().enumerate();
            let damaged: String = damaged.map(|(n, c)| if n == place { other } else { c }).collect();
            let _ = Certificate::from_pem(&damaged);
            let _ = Certificate::from_pem(&whole.chars().take(place).collect::<String>());
        }
    }
}
