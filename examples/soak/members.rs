//! Who of the nineteen is there, as far as they tell, and whether a query should have found somebody.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    error::Error,
    future::pending,
    time::{Duration, SystemTime},
};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use rand::seq::IteratorRandom;
use tokio::{
    sync::mpsc::{self, Sender},
    task::JoinSet,
};

use super::{HERE, Line, PROCESSES, Result, node};

/// How long what a node says may be on its way.
const DELAY: Duration = Duration::from_secs(2);
/// Longer than any query may take, by far.
const OVERDUE: Duration = Duration::from_secs(40);

pub(crate) struct Members {
    lines: Sender<Line>,
    tasks: JoinSet<Result<()>>,
    started: u64,
    members: BTreeMap<PeerId, Member>,
    /// Queries without a peer, of which is not known yet whether there was one to be found.
    unjudged: Vec<Failure>,
    pub(crate) introductions: usize,
    pub(crate) failed: usize,
    nobody: usize,
    others: usize,
    slowest: Duration,
}

struct Member {
    /// Whom it is to dial. It goes when this is dropped.
    addresses: Sender<Multiaddr>,
    is_process: bool,
    listens: Option<Multiaddr>,
    asks: Option<SystemTime>,
    /// Its peers, and since when.
    peers: HashMap<PeerId, SystemTime>,
    /// Those that it has lost since it asks.
    lost: HashSet<PeerId>,
}

/// A query without a peer.
struct Failure {
    node: PeerId,
    asked: SystemTime,
    ended: SystemTime,
    /// Who was a peer of the asker meanwhile.
    known: HashSet<PeerId>,
    error: String,
}

impl Members {
    pub(crate) fn start(lines: Sender<Line>) -> Result<Self> {
        let mut members = Self {
            lines,
            tasks: JoinSet::new(),
            started: 0,
            members: BTreeMap::new(),
            unjudged: Vec::new(),
            introductions: 0,
            failed: 0,
            nobody: 0,
            others: 0,
            slowest: Duration::ZERO,
        };
        for n in 0..HERE + PROCESSES {
            members.add(n >= HERE)?;
        }
        Ok(members)
    }

    fn add(&mut self, is_process: bool) -> Result<()> {
        self.started += 1;
        let number = self.started;
        let (addresses, given) = mpsc::channel(4);
        let lines = self.lines.clone();
        match is_process {
            true => self.tasks.spawn(node::run_process(number, given, lines)),
            false => self.tasks.spawn(node::live(number, given, lines)),
        };
        let member = Member {
            addresses,
            is_process,
            listens: None,
            asks: None,
            peers: HashMap::new(),
            lost: HashSet::new(),
        };
        self.members.insert(node::id(number)?, member);
        Ok(())
    }

    /// A process goes, and another comes in its place.
    pub(crate) fn churn(&mut self) -> Result<()> {
        let processes = self.members.iter().filter(|(_, member)| member.is_process);
        if let Some(node) = processes.map(|(node, _)| *node).choose(&mut rand::rng()) {
            self.members.remove(&node);
            self.add(true)?;
        }
        Ok(())
    }

    /// One dials another, so that no two groups stay apart.
    pub(crate) fn mix(&self) {
        if let Some(node) = self.members.keys().choose(&mut rand::rng()) {
            self.guide(node);
        }
    }

    /// Has a node dial another. One that has addresses to dial needs no more.
    fn guide(&self, node: &PeerId) {
        if let (Some(address), Some(member)) = (self.address(Some(node)), self.members.get(node)) {
            let _ = member.addresses.try_send(address);
        }
    }

    /// Where one of them listens, other than this one.
    pub(crate) fn address(&self, but: Option<&PeerId>) -> Option<Multiaddr> {
        let others = self.members.iter().filter(|(node, _)| Some(*node) != but);
        let addresses = others.filter_map(|(_, member)| member.listens.clone());
        addresses.choose(&mut rand::rng())
    }

