//! What comes while the other end has not proven yet who it is. The engine gets only the channel of the proof then.
//! A sound dialer may open its first channel right behind its last word of the proof, so chunks of other channels wait
//! here for the proof. The engine does not see them, so it does not acknowledge them, and the other end sends again
//! what finds no room.

use std::{collections::VecDeque, sync::Arc};

use super::chunks::{self, Chunk, HEADER};
use crate::{
    config::Limits,
    transport::webrtc::endpoint::unproven::{PROOF_STREAM, Share},
};

/// Bytes that a packet costs beside its own.
const PACKET_OVERHEAD: usize = 64;

#[derive(Debug)]
pub(super) struct Early {
    share: Arc<Share>,
    /// What waits for the proof, at most [`Limits::UNPROVEN_STREAMS`] bytes.
    packets: VecDeque<Vec<u8>>,
    len: usize,
}

impl Early {
    pub(super) fn new(share: Arc<Share>) -> Self {
        Self {
            share,
            packets: VecDeque::new(),
            len: 0,
        }
    }

    /// Counts `bytes` that the engine is to hold. Returns false if it must not.
    pub(super) fn hold(&self, bytes: usize) -> bool {
        self.share.hold(bytes)
    }

    /// Keeps what is for other channels. Returns the rest of the packet if some of it was for them.
    pub(super) fn split(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        if self.share.is_proven() {
            return None;
        }
        let (header, mut chunks) = packet.split_at_checked(HEADER)?;
        let (mut early, mut rest) = (Vec::new(), Vec::new());
        while let Some((whole, chunk)) = chunks::next(&mut chunks) {
            match chunk {
                Chunk::Data(data) if data.fragment.stream != PROOF_STREAM => early.push(whole),
                _ => rest.push(whole),
            }
        }
        if early.is_empty() || !chunks.is_empty() {
            return None; // or no packet at all
        }
        let bytes = early.iter().map(|chunk| chunk.len()).sum::<usize>();
        let len = self.len + HEADER + bytes + PACKET_OVERHEAD;
        if len <= Limits::UNPROVEN_STREAMS && self.hold(len - self.len) {
            self.len = len;
            self.packets.push_back(chunks::assemble(header, &early));
        }
        Some(chunks::assemble(header, &rest))
    }

    /// The next packet that has waited, once there is a proof.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let is_proven = self.share.is_proven();
        is_proven.then(|| self.packets.pop_front()).flatten()
    }

    /// Returns true if there is a proof, and nothing waits for it any more.
    pub(super) fn is_over(&self) -> bool {
        self.share.is_proven() && self.packets.is_empty()
    }

    #[cfg(any(test, fuzzing))]
    pub(super) fn len(&self) -> usize {
        self.len
    }
}
