//! From `get_new_peer` to `Connected`, in three processes on loopback, beside what it rests on: the
//! bare signaled transport, and dials by a webrtc-direct address, ours and libp2p-webrtc's. They take turns, so that
//! a busy machine slows all of them.
//!
//! The floor's transport is private, so its modules are compiled into this program.
#![allow(dead_code, unused_imports, missing_docs, unreachable_pub)]

#[path = "../src"]
mod source {
    pub(crate) mod address;
    pub(crate) mod certificate;
    pub(crate) mod config;
    pub(crate) mod error;
    pub(crate) mod event;
    pub(crate) mod id;
    pub(crate) mod known;
    pub(crate) mod message;
    pub(crate) mod rate;
    pub(crate) mod reach;
    pub(crate) mod route;
    #[cfg(test)]
    pub(crate) mod script;
    pub(crate) mod signaling;
    pub(crate) mod transport;
}

mod common;
#[path = "connect/floor.rs"]
mod floor;

use std::{sync::Arc, time::Instant};

use futures::{StreamExt, future::try_join_all};
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, Transport as _,
    core::muxing::StreamMuxerBox,
    identity::Keypair,
    swarm::{NetworkBehaviour, SwarmEvent, dummy},
};
use libp2p_webrtc::tokio as webrtc;
use pxp::{Incoming, Via};
use tokio::{sync::Barrier, time::timeout};

#[cfg(test)]
use self::source::script;
use self::{
    common::{PATIENCE, Process, Result, full_or, median, milliseconds, quantile, report},
    floor::Floor,
    source::{
        address, certificate, config, error, event, id, known, message, rate,
        reach::{self, Reach},
        route, signaling, transport,
    },
};

const ROUNDS: usize = 1_000;
const SHORT_ROUNDS: usize = 50;
const ROUNDS_PER_FLOOR: usize = 5;
const ROUNDS_PER_DIRECT: usize = 50;
const ASKERS: usize = 50;
const SHORT_ASKERS: usize = 5;
const ROUNDS_PER_ASKER: usize = 4;

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("introducer") => common::introduce().await,
        Some("candidate") => be_found().await,
        Some("floor") => floor::serve().await,
        Some("direct") => be_dialed(ours()?).await,
        Some("libp2p") => be_dialed(bare()?).await,
        _ => measure().await,
    }
}

async fn measure() -> Result<()> {
    let mut introducer = Process::start(&["introducer"])?;
    let introducer = &introducer.line()?;
    let mut candidate = Process::start(&["candidate", introducer])?;
    candidate.line()?;
    let mut floor = Process::start(&["floor"])?;
    let mut floor = Floor::connect(&floor.line()?).await?;
    let (mut direct, mut libp2p) = (Process::start(&["direct"])?, Process::start(&["libp2p"])?);
    let direct = direct.line()?.parse::<Multiaddr>()?;
    let libp2p = libp2p.line()?.parse::<Multiaddr>()?;

    let (rounds, askers) = full_or((SHORT_ROUNDS, SHORT_ASKERS), (ROUNDS, ASKERS));
    let mut asker = asker(introducer).await?;
    let (mut found_ms, mut floor_ms) = (Vec::new(), Vec::new());
    let (mut direct_ms, mut libp2p_ms) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        found_ms.extend(get_new_peer(&mut asker).await);
        if round % ROUNDS_PER_FLOOR == 0 {
            let time = timeout(PATIENCE, floor.measure()).await??;
            floor_ms.push(time.as_secs_f64() * 1e3);
        }
        if round % ROUNDS_PER_DIRECT == 0 {
            match timeout(PATIENCE, dial(ours()?, direct.clone())).await {
                Ok(Ok(time)) => direct_ms.push(time),
                failure => println!("a dial failed: {failure:?}"),
            }
            match timeout(PATIENCE, dial(bare()?, libp2p.clone())).await {
                Ok(Ok(time)) => libp2p_ms.push(time),
                failure => println!("libp2p-webrtc failed: {failure:?}"),
            }
        }
    }
    let parallel_ms = crowd(introducer, askers).await?;

    report("get_new_peer", "ms", &found_ms);
    report(&format!("the same, {askers} at a time"), "ms", &parallel_ms);
    report("floor", "ms", &floor_ms);
    report("webrtc-direct", "ms", &direct_ms);
    report("libp2p-webrtc", "ms", &libp2p_ms);
    let (found, floor) = (median(&found_ms), median(&floor_ms));
    let parallel = askers * ROUNDS_PER_ASKER;
    println!(
        "RESULT connect get_new_peer_ms={found:.2} p99_ms={:.2} floor_ms={floor:.2} ratio={:.2} \
         failed={}/{rounds} parallel_failed={}/{parallel} direct_ms={:.1} libp2p_ms={:.1}",
        quantile(&found_ms, 0.99),
        found / floor,
        rounds - found_ms.len(),
        parallel - parallel_ms.len(),
        median(&direct_ms),
        median(&libp2p_ms),
    );
    Ok(())
}

