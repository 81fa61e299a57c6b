//! Answers who asks what its socket looks like from outside (RFC 8489). Anybody may send a request in
//! anybody's name, so an answer goes only where somebody can be, is short, and is not given often. It
//! knows nothing of connections.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use ::stun::{
    message::{BINDING_REQUEST, BINDING_SUCCESS, MESSAGE_HEADER_SIZE, Message},
    xoraddr::XorMappedAddress,
};

use super::stun::decode;
use crate::{
    config::Limits,
    rate::Bucket,
    reach::{Reach, host_of},
};

/// How long until sources are looked through again for those that need not be remembered: in less
/// time, no source earns an answer.
const PURGE_INTERVAL: Duration = Duration::from_secs(1);

/// How much longer than the request an answer may be. Without options, one to an IPv6 address would be
/// longer, so such requests have to bring a few bytes more.
const MAX_GROWTH: usize = 2;

#[derive(Debug, Default)]
pub(super) struct StunService {
    /// Those that were answered, at most [`Limits::STUN_SOURCES`].
    sources: HashMap<IpAddr, Bucket>,
    /// Of those who are not, once there was one.
    others: Option<Bucket>,
    /// Not before this, if it was done.
    next_purge: Option<Instant>,
}

impl StunService {
    /// The answer, if this is a request that deserves one.
    pub(super) fn answer(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Option<Vec<u8>> {
        let request = plain_request(datagram)?;
        let may_answer = is_somewhere(from) && self.take(now, from.ip());
        let answer = may_answer.then(|| success(&request, from))??;
        (answer.len() <= MAX_GROWTH * datagram.len()).then_some(answer)
    }

    /// Whether one more answer to `ip` is not one too many.
    fn take(&mut self, now: Instant, ip: IpAddr) -> bool {
        let source = host_of(ip);
        if self.sources.len() >= Limits::STUN_SOURCES && !self.sources.contains_key(&source) {
            if self.next_purge.is_none_or(|at| at <= now) {
                self.next_purge = Some(now + PURGE_INTERVAL);
                self.sources
                    .retain(|_, bucket| !bucket.is_full(Limits::STUN_ANSWERS, now));
            }
            if self.sources.len() >= Limits::STUN_SOURCES {
                let others = self
                    .others
                    .get_or_insert(Bucket::full(Limits::OTHER_STUN_ANSWERS, now));
                return others.take(Limits::OTHER_STUN_ANSWERS, now);
            }
        }
        let bucket = self.sources.entry(source);
        bucket
            .or_insert_with(|| Bucket::full(Limits::STUN_ANSWERS, now))
            .take(Limits::STUN_ANSWERS, now)
    }
}

/// Reads a binding request that wants nothing special: what it demands to be understood, an error would
/// have to name (RFC 8489, section 6.3.1), and nobody who wants to know its address demands anything.
fn plain_request(datagram: &[u8]) -> Option<Message> {
    let request = decode(datagram)?;
    let len = MESSAGE_HEADER_SIZE + usize::try_from(request.length).ok()?;
    let is_plain = request.typ == BINDING_REQUEST
        && request.attributes.0.iter().all(|it| it.typ.optional())
        && datagram.len() == len;
    is_plain.then_some(request)
}

/// Whether one host is there, and not many or none.
fn is_somewhere(address: SocketAddr) -> bool {
    address.port() != 0 && Reach::of_ip(address.ip()).is_some()
}

fn success(request: &Message, from: SocketAddr) -> Option<Vec<u8>> {
    let (ip, port) = (from.ip(), from.port());
    let mut answer = Message::new();
    let mapped = XorMappedAddress { ip, port };
    answer
        .build(&[
            Box::new(request.transaction_id),
            Box::new(BINDING_SUCCESS),
            Box::new(mapped),
        ])
        .ok()?;
    Some(answer.raw)
}

#[cfg(test)]
mod tests {
    use ::stun::{
        attributes::{ATTR_PADDING, ATTR_SOFTWARE, ATTR_USERNAME, AttrType},
        message::{Getter, MessageType},
    };
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::{super::stun::binding_request, *};

    const V4: &str = "9.9.9.9:5";
    const V6: &str = "[2620:fe::9]:5";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A request with these attributes, each of so many bytes.
    fn request(typ: MessageType, attributes: &[(AttrType, usize)]) -> Vec<u8> {
        let mut request = Message::new();
        let parts: [Box<dyn ::stun::message::Setter>; 2] =
            [Box::new(::stun::agent::TransactionId::new()), Box::new(typ)];
        request.build(&parts).unwrap();
        for (attribute, len) in attributes {
            request.add(*attribute, &vec![b'x'; *len]);
        }
        request.raw
    }

    fn is_answered(from: &str, request: &[u8]) -> bool {
        let answer = StunService::default().answer(Instant::now(), address(from), request);
        answer.is_some()
    }

    #[test]
    fn a_request_is_answered_with_where_it_came_from() {
        for from in [V4, V6, "127.0.0.1:1", "10.0.0.1:65535", "[fe80::1]:1"] {
            let asked = request(BINDING_REQUEST, &[(ATTR_SOFTWARE, 3)]);
            let mut service = StunService::default();
            let answer = service.answer(Instant::now(), address(from), &asked);
            let answer = decode(&answer.unwrap()).unwrap();
            let mut mapped = XorMappedAddress::default();
            mapped.get_from(&answer).unwrap();
            assert_eq!(SocketAddr::new(mapped.ip, mapped.port), address(from));
            assert_eq!(answer.typ, BINDING_SUCCESS);
            let asked = decode(&asked).unwrap();
            assert_eq!(answer.transaction_id, asked.transaction_id);
        }
    }

