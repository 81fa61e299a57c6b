//! Peers behind NATs meet, with nothing but a peer that they share. Each node is a process, each
//! host a network namespace.

mod natlab;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use futures::{
    FutureExt,
    future::{BoxFuture, join, join_all},
};
use tokio::{task::JoinSet, time::sleep};

use natlab::{
    Lab,
    pair::{self, FLAVOURS, OTHER_V4, Outcome, Pair, V4, V6, is_passable},
    peer::{CIRCUIT, INTRODUCER},
};

type Case = (&'static str, fn() -> BoxFuture<'static, ()>);

macro_rules! cases {
    ($($name:ident),* $(,)?) => { &[$((stringify!($name), || $name().boxed())),*] };
}

const CASES: &[Case] = cases![
    an_idle_connection_keeps_its_mappings,
    hosts_meet_if_their_routers_can_be_passed,
    hosts_whose_routers_change_ports_meet,
    hosts_whose_routers_take_what_nobody_asked_for_end_in_time,
    hosts_behind_ipv6_firewalls_meet,
    two_hosts_behind_one_router_meet,
    of_20_pairs_with_packet_loss_20_meet,
    introducers_that_are_lost_midway_stop_nobody,
    where_nothing_else_leads_a_turn_server_does,
    where_nothing_else_leads_a_circuit_relay_does,
    a_peer_that_is_cut_off_is_gone_within_10_seconds,
    a_peer_whose_mapping_changes_is_replaced,
];

/// Those that look at the clock closely run when nothing else does.
const TIMED_CASES: &[Case] = cases![meeting_takes_at_most_11_round_trips];

