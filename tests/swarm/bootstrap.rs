//! The first link may run over any transport of the swarm, and whatever it runs on, it is good for
//! an introduction. So is a link in one network of several, whatever the networks are called.

use crate::common::*;
use libp2p::{Multiaddr, swarm::SwarmEvent};
use pxp::{Config, NetworkId, Origin, PxpEvent, QueryError, StartQueryError};

/// A node in each of these networks, the first of which is the first.
async fn node_in(networks: &[&str]) -> Node {
    let mut networks = networks.iter().map(|name| network(name));
    let config = Config::new(networks.next().unwrap());
    node(networks.fold(config, |config, network| {
        config.with_network(network).unwrap()
    }))
    .await
}

fn network(name: &str) -> NetworkId {
    name.parse().unwrap()
}

/// Asks for a new peer, which must be this one, and waits until both know.
async fn meet(nodes: &mut [Node], asker: usize, met: usize, network: Option<&NetworkId>) {
    let behaviour = nodes[asker].behaviour_mut();
    let query = match network {
        Some(network) => behaviour.get_new_peer_in(network),
        None => behaviour.get_new_peer(),
    };
    let query = query.unwrap();
    let expected = *nodes[met].local_peer_id();
    let asks = *nodes[asker].local_peer_id();
    let end = end_of_query(nodes, asker, query).await;
    let PxpEvent::Connected {
        peer,
        origin,
        networks,
        ..
    } = end
    else {
        panic!("{end:?}");
    };
    assert_eq!((peer, origin), (expected, Origin::Found(query)));
    assert!(network.is_none_or(|network| networks.contains(network)));
    until_peers(nodes, asker, met).await;
    assert!(nodes[met].behaviour().peers().any(|peer| *peer == asks));
}

/// Links A and C to B over one transport, and has A meet C.
async fn bootstrap_over(listen_at: &str, kind: &str) {
    let mut nodes: [Node; 3] = nodes().await;
    let address = listen(&mut nodes[1], listen_at).await;
    assert!(address.to_string().contains(kind), "{address}");
    for from in [0, 2] {
        dial_and_link(&mut nodes, from, address.clone(), kind).await;
    }
    meet(&mut nodes, 0, 2, None).await;
    assert_eq!(nodes[1].behaviour().peers().len(), 2);
}

/// Dials B, and checks that the link runs over the transport that was dialed.
async fn dial_and_link(nodes: &mut [Node; 3], from: usize, address: Multiaddr, kind: &str) {
    nodes[from].dial(address).unwrap();
    let mut dialed = None;
    drive(nodes, "a link", |node, event| match event {
        SwarmEvent::ConnectionEstablished {
            connection_id,
            endpoint,
            ..
        } if node == from => {
            let address = endpoint.get_remote_address().to_string();
            assert!(address.contains(kind), "{address}");
            dialed = Some(connection_id);
            None
        }
        SwarmEvent::Behaviour(PxpEvent::Connected {
            connection, origin, ..
        }) if node == from => {
            assert_eq!((Some(connection), origin), (dialed, Origin::Dialed));
            Some(())
        }
        _ => None,
    })
    .await;
    until_peers(nodes, from, 1).await;
}

#[tokio::test]
async fn a_node_bootstraps_over_tcp() {
    bootstrap_over("/ip4/127.0.0.1/tcp/0", "/tcp/").await;
}

#[tokio::test]
async fn a_node_bootstraps_over_websocket() {
    bootstrap_over("/ip4/127.0.0.1/tcp/0/ws", "/ws").await;
}

#[tokio::test]
async fn a_node_bootstraps_over_quic() {
    bootstrap_over("/ip4/127.0.0.1/udp/0/quic-v1", "/quic-v1").await;
}

#[tokio::test]
async fn a_node_bootstraps_over_memory() {
    bootstrap_over("/memory/0", "/memory/").await;
}

#[cfg(feature = "webrtc")]
#[tokio::test]
async fn a_node_bootstraps_over_webrtc_direct() {
    bootstrap_over("/ip4/127.0.0.1/udp/0/webrtc-direct", "/webrtc-direct/").await;
}

