//! What an introducer can do that reads the descriptions it passes on. Each ignored test shows an attack that works
//! today: it fails until signals are sealed.

use std::cell::RefCell;

use ::stun::{
    agent::TransactionId,
    attributes::{
        ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE,
        ATTR_USERNAME, AttrType, RawAttribute,
    },
    fingerprint::FINGERPRINT,
    integrity::MessageIntegrity,
    message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter},
    xoraddr::XorMappedAddress,
};

use super::{super::demux::Kind, *};

thread_local! {
    /// The descriptions that an introducer has passed on.
    static READ: RefCell<Vec<String>> = RefCell::default();
}

/// An introducer that passes on a description as it is, and reads it.
fn read(sdp: String) -> String {
    READ.with_borrow_mut(|read| read.push(sdp.clone()));
    sdp
}

/// The ICE credentials of one end.
struct Credentials {
    user: String,
    password: String,
}

impl Credentials {
    fn of(sdp: &str) -> Self {
        let value = |name| sdp.lines().find_map(|line| line.strip_prefix(name));
        Self {
            user: value("a=ice-ufrag:").unwrap().to_owned(),
            password: value("a=ice-pwd:").unwrap().to_owned(),
        }
    }
}

/// The introducer of the two ends, which claims their connection for an address of its own.
struct Thief {
    at: SocketAddr,
    /// Of the end that has offered, and of the one that has answered.
    credentials: [Credentials; 2],
    /// Deliveries that it has looked at.
    taken: HashSet<usize>,
    forwards: bool,
    /// Datagrams of DTLS that came to it from each end.
    dtls: [usize; 2],
}

impl Thief {
    fn new() -> Self {
        let credentials = READ.with_borrow(|read| [0, 1].map(|n| Credentials::of(&read[n])));
        Self {
            at: "9.66.66.66:6666".parse().unwrap(),
            credentials,
            taken: HashSet::new(),
            forwards: false,
            dtls: [0; 2],
        }
    }

    /// Sends a check in the name of the other end.
    fn claim(&self, lab: &mut Lab, victim: usize) {
        let [theirs, others] = [victim, 1 - victim].map(|n| &self.credentials[n]);
        let raw = |typ: AttrType, value: Vec<u8>| -> Box<dyn Setter> {
            let length = value.len() as u16;
            Box::new(RawAttribute { typ, length, value })
        };
        let mut parts: Vec<Box<dyn Setter>> = vec![
            Box::new(TransactionId::new()),
            Box::new(BINDING_REQUEST),
            raw(
                ATTR_USERNAME,
                format!("{}:{}", theirs.user, others.user).into(),
            ),
            raw(ATTR_PRIORITY, u32::MAX.to_be_bytes().into()),
        ];
        // The end that has offered controls, and the controlling end nominates.
        match victim {
            0 => parts.push(raw(ATTR_ICE_CONTROLLED, vec![0; 8])),
            _ => {
                parts.push(raw(ATTR_ICE_CONTROLLING, vec![255; 8]));
                parts.push(raw(ATTR_USE_CANDIDATE, Vec::new()));
            }
        }
        self.send(lab, address(victim, 0), parts, &theirs.password);
    }

    fn send(&self, lab: &mut Lab, to: SocketAddr, mut parts: Vec<Box<dyn Setter>>, password: &str) {
        let key = MessageIntegrity::new_short_term_integrity(password.to_owned());
        parts.extend::<[Box<dyn Setter>; 2]>([Box::new(key), Box::new(FINGERPRINT)]);
        let mut message = Message::new();
        message.build(&parts).unwrap();
        let (from, contents) = (self.at, message.raw);
        lab.mail(MS, Delivery::Datagram { from, to, contents });
    }

    /// Answers checks that are under way to it, and swallows or forwards all else.
    fn take(&mut self, lab: &mut Lab) {
        let new = lab
            .pending
            .iter()
            .filter_map(|(n, delivery)| match delivery {
                Delivery::Datagram { from, to, contents } if *to == self.at => {
                    (!self.taken.contains(n)).then(|| (*n, *from, contents.clone()))
                }
                _ => None,
            });
        let mut new: Vec<_> = new.collect();
        new.sort_unstable();
        for (n, from, contents) in new {
            self.taken.insert(n);
            let end = usize::from(from == address(1, 0));
            match Kind::of(&contents) {
                Kind::Request { transaction, .. } => {
                    let (ip, port) = (from.ip(), from.port());
                    let parts: Vec<Box<dyn Setter>> = vec![
                        Box::new(TransactionId(transaction)),
                        Box::new(BINDING_SUCCESS),
                        Box::new(XorMappedAddress { ip, port }),
                    ];
                    self.send(lab, from, parts, &self.credentials[1 - end].password);
                }
                Kind::Dtls => {
                    self.dtls[end] += 1;
                    let (from, to) = (self.at, address(1 - end, 0));
                    if self.forwards {
                        lab.mail(MS, Delivery::Datagram { from, to, contents });
                    }
                }
                _ => {}
            }
        }
    }

    fn run(&mut self, lab: &mut Lab, time: Duration) {
        let end = lab.now + time;
        loop {
            self.take(lab);
            if lab.next().is_none_or(|next| next > end) {
                lab.now = end;
                return;
            }
            lab.step();
        }
    }
}

