//! What the benchmarks share: nodes, processes and figures.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    convert::Infallible,
    error::Error,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use pxp::{Candidate, Config, Limits, NetworkId, Origin, PxpEvent, Rate, Via};

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Linux counts a process's time in hundredths of a second.
const MS_PER_TICK: f64 = 10.0;

/// What takes longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Makes a benchmark run for seconds only, to show that it works. Its figures mean nothing then.
pub const SHORT: &str = "--short";

/// Returns what a benchmark does in full, or `short` if it was started with [`SHORT`].
pub fn full_or<T>(short: T, full: T) -> T {
    match std::env::args().any(|argument| argument == SHORT) {
        true => short,
        false => full,
    }
}

/// This program once more, in another role, until this is dropped. It is as short as this one.
pub struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(arguments)
            .args(full_or(Some(SHORT), None))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Self {
            child,
            input,
            output,
        })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.input, "{line}")?)
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The key of the one node to which the introducer leads everybody.
pub fn candidate_key() -> Result<Keypair> {
    Ok(Keypair::ed25519_from_bytes([1; 32])?)
}

pub fn config() -> Result<Config> {
    Ok(Config::new("bench".parse()?))
}

/// Hundreds of introductions a second through one introducer to one candidate would be refused as
/// a flood, and so would one asker's questions in a row.
pub fn unlimited() -> Limits {
    let rate = Rate::new(u32::MAX, u32::MAX);
    Limits::default()
        .with_introductions(rate)
        .with_requests(rate)
}

/// A node that speaks TCP and what the peer exchange brings.
pub fn node(key: Keypair, config: Config) -> Result<Swarm<pxp::Behaviour>> {
    node_with(key, config, |pxp| pxp)
}

/// The same, with more than the peer exchange.
pub fn node_with<B: NetworkBehaviour>(
    key: Keypair,
    config: Config,
    behaviour: impl FnOnce(pxp::Behaviour) -> B,
) -> Result<Swarm<B>> {
    let (transport, pxp) = pxp::new(&key, config);
    Ok(SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(
            tcp::Config::default().nodelay(true),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_other_transport(|_| transport)?
        .with_behaviour(|_| behaviour(pxp))?
        .build())
}

/// Prints its address, and leads everybody to the candidate.
pub async fn introduce() -> Result<()> {
    let candidate = PeerId::from(candidate_key()?.public());
    let lead = move |_: &NetworkId, _: &PeerId, _| vec![Candidate::peer(candidate)];
    let config = config()?.with_candidates(lead).with_limits(unlimited());
    let mut node = node(Keypair::generate_ed25519(), config)?;
    print(&listen(&mut node, "/ip4/127.0.0.1/tcp/0").await?)?;
    match run(&mut node).await {}
}

/// Dials the introducer, and waits until it is a peer.
pub async fn join(node: &mut Swarm<pxp::Behaviour>, introducer: &str) -> Result<()> {
    node.dial(introducer.parse::<Multiaddr>()?)?;
    until(node, |pxp| pxp.peers().len() > 0).await;
    Ok(())
}

/// Runs a node until something is so.
pub async fn until<B: NetworkBehaviour>(node: &mut Swarm<B>, is_so: impl Fn(&B) -> bool) {
    while !is_so(node.behaviour()) {
        node.select_next_some().await;
    }
}

/// Asks for a new peer, waits until it is there, and tells which way it is reached.
pub async fn get_new_peer(node: &mut Swarm<pxp::Behaviour>) -> Result<(PeerId, Via)> {
    let query = node.behaviour_mut().get_new_peer()?;
    loop {
        match node.select_next_some().await {
            SwarmEvent::Behaviour(PxpEvent::Connected {
                peer,
                origin: Origin::Found(found),
                via,
                ..
            }) if found == query => return Ok((peer, via)),
            SwarmEvent::Behaviour(PxpEvent::QueryFailed { error, .. }) => return Err(error.into()),
            _ => {}
        }
    }
}

/// Ends the connection, and waits until it is gone here.
pub async fn disconnect<B: NetworkBehaviour>(node: &mut Swarm<B>, peer: PeerId) {
    let _ = node.disconnect_peer_id(peer);
    while node.is_connected(&peer) {
        node.select_next_some().await;
    }
}

/// Listens, and returns the whole address.
pub async fn listen<B: NetworkBehaviour>(node: &mut Swarm<B>, address: &str) -> Result<Multiaddr> {
    let listener = node.listen_on(address.parse()?)?;
    loop {
        if let SwarmEvent::NewListenAddr {
            listener_id,
            address,
        } = node.select_next_some().await
            && listener_id == listener
        {
            return Ok(address.with(Protocol::P2p(*node.local_peer_id())));
        }
    }
}

pub async fn run<B: NetworkBehaviour>(node: &mut Swarm<B>) -> Infallible {
    loop {
        node.select_next_some().await;
    }
}

/// Prints a line for the process that waits for it.
pub fn print(line: impl ToString) -> Result<()> {
    println!("{}", line.to_string());
    Ok(std::io::stdout().flush()?)
}

pub fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

pub fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

pub fn quantile(figures: &[f64], share: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (sorted.len() as f64 * share) as usize;
    let last = sorted.len().saturating_sub(1);
    sorted.get(place.min(last)).copied().unwrap_or(f64::NAN)
}

/// Prints a line about `figures`.
pub fn report(what: &str, unit: &str, figures: &[f64]) {
    let [first, middle, p99, last] = [0.0, 0.5, 0.99, 1.0].map(|share| quantile(figures, share));
    println!(
        "{what:<22} median {middle:>7.2} {unit}, from {first:.2} to {last:.2}, \
         99th percentile {p99:.2}, n = {}",
        figures.len()
    );
}

/// How long a process has been running, in user space and in the kernel.
pub fn cpu_ms(process: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The second field is a name and may have blanks; the 14th and 15th are the times.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: Vec<f64> = ticks
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() * MS_PER_TICK)
}
