//! An engine that does as `dimpl` does, behind the guard.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

#[derive(Debug, Default)]
struct Engine {
    fed: Arc<AtomicUsize>,
    is_full: bool,
    certificate: Option<Vec<u8>>,
}

impl DtlsInstance for Engine {
    fn set_active(&mut self, _: bool) {}

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.fed.fetch_add(packet.len(), Ordering::Relaxed);
        match self.is_full {
            true => Err(DtlsImplError::ReceiveQueueFull),
            false => Ok(()),
        }
    }

    /// Panics if a certificate does not fit.
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        match self.certificate.take() {
            Some(shown) => DtlsOutput::PeerCert(put(buf, &shown).unwrap()),
            None => DtlsOutput::Connected,
        }
    }

    fn handle_timeout(&mut self, _: Instant) -> Result<(), DtlsImplError> {
        Ok(())
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        Ok(data.len())
    }

    fn is_active(&self) -> bool {
        false
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        Ok(())
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        None
    }
}

fn guarded(engine: Engine) -> Guarded {
    Guarded::new(Box::new(engine), Instant::now(), Default::default())
}

/// A datagram of so many records of so many bytes.
fn datagram(records: usize, len: usize) -> Vec<u8> {
    let mut record = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend((len as u16 - 13).to_be_bytes());
    record.resize(len, 0);
    record.repeat(records)
}

#[test]
fn a_handshake_brings_16_kib() {
    for (last, is_heard) in [(1023, true), (1024, true), (1025, false)] {
        let engine = Engine::default();
        let fed = engine.fed.clone();
        let mut guarded = guarded(engine);
        for _ in 0..15 {
            guarded.handle_packet(&datagram(1, 1024)).unwrap();
        }
        guarded.handle_packet(&datagram(1, last)).unwrap();
        let expected = 15 * 1024 + if is_heard { last } else { 0 };
        assert_eq!(fed.load(Ordering::Relaxed), expected);
        // What comes later is not counted.
        assert!(matches!(
            guarded.poll_output(&mut [0; 2000]),
            DtlsOutput::Connected
        ));
        guarded.handle_packet(&datagram(1, 1500)).unwrap();
        assert_eq!(fed.load(Ordering::Relaxed), expected + 1500);
    }
}

#[test]
fn a_handshake_brings_32_records() {
    for (last, is_heard) in [(7, true), (8, true), (9, false)] {
        let engine = Engine::default();
        let fed = engine.fed.clone();
        let mut guarded = guarded(engine);
        for _ in 0..3 {
            guarded.handle_packet(&datagram(8, 20)).unwrap();
        }
        guarded.handle_packet(&datagram(last, 20)).unwrap();
        let expected = 3 * 8 * 20 + if is_heard { last * 20 } else { 0 };
        assert_eq!(fed.load(Ordering::Relaxed), expected);
    }
}

#[test]
fn a_certificate_has_2000_bytes() {
    for (len, is_fit) in [(1999, true), (2000, true), (2001, false), (16_000, false)] {
        let mut guarded = guarded(Engine {
            certificate: Some(vec![7; len]),
            ..Engine::default()
        });
        for _ in 0..len / 1000 + 1 {
            guarded.handle_packet(&datagram(1, 1000)).unwrap();
        }
        let mut buf = [0; 2000];
        match guarded.poll_output(&mut buf) {
            DtlsOutput::PeerCert(shown) => assert!(is_fit && *shown == vec![7; len][..]),
            _ => assert!(!is_fit, "{len}"),
        }
        assert_eq!(guarded.handle_timeout(Instant::now()).is_ok(), is_fit);
    }
}

#[test]
fn a_queue_that_nobody_empties_ends_the_connection() {
    for is_full in [false, true] {
        let mut guarded = guarded(Engine {
            is_full,
            ..Engine::default()
        });
        let _ = guarded.handle_packet(&datagram(1, 100));
        assert_eq!(guarded.handle_timeout(Instant::now()).is_err(), is_full);
    }
}
