//! Two hosts behind routers, and a public node that introduces them.

use std::{fmt, time::Duration};

use super::{
    Lab,
    peer::{CIRCUIT, INTRODUCER, PEER},
    process::Process,
};

/// Where the introducer listens, which is all that the others know.
pub const V4: &str = "/ip4/11.22.33.1/tcp/8000";
pub const OTHER_V4: &str = "/ip4/11.22.33.2/tcp/8000";
pub const V6: &str = "/ip6/2a0a:1:1::1/tcp/8000";

/// What a router does to UDP, as `natlab help` says.
pub const FLAVOURS: [&str; 5] = [
    "fullcone",
    "restricted",
    "portrestricted",
    "symmetric",
    "udpblock",
];

/// Whether hole punching can lead through these two routers.
pub fn is_passable(a: &str, b: &str) -> bool {
    let is_either = |flavour| a == flavour || b == flavour;
    let is_strict = |flavour| matches!(flavour, "portrestricted" | "symmetric");
    let is_hopeless = is_either("symmetric") && is_strict(a) && is_strict(b);
    !is_hopeless && !is_either("udpblock")
}

/// How a query ended, and when.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub time: Duration,
    /// By which way the new peer was reached, or why there is none.
    pub result: Result<String, String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.result {
            Ok(_) => write!(f, "{} ms", self.time.as_millis()),
            Err(_) => write!(f, "no ({:.1} s)", self.time.as_secs_f64()),
        }
    }
}

/// The nodes of a lab.
pub struct Pair {
    pub introducer: Process,
    pub asker: Process,
    pub candidate: Process,
    pub lab: Lab,
}

impl Pair {
    /// Behind two routers of these kinds.
    pub async fn behind(asker: &str, candidate: &str) -> Self {
        let routers = [format!("A={asker}"), format!("B={candidate}")];
        let lab = Lab::up(&routers.each_ref().map(String::as_str)).await;
        Self::start(lab, ["a", "b"], V4).await
    }

    /// Starts the three, and waits until both hosts are peers of the introducer.
    pub async fn start(lab: Lab, hosts: [&str; 2], address: &str) -> Self {
        Self::start_with(lab, hosts, address, [&[]; 2]).await
    }

    /// Those behind routers with some options of [`peer`](super::peer), each.
    pub async fn start_with(
        lab: Lab,
        [asker, candidate]: [&str; 2],
        address: &str,
        [askers, candidates]: [&[&str]; 2],
    ) -> Self {
        let mut introducer = lab.start("pub1", &[INTRODUCER, address]);
        let line = introducer.line(&format!("listening {address}")).await;
        let address = line.trim_start_matches("listening ");
        let mut pair = Self {
            introducer,
            asker: lab.start(asker, &[&[PEER, address], askers].concat()),
            candidate: lab.start(candidate, &[&[PEER, address], candidates].concat()),
            lab,
        };
        for node in [&mut pair.candidate, &mut pair.asker] {
            node.line("connected ").await;
            pair.introducer.line("connected ").await;
        }
        if candidates.contains(&CIRCUIT) {
            pair.candidate.line("/p2p-circuit").await;
        }
        pair
    }

    /// Makes the asker ask for a new peer, which is the candidate if it is one.
    pub async fn meet(&mut self) -> Outcome {
        ask(&mut self.asker).await
    }
}

/// Makes a node ask for a new peer.
pub async fn ask(node: &mut Process) -> Outcome {
    node.say("ask").await;
    let line = node.line_of(&["found ", "failed "]).await;
    let mut words = line.splitn(3, ' ');
    let (verdict, ms, rest) = (words.next(), words.next(), words.next());
    let ms: f64 = ms.and_then(|ms| ms.parse().ok()).expect("a time");
    let rest = rest.unwrap_or_default().to_owned();
    Outcome {
        time: Duration::from_secs_f64(ms / 1e3),
        result: match verdict {
            Some("found") => Ok(rest),
            _ => Err(rest),
        },
    }
}

/// The figure of the last line of a kind that a node has printed.
pub fn figure(node: &Process, kind: &str) -> Option<f64> {
    node.last(kind)?.split(' ').nth(1)?.parse().ok()
}

/// How many peers a node has.
pub async fn peers(node: &mut Process) -> usize {
    node.say("peers").await;
    let line = node.line("peers ").await;
    let count = line.rsplit(' ').next().and_then(|count| count.parse().ok());
    count.expect("a number")
}
