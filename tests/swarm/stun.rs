//! Neighbours tell each other how they look from outside, in real swarms on loopback.

use crate::common::{Node, config, event, listen, swarm};
use pxp::{NatMapping, PxpEvent};

/// A node that serves STUN and listens there.
async fn server(address: &str) -> Node {
    let mut node = swarm(config().with_stun_service(0), |pxp| pxp).await;
    listen(&mut node, address).await;
    node
}

async fn assert_two_tell(kinds: [&str; 2]) {
    let [one, other] = kinds.map(|kind| kind.to_owned());
    let one = server(&format!("/ip4/127.0.0.1/{one}")).await;
    // For a router, that would be another host.
    let other = server(&format!("/ip4/127.0.0.2/{other}")).await;
    let mut nodes = [crate::common::node(config()).await, one, other];
    for (n, ip) in [(1, "/ip4/127.0.0.1/"), (2, "/ip4/127.0.0.2/")] {
        let address = crate::common::address(&nodes[n], ip);
        nodes[0].dial(address).unwrap();
    }
    let mapping = event(&mut nodes, 0, "the mapping", |event| match event {
        PxpEvent::NatMapping(mapping) => Some(mapping),
        _ => None,
    });
    assert_eq!(mapping.await, NatMapping::EndpointIndependent);
}

#[tokio::test]
async fn two_neighbours_tell_a_node_how_it_looks_from_outside() {
    assert_two_tell(["tcp/0", "tcp/0"]).await;
}

#[tokio::test]
async fn neighbours_are_asked_whatever_connects_them() {
    assert_two_tell(["udp/0/quic-v1", "tcp/0/ws"]).await;
}
