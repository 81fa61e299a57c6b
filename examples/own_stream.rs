//! Joins a network over a stream that the program made itself: nobody dials, nobody listens. Here
//! it is a pipe in memory; a Unix socket, a serial line or a tunnel is used in the same way.

use std::error::Error;

use futures::{StreamExt, future::select_all};
use libp2p::{Swarm, SwarmBuilder, identity::Keypair, swarm::SwarmEvent};
use pxp::{Config, Origin, PxpEvent, Reach};
use tokio_util::compat::TokioAsyncReadCompatExt;

const NAMES: [&str; 3] = ["A", "B", "C"];
const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut nodes = [node()?, node()?, node()?];
    for (from, to) in [(A, B), (C, B)] {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        nodes[from].behaviour_mut().connect(ours.compat())?;
        nodes[to].behaviour_mut().accept(theirs.compat())?;
    }
    let mut told = 0;
    loop {
        let next = select_all(nodes.iter_mut().map(StreamExt::select_next_some));
        let (event, node, _) = next.await;
        let SwarmEvent::Behaviour(event) = event else {
            continue;
        };
        println!("{}: {event:?}", NAMES[node]);
        match event {
            PxpEvent::Connected {
                origin: Origin::Found(_),
                ..
            } => return Ok(()),
            PxpEvent::Connected { .. } => {
                told += 1;
                // Both ends of both links were told.
                if told == 4 {
                    nodes[A].behaviour_mut().get_new_peer()?;
                }
            }
            event => return Err(format!("this should not have happened: {event:?}").into()),
        }
    }
}

fn node() -> Result<Swarm<pxp::Behaviour>, Box<dyn Error>> {
    let key = Keypair::generate_ed25519();
    // A pipe does not show that all nodes are on this machine, where loopback addresses may be used.
    let config = Config::new("own-stream".parse()?).with_reach(Reach::Machine);
    let (transport, behaviour) = pxp::new(&key, config);
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|_| transport)?
        .with_behaviour(|_| behaviour)?
        .build())
}
