//! A node of this crate that does what it is told on its standard input: one JSON object a line, and one in answer.
//! `interop/README.md` has the commands, which are the same for each implementation.

use std::{collections::HashMap, error::Error, time::Duration};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    identity::Keypair,
    noise,
    swarm::{ConnectionId, NetworkBehaviour, SwarmEvent, dial_opts::DialOpts},
    tcp, yamux,
};
use pxp::{Config, Reach};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tracing_subscriber::filter::LevelFilter;

mod lines;
mod streams;

use lines::say;

/// Longer than any test takes: only the tests end connections.
const IDLE_TIME: Duration = Duration::from_secs(600);

const LISTEN: [&str; 3] = [
    "/ip4/127.0.0.1/tcp/0",
    "/ip4/127.0.0.1/tcp/0/ws",
    "/ip4/127.0.0.1/udp/0/webrtc-direct",
];

#[derive(NetworkBehaviour)]
struct Behaviour {
    pxp: pxp::Behaviour,
    streams: libp2p_stream::Behaviour,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(level())
        .init();
    let swarm = swarm().await?;
    streams::serve(swarm.behaviour().streams.new_control())?;
    let node = Node {
        swarm,
        listening: 0,
        dials: HashMap::new(),
        disconnects: HashMap::new(),
    };
    node.run().await
}

/// `INTEROP_LOG` is a level, such as `debug`. The tests look for errors, so warnings are always logged.
fn level() -> LevelFilter {
    let level = std::env::var("INTEROP_LOG").ok();
    let level = level.and_then(|level| level.parse().ok());
    level.unwrap_or(LevelFilter::WARN).max(LevelFilter::WARN)
}

async fn swarm() -> Result<Swarm<Behaviour>, Box<dyn Error>> {
    let key = Keypair::generate_ed25519();
    let config = Config::new("interop".parse()?).with_reach(Reach::Machine);
    let (transport, pxp) = pxp::new(&key, config);
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_other_transport(|_| transport)?
        .with_dns()?
        .with_websocket(noise::Config::new, yamux::Config::default)
        .await?
        .with_behaviour(|_| Behaviour {
            pxp,
            streams: libp2p_stream::Behaviour::new(),
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_TIME))
        .build();
    for address in LISTEN {
        swarm.listen_on(address.parse()?)?;
    }
    Ok(swarm)
}

struct Node {
    swarm: Swarm<Behaviour>,
    /// The number of addresses at which the node listens.
    listening: usize,
    /// The command that each pending dial answers.
    dials: HashMap<ConnectionId, Value>,
    /// The command that the end of the last connection to a peer answers.
    disconnects: HashMap<PeerId, Value>,
}

impl Node {
    async fn run(mut self) -> Result<(), Box<dyn Error>> {
        let mut commands = BufReader::new(stdin()).lines();
        loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_event(event),
                line = commands.next_line() => match line? {
                    Some(line) => {
                        let command: Value = serde_json::from_str(&line)?;
                        let id = command["id"].clone();
                        if let Err(error) = self.on_command(&command) {
                            say(&json!({ "id": id, "error": error.to_string() }));
                        }
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    fn on_command(&mut self, command: &Value) -> Result<(), Box<dyn Error>> {
        let id = command["id"].clone();
        match lines::text(command, "do")? {
            "connect" => {
                let address: Multiaddr = lines::text(command, "address")?.parse()?;
                let options = DialOpts::from(address);
                let connection = options.connection_id();
                self.swarm.dial(options)?;
                self.dials.insert(connection, id);
            }
            "disconnect" => {
                let peer = lines::text(command, "peer")?.parse()?;
                if self.swarm.disconnect_peer_id(peer).is_err() {
                    return Err("not connected".into());
                }
                self.disconnects.insert(peer, id);
            }
            "run" => {
                let peer = lines::text(command, "peer")?.parse()?;
                // `libp2p-stream` would dial by itself.
                if !self.swarm.is_connected(&peer) {
                    return Err("not connected".into());
                }
                let control = self.swarm.behaviour().streams.new_control();
                let case = streams::Case::try_from(command)?;
                tokio::spawn(async move {
                    say(&match case.run(control, peer).await {
                        Ok(ms) => json!({ "id": id, "ms": ms }),
                        Err(error) => json!({ "id": id, "error": error.to_string() }),
                    });
                });
            }
            other => return Err(format!("no command {other}").into()),
        }
        Ok(())
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { .. } => self.listens(),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                ..
            } => {
                say(
                    &json!({ "event": "connected", "peer": peer_id.to_string(), "at": lines::now() }),
                );
                if let Some(id) = self.dials.remove(&connection_id) {
                    say(&json!({ "id": id, "peer": peer_id.to_string() }));
                }
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                cause,
                ..
            } => {
                let cause = cause.map(|it| it.to_string());
                say(
                    &json!({ "event": "disconnected", "peer": peer_id.to_string(), "at": lines::now(), "cause": cause }),
                );
                if let Some(id) = self.disconnects.remove(&peer_id) {
                    say(&json!({ "id": id }));
                }
            }
            SwarmEvent::OutgoingConnectionError {
                connection_id,
                error,
                ..
            } => {
                if let Some(id) = self.dials.remove(&connection_id) {
                    say(&json!({ "id": id, "error": error.to_string() }));
                }
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                say(&json!({ "event": "refused", "error": error.to_string() }));
            }
            _ => {}
        }
    }

    /// Tells the addresses once all of them are there.
    fn listens(&mut self) {
        self.listening += 1;
        if self.listening != LISTEN.len() {
            return;
        }
        let peer = *self.swarm.local_peer_id();
        let addresses = self.swarm.listeners();
        let addresses: Vec<_> = addresses.map(|it| format!("{it}/p2p/{peer}")).collect();
        say(&json!({ "event": "listening", "peer": peer.to_string(), "addresses": addresses }));
    }
}
