//! How long it takes peers behind each two kinds of NAT to meet, in a lab of network namespaces: from
//! `get_new_peer` to `Connected`, without the delays of a network, and then with some.

#[path = "../tests/natlab/mod.rs"]
mod natlab;

use std::{process::ExitCode, time::Duration};

use futures::future::join_all;
use tokio::time::sleep;

use natlab::{
    Lab,
    pair::{self, FLAVOURS, Outcome, Pair, V4, is_passable},
    peer::CIRCUIT,
};

/// Meetings with delays, of which the median counts.
const DELAYED: usize = 5;

/// Kinds of NAT in the short form.
const SHORT_FLAVOURS: [&str; 1] = ["portrestricted"];
const SHORT_DELAYED: usize = 1;

fn main() -> ExitCode {
    natlab::run(async |args| match args.contains(&"--short") {
        true => measure(&SHORT_FLAVOURS, SHORT_DELAYED).await,
        false => measure(&FLAVOURS, DELAYED).await,
    })
}

async fn measure(flavours: &[&'static str], meetings: usize) -> ExitCode {
    let mut outcomes = Vec::new();
    // One after the other, so that they do not slow each other down.
    for (a, b) in pairs(flavours).filter(|(a, b)| is_passable(a, b)) {
        outcomes.push((a, b, meet(a, b).await));
    }
    let others = pairs(flavours).filter(|(a, b)| !is_passable(a, b));
    let others = others.map(|(a, b)| async move { (a, b, meet(a, b).await) });
    let others = join_all(others).await;
    let mut ms: Vec<_> = outcomes
        .iter()
        .filter_map(|(.., found)| time(found))
        .collect();
    ms.sort_by(f64::total_cmp);
    let (ok, wanted) = (ms.len(), outcomes.len());

    outcomes.extend(others);
    print_table(flavours, &outcomes);
    print_detours().await;
    let delayed = delayed(meetings).await;
    println!("{:>26}: {:.1} round trips", "all", delayed / 100.0);
    println!(
        "RESULT nat pairs_ok={ok}/{wanted} median_ms={:.0} worst_ms={:.0} delayed_ms={delayed:.0}",
        median(&ms),
        ms.last().copied().unwrap_or(f64::NAN),
    );
    match ok == wanted {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn pairs(flavours: &[&'static str]) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = flavours.iter();
    all.flat_map(|a| flavours.iter().map(move |b| (*a, *b)))
}

async fn meet(a: &str, b: &str) -> Outcome {
    Pair::behind(a, b).await.meet().await
}

fn time(outcome: &Outcome) -> Option<f64> {
    let has_met = outcome.result.as_deref() == Ok("Signaled");
    has_met.then_some(outcome.time.as_secs_f64() * 1e3)
}

fn print_table(flavours: &[&str], outcomes: &[(&str, &str, Outcome)]) {
    print!("{:>26}", "asker \\ candidate");
    flavours.iter().for_each(|b| print!("{b:>16}"));
    for a in flavours {
        print!("\n{a:>26}");
        for b in flavours {
            let found = outcomes.iter().find(|(x, y, _)| (*x, *y) == (*a, *b));
            let outcome = found.map(|(.., outcome)| outcome.to_string());
            print!("{:>16}", outcome.unwrap_or_default());
        }
    }
    println!();
}

/// What leads where hole punching does not, if it is there.
async fn print_detours() {
    let lab = || Lab::up(&["A=symmetric", "B=symmetric"]);
    let (with_turn, with_circuit) = (lab().await, lab().await);
    if let Some((_server, uri)) = with_turn.turn_server().await {
        let options: [&[&str]; 2] = [&[&uri], &[]];
        let mut pair = Pair::start_with(with_turn, ["a", "b"], V4, options).await;
        sleep(Duration::from_secs(1)).await; // until the server has given its address
        println!("\nsymmetric to symmetric by TURN: {}", pair.meet().await);
    }
    let options: [&[&str]; 2] = [&[], &[CIRCUIT]];
    let mut pair = Pair::start_with(with_circuit, ["a", "b"], V4, options).await;
    println!("symmetric to symmetric by a circuit: {}", pair.meet().await);
}

/// With 25 ms on each access link, which is 100 ms from host to host and back. Prints where the time goes.
async fn delayed(meetings: usize) -> f64 {
    const PARTS: [&str; 3] = [
        "asking, offer and answer",
        "ICE and DTLS",
        "opening the stream, hello",
    ];
    let (mut ms, mut parts) = (Vec::new(), [const { Vec::new() }; 3]);
    for _ in 0..meetings {
        let lab = Lab::up(&["A=portrestricted", "B=portrestricted"]).await;
        for node in ["natA", "natB", "pub1"] {
            lab.link(node, "delay=25").await;
        }
        let mut pair = Pair::start(lab, ["a", "b"], V4).await;
        let Some(found) = time(&pair.meet().await) else {
            continue;
        };
        ms.push(found);
        let [answered, secured] = ["answered ", "secured "]
            .map(|kind| pair::figure(&pair.asker, kind).unwrap_or(f64::NAN));
        let times = [answered, secured - answered, found - secured];
        parts
            .iter_mut()
            .zip(times)
            .for_each(|(part, ms)| part.push(ms));
    }
    println!("\nwith 100 ms a round trip:");
    for (part, mut ms) in PARTS.iter().zip(parts) {
        ms.sort_by(f64::total_cmp);
        println!("{part:>26}: {:.1} round trips", median(&ms) / 100.0);
    }
    ms.sort_by(f64::total_cmp);
    median(&ms)
}

fn median(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
