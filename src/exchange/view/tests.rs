//! What the view decides by itself, of peers that come and go. How nodes with one get along is told by the
//! tests of the core.

use super::*;
use crate::id::QueryId;

const SECOND: Duration = Duration::from_secs(1);

struct Peers {
    view: View,
    now: Instant,
}

impl Peers {
    fn new(wanted: config::View) -> Self {
        Self {
            view: View::new(wanted),
            now: Instant::now(),
        }
    }

    fn come(&mut self, ip: &str, origin: Origin) -> PeerId {
        let peer = PeerId::random();
        let ip = ip.parse().ok();
        self.view
            .on_connected(self.now, peer, origin, ip, Vec::new());
        self.now += SECOND;
        peer
    }

    /// One that is found, and how long it is to stay.
    fn find(&mut self, ip: &str) -> (PeerId, Stay) {
        let through = PeerId::random();
        let peer = self.come(ip, Origin::Chosen { through });
        (peer, self.view.chosen[&peer].stay)
    }

    fn introduce(&mut self, ip: &str) -> PeerId {
        let by = PeerId::random();
        self.come(ip, Origin::Introduced { by })
    }

    fn evicted(&self) -> BTreeSet<PeerId> {
        self.view.evicted(self.now).into_iter().collect()
    }
}

#[test]
fn of_one_network_of_addresses_one_in_six_is_to_stay() {
    let mut peers = Peers::new(config::View::default());
    for (ip, stay) in [
        ("9.1.1.1", Stay::Lasting),
        ("9.1.2.2", Stay::Redundant),
        ("9.2.1.1", Stay::Lasting),
        ("9.2.1.1", Stay::Redundant),
        ("2620:fe::1", Stay::Lasting),
        ("2620:fe:1::1", Stay::Redundant),
        ("2620:ff::1", Stay::Lasting),
        // Who is near says nothing of whose it is.
        ("10.0.0.1", Stay::Lasting),
        ("10.0.0.2", Stay::Lasting),
        ("127.0.0.1", Stay::Lasting),
        ("127.0.0.1", Stay::Lasting),
        ("unknown", Stay::Lasting),
        ("unknown", Stay::Lasting),
    ] {
        assert_eq!(peers.find(ip).1, stay, "{ip}");
    }
}

#[test]
fn whom_the_application_asked_for_is_kept_whatever_its_address_and_its_load() {
    let mut peers = Peers::new(config::View::default());
    let found: Vec<_> = (0..3)
        .map(|n| peers.come("9.1.0.0", Origin::Found(QueryId(n))))
        .collect();
    for _ in 0..2 * naming::MAX_CARRIED {
        peers.view.on_carried(peers.now, &found[0]);
    }
    let stays = found.iter().map(|peer| peers.view.chosen[peer].stay);
    assert_eq!(stays.collect::<Vec<_>>(), [Stay::Wanted; 3]);
    assert_eq!(peers.view.patience, PATIENCE);
}

#[test]
fn after_six_of_a_network_in_a_row_there_are_taken_to_be_no_others() {
    let mut peers = Peers::new(config::View::default());
    peers.find("9.1.0.0");
    for left in (0..6).rev() {
        peers.find("9.1.0.0");
        assert_eq!(peers.view.patience, left);
    }
    peers.find("9.2.0.0");
    assert_eq!(peers.view.patience, PATIENCE);
}

#[test]
fn while_a_node_grows_anybody_who_came_may_have_to_go_and_later_the_younger_half() {
    let mut peers = Peers::new(config::View::default());
    peers.find("9.0.0.1");
    let came: Vec<_> = (1..=13)
        .map(|n| peers.introduce(&format!("9.{n}.0.0")))
        .collect();
    assert_eq!(peers.evicted(), came[..12].iter().copied().collect());
    peers.now += GROWTH;
    assert_eq!(peers.evicted(), came[6..12].iter().copied().collect());
}

#[test]
fn those_go_first_who_came_from_one_network_of_addresses() {
    let mut peers = Peers::new(config::View::default());
    let of_one: BTreeSet<_> = (0..3).map(|_| peers.introduce("9.1.0.0")).collect();
    let others: Vec<_> = (2..12)
        .map(|n| peers.introduce(&format!("9.{n}.0.0")))
        .collect();
    for grown in [false, true] {
        peers.now += if grown { GROWTH } else { SECOND };
        assert_eq!(peers.evicted(), of_one);
    }
    peers
        .view
        .on_disconnected(peers.now, of_one.first().unwrap());
    assert!(peers.evicted().is_subset(&others.into_iter().collect()));
}