    #[test]
    fn an_answer_is_at_most_twice_as_long_as_the_request() {
        let bare = request(BINDING_REQUEST, &[]);
        let longer = request(BINDING_REQUEST, &[(ATTR_SOFTWARE, 0)]);
        assert_eq!((bare.len(), longer.len()), (20, 24));
        for (from, request, answered) in [
            (V4, &bare, Some(32)),
            (V4, &longer, Some(32)),
            (V6, &bare, None),
            (V6, &longer, Some(44)),
        ] {
            let mut service = StunService::default();
            let answer = service.answer(Instant::now(), address(from), request);
            let len = answer.map(|answer| answer.len());
            assert_eq!(len, answered, "{from}");
            assert!(len.is_none_or(|len| len <= 2 * request.len()));
        }
    }

    #[test]
    fn our_own_requests_are_long_enough() {
        let request = binding_request(::stun::agent::TransactionId::new()).unwrap();
        assert!(is_answered(V4, &request) && is_answered(V6, &request));
    }

    #[test]
    fn what_is_no_plain_request_is_not_answered() {
        let good = request(BINDING_REQUEST, &[(ATTR_SOFTWARE, 8)]);
        assert!(is_answered(V4, &good));
        for bad in [
            request(BINDING_SUCCESS, &[]),
            request(::stun::message::BINDING_ERROR, &[]),
            request(::stun::message::MessageType::default(), &[]),
            request(BINDING_REQUEST, &[(ATTR_USERNAME, 3)]),
            request(BINDING_REQUEST, &[(ATTR_PADDING, 8)]),
            request(BINDING_REQUEST, &[(AttrType(0x7fff), 4)]),
            [&good[..], &[0; 4]].concat(),
            good[..good.len() - 1].to_vec(),
            [&good[..4], &[0; 4], &good[8..]].concat(), // no magic cookie
        ] {
            assert!(!is_answered(V4, &bad), "{bad:?}");
        }
        for (len, is_short_enough) in [(544, true), (548, true), (552, false)] {
            let request = request(BINDING_REQUEST, &[(ATTR_SOFTWARE, len - 24)]);
            assert_eq!(request.len(), len);
            assert_eq!(is_answered(V4, &request), is_short_enough, "{len}");
        }
    }

    #[test]
    fn nobody_is_answered_where_nobody_or_many_can_be() {
        let request = request(BINDING_REQUEST, &[(ATTR_SOFTWARE, 8)]);
        for from in [
            "9.9.9.9:0",
            "0.0.0.0:5",
            "224.0.0.1:5",
            "255.255.255.255:5",
            "[::]:5",
            "[ff02::1]:5",
            "[2620:fe::9]:0",
        ] {
            assert!(!is_answered(from, &request), "{from}");
        }
    }

    #[test]
    fn garbage_of_any_kind_is_survived() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut service, now) = (StunService::default(), Instant::now());
        let good = request(BINDING_REQUEST, &[(ATTR_SOFTWARE, 5), (ATTR_SOFTWARE, 2)]);
        for _ in 0..200_000 {
            let mut datagram = good.clone();
            datagram.truncate(rng.random_range(0..=good.len()));
            for _ in 0..rng.random_range(0..4) {
                let len = datagram.len().max(1);
                if let Some(byte) = datagram.get_mut(rng.random_range(0..len)) {
                    *byte = rng.random();
                }
            }
            service.answer(now, address(V4), &datagram);
        }
    }

    #[test]
    fn a_source_is_answered_10_times_at_once_and_then_once_a_second() {
        let request = request(BINDING_REQUEST, &[(ATTR_SOFTWARE, 8)]);
        for sources in [
            ["9.9.9.9:1", "9.9.9.9:2"],
            ["[2620:fe::1]:1", "[2620:fe:0:0:ffff::2]:1"],
        ] {
            let (mut service, start) = (StunService::default(), Instant::now());
            let mut answered = |now, count: usize| {
                let from = |n| address(sources[n % 2]);
                let answers = (0..count).map(|n| service.answer(now, from(n), &request));
                answers.filter(Option::is_some).count()
            };
            assert_eq!([9, 1, 1].map(|count| answered(start, count)), [9, 1, 0]);
            let later = start + Duration::from_millis(999);
            assert_eq!(answered(later, 1), 0);
            assert_eq!(answered(start + Duration::from_secs(1), 2), 1);
            assert_eq!(answered(start + Duration::from_secs(60), 20), 10);
            for other in ["9.9.9.8:1", "[2620:fe:0:1::1]:1"] {
                let other = address(other);
                assert!(service.answer(start, other, &request).is_some());
            }
        }
    }

    #[test]
    fn at_most_1024_sources_are_remembered_and_100_others_are_answered_a_second() {
        let request = request(BINDING_REQUEST, &[]);
        let source = |n: usize| {
            let [.., a, b] = n.to_be_bytes();
            SocketAddr::from(([9, 9, a, b], 1))
        };
        let (mut service, start) = (StunService::default(), Instant::now());
        let mut is_answered = |now, n| service.answer(now, source(n), &request).is_some();
        for n in 0..1200 {
            assert_eq!(is_answered(start, n), n < 1024 + 100, "{n}");
        }
        assert!(is_answered(start, 0), "who is remembered is answered");
        let later = start + Duration::from_millis(100);
        assert_eq!((0..20).filter(|n| is_answered(later, 2000 + n)).count(), 10);
        assert!(is_answered(start + Duration::from_secs(1), 1024));
        assert_eq!(service.sources.len(), 2, "the others had asked once only");
    }
}
