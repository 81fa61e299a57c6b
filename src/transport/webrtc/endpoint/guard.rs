//! DTLS with a guard around it. Its handshake is bounded, and so is the certificate that the other end shows. What it
//! decrypts is looked at before the engine's SCTP gets it. This knows how the engine asks for both, and nothing of what
//! is looked for in SCTP, which is for `association`.
//!
//! The engine polls DTLS into a buffer of 2,000 bytes (`str0m` 0.25.0, lib.rs:1298), and `dimpl` 0.9.0 panics if the other
//! end's certificate is longer (dtls12/client.rs:1405 and dtls13/client.rs:1495, for both roles). So during the
//! handshake we poll into a buffer of our own, as long as everything that has come. This needs no look into the
//! handshake, whose certificate DTLS 1.3 encrypts.

use std::{
    cell::Cell,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use str0m::{
    config::{CryptoProvider, DtlsCert},
    crypto::{
        CryptoError,
        dtls::{
            DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
        },
    },
};

use super::{
    association::{Association, Verdict},
    unproven::Share,
};
use crate::config::Limits;

thread_local! {
    /// What the engine that is being built shares with its connection: an engine that asks for DTLS does not say for
    /// which one.
    static SHARED: Cell<(Option<Arc<Share>>, Heard)> = Cell::default();
}

/// Tells a connection that the other end itself has said something: nobody else could encrypt it.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard(Arc<AtomicBool>);

impl Heard {
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns true if there was something since the last call.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Builds an engine with [`crypto`], in which `share` counts what is held until the proof, if there is to be one.
pub(super) fn build<T>(share: Option<Arc<Share>>, build: impl FnOnce() -> T) -> (T, Heard) {
    let heard = Heard::default();
    SHARED.set((share, heard.clone()));
    let built = build();
    SHARED.take();
    (built, heard)
}

/// What the engine encrypts with, guarded.
pub(super) fn crypto() -> CryptoProvider {
    static GUARD: OnceLock<Guard> = OnceLock::new();
    let crypto = str0m::crypto::from_feature_flags();
    CryptoProvider {
        dtls_provider: GUARD.get_or_init(|| Guard(crypto.dtls_provider)),
        ..crypto
    }
}

#[derive(Debug)]
struct Guard(&'static dyn DtlsProvider);

impl DtlsProvider for Guard {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        self.0.generate_certificate()
    }

    fn new_dtls(
        &self,
        cert: &DtlsCert,
        now: Instant,
        dtls_version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let dtls = self.0.new_dtls(cert, now, dtls_version, mtu)?;
        Ok(Box::new(Guarded::new(dtls, now, SHARED.take())))
    }

    fn is_test(&self) -> bool {
        self.0.is_test()
    }
}

#[derive(Debug)]
struct Guarded {
    dtls: Box<dyn DtlsInstance>,
    association: Association,
    heard: Heard,
    past: Instant,
    /// True if the handshake is over.
    is_secured: bool,
    /// The bytes that have come in it, at most [`Limits::DTLS_HANDSHAKE`].
    fed: usize,
    /// The records that have come in it, at most [`Limits::DTLS_RECORDS`].
    records: usize,
    /// True if the connection has to end for what has come in DTLS itself.
    is_refused: bool,
}

impl Guarded {
    fn new(
        dtls: Box<dyn DtlsInstance>,
        now: Instant,
        (share, heard): (Option<Arc<Share>>, Heard),
    ) -> Self {
        Self {
            dtls,
            association: Association::new(share),
            heard,
            past: now,
            is_secured: false,
            fed: 0,
            records: 0,
            is_refused: false,
        }
    }

    /// What DTLS has to say in its handshake.
    fn poll_handshake<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        let mut own = vec![0; self.fed.max(buf.len())];
        let output = self.dtls.poll_output(&mut own);
        self.is_secured = matches!(output, DtlsOutput::Connected);
        let is_fit = match output {
            DtlsOutput::PeerCert(certificate) => certificate.len() <= Limits::CERTIFICATE_LEN,
            _ => true,
        };
        let output = if is_fit { copied(output, buf) } else { None };
        output.unwrap_or_else(|| {
            tracing::debug!("a certificate that is too long, or an output that we do not know");
            self.is_refused = true;
            DtlsOutput::Timeout(self.past)
        })
    }

    /// Counts what has come in the handshake. Returns false if it is too much.
    fn count(&mut self, datagram: &[u8]) -> bool {
        let fed = self.fed + datagram.len();
        let records = self.records + records(datagram);
        let may_have = fed <= Limits::DTLS_HANDSHAKE && records <= Limits::DTLS_RECORDS;
        if may_have {
            (self.fed, self.records) = (fed, records);
        }
        may_have
    }
}

/// The number of records in a datagram (RFC 6347, section 4.1).
fn records(mut datagram: &[u8]) -> usize {
    let mut count = 0;
    while let Some(([.., a, b], rest)) = datagram.split_first_chunk::<13>() {
        let len = usize::from(u16::from_be_bytes([*a, *b]));
        datagram = rest.get(len..).unwrap_or_default();
        count += 1;
    }
    count
}

/// The same output, in `buf`. `None` if it does not fit, or is of a kind that we do not know.
fn copied<'a>(output: DtlsOutput<'_>, buf: &'a mut [u8]) -> Option<DtlsOutput<'a>> {
    Some(match output {
        DtlsOutput::Packet(bytes) => DtlsOutput::Packet(put(buf, bytes)?),
        DtlsOutput::PeerCert(bytes) => DtlsOutput::PeerCert(put(buf, bytes)?),
        DtlsOutput::ApplicationData(bytes) => DtlsOutput::ApplicationData(put(buf, bytes)?),
        DtlsOutput::KeyingMaterial(key, profile) => DtlsOutput::KeyingMaterial(key, profile),
        DtlsOutput::BufferTooSmall { needed } => DtlsOutput::BufferTooSmall { needed },
        DtlsOutput::Timeout(at) => DtlsOutput::Timeout(at),
        DtlsOutput::Connected => DtlsOutput::Connected,
        DtlsOutput::CloseNotify => DtlsOutput::CloseNotify,
        _ => return None,
    })
}

fn put<'a>(buf: &'a mut [u8], bytes: &[u8]) -> Option<&'a [u8]> {
    let place = buf.get_mut(..bytes.len())?;
    place.copy_from_slice(bytes);
    Some(place)
}

