//! Circuit relays, the last resort: a candidate's circuit address rides in its signed answer, and is
//! dialed when there is no better way.

use crate::common::{config, drive, listen};
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use pxp::{Origin, PxpEvent, Via};

/// Every node may be a relay, so that all are of one type.
#[derive(NetworkBehaviour)]
struct Node {
    pxp: pxp::Behaviour,
    client: relay::client::Behaviour,
    relay: relay::Behaviour,
}

/// A node that dials over TCP and circuits, and in the ways that `pxp::new` brings if it is used.
fn node(is_complete: bool) -> Swarm<Node> {
    let key = Keypair::generate_ed25519();
    let (transport, complete) = pxp::new(&key, config());
    let pxp = match is_complete {
        true => complete,
        false => pxp::Behaviour::new(&key, config()),
    };
    SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )
        .unwrap()
        .with_other_transport(|_| transport)
        .unwrap()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|key, client| Node {
            pxp,
            client,
            relay: relay::Behaviour::new(key.public().to_peer_id(), relay::Config::default()),
        })
        .unwrap()
        .build()
}

/// A (0) meets C (2), whose only address is a circuit through B (1), their common peer. Which way, as
/// both see it.
async fn meet(is_complete: bool) -> [Via; 2] {
    let mut nodes = [(); 3].map(|()| node(is_complete));
    let relay = listen(&mut nodes[1], "/ip4/127.0.0.1/tcp/0").await;
    nodes[1].add_external_address(relay.clone());
    let relay = relay.with(Protocol::P2p(*nodes[1].local_peer_id()));
    let circuit = relay.clone().with(Protocol::P2pCircuit);
    nodes[2].listen_on(circuit).unwrap();
    nodes[0].dial(relay).unwrap();
    until_linked(&mut nodes).await;

    let query = nodes[0].behaviour_mut().pxp.get_new_peer().unwrap();
    let mut paths = [None; 2];
    drive(&mut nodes, "a new peer", |node, event| {
        if let SwarmEvent::Behaviour(NodeEvent::Pxp(event)) = event {
            match event {
                PxpEvent::Connected { via, origin, .. } => {
                    assert!(node != 0 || origin == Origin::Found(query));
                    paths[node / 2] = Some(via);
                }
                event => panic!("{node}: {event:?}"),
            }
        }
        Some([paths[0]?, paths[1]?])
    })
    .await
}

/// Until A and C are peers of B, and C has its circuit.
async fn until_linked(nodes: &mut [Swarm<Node>]) {
    let (mut links, mut has_circuit) = (0, false);
    drive(nodes, "links and a circuit", |_, event| {
        match event {
            SwarmEvent::Behaviour(NodeEvent::Pxp(PxpEvent::Connected { via, .. })) => {
                assert_eq!(via, Via::Direct);
                links += 1;
            }
            SwarmEvent::NewListenAddr { address, .. } => has_circuit |= is_circuit(&address),
            _ => {}
        }
        (links == 4 && has_circuit).then_some(())
    })
    .await;
}

fn is_circuit(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

#[tokio::test]
async fn where_there_is_no_other_way_a_circuit_leads_to_a_new_peer() {
    assert_eq!(meet(false).await, [Via::Relayed; 2]);
}

#[cfg(feature = "webrtc")]
#[tokio::test]
async fn where_there_is_a_direct_way_no_circuit_is_used() {
    assert_eq!(meet(true).await, [Via::Signaled; 2]);
}
