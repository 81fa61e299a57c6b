//! Twenty nodes on this machine, one of which misbehaves, ask for new peers, let go of them, come, leave and are killed,
//! for as long as it is said. At the end a line tells what came of it. Runs on Linux.
//!
//! Thirteen nodes and the one that misbehaves live in this process and stay, six are processes of their own. They dial each
//! other by TCP, and are introduced to each other over signaled WebRTC. Every three seconds one of the processes goes, and
//! another takes its place. It leaves, or it is killed, of which the kernel tells those that it has TCP connections with, and
//! nobody else; or it is stopped until nobody takes it for a peer any more, and then killed, which nobody is told.
//!
//! - `introductions`: how many queries of the nineteen have found a peer.
//! - `failed`: how many have found none although there was one to be found. That is, there were two others of the nineteen,
//!   an introducer and a candidate; from before the query until two seconds after its end, by which time all have told,
//!   the introducer was a peer of the asker and the candidate one of the introducer, as both sides of each link tell; and
//!   the candidate was no peer of the asker at any time of the query. A process that goes is none of the nineteen any more.
//!   Each failure is printed. Those of the last two seconds are not counted. A query that does not end at all ends the
//!   program.
//! - Other queries without a peer are counted in the lines in between only: those for which `nobody` was named, and `others`,
//!   whose candidates or introducers went, or misbehaved while there was nobody else.
//! - `rss_start`, `rss_end`: the memory of this process in KiB, as the median of 20 figures taken until two
//!   minutes have passed (of a run below ten minutes, a fifth), and until the end.
//! - `fds_start`, `fds_end`: its open files before the first node and after the last one.
//! - `tasks_end`: its tasks after the last node; there are none before the first.

mod members;
mod node;
#[allow(clippy::all, dead_code, missing_docs, unreachable_pub)]
#[path = "../../src/wire/generated.rs"]
mod proto;
mod rogue;

use std::{
    collections::VecDeque,
    error::Error,
    fs,
    pin::pin,
    time::{Duration, Instant, SystemTime},
};

use clap::Parser;
use libp2p::PeerId;
use members::Members;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{interval, interval_at, sleep, timeout},
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;
/// Who says, when, what.
type Line = (PeerId, SystemTime, String);

const NETWORK: &str = "soak";
const HERE: usize = 13;
const PROCESSES: usize = 6;
/// How often one goes and another comes, somebody dials somebody, and a line is printed.
const CHURN: Duration = Duration::from_secs(3);
const MIX: Duration = Duration::from_secs(1);
const PROGRESS: Duration = Duration::from_secs(30);
/// How many figures a median is of.
const SAMPLES: u32 = 20;
/// How long what nodes leave behind may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has twenty nodes meet and lose each other for some time, and tells what it took.
#[derive(Parser)]
struct Arguments {
    /// For how long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// The number of the node to be, for a process that is to be killed
    #[arg(long, hide = true)]
    node: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match arguments.node {
        Some(number) => node::serve(number).await,
        None => soak(Duration::try_from_secs_f64(arguments.minutes * 60.0)?).await,
    }
}

async fn soak(time: Duration) -> Result<()> {
    let start = Instant::now();
    let fds_start = Usage::now()?.fds;
    let (lines, mut said) = mpsc::channel(1024);
    let mut members = Members::start(lines)?;
    let (rogue, given) = mpsc::channel(1);
    let rogue_task = tokio::spawn(rogue::misbehave(node::key(0)?, given));

    let settled = (time / 5).min(Duration::from_secs(120));
    let mut churn = interval_at((start + CHURN).into(), CHURN);
    let mut mix = interval(MIX);
    let mut progress = interval_at((start + PROGRESS).into(), PROGRESS);
    let mut sample = interval((settled / SAMPLES).clamp(Duration::from_millis(1), MIX));
    let (mut recent, mut rss_start) = (VecDeque::new(), None);
    let mut end = pin!(sleep(time));
    loop {
        tokio::select! {
            () = &mut end => break,
            Some(line) = said.recv() => members.on_line(line)?,
            error = members.failure() => return Err(error),
            _ = churn.tick() => members.churn()?,
            _ = mix.tick() => {
                members.mix();
                members.judge();
                // It misses those for which it has no place.
                let _ = members.address(None).map(|address| rogue.try_send(address));
            }
            _ = progress.tick() => {
                let seconds = start.elapsed().as_secs();
                println!("{seconds:>5} s  {}; {:?}", members.report()?, Usage::now()?);
            }
            _ = sample.tick() => {
                recent.push_back(Usage::now()?.rss);
                if recent.len() > SAMPLES as usize {
                    recent.pop_front();
                }
                if start.elapsed() >= settled {
                    rss_start.get_or_insert_with(|| median(&recent));
                }
            }
        }
    }
    let rss_end = median(&recent);
    println!("{}", members.report()?);
    let (introductions, failed) = (members.introductions, members.failed);
    drop((rogue, said));
    timeout(PATIENCE, members.end()).await?;
    rogue_task.await??;
    let left = Usage::left(fds_start).await?;
    println!("left: {left:?}");
    println!(
        "RESULT soak introductions={introductions} failed={failed} rss_start={} rss_end={rss_end} \
         fds_start={fds_start} fds_end={} tasks_end={}",
        rss_start.unwrap_or(rss_end),
        left.fds,
        left.tasks,
    );
    Ok(())
}

fn median(figures: &VecDeque<usize>) -> usize {
    let mut sorted: Vec<_> = figures.iter().copied().collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// What this process has.
#[derive(Debug)]
struct Usage {
    /// In KiB.
    rss: usize,
    fds: usize,
    tasks: usize,
}

impl Usage {
    fn now() -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|line| line.split_whitespace().next());
        Ok(Self {
            rss: rss.ok_or("no figure of memory")?.parse()?,
            fds: fs::read_dir("/proc/self/fd")?.count(),
            tasks: Handle::current().metrics().num_alive_tasks(),
        })
    }

    /// What is there when nothing more ends. Nothing tells when that is, so it is looked at now and then.
    async fn left(fds: usize) -> Result<Self> {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = Self::now()?;
            if left.tasks == 0 && left.fds <= fds || Instant::now() > end {
                return Ok(left);
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}
