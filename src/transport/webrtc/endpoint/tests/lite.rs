//! An ICE-lite server at the other end, which answers checks and sends none of its own.

use ::stun::{
    agent::TransactionId,
    fingerprint::FINGERPRINT,
    integrity::MessageIntegrity,
    message::{BINDING_SUCCESS, Message, Setter},
    xoraddr::XorMappedAddress,
};

use super::{
    super::{
        super::fingerprint::Fingerprint,
        demux::{Kind, Pair},
        stun::decode,
    },
    *,
};

/// The pair of addresses that the first end uses.
fn pair() -> Pair {
    (address(0, 0), address(1, 0))
}

impl Lab {
    /// Has the first end dial the second one. Returns the connection there, and its first check.
    fn dial_lite(&mut self) -> (Key, Vec<u8>) {
        let certificate = &self.ends[1].endpoint.certificate.certificate;
        let fingerprint = Fingerprint::from_certificate(certificate);
        let (now, target) = (self.now, address(1, 0));
        let endpoint = &mut self.ends[0].endpoint;
        let key = endpoint.dial_address(now, target, fingerprint);
        let mut check = None;
        while check.is_none() {
            check = std::iter::from_fn(|| endpoint.poll_transmit()).last();
            let next = endpoint.next_deadline().unwrap();
            self.now = self.now.max(next);
            endpoint.handle_timeout(self.now);
        }
        (key, check.unwrap().contents)
    }

    /// Sets up the connection to the first end at the second one, as an ICE-lite server does.
    fn serve(&mut self, check: &[u8]) -> Key {
        let (now, name) = (self.now, self.name());
        let endpoint = &mut self.ends[1].endpoint;
        let key = endpoint.make_direct(now, &name, None);
        endpoint.with(now, key, |connection| {
            connection.handle_timeout(now);
            connection.show(now, (address(1, 0), address(0, 0)), MS, check);
        });
        self.collect(1);
        key
    }

    /// The name that both ends use as user and password.
    fn name(&self) -> String {
        self.ends[0].endpoint.demux.ufrags().next().unwrap().clone()
    }

    fn is_known(&self, key: Key, pair: Pair) -> bool {
        self.ends[0].endpoint.demux.is_known(&pair, key)
    }

    /// A check that is on its way to the second end.
    fn check_under_way(&self) -> Option<TransactionId> {
        self.pending.values().find_map(|delivery| match delivery {
            Delivery::Datagram { to, contents, .. } if *to == address(1, 0) => {
                match Kind::of(contents) {
                    Kind::Request { transaction, .. } => Some(TransactionId(transaction)),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    fn arrives_at_dialer(&mut self, pair: Pair, datagram: &[u8]) {
        let now = self.now;
        self.ends[0]
            .endpoint
            .handle_datagram(now, pair.0, pair.1, datagram);
        self.collect(0);
    }
}

/// Answers a check of the first end.
fn answer(password: &str, transaction: TransactionId) -> Vec<u8> {
    let (ip, port) = (address(0, 0).ip(), address(0, 0).port());
    let parts: [Box<dyn Setter>; 5] = [
        Box::new(transaction),
        Box::new(BINDING_SUCCESS),
        Box::new(XorMappedAddress { ip, port }),
        Box::new(MessageIntegrity::new_short_term_integrity(
            password.to_owned(),
        )),
        Box::new(FINGERPRINT),
    ];
    let mut message = Message::new();
    message.build(&parts).unwrap();
    message.raw
}

fn transaction(check: &[u8]) -> TransactionId {
    decode(check).unwrap().transaction_id
}

#[test]
fn an_ice_lite_server_is_connected() {
    let mut lab = Lab::new(1);
    let (a, check) = lab.dial_lite();
    let b = lab.serve(&check);
    let is_up = |lab: &mut Lab| lab.status(0, a) == Status::Connected;
    assert!(lab.run_until(SECOND, is_up));
    for (n, key) in [(0, a), (1, b)] {
        let noise = lab.ends[n].endpoint.noise(key).unwrap().0;
        lab.release_channel(n, key, noise);
        lab.believe((n, key));
    }
    lab.run(SECOND * 60);
    lab.finish((0, a), (1, b));
}

#[test]
fn only_a_signed_answer_from_where_was_asked_teaches_an_address() {
    let mut lab = Lab::new(1);
    let (key, check) = lab.dial_lite();
    let name = lab.name();
    let (asked, elsewhere) = (transaction(&check), (address(0, 0), address(1, 1)));
    for (from, answer) in [
        (pair(), answer("another password", asked)),
        (pair(), answer(&name, TransactionId::new())),
        (elsewhere, answer(&name, asked)),
    ] {
        lab.arrives_at_dialer(from, &answer);
        assert!(!lab.is_known(key, from));
    }
    lab.arrives_at_dialer(pair(), &answer(&name, asked));
    assert!(lab.is_known(key, pair()));
}

/// The engine verifies nothing of what comes from where its data goes.
#[test]
fn an_unsigned_answer_on_the_path_in_use_teaches_no_address() {
    let mut lab = Lab::new(1);
    let (key, check) = lab.dial_lite();
    lab.serve(&check);
    let is_up = |lab: &mut Lab| lab.status(0, key) == Status::Connected;
    assert!(lab.run_until(SECOND, is_up));
    let another = (address(0, 1), address(1, 0));
    lab.add_address(0, another.0);
    let is_asked = |lab: &mut Lab| lab.check_under_way().is_some();
    assert!(lab.run_until(SECOND * 5, is_asked));
    let asked = lab.check_under_way().unwrap();
    lab.arrives_at_dialer(another, &answer("another password", asked));
    assert!(!lab.is_known(key, another));
}
