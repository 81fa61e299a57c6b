//! What somebody in the middle, or a liar at the other end, can do.

use super::*;

#[test]
fn a_changed_fingerprint_ends_both_sides() {
    let mut lab = Lab::new(1);
    lab.tamper = Some(|sdp| {
        let start = sdp.find("sha-256 ").unwrap() + 8;
        let swapped = if &sdp[start..start + 2] == "00" {
            "11"
        } else {
            "00"
        };
        format!("{}{swapped}{}", &sdp[..start], &sdp[start + 2..])
    });
    let error = lab.connect(0, 1).unwrap_err();
    assert!(
        matches!(
            error,
            Closed::Protocol | Closed::Remote | Closed::SetupTimeout
        ),
        "{error}"
    );
    assert!(lab.ends[1].incoming.is_empty());
    lab.assert_empty();
}

#[test]
fn garbage_from_the_address_of_a_peer_harms_no_connection() {
    let mut lab = Lab::new(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    for round in 0..20_000 {
        let len = lab.rng.random_range(0..200);
        let mut garbage: Vec<u8> = (0..len).map(|_| lab.rng.random()).collect();
        if let Some(first) = garbage.first_mut() {
            *first = [0, 1, 22, 23, 21, 254, 20][round % 7];
        }
        let now = lab.now;
        lab.ends[0]
            .endpoint
            .handle_datagram(now, address(0, 0), address(1, 0), &garbage);
        lab.collect(0);
    }
    lab.finish((0, a), (1, b));
}

#[test]
fn nobody_else_can_make_a_vanished_peer_look_alive() {
    let mut lab = Lab::new(1);
    let (a, _) = lab.connect(0, 1).unwrap();
    lab.run(SECOND);
    let name = lab.ends[0].endpoint.demux.ufrags().next().unwrap().clone() + ":x";
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.extend([7; 12]);
    request.extend([0, 6, 0, name.len() as u8]);
    request.extend(name.as_bytes());
    request.resize(request.len().next_multiple_of(4), 0);
    request[3] = (request.len() - 20) as u8;
    lab.ends[1].is_cut = true;
    let cut = lab.now;
    while lab.status(0, a) == Status::Connected {
        let now = lab.now;
        for datagram in [&request[..], &[22; 100]] {
            let from = address(1, 0);
            let endpoint = &mut lab.ends[0].endpoint;
            endpoint.handle_datagram(now, address(0, 0), from, datagram);
            lab.collect(0);
        }
        lab.run(SECOND);
        assert!(lab.now - cut <= SECOND * 11);
    }
    assert_eq!(lab.status(0, a), Status::Closed(Closed::Silent));
}

#[test]
fn descriptions_that_make_no_sense_are_answered_by_none() {
    let mut lab = Lab::new(1);
    let peer = lab.ends[1].peer;
    for (number, sdp) in ["", "v=0", "garbage\r\n", "a=candidate:1"]
        .into_iter()
        .enumerate()
    {
        let setup = SetupId {
            peer,
            number: number as u64,
        };
        let (reach, sdp) = (Reach::Global, sdp.to_owned());
        let now = lab.now;
        let command = Command::Answer { setup, reach, sdp };
        lab.ends[0].endpoint.handle_command(now, command);
        let mut events = std::iter::from_fn(|| lab.ends[0].endpoint.poll_event());
        let described = Notice::Described { setup, sdp: None };
        let is_told = |event| matches!(event, Event::Notice(notice) if notice == described);
        assert!(events.any(is_told));
        while lab.ends[0].endpoint.poll_event().is_some() {}
    }
    lab.ends[0].endpoint.assert_empty();
}

#[test]
fn an_answer_that_makes_no_sense_ends_the_set_up() {
    let mut lab = Lab::new(1);
    let setup = lab.offer(0, 1);
    let sdp = "v=0".to_owned();
    lab.partners.clear();
    lab.command(0, Command::Accept { setup, sdp });
    lab.mails.clear();
    lab.ends[0].endpoint.assert_empty();
}

#[test]
fn a_third_party_that_sends_from_a_peers_address_takes_over_nothing() {
    let mut lab = Lab::new(1);
    let third = lab.add();
    let (a, b) = lab.connect(0, 1).unwrap();
    // The third party answers an offer, and says that it is at the first peer's address.
    let setup = lab.offer(0, third);
    lab.run(MS * 2);
    lab.add_address(third, address(1, 0));
    let now = lab.now;
    lab.ends[third]
        .endpoint
        .remove_address(now, address(third, 0));
    lab.collect(third);
    lab.run(SECOND * 10);
    let _ = setup;
    let sent = pattern(20_000);
    assert_eq!(lab.status(0, a), Status::Connected);
    assert_eq!(lab.transfer((1, b), (0, a), &sent), sent);
    assert_eq!(lab.transfer((0, a), (1, b), &sent), sent);
}
