//! What descriptions look like. The engine reads those of the other end, with a parser of everything that SDP
//! can say, which keeps most of it and goes through some of it again and again; so it is given only what makes
//! data channels. Candidates are kept apart, in both directions, so that each can be checked, capped and, if
//! it makes no sense, left out.

use std::ops::RangeInclusive;

use str0m::{Candidate, CandidateKind, net::Protocol};

use super::{super::framing::MAX_FRAME_LEN, surroundings::Nearness};
use crate::config::Limits;

const PREFIX: &str = "a=candidate:";

/// How long the two secrets of ICE may be (RFC 8839, section 5.4). With its own half and a colon in between, the
/// engine writes the name into each check, and panics if that makes more than 128 bytes; nobody's is longer than
/// 64.
const UFRAG_LEN: RangeInclusive<usize> = 4..=100;
const PWD_LEN: RangeInclusive<usize> = 22..=256;

/// How the one section begins (RFC 8841, section 4.1), behind its port.
const DATA_CHANNELS: [&str; 2] = [
    "UDP/DTLS/SCTP webrtc-datachannel",
    "DTLS/SCTP webrtc-datachannel",
];

/// The lines that the engine needs, by how they begin. What others say that are in use is of media, of a
/// bandwidth, or of how candidates are found.
const KEPT: [&str; 15] = [
    "v=",
    "o=",
    "s=",
    "t=",
    "m=",
    "a=group:BUNDLE ",
    "a=ice-ufrag:",
    "a=ice-pwd:",
    "a=ice-lite",
    "a=fingerprint:sha-256 ", // the engine would take weaker ones
    "a=setup:",
    "a=mid:",
    "a=sctp-port:",
    "a=max-message-size:",
    "a=sctp-init:",
];

/// The most of them that say how we look from outside, and the most that are on TURN servers: one of each
/// address family.
const MAX_MAPPED: usize = 2;
const MAX_RELAYED: usize = 2;

/// Reads a description of the other end: what of it is for the engine, and its candidates. `None` if it is of
/// anything but data channels, or such as none is.
pub(super) fn read(sdp: &str) -> Option<(String, Vec<Candidate>)> {
    let is_small =
        sdp.len() <= Limits::DESCRIPTION_LEN && sdp.lines().count() <= Limits::DESCRIPTION_LINES;
    if !is_small || !sdp.lines().all(is_plain) {
        return None;
    }
    let values = |start| sdp.lines().filter_map(move |line| line.strip_prefix(start));
    let mut sections = values("m=");
    let is_one = sections.next().is_some_and(is_of_data_channels) && sections.next().is_none();
    let is_name = |value| is_secret(value, &UFRAG_LEN);
    let is_password = |value| is_secret(value, &PWD_LEN);
    let are_secrets = values("a=ice-ufrag:").all(is_name) && values("a=ice-pwd:").all(is_password);
    // The engine warns of each description that has not one of each.
    let is_clear = ["a=mid:", "a=setup:"]
        .into_iter()
        .all(|start| values(start).count() == 1);
    let has_room = values("a=max-message-size:").all(takes_frames);
    if !is_one || !are_secrets || !is_clear || !has_room {
        return None;
    }
    let (rest, candidates) = part(sdp);
    let is_kept = |line: &&str| KEPT.iter().any(|start| line.starts_with(start));
    let kept = rest.split_inclusive('\n').filter(is_kept).collect();
    Some((kept, candidates))
}

/// Whether it is of printable ASCII, as all that WebRTC says.
fn is_plain(line: &str) -> bool {
    line.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

fn is_of_data_channels(section: &str) -> bool {
    let (typ, rest) = section.split_once(' ').unwrap_or_default();
    let (_port, rest) = rest.split_once(' ').unwrap_or_default();
    typ == "application" && DATA_CHANNELS.contains(&rest)
}

/// Returns true if messages may be so long that our frames fit, or of any length (RFC 8841, section 6.1).
fn takes_frames(max_message_size: &str) -> bool {
    let size = max_message_size.parse::<usize>();
    size.is_ok_and(|size| size == 0 || size >= MAX_FRAME_LEN)
}

/// Whether it is of as many `ice-char`s (RFC 8839, section 5.1).
fn is_secret(value: &str, len: &RangeInclusive<usize>) -> bool {
    let is_ice_char = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    len.contains(&value.len()) && value.bytes().all(is_ice_char)
}

/// Parts a description into one without candidates, and those of its candidates that make sense.
fn part(sdp: &str) -> (String, Vec<Candidate>) {
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
    if line.len() > Limits::CANDIDATE_LEN {
        return None;
    }
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

    const OF_DATA: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=ice-ufrag:abcd\r\n\
        a=ice-pwd:abcdefghijklmnopqrstuv\r\na=fingerprint:sha-256 A1\r\na=setup:actpass\r\na=mid:0\r\n\
        a=sctp-port:5000\r\na=max-message-size:262144\r\na=sctp-init:AQAA\r\n";

    #[test]
    fn of_a_description_the_engine_is_given_what_makes_data_channels() {
        let more = "a=ssrc:1 cname:x\r\na=ssrc:1 x\r\na=rid:1 send\r\na=extmap:1 urn:x\r\nb=AS\r\nb=AS:30\r\n\
            a=rtpmap:0 PCMU/8000\r\na=simulcast:send 1\r\na=identity:x\r\na=group:LS 0\r\n\
            a=candidate:1 1 udp 2130706175 9.9.9.9 4000 typ host\r\na=end-of-candidates\r\nx\r\n\r\nk=x\r\n";
        let (given, candidates) = read(&format!("{OF_DATA}{more}")).unwrap();
        assert_eq!((&given[..], candidates.len()), (OF_DATA, 1));
    }

    #[test]
    fn a_candidate_may_be_so_long() {
        for (len, is_read) in [(511, true), (512, true), (513, false)] {
            let start = "candidate:1 1 udp 2130706175 9.9.9.9 4000 typ host ufrag ";
            let line = format!("{start}{}", "u".repeat(len - start.len()));
            assert_eq!(candidate(&line).is_some(), is_read, "{len}");
        }
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
