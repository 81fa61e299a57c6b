//! New peers are met through peers, over real transports.

use std::time::Duration;

use crate::common::*;
use libp2p::swarm::SwarmEvent;
use pxp::{Origin, PxpEvent, Via};

/// Asks for a new peer and returns the address at which it was reached.
async fn meet(nodes: &mut [Node; 3]) -> String {
    let query = nodes[0].behaviour_mut().get_new_peer().unwrap();
    let c = *nodes[2].local_peer_id();
    let mut address = None;
    drive(nodes, "a new peer", |node, event| match event {
        SwarmEvent::ConnectionEstablished {
            peer_id, endpoint, ..
        } if node == 0 && peer_id == c => {
            address = Some(endpoint.get_remote_address().to_string());
            None
        }
        SwarmEvent::Behaviour(PxpEvent::Connected {
            peer, origin, via, ..
        }) if node == 0 => {
            assert_eq!((peer, origin), (c, Origin::Found(query)));
            let is_signaled = address.as_ref()?.starts_with("/webrtc/p2p/");
            assert_eq!(via == Via::Signaled, is_signaled, "{via:?}");
            assert!(matches!(via, Via::Signaled | Via::Direct), "{via:?}");
            Some(())
        }
        _ => None,
    })
    .await;
    until_peers(nodes, 0, 2).await;
    address.unwrap()
}

#[tokio::test]
async fn two_strangers_meet_through_a_peer_they_share() {
    let mut nodes = strangers().await;
    let address = meet(&mut nodes).await;
    let transport = if cfg!(feature = "webrtc") {
        "/webrtc/p2p/"
    } else {
        "/tcp/"
    };
    assert!(address.contains(transport), "{address}");
}

#[tokio::test]
async fn the_introducer_keeps_both_its_links_after_an_introduction() {
    let mut nodes = strangers().await;
    meet(&mut nodes).await;
    let events = run(&mut nodes, Duration::from_secs(5)).await;
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(nodes[1].behaviour().peers().len(), 2);
}

#[tokio::test]
async fn the_new_connection_outlives_the_introducer() {
    let [a, b, c] = strangers().await;
    let mut nodes = [a, b, c];
    meet(&mut nodes).await;
    let [a, b, c] = nodes;
    drop(b);
    let mut nodes = [a, c];
    run(&mut nodes, Duration::from_secs(12)).await;
    assert!(are_peers(&nodes, 0, 1));
}

#[tokio::test]
async fn a_peer_is_met_again_at_once_after_it_was_lost() {
    let mut nodes = strangers().await;
    for _ in 0..5 {
        meet(&mut nodes).await;
        let c = *nodes[2].local_peer_id();
        nodes[0].disconnect_peer_id(c).unwrap();
        event(&mut nodes, 0, "a disconnect", |event| match event {
            PxpEvent::Disconnected { peer } => (peer == c).then_some(()),
            _ => None,
        })
        .await;
    }
}

#[tokio::test]
async fn both_ask_at_once_and_both_find_each_other() {
    let mut nodes = strangers().await;
    let queries = [0, 2].map(|n| (n, nodes[n].behaviour_mut().get_new_peer().unwrap()));
    let mut found = Vec::new();
    drive(&mut nodes, "both queries", |node, event| {
        match event {
            SwarmEvent::Behaviour(PxpEvent::Connected {
                origin: Origin::Found(query),
                ..
            }) => {
                found.push((node, query));
            }
            SwarmEvent::Behaviour(PxpEvent::QueryFailed { error, .. }) => panic!("{error}"),
            _ => {}
        }
        (found.len() == 2).then_some(())
    })
    .await;
    found.sort();
    assert_eq!(found, queries);
}

#[tokio::test]
async fn a_crowd_meets_through_one_node() {
    const N: usize = 8;
    let mut nodes: [Node; N] = nodes().await;
    for n in 1..N {
        connect(&mut nodes, n, 0).await;
    }
    for node in &mut nodes[1..] {
        node.behaviour_mut().get_new_peer().unwrap();
    }
    let mut ended = 0;
    drive(&mut nodes, "all queries", |_, event| {
        match event {
            SwarmEvent::Behaviour(PxpEvent::Connected {
                origin: Origin::Found(_),
                ..
            }) => ended += 1,
            SwarmEvent::Behaviour(PxpEvent::QueryFailed { error, .. }) => panic!("{error}"),
            _ => {}
        }
        (ended == N - 1).then_some(())
    })
    .await;
}

/// In a swarm whose owner put libp2p-webrtc in.
#[cfg(feature = "webrtc")]
#[tokio::test]
async fn the_behaviour_alone_meets_over_the_owners_webrtc() {
    use libp2p::{
        SwarmBuilder, Transport as _, core::muxing::StreamMuxerBox, identity::Keypair, noise, tcp,
        yamux,
    };
    use libp2p_webrtc::tokio::{Certificate, Transport};

    // It panics where there are two providers, as with libp2p's `quic`, and none is the default.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut nodes = [0, 1, 2].map(|_| {
        let key = Keypair::generate_ed25519();
        let behaviour = pxp::Behaviour::new(&key, config());
        let certificate = Certificate::generate(&mut rand::rng()).unwrap();
        let webrtc = Transport::new(key.clone(), certificate)
            .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)));
        SwarmBuilder::with_existing_identity(key)
            .with_tokio()
            .with_tcp(
                tcp::Config::default(),
                noise::Config::new,
                yamux::Config::default,
            )
            .unwrap()
            .with_other_transport(|_| webrtc)
            .unwrap()
            .with_behaviour(|_| behaviour)
            .unwrap()
            .build()
    });
    for node in &mut nodes {
        listen(node, "/ip4/127.0.0.1/tcp/0").await;
        listen(node, "/ip4/127.0.0.1/udp/0/webrtc-direct").await;
    }
    connect(&mut nodes, 0, 1).await;
    connect(&mut nodes, 2, 1).await;
    let address = meet(&mut nodes).await;
    assert!(address.contains("/webrtc-direct/"), "{address}");
}
