//! What a peer costs a node that has it over a signaled connection and nothing to say to it: memory,
//! descriptors, tasks and time. The node has a process of its own, and its peers share another one.
//! Read from Linux's `/proc`; the process of the peers needs some 3,000 descriptors.

mod common;

use std::{fs, time::Duration};

use libp2p::identity::Keypair;
use pxp::{Incoming, Via};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    runtime::Handle,
    time::{sleep, timeout},
};

use self::common::{PATIENCE, Process, Result, full_or};

/// With so many peers everything that is there anyhow has come, and the heap has begun to grow.
const FEW: usize = 10;
const MANY: usize = 200;
/// Longer than anything of a set-up is kept.
const SETTLE_TIME: Duration = Duration::from_secs(11);
const IDLE_TIME: Duration = Duration::from_secs(20);

/// The short form's, of which the time stands for both of those above.
const SHORT_MANY: usize = FEW + 2;
const SHORT_TIME: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("introducer") => common::introduce().await,
        Some("node") => serve().await,
        _ => measure().await,
    }
}

async fn measure() -> Result<()> {
    let mut introducer = Process::start(&["introducer"])?;
    let introducer = &introducer.line()?;
    let mut node = Process::start(&["node", introducer])?;
    node.line()?;

    let idle_time = full_or(SHORT_TIME, IDLE_TIME);
    let all = full_or(SHORT_MANY, MANY);
    connect(FEW, introducer).await?;
    let few = settled(&mut node, FEW).await?;
    connect(all - FEW, introducer).await?;
    let many = settled(&mut node, all).await?;
    let before = common::cpu_ms(node.id())?;
    sleep(idle_time).await;
    let idle_ms = common::cpu_ms(node.id())? - before;
    let after = Usage::of(&mut node)?;

    for (peers, usage) in [(FEW, &few), (all, &many), (all, &after)] {
        println!("with {peers:>3} peers  {usage:?}");
    }
    println!("idle with {all} peers for {idle_time:?}: {idle_ms} ms of processor time");
    let slope = |of: fn(&Usage) -> f64| (of(&many) - of(&few)) / (all - FEW) as f64;
    println!(
        "RESULT memory kib_per_peer={:.1} fds_per_peer={:.2} tasks_per_peer={:.2} \
         idle_cpu_ms_per_s_per_100={:.2}",
        slope(|usage| usage.kib),
        slope(|usage| usage.fds),
        // libp2p's swarm itself spawns one for each connection, of whatever transport.
        slope(|usage| usage.tasks),
        idle_ms / idle_time.as_secs_f64() / (all as f64 / 100.0),
    );
    Ok(())
}

/// So many new nodes find the node, and stay its peers.
async fn connect(count: usize, introducer: &str) -> Result<()> {
    for _ in 0..count {
        let config = common::config()?.with_incoming(Incoming::Refuse);
        let mut peer = common::node(Keypair::generate_ed25519(), config)?;
        common::join(&mut peer, introducer).await?;
        let (_, via) = timeout(PATIENCE, common::get_new_peer(&mut peer)).await??;
        if via != Via::Signaled {
            return Err("the node was reached in another way".into());
        }
        tokio::spawn(async move { match common::run(&mut peer).await {} });
    }
    Ok(())
}

async fn settled(node: &mut Process, peers: usize) -> Result<Usage> {
    sleep(full_or(SHORT_TIME, SETTLE_TIME)).await;
    let usage = Usage::of(node)?;
    // The introducer is one too.
    match usage.peers == peers + 1 {
        true => Ok(usage),
        false => Err(format!("there are not {peers} peers: {usage:?}").into()),
    }
}

/// What the node has.
#[derive(Debug)]
struct Usage {
    peers: usize,
    tasks: f64,
    fds: f64,
    kib: f64,
}

impl Usage {
    fn of(node: &mut Process) -> Result<Self> {
        node.say("report")?;
        let line = node.line()?;
        let (peers, tasks) = line.split_once(' ').ok_or("no report")?;
        let status = fs::read_to_string(format!("/proc/{}/status", node.id()))?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = rss.and_then(|rss| rss.split_whitespace().next());
        Ok(Self {
            peers: peers.parse()?,
            tasks: tasks.parse()?,
            fds: fs::read_dir(format!("/proc/{}/fd", node.id()))?.count() as f64,
            kib: kib.ok_or("no VmRSS")?.parse()?,
        })
    }
}

/// The node: prints a line once it is a peer of the introducer, then one for each line that it
/// reads: how many peers it has, and how many tasks are alive in it.
async fn serve() -> Result<()> {
    let introducer = std::env::args().nth(2).ok_or("no introducer")?;
    let config = common::config()?.with_limits(common::unlimited());
    let mut node = common::node(common::candidate_key()?, config)?;
    common::join(&mut node, &introducer).await?;
    common::print("ready")?;
    let mut requests = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            request = requests.next_line() => {
                request?.ok_or("nobody asks any more")?;
                let peers = node.behaviour().peers().len();
                let tasks = Handle::current().metrics().num_alive_tasks();
                common::print(format!("{peers} {tasks}"))?;
            }
            never = common::run(&mut node) => match never {},
        }
    }
}