fn main() -> ExitCode {
    natlab::run(async |args| {
        let mut filters = args.iter().filter(|arg| !arg.starts_with('-'));
        let filter = filters.next().copied().unwrap_or_default();
        let is_wanted = |(name, _): &&Case| name.contains(filter);
        let mut failed = run(CASES.iter().filter(is_wanted)).await;
        for case in TIMED_CASES.iter().filter(is_wanted) {
            failed += run([case]).await;
        }
        match failed {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    })
}

/// Runs cases all at once. Returns how many fail.
async fn run(cases: impl IntoIterator<Item = &'static Case>) -> usize {
    let mut running = JoinSet::new();
    for (name, case) in cases {
        let (start, case) = (Instant::now(), tokio::spawn(case()));
        running.spawn(async move { (name, case.await, start.elapsed()) });
    }
    let mut failed = 0;
    while let Some(ended) = running.join_next().await {
        let (name, result, time) = ended.expect("it cannot panic");
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("test {name} ... {verdict} ({:.1} s)", time.as_secs_f64());
        failed += usize::from(result.is_err());
    }
    failed
}

/// What hole punching may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a query may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

fn has_met(outcome: &Outcome) -> bool {
    let is_signaled = outcome.result.as_deref() == Ok("Signaled");
    is_signaled && outcome.time <= PATIENCE
}

fn has_failed(outcome: &Outcome) -> bool {
    let is_unreachable = |error: &String| error.contains("could be reached");
    outcome.result.as_ref().is_err_and(is_unreachable) && outcome.time <= QUERY_TIMEOUT
}

async fn hosts_meet_if_their_routers_can_be_passed() {
    assert_all_end_as_known(&FLAVOURS, "").await;
}

async fn hosts_whose_routers_change_ports_meet() {
    assert_all_end_as_known(&FLAVOURS[..3], ",remap").await;
}

/// What comes in first takes the port that the answer to it would use, as with Linux: two that filter by
/// host or by port may not be passed then.
async fn hosts_whose_routers_take_what_nobody_asked_for_end_in_time() {
    for (flavours, is_known) in [
        (["fullcone", "portrestricted"], true),
        (["restricted", "portrestricted"], false),
    ] {
        let [a, b] = flavours.map(|flavour| format!("{flavour},accept"));
        let outcome = Pair::behind(&a, &b).await.meet().await;
        let has_ended = has_met(&outcome) || !is_known && has_failed(&outcome);
        assert!(has_ended, "{a} to {b}: {outcome:?}");
    }
}

async fn assert_all_end_as_known(flavours: &[&str], option: &str) {
    let pairs = flavours
        .iter()
        .flat_map(|a| flavours.iter().map(move |b| (a, b)));
    let meetings = pairs.map(|(a, b)| async move {
        let mut pair = Pair::behind(&format!("{a}{option}"), &format!("{b}{option}")).await;
        let outcome = pair.meet().await;
        let is_as_known = match is_passable(a, b) {
            true => has_met(&outcome),
            false => has_failed(&outcome),
        };
        (!is_as_known).then(|| format!("{a} to {b}: {outcome:?}"))
    });
    let unexpected: Vec<_> = join_all(meetings).await.into_iter().flatten().collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

async fn two_hosts_behind_one_router_meet() {
    // None leads its own public address back inside. One that blocks UDP lets nobody tell how they look.
    let flavours = FLAVOURS.iter().filter(|flavour| **flavour != "udpblock");
    let meetings = flavours.map(|flavour| async move {
        let lab = Lab::up(&[&format!("A={flavour},hosts=2")]).await;
        let outcome = Pair::start(lab, ["a", "a2"], V4).await.meet().await;
        assert!(has_met(&outcome), "{flavour}: {outcome:?}");
    });
    join_all(meetings).await;
}

async fn hosts_behind_ipv6_firewalls_meet() {
    // Where nothing but IPv6 leads from one to the other.
    let lab = Lab::up(&["A=symmetric,v6", "B=symmetric,v6"]).await;
    let outcome = Pair::start(lab, ["a", "b"], V6).await.meet().await;
    assert!(has_met(&outcome), "{outcome:?}");
}

async fn of_20_pairs_with_packet_loss_20_meet() {
    let meetings = (0..20).map(|_| async {
        let mut pair = Pair::behind("portrestricted", "portrestricted").await;
        pair.lab.link("natA", "loss=5").await;
        pair.meet().await
    });
    let outcomes = join_all(meetings).await;
    let has_met = |outcome: &Outcome| outcome.result.as_deref() == Ok("Signaled");
    assert!(outcomes.iter().all(has_met), "{outcomes:#?}");
}

/// One of two is killed, or cut off, each time a step later: before, while and after it is asked and passes
/// on. One that is cut off is waited for as long as an answer may take.
async fn introducers_that_are_lost_midway_stop_nobody() {
    const STEPS: u32 = 12;
    let meetings = (0..STEPS).flat_map(|step| {
        [false, true].map(|is_cut| async move {
            let lab = Lab::up(&["A=portrestricted", "B=portrestricted"]).await;
            for node in ["natA", "natB", "pub1", "pub2"] {
                lab.link(node, "delay=25").await;
            }
            let mut other = lab.start("pub2", &[INTRODUCER, OTHER_V4]);
            let line = other.line(&format!("listening {OTHER_V4}")).await;
            let address = [line.trim_start_matches("listening ")];
            let mut pair = Pair::start_with(lab, ["a", "b"], V4, [&address; 2]).await;
            for node in [&mut pair.asker, &mut pair.candidate] {
                let start = Instant::now();
                while pair::peers(node).await < 2 {
                    assert!(start.elapsed() < QUERY_TIMEOUT, "no second introducer");
                    sleep(ROUND_TRIP).await;
                }
                // Either side of a link may be the first to have heard the other's hello.
                other.line("connected ").await;
            }
            let Pair {
                introducer,
                mut asker,
                candidate: _candidate,
                lab,
            } = pair;
            let lose = async {
                sleep(step * ROUND_TRIP / 4).await;
                match is_cut {
                    true => lab.link("pub1", "loss=100").await,
                    false => drop(introducer),
                }
            };
            let (outcome, ()) = join(pair::ask(&mut asker), lose).await;
            let is_signaled = outcome.result.as_deref() == Ok("Signaled");
            let patience = if is_cut { 3 * PATIENCE } else { PATIENCE };
            assert!(
                is_signaled && outcome.time <= patience,
                "{step}, {is_cut}: {outcome:?}"
            );
        })
    });
    join_all(meetings).await;
}

/// Of two ends, one with a server is enough, whichever it is.
async fn where_nothing_else_leads_a_turn_server_does() {
    let pairs = [
        ("symmetric", "symmetric"),
        ("symmetric", "portrestricted"),
        ("portrestricted", "symmetric"),
    ];
    let meetings = pairs.iter().flat_map(|(a, b)| {
        [0, 1].map(|served| async move {
            let lab = Lab::up(&[&format!("A={a}"), &format!("B={b}")]).await;
            let (_server, uri) = lab.turn_server().await?;
            let mut options: [&[&str]; 2] = [&[]; 2];
            let served_by = [uri.as_str()];
            options[served] = &served_by;
            let outcome = Pair::start_with(lab, ["a", "b"], V4, options)
                .await
                .meet()
                .await;
            assert!(has_met(&outcome), "{a} to {b}, {served}: {outcome:?}");
            Some(())
        })
    });
    join_all(meetings).await;
}

async fn where_nothing_else_leads_a_circuit_relay_does() {
    let pairs = [
        ("udpblock", "udpblock"),
        ("udpblock", "fullcone"),
        ("fullcone", "udpblock"),
        ("symmetric", "symmetric"),
    ];
    let meetings = pairs.map(|(a, b)| async move {
        let lab = Lab::up(&[&format!("A={a}"), &format!("B={b}")]).await;
        let options: [&[&str]; 2] = [&[], &[CIRCUIT]];
        let outcome = Pair::start_with(lab, ["a", "b"], V4, options)
            .await
            .meet()
            .await;
        let is_relayed = outcome.result.as_deref() == Ok("Relayed");
        assert!(
            is_relayed && outcome.time < QUERY_TIMEOUT,
            "{a} to {b}: {outcome:?}"
        );
    });
    join_all(meetings).await;
}

async fn an_idle_connection_keeps_its_mappings() {
    let mut pair = Pair::behind("portrestricted,timeout=30", "portrestricted,timeout=30").await;
    assert!(pair.meet().await.result.is_ok());
    sleep(Duration::from_secs(40)).await; // nothing is to happen
    for node in [&mut pair.asker, &mut pair.candidate] {
        assert_eq!(pair::peers(node).await, 2);
        assert!(!node.has_said("disconnected"));
    }
}

async fn a_peer_that_is_cut_off_is_gone_within_10_seconds() {
    let mut pair = Pair::behind("portrestricted", "portrestricted").await;
    assert!(pair.meet().await.result.is_ok());
    pair.lab.link("natB", "loss=100").await;
    let start = Instant::now();
    for node in [&mut pair.asker, &mut pair.introducer] {
        node.line("disconnected ").await;
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{:?}",
            start.elapsed()
        );
    }
}

async fn a_peer_whose_mapping_changes_is_replaced() {
    let mut pair = Pair::behind("portrestricted", "portrestricted").await;
    assert!(pair.meet().await.result.is_ok());
    pair.lab.set("A=portrestricted,remap").await;
    for node in [&mut pair.asker, &mut pair.candidate] {
        node.line("disconnected ").await;
    }
    // Until it has noticed how it looks from outside now.
    let start = Instant::now();
    while pair.meet().await.result.is_err() {
        assert!(start.elapsed() < QUERY_TIMEOUT, "{:?}", start.elapsed());
    }
}

/// Four times the delay of an access link.
const ROUND_TRIP: Duration = Duration::from_millis(100);

async fn meeting_takes_at_most_11_round_trips() {
    let lab = Lab::up(&["A=portrestricted", "B=portrestricted"]).await;
    for node in ["natA", "natB", "pub1"] {
        lab.link(node, "delay=25").await;
    }
    let outcome = Pair::start(lab, ["a", "b"], V4).await.meet().await;
    assert!(has_met(&outcome), "{outcome:?}");
    let at_most = 11 * ROUND_TRIP + Duration::from_millis(50);
    assert!(outcome.time <= at_most, "{outcome:?}");
}
