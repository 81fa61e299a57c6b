//! A node for real use, one per process or machine: joins a network, finds peers until it has
//! enough, and chats with all of them.
// Others have a say in most of what is printed, so it goes through `terminal`.
#![warn(clippy::print_stdout)]

use std::{
    error::Error,
    io,
    io::BufRead,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use clap::Parser;
use futures::StreamExt;
use libp2p::{
    Multiaddr, StreamProtocol, Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    request_response::{self, ProtocolSupport},
    swarm::{DialError, NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use pxp::{Config, IceServer, NetworkId, PxpEvent, View};
use tokio::sync::mpsc;

mod files;
mod terminal;

use terminal::{escaped, print_line};

/// A peer-to-peer chat that needs no server, only one address of anybody who takes part.
#[derive(Parser)]
struct Options {
    /// The name of the network to take part in
    #[arg(long)]
    network: NetworkId,
    /// An address to listen at; without any: TCP, WebSocket and WebRTC, at free ports
    #[arg(long)]
    listen: Vec<Multiaddr>,
    /// The address of a node of the network
    #[arg(long)]
    bootstrap: Vec<Multiaddr>,
    /// A STUN server that tells this node how it looks from outside, as stun:host:port
    #[arg(long)]
    stun: Vec<IceServer>,
    /// A TURN server that also carries the data where no straight way leads, as turn:host:port, and what it
    /// knows this node by
    #[arg(long, num_args = 3, value_names = ["URI", "USER", "PASSWORD"])]
    turn: Vec<String>,
    /// Tell others how they look from outside, at this UDP port (0: any); for nodes that can be reached
    #[arg(long, value_name = "PORT")]
    serve_stun: Option<u16>,
    /// How many peers to look for
    #[arg(long, default_value_t = 8)]
    peers: usize,
    /// The file that keeps this node's key; made if there is none
    #[arg(long)]
    key: Option<PathBuf>,
    /// The file that keeps this node's WebRTC certificate, and with it its addresses; made if there is none
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// The file that keeps peers for the next start; this node then looks for six by itself
    #[arg(long)]
    known: Option<PathBuf>,
}

const LISTEN: [&str; 3] = [
    "/ip4/0.0.0.0/tcp/0",
    "/ip4/0.0.0.0/tcp/0/ws",
    "/ip4/0.0.0.0/udp/0/webrtc-direct",
];
const CHAT: StreamProtocol = StreamProtocol::new("/chat/1.0.0");
/// How often peers are kept for the next start, beside at the end.
const KEEP: Duration = Duration::from_secs(60);
/// How long to wait before asking again when nobody new was found, or dialing again.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(NetworkBehaviour)]
struct Node {
    pxp: pxp::Behaviour,
    chat: request_response::cbor::Behaviour<String, ()>,
}

#[tokio::main]
async fn main() {
    if let Err(error) = run(Options::parse()).await {
        eprintln!("error: {}", escaped(&error.to_string()));
        std::process::exit(1);
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let mut swarm = swarm(files::key(options.key.as_deref())?, &options).await?;
    print_line(format_args!("this is {}", swarm.local_peer_id()));
    let default = LISTEN.iter().map(|address| address.parse());
    let listen = match options.listen.is_empty() {
        true => default.collect::<Result<_, _>>()?,
        false => options.listen.clone(),
    };
    for address in listen {
        let listened = swarm.listen_on(address.clone());
        listened.map_err(|error| format!("cannot listen at {address}: {}", one_line(&error)))?;
    }

    let mut lines = stdin_lines();
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut pause = tokio::time::interval(PAUSE);
    let mut keep = tokio::time::interval(KEEP);
    if !swarm.behaviour().pxp.known_peers().is_empty() {
        pause.reset(); // those come first
    }
    let mut is_asking = false;
    loop {
        tokio::select! {
            biased; // so that the node knows its own addresses before it dials any
            _ = &mut interrupt => {
                keep_peers(&swarm, options.known.as_deref());
                return close(swarm).await;
            }
            event = swarm.select_next_some() => {
                is_asking &= !is_end_of_query(&event);
                let is_new_peer = matches!(event, SwarmEvent::Behaviour(NodeEvent::Pxp(PxpEvent::Connected { .. })));
                on_event(&mut swarm, event);
                if is_new_peer && !is_asking {
                    is_asking = ask(&mut swarm, &options);
                }
            }
            _ = pause.tick() => {
                if swarm.behaviour().pxp.peers().len() == 0 {
                    bootstrap(&mut swarm, &options);
                } else if !is_asking {
                    is_asking = ask(&mut swarm, &options);
                }
            }
            _ = keep.tick() => keep_peers(&swarm, options.known.as_deref()),
            // At its end nobody will type any more, and the node goes on.
            Some(line) = lines.recv() => say(&mut swarm, &line),
        }
    }
}

/// What is typed. In a thread of its own, for nothing but a line can end a read from a terminal, and
/// the program shall end without one.
fn stdin_lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn swarm(key: Keypair, options: &Options) -> Result<Swarm<Node>, Box<dyn Error>> {
    let mut servers = options.stun.clone();
    for turn in options.turn.chunks(3) {
        if let [uri, user, password] = turn {
            servers.push(IceServer::turn(uri, user, password)?);
        }
    }
    let mut config = Config::new(options.network.clone()).with_ice_servers(servers);
    if let Some(certificate) = files::certificate(options.certificate.as_deref())? {
        config = config.with_certificate(certificate);
    }
    if let Some(path) = &options.known {
        let known = files::known_peers(path);
        config = config.with_view(View::default()).with_known_peers(known);
    }
    if let Some(port) = options.serve_stun {
        config = config.with_stun_service(port);
    }
    let (transport, pxp) = pxp::new(&key, config);
    let protocols = [(CHAT, ProtocolSupport::Full)];
    let chat =
        request_response::cbor::Behaviour::new(protocols, request_response::Config::default());
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_other_transport(|_| transport)?
        .with_dns()?
        .with_websocket(noise::Config::new, yamux::Config::default)
        .await?
        .with_behaviour(|_| Node { pxp, chat })?
        .build())
}

fn bootstrap(swarm: &mut Swarm<Node>, options: &Options) {
    for address in &options.bootstrap {
        // All nodes may be started with the same list, which then names each to itself.
        if !is_own(swarm, address)
            && let Err(error) = swarm.dial(address.clone())
        {
            print_dial_error(swarm, &error);
        }
    }
}

fn is_own(swarm: &Swarm<Node>, address: &Multiaddr) -> bool {
    let local = Protocol::P2p(*swarm.local_peer_id());
    let mut listeners = swarm.listeners();
    address.iter().last() == Some(local.clone())
        || listeners.any(|own| own == address || own.clone().with(local.clone()) == *address)
}

/// Asks for one more peer, if one is wanted and somebody can be asked.
fn ask(swarm: &mut Swarm<Node>, options: &Options) -> bool {
    let pxp = &mut swarm.behaviour_mut().pxp;
    let is_wanted = options.known.is_none() && pxp.peers().len() < options.peers;
    is_wanted && pxp.get_new_peer().is_ok()
}

fn keep_peers(swarm: &Swarm<Node>, path: Option<&Path>) {
    let Some(path) = path else {
        return;
    };
    let peers = swarm.behaviour().pxp.known_peers();
    // Those of an earlier start are kept as long as there are no others.
    if !peers.is_empty()
        && let Err(error) = files::keep_peers(path, &peers)
    {
        print_line(format_args!(
            "cannot keep peers in {}: {error}",
            path.display()
        ));
    }
}

fn is_end_of_query(event: &SwarmEvent<NodeEvent>) -> bool {
    use pxp::Origin::Found;
    let SwarmEvent::Behaviour(NodeEvent::Pxp(event)) = event else {
        return false;
    };
    matches!(
        event,
        PxpEvent::QueryFailed { .. }
            | PxpEvent::Connected {
                origin: Found(_),
                ..
            }
    )
}

fn say(swarm: &mut Swarm<Node>, line: &str) {
    let Node { pxp, chat } = swarm.behaviour_mut();
    for peer in pxp.peers() {
        chat.send_request(peer, line.to_owned());
    }
}

fn on_event(swarm: &mut Swarm<Node>, event: SwarmEvent<NodeEvent>) {
    match event {
        SwarmEvent::NewListenAddr { address, .. } => {
            let address = address.with(Protocol::P2p(*swarm.local_peer_id()));
            print_line(format_args!("listening at {address}"));
        }
        SwarmEvent::OutgoingConnectionError { error, .. } => print_dial_error(swarm, &error),
        SwarmEvent::Behaviour(NodeEvent::Pxp(event)) => print_event(swarm, event),
        SwarmEvent::Behaviour(NodeEvent::Chat(request_response::Event::Message {
            peer,
            message:
                request_response::Message::Request {
                    request, channel, ..
                },
            ..
        })) => {
            print_line(format_args!("{peer} says: {request}"));
            // The sender may be gone already.
            let _ = swarm.behaviour_mut().chat.send_response(channel, ());
        }
        _ => {}
    }
}

fn print_dial_error(swarm: &Swarm<Node>, error: &DialError) {
    match error {
        DialError::LocalPeerId { address } => {
            print_line(format_args!("{address} is this node itself"))
        }
        DialError::Transport(errors) => {
            for (address, error) in errors {
                match is_own(swarm, address) {
                    true => print_line(format_args!("{address} is this node itself")),
                    false => print_line(format_args!(
                        "cannot connect to {address}: {}",
                        one_line(error)
                    )),
                }
            }
        }
        error => print_line(format_args!("cannot connect: {}", one_line(error))),
    }
}

fn print_event(swarm: &Swarm<Node>, event: PxpEvent) {
    let count = swarm.behaviour().pxp.peers().len();
    match event {
        PxpEvent::Connected {
            peer, origin, via, ..
        } => {
            print_line(format_args!(
                "connected to {peer} ({origin:?}, {via:?}), {count} peers"
            ));
        }
        PxpEvent::Disconnected { peer } => {
            print_line(format_args!("disconnected from {peer}, {count} peers"))
        }
        PxpEvent::QueryFailed { error, .. } => print_line(format_args!("no new peer: {error}")),
        PxpEvent::LinkFailed {
            peer: Some(peer),
            error,
            ..
        } => print_line(format_args!("{peer}: {error}")),
        PxpEvent::NatMapping(mapping) => {
            print_line(format_args!("this node's NAT has {mapping:?} mapping"))
        }
        event => print_line(format_args!("{event:?}")),
    }
}

/// Ends the peer exchange first, so that the peers need not find out.
async fn close(mut swarm: Swarm<Node>) -> Result<(), Box<dyn Error>> {
    swarm.behaviour_mut().pxp.close();
    let closed = async {
        while !matches!(
            swarm.select_next_some().await,
            SwarmEvent::Behaviour(NodeEvent::Pxp(PxpEvent::Closed))
        ) {}
    };
    let _ = tokio::time::timeout(Duration::from_secs(2), closed).await;
    print_line(format_args!("closed"));
    Ok(())
}

/// The innermost cause, which says what is wrong.
fn one_line(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => one_line(source),
        None => error.to_string().replace('\n', ""),
    }
}
