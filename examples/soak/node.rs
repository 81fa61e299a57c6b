//! A node that does no harm: asks for new peers and lets go of them, on and on, and says in lines what it does. It runs
//! here, or in a process that can be killed.

use std::{
    error::Error,
    future::pending,
    io::Write,
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, identity::Keypair, multiaddr::Protocol, noise,
    swarm::SwarmEvent, tcp, yamux,
};
use pxp::{Config, Origin, PxpEvent, Reach};
use rand::seq::IndexedRandom;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, stdin},
    process::Command,
    sync::mpsc::{self, Receiver, Sender},
    time::{Instant, sleep_until, timeout},
};

use super::{Line, NETWORK, Result};

/// With more peers than this a node lets go of any: fewer than an answer has candidates, so that those whom a node
/// does not name are those who have just come.
const PEERS: usize = 6;
/// How often, in ms, a node asks for a peer or lets go of one.
const PACE: std::ops::Range<u64> = 300..700;
/// How long, in seconds, a process is stopped before it is killed: until nobody takes it for a peer any more.
const STOPPED: u64 = 12;
/// How long a node may take to leave.
const LEAVING: Duration = Duration::from_secs(2);
/// How often a peer that was found is kept, and how often any other goes. All others stay for some 20 s, which
/// is how long a query may wait for the worst of candidates.
const KEPT: f64 = 0.1;
const LEFT: f64 = 0.01;

/// So many nodes, so many keys: who knows a node's number knows its id.
pub(crate) fn key(number: u64) -> Result<Keypair> {
    let mut seed = [0; 32];
    let (bytes, _) = seed.split_at_mut(8);
    bytes.copy_from_slice(&number.to_be_bytes());
    Ok(Keypair::ed25519_from_bytes(seed)?)
}

pub(crate) fn id(number: u64) -> Result<PeerId> {
    Ok(key(number)?.public().to_peer_id())
}

/// Runs a node that dials what it is given, until nothing more comes.
pub(crate) async fn live(
    number: u64,
    mut addresses: Receiver<Multiaddr>,
    lines: Sender<Line>,
) -> Result<()> {
    let mut swarm = swarm(key(number)?)?;
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    let mut node = Node {
        swarm,
        lines,
        is_asking: false,
        found: None,
    };
    let mut next = Instant::now();
    loop {
        tokio::select! {
            event = node.swarm.select_next_some() => node.on_event(event).await?,
            address = addresses.recv() => match address {
                // Who was there when the address was given may be gone, which is no fault.
                Some(address) => drop(node.swarm.dial(address)),
                None => return node.leave().await,
            },
            () = sleep_until(next) => {
                next = Instant::now() + Duration::from_millis(rand::random_range(PACE));
                node.act().await?;
            }
        }
    }
}