    /// What goes wrong with one of them, not with what it does.
    pub(crate) async fn failure(&mut self) -> Box<dyn Error + Send + Sync> {
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended.map_err(Box::from).flatten() {
                return error;
            }
        }
        pending().await
    }

    /// Has all of them go.
    pub(crate) async fn end(mut self) {
        self.members.clear();
        while self.tasks.join_next().await.is_some() {}
    }

    pub(crate) fn report(&self) -> Result<String> {
        let mut asking = self.members.values().filter_map(|member| member.asks);
        if asking.any(|asks| asks + OVERDUE < SystemTime::now()) {
            return Err("a query has no end".into());
        }
        let peers = self.members.values().map(|member| member.peers.len());
        Ok(format!(
            "{} peers, introductions={} failed={} nobody={} others={}, the slowest end after {:.1?}",
            peers.sum::<usize>(),
            self.introductions,
            self.failed,
            self.nobody,
            self.others,
            self.slowest,
        ))
    }

    pub(crate) fn on_line(&mut self, (node, time, line): Line) -> Result<()> {
        let Some(member) = self.members.get_mut(&node) else {
            return Ok(()); // it goes
        };
        let (what, about) = line.split_once(' ').unwrap_or((&line, ""));
        match what {
            "listens" => {
                let address: Multiaddr = about.parse()?;
                member.listens = Some(address.with(Protocol::P2p(node)));
            }
            "alone" => self.guide(&node),
            "gains" => drop(member.peers.insert(about.parse()?, time)),
            "loses" => {
                let peer = about.parse()?;
                member.peers.remove(&peer);
                member.lost.insert(peer);
            }
            "asks" => {
                member.asks = Some(time);
                member.lost.clear();
            }
            "found" | "failed" => {
                let asked = member.asks.take().ok_or("an end without a beginning")?;
                self.slowest = self.slowest.max(time.duration_since(asked)?);
                if what == "found" {
                    self.introductions += 1;
                } else {
                    let peers = member.peers.keys().chain(&member.lost);
                    self.unjudged.push(Failure {
                        node,
                        asked,
                        ended: time,
                        known: peers.copied().collect(),
                        error: about.to_owned(),
                    });
                }
            }
            _ => return Err(format!("{node} says {line}").into()),
        }
        Ok(())
    }

    /// Judges the failures of which all is known by now.
    pub(crate) fn judge(&mut self) {
        let now = SystemTime::now();
        let is_known = |failure: &mut Failure| failure.ended + DELAY < now;
        let known: Vec<_> = self.unjudged.extract_if(.., is_known).collect();
        for failure in known {
            if let Some((introducer, candidate)) = self.way(&failure) {
                self.failed += 1;
                let Failure { node, error, .. } = failure;
                println!("FAILED: {node}, with {candidate} through {introducer}: {error}");
            } else if failure.error.starts_with("no peer knows") {
                self.nobody += 1;
            } else {
                self.others += 1;
            }
        }
    }

    /// An introducer and a candidate that were there for an asker all the time, and still are.
    fn way(&self, failure: &Failure) -> Option<(PeerId, PeerId)> {
        let Failure { node, asked, .. } = *failure;
        let ways = self.steady(node, asked).flat_map(|introducer| {
            let candidates = self.steady(introducer, asked);
            candidates.map(move |candidate| (introducer, candidate))
        });
        let mut ways = ways.filter(|(_, candidate)| *candidate != node);
        ways.find(|(_, candidate)| !failure.known.contains(candidate))
    }

    /// The peers of a node among the nineteen all the time since then, as both sides tell.
    fn steady(&self, node: PeerId, since: SystemTime) -> impl Iterator<Item = PeerId> {
        let has_had = move |one: &PeerId, other: &PeerId| {
            let met = self.members.get(one).and_then(|one| one.peers.get(other));
            met.is_some_and(|met| *met <= since)
        };
        let all = self.members.keys().copied();
        all.filter(move |peer| has_had(&node, peer) && has_had(peer, &node))
    }
}
