//! Certificates that are longer than the engine can take.

use std::{
    io,
    sync::{Arc, Mutex},
};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use str0m::{
    config::{CryptoProvider, DtlsCert},
    crypto::{
        CryptoError,
        dtls::{DtlsInstance, DtlsProvider, DtlsVersion},
    },
};

use super::{super::guard, *};

/// Speaks one version of DTLS.
#[derive(Debug)]
struct Version(&'static dyn DtlsProvider, DtlsVersion);

impl DtlsProvider for Version {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.0.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        _: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        self.0.new_dtls(cert, now, self.1, mtu)
    }
}

/// One of this many bytes.
fn certificate(len: usize) -> DtlsCert {
    let key = KeyPair::generate().unwrap();
    let mut fill = len;
    loop {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        let filling = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], vec![0; fill]);
        params.custom_extensions = vec![filling];
        let made = params.self_signed(&key).unwrap().der().to_vec();
        if made.len() == len {
            return DtlsCert {
                certificate: made,
                private_key: key.serialize_der(),
            };
        }
        fill = fill + len - made.len(); // the length of a signature varies
    }
}

#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Collects what is logged meanwhile.
fn logged(act: impl FnOnce()) -> String {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, act);
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// Returns true if a connection comes up when one end has a certificate of `len` bytes.
fn connects(version: DtlsVersion, offers: usize, len: usize) -> bool {
    let mut lab = Lab::new(1);
    for end in &mut lab.ends {
        let crypto = guard::crypto();
        let provider = Box::leak(Box::new(Version(crypto.dtls_provider, version)));
        end.endpoint.crypto = Arc::new(CryptoProvider {
            dtls_provider: provider,
            ..crypto
        });
    }
    lab.ends[0].endpoint.certificate = certificate(len);
    let Ok((ours, theirs)) = lab.connect(offers, 1 - offers) else {
        return false;
    };
    lab.finish((offers, ours), (1 - offers, theirs));
    true
}

#[test]
fn a_certificate_of_more_than_2000_bytes_ends_the_connection_and_is_no_error_of_ours() {
    for version in [DtlsVersion::Dtls12, DtlsVersion::Dtls13] {
        for (offers, len, is_fit) in [
            (0, 1999, true),
            (0, 2000, true),
            (0, 2001, false),
            (1, 2000, true),
            (1, 2001, false),
            (0, 2600, false),
            (1, 4000, false),
        ] {
            let log = logged(|| assert_eq!(connects(version, offers, len), is_fit, "{len}"));
            assert!(!log.contains("ERROR"), "{log}");
            assert_eq!(log.contains("a certificate that is too long"), !is_fit);
        }
    }
}

#[test]
fn a_stranger_cannot_show_a_certificate_of_more_than_2000_bytes() {
    let mut lab = direct::lab(1);
    lab.ends[0].endpoint.certificate = certificate(2600);
    let log = logged(|| {
        let key = lab.dial_address(0, 1);
        lab.run(SECOND * 2);
        assert!(lab.ends[1].incoming.is_empty());
        lab.release(0, key);
        lab.assert_empty();
    });
    assert!(!log.contains("ERROR"), "{log}");
    assert!(log.contains("a certificate that is too long"));
}
