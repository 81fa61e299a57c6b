//! DTLS with a guard behind it: what it decrypts is looked at before the engine's SCTP gets it. It knows how the engine
//! asks for both, and nothing of what is looked for, which is for `association`.

use std::{sync::OnceLock, time::Instant};

use str0m::{
    config::{CryptoProvider, DtlsCert},
    crypto::{
        CryptoError,
        dtls::{
            DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
        },
    },
};

use super::association::{Association, Verdict};

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
        Ok(Box::new(Guarded {
            dtls: self.0.new_dtls(cert, now, dtls_version, mtu)?,
            association: Association::default(),
            past: now,
        }))
    }

    fn is_test(&self) -> bool {
        self.0.is_test()
    }
}

#[derive(Debug)]
struct Guarded {
    dtls: Box<dyn DtlsInstance>,
    association: Association,
    past: Instant,
}

impl DtlsInstance for Guarded {
    fn set_active(&mut self, active: bool) {
        self.association.set_client(active);
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(packet)
    }

    /// Instead of what is dropped there is a packet of no bytes, which SCTP ignores (`sctp-proto` 0.10.8,
    /// packet.rs:77 `unmarshal`).
    fn poll_output<'a>(&mut self, buf: &'a mut [u8]) -> DtlsOutput<'a> {
        if let Some(packet) = self.association.poll() {
            let Some(place) = buf.get_mut(..packet.len()) else {
                return DtlsOutput::ApplicationData(&[]);
            };
            place.copy_from_slice(&packet);
            return DtlsOutput::ApplicationData(place);
        }
        if let Some(violation) = self.association.violation() {
            tracing::debug!(?violation, "SCTP that nobody sound sends");
            return DtlsOutput::Timeout(self.past);
        }
        let output = self.dtls.poll_output(buf);
        match output {
            DtlsOutput::ApplicationData(packet) => match self.association.receive(packet) {
                Verdict::Pass => output,
                Verdict::Drop => DtlsOutput::ApplicationData(&[]),
            },
            DtlsOutput::Timeout(_) => {
                self.association.on_idle();
                output
            }
            _ => output,
        }
    }

    /// Fails for good if the connection has to end, which is what has the engine end it.
    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        match self.association.violation() {
            Some(_) => Err(DtlsImplError::ConnectionClosed),
            None => self.dtls.handle_timeout(now),
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
