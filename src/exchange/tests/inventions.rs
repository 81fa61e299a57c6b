//! An introducer that invents candidates.

use super::{
    liars::{check, is_refused, lie_to},
    *,
};
use crate::{
    error::AttemptError,
    exchange::sim::Lie,
    id::Token,
    message::{Path, PeerCandidate},
};

/// Changes the answers to the asker.
fn peers_to_asker(mut change: impl FnMut(&mut Peers) + 'static) -> Lie {
    Box::new(move |to, mut frame| {
        if let (0, Frame::Peers(peers)) = (to, &mut frame) {
            change(peers);
        }
        vec![frame]
    })
}

pub(super) fn invented(n: usize) -> PeerCandidate {
    let path = Path::Signals(Token(id(n)));
    PeerCandidate {
        peer: peer(n),
        accepting: true,
        path,
    }
}

#[test]
fn invented_candidates_cost_the_asker_time_and_nothing_else() {
    for seed in 0..200 {
        let sim = lie_to(
            seed,
            peers_to_asker(|peers| {
                let some = [0, 1, 100, 101, 102, 100, 100, 103].map(invented);
                peers.candidates = some.into();
            }),
        );
        check(sim, seed, |error| is_refused(error, Refusal::Expired));
    }
}

#[test]
fn invented_candidates_that_never_answer_do_not_starve_the_honest_introducer() {
    for seed in 0..200 {
        let sim = lie_to(
            seed,
            Box::new(|to, frame| match frame {
                Frame::Peers(peers) if to == 0 => {
                    let candidates = (100..108).map(invented).collect();
                    vec![Frame::Peers(Peers {
                        candidates,
                        ..peers
                    })]
                }
                Frame::Refuse(_) => Vec::new(),
                frame => vec![frame],
            }),
        );
        check(sim, seed, |error| matches!(error, QueryError::Timeout(_)));
    }
}

#[test]
fn vouched_addresses_where_nobody_is_do_not_starve_the_honest_introducer() {
    for seed in 0..200 {
        let sim = lie_to(
            seed,
            peers_to_asker(|peers| {
                let at = |n| PeerCandidate {
                    path: Path::Vouched(vec![address(n)]),
                    ..invented(n)
                };
                peers.candidates = (100..108).map(at).collect();
            }),
        );
        check(sim, seed, |error| {
            matches!(
                error,
                QueryError::Unreachable {
                    last: AttemptError::DialFailed(_),
                    tried: 8,
                    ..
                }
            )
        });
    }
}

#[test]
fn addresses_of_another_node_do_not_make_it_the_candidate() {
    for seed in 0..200 {
        let sim = lie_to(
            seed,
            peers_to_asker(|peers| {
                let path = Path::Vouched(vec![address(2)]);
                peers.candidates = vec![PeerCandidate {
                    path,
                    ..invented(100)
                }];
            }),
        );
        check(sim, seed, |error| {
            matches!(
                error,
                QueryError::Unreachable {
                    last: AttemptError::DialFailed(_),
                    ..
                }
            )
        });
    }
}

#[test]
fn the_liars_own_sybil_is_at_worst_a_peer_like_any_other() {
    for seed in 0..100 {
        // 3 is a second identity of 1, and known to it only
        let mut sim = strangers(seed);
        sim.add(config());
        sim.connect(3, 1);
        sim.nodes[1].lie = Some(peers_to_asker(|peers| {
            peers
                .candidates
                .retain(|candidate| candidate.peer == peer(3));
        }));
        assert_eq!(sim.query(0), Ok(peer(3)), "seed {seed}");
        let error = sim.query(0).unwrap_err();
        assert!(matches!(
            error,
            QueryError::NoCandidates { .. } | QueryError::Unreachable { .. }
        ));
        sim.end();
    }
}