#[tokio::test]
async fn the_two_first_links_may_run_over_different_transports() {
    let mut nodes: [Node; 3] = nodes().await;
    let quic = listen(&mut nodes[1], "/ip4/127.0.0.1/udp/0/quic-v1").await;
    let memory = listen(&mut nodes[1], "/memory/0").await;
    dial_and_link(&mut nodes, 0, quic, "/quic-v1").await;
    dial_and_link(&mut nodes, 2, memory, "/memory/").await;
    meet(&mut nodes, 0, 2, None).await;
}

#[tokio::test]
async fn a_node_in_two_networks_meets_the_peers_of_each_in_each() {
    let mut nodes = [
        node_in(&["red", "blue"]).await,
        node_in(&["blue", "red"]).await,
        node_in(&["red"]).await,
        node_in(&["blue"]).await,
    ];
    for n in [0, 2, 3] {
        connect(&mut nodes, n, 1).await;
    }
    let ids = [0, 1, 2, 3].map(|n| *nodes[n].local_peer_id());
    meet(&mut nodes, 0, 3, Some(&network("blue"))).await;
    meet(&mut nodes, 0, 2, Some(&network("red"))).await;
    let behaviour = nodes[0].behaviour();
    for (name, only) in [("red", 2), ("blue", 3)] {
        let mut peers: Vec<_> = behaviour.peers_in(&network(name)).copied().collect();
        let mut expected = vec![ids[1], ids[only]];
        peers.sort();
        expected.sort();
        assert_eq!(peers, expected, "{name}");
    }
    assert_eq!(behaviour.peers().len(), 3);
}

#[tokio::test]
async fn nobody_is_introduced_to_a_peer_of_another_network() {
    let mut nodes = [
        node_in(&["red"]).await,
        node_in(&["blue", "red"]).await,
        node_in(&["blue"]).await,
    ];
    connect(&mut nodes, 0, 1).await;
    connect(&mut nodes, 2, 1).await;
    let query = nodes[0].behaviour_mut().get_new_peer().unwrap();
    let end = end_of_query(&mut nodes, 0, query).await;
    let PxpEvent::QueryFailed { error, .. } = end else {
        panic!("{end:?}");
    };
    let nobody = QueryError::NoCandidates {
        asked: 1,
        full: 0,
        known: 0,
    };
    assert_eq!(error, nobody);
    let unknown = nodes[0].behaviour_mut().get_new_peer_in(&network("blue"));
    assert_eq!(
        unknown,
        Err(StartQueryError::UnknownNetwork(network("blue")))
    );
}

/// Three nodes of a network with this name, two of which are strangers.
async fn strangers_meet_in(name: &str) {
    let mut nodes = [
        node_in(&[name]).await,
        node_in(&[name]).await,
        node_in(&[name]).await,
    ];
    connect(&mut nodes, 0, 1).await;
    connect(&mut nodes, 2, 1).await;
    meet(&mut nodes, 0, 2, Some(&network(name))).await;
}

#[tokio::test]
async fn a_network_may_have_a_name_of_1_byte() {
    strangers_meet_in("x").await;
}

#[tokio::test]
async fn a_network_may_have_a_name_of_255_bytes() {
    strangers_meet_in(&"x".repeat(255)).await;
}

#[tokio::test]
async fn a_network_may_have_a_name_that_is_not_ascii() {
    strangers_meet_in("Gemüse 🥕 \u{0} 野菜").await;
}

#[tokio::test]
async fn names_that_look_alike_are_different_networks() {
    // One letter, or an e and an accent.
    let mut nodes = [
        node_in(&["caf\u{e9}"]).await,
        node_in(&["cafe\u{301}"]).await,
    ];
    let address = address(&nodes[1], "/tcp/");
    nodes[0].dial(address).unwrap();
    event(&mut nodes, 0, "no network in common", |event| match event {
        PxpEvent::LinkFailed { error, .. } => {
            assert!(
                matches!(error, pxp::LinkError::NoSharedNetwork),
                "{error:?}"
            );
            Some(())
        }
        other => panic!("{other:?}"),
    })
    .await;
}