#[test]
fn one_that_is_full_lets_another_come_at_any_time_at_first_and_then_once_in_ten_minutes() {
    let mut peers = Peers::new(config::View::default());
    peers.introduce("9.1.0.0");
    peers.view.places.evicted = Some(peers.now);
    assert_eq!(peers.view.evicts_at(peers.now), peers.now);
    peers.now += GROWTH;
    peers.view.places.evicted = Some(peers.now);
    let next = peers.now + Duration::from_secs(600);
    assert_eq!(peers.view.evicts_at(peers.now), next);
}

#[test]
fn who_refused_or_is_gone_is_left_alone_for_a_minute_and_bootstrap_nodes_for_good() {
    let mut peers = Peers::new(config::View::default());
    let (found, _) = peers.find("9.1.0.0");
    let came = peers.introduce("9.2.0.0");
    let refused = PeerId::random();
    let begun = PeerId::random();
    let address = "/ip4/9.3.0.0/tcp/1".parse().unwrap();
    peers
        .view
        .on_connected(peers.now, begun, Origin::Dialed, None, vec![address]);
    peers.view.on_refused(peers.now, refused);
    for peer in [found, came, begun] {
        peers.view.on_disconnected(peers.now, &peer);
    }
    let shuns = |peers: &Peers| {
        [found, refused, came, begun].map(|peer| peers.view.shuns(peers.now, &peer))
    };
    assert_eq!(shuns(&peers), [true, true, false, true]);
    peers.now += SHUNNED_FOR;
    assert_eq!(shuns(&peers), [false, false, false, true]);
}

#[test]
fn so_many_who_refused_are_remembered_and_no_more() {
    let mut peers = Peers::new(config::View::default());
    for _ in 0..2 * MAX_SHUNNED {
        peers.view.on_refused(peers.now, PeerId::random());
    }
    assert_eq!(peers.view.shunned.len(), MAX_SHUNNED);
    peers.now += SHUNNED_FOR;
    peers.view.on_refused(peers.now, PeerId::random());
    assert_eq!(peers.view.shunned.len(), 1);
}

#[test]
fn a_peer_through_which_many_walks_went_is_relieved_but_not_as_fast_as_others_ask() {
    let mut peers = Peers::new(config::View::default().with_max_incoming(6));
    let found: Vec<_> = (1..=3)
        .map(|n| peers.find(&format!("9.{n}.0.0")).0)
        .collect();
    let spent = |peers: &Peers| {
        found
            .iter()
            .filter(|it| !peers.view.chosen[it].lasts())
            .count()
    };
    for carried in 1..=60 {
        for peer in &found {
            peers.view.on_carried(peers.now, peer);
        }
        assert_eq!(spent(&peers), usize::from(carried >= 16));
    }
    peers.now += Duration::from_secs(60 * 60);
    for carried in 61..=100 {
        for peer in &found {
            peers.view.on_carried(peers.now, peer);
        }
        assert_eq!(spent(&peers), 1 + usize::from(carried >= 64));
    }
}

#[test]
fn a_view_admits_up_to_its_places_and_its_budget() {
    let mut peers = Peers::new(config::View::default());
    peers.introduce("9.1.0.0");
    peers.now += 2 * GROWTH;
    peers.view.places.evicted = Some(peers.now);
    for is_young in [true, false] {
        peers.view.places.is_young = is_young;
        for came in 0..=12 {
            for expected in 0..14 {
                let admitted = expected < 11 && (is_young || came + expected < 12);
                let is_admitted = peers.view.admits(peers.now, expected);
                assert_eq!(is_admitted, admitted, "{came} and {expected}");
            }
            peers.view.on_arrival(peers.now);
        }
    }
    // One is earned in 30 s.
    for (seconds, admitted) in [(29, 0), (1, 1), (30, 2)] {
        peers.now += seconds * SECOND;
        let expected = (0..14).filter(|expected| peers.view.admits(peers.now, *expected));
        assert_eq!(expected.count(), admitted);
    }
}
