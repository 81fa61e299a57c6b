//! An introducer cannot aim a node at a service of the node's own machine.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId, swarm::SwarmEvent};
use pxp::{Candidate, Config, PxpEvent};
use tokio::net::TcpListener;
use tokio_util::compat::TokioAsyncReadCompatExt;

use crate::common::*;

/// Vouches for somebody at this address to a node that is linked over a stream of the application, which may lead
/// anywhere. Returns true if the node has come to `service` by the end of its query.
async fn is_dialed(service: &TcpListener, address: &str, victim: Config) -> bool {
    let port = service.local_addr().unwrap().port();
    let named = address.replace("PORT", &port.to_string()).parse().unwrap();
    let vouched = PeerId::random();
    let candidates =
        move |_: &_, _: &_, _| vec![Candidate::vouched(vouched, [Multiaddr::clone(&named)])];
    let introducer = Config::new("test".parse().unwrap()).with_candidates(candidates);
    let mut nodes = [
        swarm(victim, |pxp| pxp).await,
        swarm(introducer, |pxp| pxp).await,
    ];
    let (one, two) = tokio::io::duplex(64 * 1024);
    nodes[0].behaviour_mut().connect(one.compat()).unwrap();
    nodes[1].behaviour_mut().accept(two.compat()).unwrap();
    until_peers(&mut nodes, 0, 1).await;
    nodes[0].behaviour_mut().get_new_peer().unwrap();
    let ended = drive(&mut nodes, "the end of the query", |_, event| {
        let is_end = matches!(event, SwarmEvent::Behaviour(PxpEvent::QueryFailed { .. }));
        is_end.then_some(())
    });
    let come = async {
        // What comes is dropped, so that the dial fails.
        let come = service.accept().await;
        drop(come.unwrap());
    };
    tokio::select! {
        biased;
        () = come => true,
        () = ended => tokio::time::timeout(Duration::from_millis(100), service.accept()).await.is_ok(),
    }
}

#[tokio::test]
async fn an_introducer_cannot_aim_a_node_at_its_own_machine() {
    let far = || Config::new("test".parse().unwrap());
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert!(is_dialed(&service, "/ip4/127.0.0.1/tcp/PORT", config()).await);
    for address in [
        "/ip4/127.0.0.1/tcp/PORT",
        "/ip4/9.9.9.9/ip4/127.0.0.1/tcp/PORT",
        "/ip4/9.9.9.9/dns4/localhost/tcp/PORT",
        "/ip4/9.9.9.9/ip4/127.0.0.1/tcp/PORT/ws",
        "/ip4/9.9.9.9/ip4/127.0.0.1/tcp/PORT/x-parity-ws/x%0D%0ASET%20key%20owned%0D%0A",
    ] {
        assert!(!is_dialed(&service, address, far()).await, "{address}");
    }
    // Also where all of the machine may be dialed, a service gets no bytes of somebody's choice.
    let address = "/ip4/127.0.0.1/tcp/PORT/x-parity-ws/x%0D%0ASET%20key%20owned%0D%0A";
    assert!(!is_dialed(&service, address, config()).await);
}