/// A connection that has settled, a stream of each end in use, and the one who introduced the two.
struct Settled {
    lab: Lab,
    keys: [Key; 2],
    /// At its writer and at its reader.
    streams: [(ChannelId, ChannelId); 2],
    thief: Thief,
}

impl Settled {
    fn new() -> Self {
        READ.with_borrow_mut(Vec::clear);
        let mut lab = Lab::new(1);
        lab.tamper = Some(read);
        let (a, b) = lab.connect(0, 1).unwrap();
        let keys = [a, b];
        let streams = [0, 1].map(|n| {
            let ours = lab.open(n, keys[n]);
            lab.run(SECOND);
            lab.write(n, keys[n], ours, b"hello");
            (ours, lab.accept(1 - n, keys[1 - n]))
        });
        lab.run(SECOND * 60);
        let thief = Thief::new();
        Self {
            lab,
            keys,
            streams,
            thief,
        }
    }

    /// Has these ends claimed, and a second go by.
    fn steal(&mut self, victims: &[usize]) {
        for victim in victims {
            self.thief.claim(&mut self.lab, *victim);
        }
        self.thief.run(&mut self.lab, SECOND);
    }

    /// Has one end write ten messages a second for 10 s. Returns how many were written, and how many arrived.
    fn write(&mut self, from: usize) -> (usize, usize) {
        let (to, (writer, reader)) = (1 - from, self.streams[from]);
        let (lab, keys) = (&mut self.lab, self.keys);
        let mut buffer = [0; 4000];
        while let Read::Bytes(_) = lab.read(to, keys[to], reader, &mut buffer) {}
        let (mut written, mut arrived) = (0, 0);
        for _ in 0..100 {
            if let Write::Taken(len) = lab.write(from, keys[from], writer, &[7; 1000]) {
                written += len / 1000;
            }
            self.thief.run(lab, MS * 100);
            while let Read::Bytes(len) = lab.read(to, keys[to], reader, &mut buffer) {
                arrived += len / 1000;
            }
        }
        (written, arrived)
    }

    fn assert_untouched(&mut self) {
        for n in [0, 1] {
            let (written, arrived) = self.write(n);
            // The last two may still be under way.
            assert!(
                written > 0 && arrived + 2 >= written,
                "{arrived} of {written} arrived"
            );
            let remote = self.lab.ends[n].endpoint.remote(self.keys[n]);
            assert_eq!(remote, Some(address(1 - n, 0)));
        }
        assert_eq!(self.thief.dtls, [0, 0]);
    }
}

#[test]
#[ignore = "needs sealed signals: an introducer reads the ICE passwords, and moves the path of the offering end"]
fn an_introducer_cannot_move_the_path_of_the_offering_end() {
    let mut settled = Settled::new();
    settled.steal(&[0]);
    settled.assert_untouched();
}

#[test]
#[ignore = "needs sealed signals: an introducer reads the ICE passwords, and moves the path of the answering end"]
fn an_introducer_cannot_move_the_path_of_the_answering_end() {
    let mut settled = Settled::new();
    settled.steal(&[1]);
    settled.assert_untouched();
}

#[test]
#[ignore = "needs sealed signals: an introducer reads the ICE passwords, and swallows what both ends send"]
fn an_introducer_cannot_swallow_what_both_ends_send() {
    let mut settled = Settled::new();
    settled.steal(&[0, 1]);
    settled.assert_untouched();
}

#[test]
#[ignore = "needs sealed signals: an introducer reads the ICE passwords, and all traffic passes through it"]
fn an_introducer_cannot_put_itself_between_two_ends() {
    let mut settled = Settled::new();
    settled.thief.forwards = true;
    settled.steal(&[0, 1]);
    settled.assert_untouched();
}

#[test]
fn a_wrong_password_moves_no_path() {
    let mut settled = Settled::new();
    for credentials in &mut settled.thief.credentials {
        credentials.password.replace_range(..1, "#");
    }
    settled.steal(&[0, 1]);
    settled.assert_untouched();
}

#[test]
#[ignore = "needs sealed signals: nothing ties them to DTLS, so a peer passes a description on as its own"]
fn no_end_takes_another_for_the_peer_in_the_middle() {
    let mut lab = Lab::new(1);
    let peer = PeerId::random();
    let setup = SetupId { peer, number: 1 };
    // Both ends set up a connection with the same third peer, which signs what each of them says.
    lab.partners.insert((0, setup), (1, setup));
    lab.partners.insert((1, setup), (0, setup));
    let reach = Reach::Global;
    lab.command(0, Command::Offer { setup, reach });
    let mut dialed = None;
    lab.run_until(SECOND * 20, |lab| {
        dialed = dialed.or_else(|| lab.ends[0].endpoint.dial(&peer));
        !lab.ends[1].incoming.is_empty()
    });
    assert!(lab.ends[1].incoming.is_empty(), "one end has a connection");
    let is_connected = |key| lab.status(0, key) == Status::Connected;
    assert!(!dialed.is_some_and(is_connected), "the other has one");
}