/// A peer of the introducer. Nobody is led to it, so that there is one candidate for all.
async fn asker(introducer: &str) -> Result<Swarm<pxp::Behaviour>> {
    let config = common::config()?.with_incoming(Incoming::Refuse);
    let mut asker = common::node(Keypair::generate_ed25519(), config)?;
    common::join(&mut asker, introducer).await?;
    Ok(asker)
}

/// Milliseconds to a new peer, whose connection is ended then. A connection that was not set up by
/// signals counts as none.
async fn get_new_peer(asker: &mut Swarm<pxp::Behaviour>) -> Option<f64> {
    let start = Instant::now();
    let found = timeout(PATIENCE, common::get_new_peer(asker)).await;
    let time = milliseconds(start);
    if let Ok(Ok((peer, _))) = found {
        common::disconnect(asker, peer).await;
    }
    match found {
        Ok(Ok((_, Via::Signaled))) => Some(time),
        failure => {
            println!("failed after {time:.1} ms: {failure:?}");
            None
        }
    }
}

/// All find the same candidate, through the same introducer, at the same time.
async fn crowd(introducer: &str, askers: usize) -> Result<Vec<f64>> {
    let start = Arc::new(Barrier::new(askers));
    let askers = try_join_all((0..askers).map(|_| asker(introducer))).await?;
    let asking = askers.into_iter().map(|mut asker| {
        let start = start.clone();
        tokio::spawn(async move {
            let mut times = Vec::new();
            for _ in 0..ROUNDS_PER_ASKER {
                start.wait().await;
                times.extend(get_new_peer(&mut asker).await);
            }
            times
        })
    });
    Ok(try_join_all(asking).await?.concat())
}

/// The candidate: prints a line once it is a peer of the introducer.
async fn be_found() -> Result<()> {
    let introducer = std::env::args().nth(2).ok_or("no introducer")?;
    let config = common::config()?.with_limits(common::unlimited());
    let mut node = common::node(common::candidate_key()?, config)?;
    common::join(&mut node, &introducer).await?;
    common::print("ready")?;
    match common::run(&mut node).await {}
}

/// A dial by an address, from a fresh node.
async fn dial<B: NetworkBehaviour>(mut swarm: Swarm<B>, address: Multiaddr) -> Result<f64> {
    common::listen(&mut swarm, WEBRTC_DIRECT).await?;
    let start = Instant::now();
    swarm.dial(address)?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                let time = milliseconds(start);
                common::disconnect(&mut swarm, peer_id).await;
                return Ok(time);
            }
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
}

/// Prints its address, and waits there for dials.
async fn be_dialed<B: NetworkBehaviour>(mut swarm: Swarm<B>) -> Result<()> {
    common::print(common::listen(&mut swarm, WEBRTC_DIRECT).await?)?;
    match common::run(&mut swarm).await {}
}

const WEBRTC_DIRECT: &str = "/ip4/127.0.0.1/udp/0/webrtc-direct";

fn ours() -> Result<Swarm<pxp::Behaviour>> {
    common::node(Keypair::generate_ed25519(), common::config()?)
}

fn bare() -> Result<Swarm<dummy::Behaviour>> {
    // Without this every handshake panics, for libp2p's `quic` is in the binary too.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = Keypair::generate_ed25519();
    let certificate = webrtc::Certificate::generate(&mut rand::rng())?;
    let transport = webrtc::Transport::new(key.clone(), certificate)
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|_| transport)?
        .with_behaviour(|_| dummy::Behaviour)?
        .build())
}
