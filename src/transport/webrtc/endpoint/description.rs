//! What a description says of addresses. Candidates are kept apart from the rest of a description,
//! in both directions, so that each can be checked, capped and, if it makes no sense, left out.

use crate::config::Limits;
use str0m::{Candidate, CandidateKind, net::Protocol};

use super::surroundings::Nearness;

const PREFIX: &str = "a=candidate:";

/// The most of them that say how we look from outside, and the most that are on TURN servers: one of each
/// address family.
const MAX_MAPPED: usize = 2;
const MAX_RELAYED: usize = 2;

/// Parts a description into one without candidates, and those of its candidates that make sense.
pub(super) fn part(sdp: &str) -> (String, Vec<Candidate>) {
    let (mut rest, mut candidates) = (String::with_capacity(sdp.len()), Vec::new());
    for line in sdp.lines() {
        if line.starts_with(PREFIX) {
            candidates.extend(candidate(line));
        } else if line != "a=end-of-candidates" {
            rest.push_str(line);
            rest.push_str("\r\n");
        }
    }
    (rest, candidates)
}

/// Adds candidates to a description of one section.
pub(super) fn join<'a>(sdp: &str, candidates: impl Iterator<Item = &'a Candidate>) -> String {
    let (mut sdp, _) = part(sdp);
    for candidate in candidates {
        sdp.push_str("a=");
        sdp.push_str(&candidate.to_sdp_string());
        sdp.push_str("\r\n");
    }
    sdp
}

/// Those of our own that are named to the other side: how we look from outside, and where we are relayed,
/// for nothing else may lead through a router; then hosts; each of both address families in turn.
pub(super) fn choose(ours: &[Candidate], nearness: Nearness) -> Vec<Candidate> {
    let of_kind = |kind: CandidateKind| {
        let may_name = move |ours: &&Candidate| nearness.may_name(ours.addr().ip());
        let nameable = ours.iter().filter(may_name);
        families_in_turn(nameable.filter(move |ours| ours.kind() == kind))
    };
    let mapped = of_kind(CandidateKind::ServerReflexive).take(MAX_MAPPED);
    let relayed = of_kind(CandidateKind::Relayed).take(MAX_RELAYED);
    let named = mapped.chain(relayed).chain(of_kind(CandidateKind::Host));
    named.take(Limits::ICE_CANDIDATES).cloned().collect()
}

fn families_in_turn<'a>(
    candidates: impl Iterator<Item = &'a Candidate>,
) -> impl Iterator<Item = &'a Candidate> {
    let (v4, v6): (Vec<_>, Vec<_>) = candidates.partition(|candidate| candidate.addr().is_ipv4());
    let mut all: Vec<_> = v4.iter().enumerate().chain(v6.iter().enumerate()).collect();
    all.sort_by_key(|(place, _)| *place);
    let all: Vec<_> = all.into_iter().map(|(_, candidate)| *candidate).collect();
    all.into_iter()
}

/// Reads a candidate as it travels. Names (`*.local`) and TCP are skipped.
pub(super) fn candidate(line: &str) -> Option<Candidate> {
    let line = line.strip_prefix("a=").unwrap_or(line);
    let candidate = Candidate::from_sdp_string(line).ok()?;
    (candidate.proto() == Protocol::Udp).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reach::Reach;

    const SDP: &str = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
        a=candidate:1 1 udp 2130706175 9.9.9.9 4000 typ host\r\n\
        a=candidate:1 1 udp 2130706175 127.0.0.1 4000 typ host\r\n\
        a=candidate:1 1 udp 2130706175 5b4a.local 4000 typ host\r\n\
        a=candidate:1 1 tcp 2130706175 9.9.9.8 4000 typ host tcptype passive\r\n\
        a=candidate:1 1 udp 2130706175 9.9.9.7 0 typ host\r\n\
        a=candidate:garbage\r\n\
        a=end-of-candidates\r\n\
        a=setup:actpass\r\n";

    #[test]
    fn candidates_that_make_no_sense_are_left_out() {
        let (rest, candidates) = part(SDP);
        assert!(!rest.contains("candidate"));
        assert!(rest.contains("a=setup:actpass\r\n"));
        let addresses = candidates.iter().map(|it| it.addr().to_string());
        let addresses: Vec<_> = addresses.collect();
        assert_eq!(addresses, ["9.9.9.9:4000", "127.0.0.1:4000", "9.9.9.7:0"]);
    }

    #[test]
    fn a_description_is_parted_as_it_was_joined() {
        let ours = ["9.9.9.1:1", "[2620:fe::fe]:2"].map(|address| {
            let address: std::net::SocketAddr = address.parse().unwrap();
            Candidate::host(address, "udp").unwrap()
        });
        let joined = join("v=0\r\na=candidate:old\r\n", ours.iter());
        let (rest, candidates) = part(&joined);
        assert_eq!(rest, "v=0\r\n");
        let addresses: Vec<_> = candidates.iter().map(Candidate::addr).collect();
        assert_eq!(addresses, ours.map(|candidate| candidate.addr()));
    }

    #[test]
    fn how_we_look_from_outside_is_named_first_and_then_both_families_in_turn() {
        let address = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
        let mut ours: Vec<_> = (1..=9)
            .map(|n| Candidate::host(address(&format!("9.9.9.{n}:1")), "udp").unwrap())
            .collect();
        ours.push(Candidate::host(address("[2620:fe::1]:1"), "udp").unwrap());
        let (base, mapped) = (address("9.9.9.1:1"), address("9.8.8.8:7"));
        ours.push(Candidate::server_reflexive(mapped, base, "udp").unwrap());
        for mapped in ["9.8.8.8:8", "9.8.8.8:9"] {
            let mapped = Candidate::server_reflexive(address(mapped), base, "udp");
            ours.push(mapped.unwrap());
        }
        let (base, mapped) = (address("[2620:fe::1]:1"), address("[2620:fe::2]:7"));
        ours.push(Candidate::server_reflexive(mapped, base, "udp").unwrap());
        for relayed in ["9.7.7.7:8", "9.7.7.7:9", "9.7.7.7:10"] {
            let relayed = address(relayed);
            ours.push(Candidate::relayed(relayed, relayed, "udp").unwrap());
        }
        let named = choose(&ours, Nearness::new(Reach::Global));
        let named: Vec<_> = named.iter().map(|named| named.addr().to_string()).collect();
        assert_eq!(named.len(), Limits::ICE_CANDIDATES);
        let mapped = ["9.8.8.8:7", "[2620:fe::2]:7"];
        let relayed = ["9.7.7.7:8", "9.7.7.7:9"];
        assert_eq!(
            named[..6],
            [&mapped[..], &relayed, &["9.9.9.1:1", "[2620:fe::1]:1"]].concat()
        );
    }

    #[test]
    fn a_trickled_candidate_is_read_with_and_without_its_prefix() {
        let candidate_line = "candidate:1 1 udp 2130706175 9.9.9.9 4000 typ host";
        for line in [candidate_line.to_owned(), format!("a={candidate_line}")] {
            assert!(candidate(&line).is_some());
        }
        assert!(candidate("").is_none());
    }
}