impl DtlsInstance for Guarded {
    fn set_active(&mut self, active: bool) {
        self.association.set_client(active);
        self.dtls.set_active(active);
    }

    /// What exceeds a limit of the handshake is lost. A full queue ends the connection: what is in it is never read, and
    /// the engine warns of each datagram that comes then.
    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        if !self.is_secured && !self.count(packet) {
            return Ok(());
        }
        let result = self.dtls.handle_packet(packet);
        if let Err(DtlsImplError::ReceiveQueueFull) = result {
            self.is_refused = true;
        }
        result
    }

    /// Instead of what is dropped or not needed there is a packet of no bytes, which SCTP ignores (`sctp-proto`
    /// 0.10.8, packet.rs:77 `unmarshal`).
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        if let Some(packet) = self.association.poll() {
            return DtlsOutput::ApplicationData(put(buf, &packet).unwrap_or_default());
        }
        if self.is_refused {
            return DtlsOutput::Timeout(self.past);
        }
        if let Some(violation) = self.association.violation() {
            tracing::debug!(?violation, "SCTP ends a connection");
            return DtlsOutput::Timeout(self.past);
        }
        let output = match self.is_secured {
            true => self.dtls.poll_output(buf),
            false => self.poll_handshake(buf),
        };
        if let DtlsOutput::Connected | DtlsOutput::ApplicationData(_) = output {
            self.heard.set();
        }
        match output {
            DtlsOutput::ApplicationData(packet) => match self.association.receive(packet) {
                Verdict::Pass => output,
                Verdict::Drop => DtlsOutput::ApplicationData(&[]),
            },
            // That is for SRTP, which data channels do not need. The engine would make ciphers of 9 KiB of it.
            DtlsOutput::KeyingMaterial(..) => DtlsOutput::ApplicationData(&[]),
            DtlsOutput::Timeout(_) => {
                self.association.on_idle();
                output
            }
            _ => output,
        }
    }

    /// Fails for good if the connection has to end, which is what has the engine end it.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        match self.is_refused || self.association.violation().is_some() {
            true => Err(DtlsImplError::ConnectionClosed),
            false => self.dtls.handle_timeout(now),
        }
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        let accepted = self.dtls.send_application_data(data)?;
        if accepted == data.len() {
            self.association.send(data);
        }
        Ok(accepted)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}

#[cfg(test)]
mod tests;
