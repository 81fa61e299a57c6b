//! What is kept from one start to the next.

use libp2p::PeerId;
use pxp::{Config, KnownPeer, Origin, PxpEvent, View};

use crate::common::*;

fn with_view() -> Config {
    config().with_view(View::default())
}

/// Runs the nodes until this one has chosen a peer by itself.
async fn chosen(nodes: &mut [Node], which: usize) -> PeerId {
    event(
        nodes,
        which,
        "a peer of its own choice",
        |event| match event {
            PxpEvent::Connected {
                peer,
                origin: Origin::Chosen { .. },
                ..
            } => Some(peer),
            _ => None,
        },
    )
    .await
}

#[tokio::test]
async fn a_node_that_knew_others_finds_them_when_the_one_it_began_with_is_gone() {
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(node(with_view()).await);
    }
    let first = *nodes[0].local_peer_id();
    let other = *nodes[1].local_peer_id();
    let address = address(&nodes[0], "/tcp/");
    for node in &mut nodes[1..] {
        node.dial(address.clone()).unwrap();
    }
    assert_eq!(chosen(&mut nodes, 2).await, other);
    let known = nodes[2].behaviour().known_peers();
    let peers: Vec<_> = known.iter().map(|known| known.peer).collect();
    assert!(peers.len() == 2 && peers.contains(&first) && peers.contains(&other));
    assert!(
        known
            .iter()
            .all(|it| !it.addresses.is_empty() && it.first_seen <= it.last_seen)
    );

    let remaining = nodes.remove(1);
    drop(nodes);
    let restarted = node(with_view().with_known_peers(known)).await;
    let mut nodes = [restarted, remaining];
    let connected = |event| match event {
        PxpEvent::Connected { peer, origin, .. } => Some((peer, origin)),
        _ => None,
    };
    let found = event(&mut nodes, 0, "one that it knew", connected).await;
    assert_eq!(found, (other, Origin::Dialed));
}

#[tokio::test]
async fn when_those_of_the_longest_standing_are_gone_the_others_are_tried() {
    let other = node(with_view()).await;
    let address = address(&other, "/tcp/");
    let start = std::time::SystemTime::UNIX_EPOCH;
    let known = |peer, address, seconds| KnownPeer {
        peer,
        addresses: vec![address],
        first_seen: start,
        last_seen: start + std::time::Duration::from_secs(seconds),
    };
    let nowhere = || "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    let mut peers: Vec<_> = (2..9)
        .map(|n| known(PeerId::random(), nowhere(), n))
        .collect();
    peers.push(known(*other.local_peer_id(), address, 1));
    let restarted = node(with_view().with_known_peers(peers)).await;
    let mut nodes = [restarted, other];
    let connected = |event| matches!(event, PxpEvent::Connected { .. }).then_some(());
    event(&mut nodes, 0, "the one that is left", connected).await;
}

#[tokio::test]
async fn who_only_came_is_not_kept_and_what_cannot_be_reached_harms_nobody() {
    let nowhere = KnownPeer {
        peer: PeerId::random(),
        addresses: vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()],
        first_seen: std::time::SystemTime::UNIX_EPOCH,
        last_seen: std::time::SystemTime::UNIX_EPOCH,
    };
    let config = with_view().with_known_peers([nowhere.clone()]);
    let mut nodes = vec![node(config).await, node(with_view()).await];
    let address = address(&nodes[0], "/tcp/");
    nodes[1].dial(address).unwrap();
    let came = |event| matches!(event, PxpEvent::Connected { .. }).then_some(());
    event(&mut nodes, 0, "one that came", came).await;
    assert_eq!(nodes[0].behaviour().known_peers(), [nowhere]);
}

#[cfg(feature = "webrtc")]
#[tokio::test]
async fn a_node_that_keeps_its_certificate_is_dialed_at_the_address_it_had() {
    let certificate = pxp::Certificate::generate().unwrap();
    let kept = pxp::Certificate::from_pem(&certificate.to_pem()).unwrap();
    let mut hashes = Vec::new();
    for certificate in [certificate, kept] {
        let config = config().with_certificate(certificate);
        let mut nodes = vec![node(config).await, node(self::config()).await];
        let address = listen(&mut nodes[0], "/ip4/127.0.0.1/udp/0/webrtc-direct").await;
        let hash = address.iter().last().map(|part| part.to_string());
        assert!(
            hash.as_ref().unwrap().starts_with("/certhash/"),
            "{address}"
        );
        hashes.push(hash);
        nodes[1].dial(address).unwrap();
        let came = |event| matches!(event, PxpEvent::Connected { .. }).then_some(());
        event(&mut nodes, 1, "a link", came).await;
    }
    assert_eq!(hashes[0], hashes[1]);
}