/// Runs a node as a process until nothing more comes. Then it leaves, or is killed, or is stopped first.
pub(crate) async fn run_process(
    number: u64,
    mut addresses: Receiver<Multiaddr>,
    lines: Sender<Line>,
) -> Result<()> {
    let node = id(number)?;
    let mut process = Command::new(std::env::current_exe()?)
        .args(["--node", &number.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = process.stdin.take().ok_or("no input")?;
    let mut output = BufReader::new(process.stdout.take().ok_or("no output")?).lines();
    loop {
        tokio::select! {
            line = output.next_line() => {
                let line = line?.ok_or("a process has ended by itself")?;
                let (time, line) = line.split_once(' ').ok_or("a line without a time")?;
                let time = UNIX_EPOCH + Duration::from_micros(time.parse()?);
                lines.send((node, time, line.to_owned())).await?;
            }
            address = addresses.recv() => match address {
                Some(address) => input.write_all(format!("{address}\n").as_bytes()).await?,
                None => break,
            }
        }
    }
    match rand::random_range(0..3) {
        0 => {
            drop(input);
            if let Ok(status) = timeout(2 * LEAVING, process.wait()).await {
                let is_well = status?.success();
                return is_well.then_some(()).ok_or("a process has failed".into());
            }
        }
        1 => {
            // A shell does both, so that no process stays stopped whatever becomes of this one.
            let id = process.id().ok_or("a process has ended by itself")?;
            let kill = format!("kill -STOP {id}; sleep {STOPPED}; kill -KILL {id}");
            let mut shell = Command::new("sh");
            shell.args(["-c", &kill]).kill_on_drop(true);
            shell.stdout(Stdio::null()).stderr(Stdio::null());
            tokio::select! {
                status = shell.status() => drop(status?),
                () = lines.closed() => {}
            }
        }
        _ => {}
    }
    Ok(process.kill().await?)
}

/// Is such a process: its node dials what comes in by lines, and says what it does by others.
pub(crate) async fn serve(number: u64) -> Result<()> {
    let (give, addresses) = mpsc::channel(4);
    let (lines, mut said) = mpsc::channel::<Line>(64);
    let gives = async move {
        let mut input = BufReader::new(stdin()).lines();
        while let Some(line) = input.next_line().await? {
            give.send(line.parse()?).await?;
        }
        drop(give);
        pending().await
    };
    let says = async {
        while let Some((_, time, line)) = said.recv().await {
            let time = time.duration_since(UNIX_EPOCH)?.as_micros();
            writeln!(std::io::stdout(), "{time} {line}")?;
        }
        Ok(())
    };
    tokio::select! {
        result = live(number, addresses, lines) => result,
        result = gives => result,
        result = says => result,
    }
}

struct Node {
    swarm: Swarm<pxp::Behaviour>,
    lines: Sender<Line>,
    is_asking: bool,
    found: Option<PeerId>,
}

impl Node {
    async fn say(&mut self, line: String) -> Result<()> {
        let line = (*self.swarm.local_peer_id(), SystemTime::now(), line);
        Ok(self.lines.send(line).await?)
    }

    async fn on_event(&mut self, event: SwarmEvent<PxpEvent>) -> Result<()> {
        match event {
            SwarmEvent::NewListenAddr { address, .. }
                if address.iter().any(|part| matches!(part, Protocol::Tcp(_))) =>
            {
                self.say(format!("listens {address}")).await?;
            }
            SwarmEvent::Behaviour(PxpEvent::Connected { peer, origin, .. }) => {
                self.say(format!("gains {peer}")).await?;
                if let Origin::Found(_) = origin {
                    self.is_asking = false;
                    self.found = Some(peer);
                    self.say(format!("found {peer}")).await?;
                }
            }
            SwarmEvent::Behaviour(PxpEvent::Disconnected { peer }) => {
                self.say(format!("loses {peer}")).await?;
            }
            SwarmEvent::Behaviour(PxpEvent::QueryFailed { error, .. }) => {
                self.is_asking = false;
                let cause = error.source().map(|cause| format!(": {cause}"));
                let cause = cause.unwrap_or_default();
                self.say(format!("failed {error}{cause}")).await?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Lets go of a peer or asks for one.
    async fn act(&mut self) -> Result<()> {
        let peers: Vec<PeerId> = self.swarm.behaviour().peers().copied().collect();
        let found = self.found.take().filter(|_| !rand::random_bool(KEPT));
        let any = peers.choose(&mut rand::rng()).copied();
        let is_left = peers.len() > PEERS || rand::random_bool(LEFT);
        if let Some(peer) = found.or(any.filter(|_| is_left)) {
            self.say(format!("loses {peer}")).await?;
            let _ = self.swarm.disconnect_peer_id(peer);
        } else if peers.is_empty() {
            self.say("alone".to_owned()).await?;
        } else if !self.is_asking {
            self.is_asking = true;
            self.say("asks".to_owned()).await?;
            self.swarm.behaviour_mut().get_new_peer()?;
        }
        Ok(())
    }

    /// Half of them tell their peers, and half only go, as programs do.
    async fn leave(mut self) -> Result<()> {
        if rand::random_bool(0.5) {
            self.swarm.behaviour_mut().close();
            let closed = async {
                while !matches!(
                    self.swarm.select_next_some().await,
                    SwarmEvent::Behaviour(PxpEvent::Closed)
                ) {}
            };
            let _ = timeout(LEAVING, closed).await;
        }
        Ok(())
    }
}

fn swarm(key: Keypair) -> Result<Swarm<pxp::Behaviour>> {
    let config = Config::new(NETWORK.parse()?).with_reach(Reach::Machine);
    let (transport, pxp) = pxp::new(&key, config);
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_other_transport(|_| transport)?
        .with_behaviour(|_| pxp)?
        .build())
}
