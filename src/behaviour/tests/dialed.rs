//! Compares where an address is said to lead with where libp2p's transports and our own really go.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    io::ErrorKind::AddrNotAvailable,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Either, select, select_all},
};
use libp2p::{
    Multiaddr,
    core::{
        Endpoint,
        transport::{DialOpts, PortUse},
    },
    identity::Keypair,
    multiaddr::Protocol,
    tcp, websocket,
};
use proptest::{
    prelude::*,
    test_runner::{TestRng, TestRunner},
};
use tokio::net::{TcpListener, UdpSocket};

use crate::address::Location;

const CERTHASH: &str = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";
const RELAY: &str = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";

/// All hosts to which the addresses may lead. `localhost` is the first and the last.
const HOSTS: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4)),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Parts of addresses: each protocol of multiaddr at least once.
const PARTS: [&str; 50] = [
    "/ip4/127.0.0.2",
    "/ip4/127.0.0.3",
    "/ip4/127.0.0.4",
    "/ip6/::1",
    "/ip6/::ffff:127.0.0.3",
    "/ip6/64:ff9b::7f00:3",
    "/ip6zone/lo",
    "/ipcidr/8",
    "/dns/localhost",
    "/dns4/localhost",
    "/dns6/localhost",
    "/dnsaddr/localhost",
    "/memory/7",
    "/unix/%2Ftmp%2Fsocket",
    "/tcp/PORT",
    "/tcp/0",
    "/udp/PORT",
    "/dccp/PORT",
    "/sctp/PORT",
    "/udt",
    "/utp",
    "/quic",
    "/quic-v1",
    "/webtransport",
    "/webrtc",
    "/webrtc-direct",
    "/certhash/CERTHASH",
    "/p2p-webrtc-direct",
    "/p2p-webrtc-star",
    "/p2p-websocket-star",
    "/p2p-stardust",
    "/tls",
    "/noise",
    "/sni/localhost",
    "/ws",
    "/wss",
    "/x-parity-ws/%2Fadmin",
    "/x-parity-wss/%2Fadmin",
    "/http",
    "/https",
    "/http-path/admin",
    "/p2p/RELAY",
    "/p2p-circuit",
    "/p2p-circuit/p2p/RELAY",
    "/p2p/RELAY/p2p-circuit",
    "/onion/aaimaq4ygg2iegci:80",
    "/onion3/vww6ybal4bd7szmgncyruucpgfkqahzddi37ktceo3ah7ngmcopnpyyd:1234",
    "/garlic32/566niximlxdzpanmn4qouucvua3k7neniwss47li5r6ugoertzuq",
    "/garlic64/GARLIC",
    "/unix/socket",
];

/// Addresses that are right, to be spoilt.
const STACKS: [&[&str]; 11] = [
    &["/ip4/127.0.0.2", "/tcp/PORT"],
    &["/ip6/::1", "/tcp/PORT"],
    &["/ip6/::1", "/udp/PORT", "/quic-v1"],
    &["/dns/localhost", "/tcp/PORT"],
    &["/dns4/localhost", "/tcp/PORT", "/ws"],
    &["/ip4/127.0.0.2", "/tcp/PORT", "/ws"],
    &["/ip4/127.0.0.2", "/tcp/PORT", "/tls", "/ws"],
    &[
        "/ip4/127.0.0.2",
        "/tcp/PORT",
        "/tls",
        "/sni/localhost",
        "/ws",
    ],
    &["/ip4/127.0.0.2", "/udp/PORT", "/quic-v1"],
    &[
        "/ip4/127.0.0.2",
        "/udp/PORT",
        "/webrtc-direct",
        "/certhash/CERTHASH",
    ],
    &["/memory/7"],
];

/// A right address in which up to four parts were replaced, put in or left out.
fn parts() -> impl Strategy<Value = Vec<&'static str>> {
    let part = prop::sample::select(PARTS.as_slice());
    let changes = prop::collection::vec((0..3, any::<prop::sample::Index>(), part), 0..=4);
    (prop::sample::select(STACKS.as_slice()), changes).prop_map(|(stack, changes)| {
        let mut parts = stack.to_vec();
        for (change, at, part) in changes {
            match change {
                0 => parts.insert(at.index(parts.len() + 1), part),
                1 if !parts.is_empty() => {
                    let at = at.index(parts.len());
                    parts[at] = part;
                }
                _ if !parts.is_empty() => drop(parts.remove(at.index(parts.len()))),
                _ => {}
            }
        }
        parts
    })
}

fn address(parts: &[&str], port: u16) -> Multiaddr {
    let text = parts.concat().replace("PORT", &port.to_string());
    let text = text.replace("CERTHASH", CERTHASH).replace("RELAY", RELAY);
    let text = text.replace("GARLIC", &"A".repeat(516));
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// Listens at one port of all hosts, as far as the machine has them: not all have IPv6.
struct Sink {
    port: u16,
    tcp: Vec<TcpListener>,
    udp: Vec<UdpSocket>,
}

impl Sink {
    async fn new() -> Self {
        loop {
            let probe = TcpListener::bind((HOSTS[0], 0)).await.unwrap();
            let port = probe.local_addr().unwrap().port();
            drop(probe);
            if let Some(sink) = Self::at(port).await {
                return sink;
            }
        }
    }

    async fn at(port: u16) -> Option<Self> {
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        for host in HOSTS {
            match TcpListener::bind((host, port)).await {
                Ok(listener) => tcp.push(listener),
                Err(error) if error.kind() == AddrNotAvailable => continue,
                Err(_) => return None,
            }
            udp.push(UdpSocket::bind((host, port)).await.ok()?);
        }
        Some(Self { port, tcp, udp })
    }

    /// Waits for whatever comes, and returns the host at which it came.
    async fn arrival(&self) -> IpAddr {
        let tcp = self.tcp.iter().map(|listener| {
            let come = async { listener.accept().await.and_then(|_| listener.local_addr()) };
            come.boxed()
        });
        let udp = self.udp.iter().map(|socket| {
            let come = async {
                socket
                    .recv_from(&mut [0])
                    .await
                    .and_then(|_| socket.local_addr())
            };
            come.boxed()
        });
        select_all(tcp.chain(udp)).await.0.unwrap().ip()
    }
}

/// Dials by one transport. Returns `None` if the address is not for it.
type Dial = fn(&Keypair, Multiaddr) -> Option<BoxFuture<'static, ()>>;

fn start<T>(mut transport: T, address: Multiaddr) -> Option<BoxFuture<'static, ()>>
where
    T: libp2p::Transport<Dial: Send, Output: Send, Error: Send> + Send + 'static,
{
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let dial = transport.dial(address, opts).ok()?;
    // A transport that is gone dials no more.
    Some(async move { drop((dial.await, transport)) }.boxed())
}

fn dns() -> libp2p::dns::tokio::Transport<tcp::tokio::Transport> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default());
    libp2p::dns::tokio::Transport::system(tcp).unwrap()
}

const TRANSPORTS: [(&str, Dial); 4] = [
    ("tcp", |_, address| start(dns(), address)),
    ("websocket", |_, address| {
        start(websocket::Config::new(dns()), address)
    }),
    ("quic", |key, address| {
        let config = libp2p::quic::Config::new(key);
        start(libp2p::quic::tokio::Transport::new(config), address)
    }),
    ("pxp", |key, address| {
        let config = crate::Config::new("n".parse().unwrap());
        start(crate::new(key, config).0, address)
    }),
];

/// Returns what is dialed of an address: of a circuit, first its relay, whose address stands before it.
fn hops(address: &Multiaddr) -> Vec<Multiaddr> {
    let parts = address.iter();
    let relay: Multiaddr = parts
        .take_while(|part| *part != Protocol::P2pCircuit)
        .collect();
    match relay == *address {
        true => vec![relay],
        false => vec![relay, address.clone()],
    }
}

/// A transport, and how the host was named to which it led.
type Arrival = (&'static str, &'static str);

/// Dials an address by each transport. Returns those that led to a host, all of them to the one that is expected: the
/// IP address, or whatever `localhost` may be.
async fn dial_everywhere(parts: &[&str], expected: Option<IpAddr>) -> Vec<Arrival> {
    let key = Keypair::generate_ed25519();
    let kind = match expected {
        Some(IpAddr::V4(_)) => "ip4",
        Some(IpAddr::V6(_)) => "ip6",
        None => "name",
    };
    let mut arrived = Vec::new();
    for (name, dial) in TRANSPORTS {
        let sink = Sink::new().await;
        for hop in hops(&address(parts, sink.port)) {
            let Some(dialing) = dial(&key, hop.clone()) else {
                continue;
            };
            let arrival = tokio::time::timeout(Duration::from_secs(20), sink.arrival());
            let host = match select(Box::pin(arrival), dialing).await {
                Either::Left((host, _)) => host.ok(),
                Either::Right(((), arrival)) => arrival.now_or_never().and_then(Result::ok),
            };
            if let Some(host) = host {
                let is_expected = match expected {
                    Some(ip) => host == ip,
                    None => [HOSTS[0], HOSTS[4]].contains(&host),
                };
                assert!(is_expected, "{hop} by {name} led to {host}");
                arrived.push((name, kind));
            }
        }
    }
    arrived
}

#[test]
fn dials_lead_where_addresses_say() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let arrived = RefCell::new(BTreeSet::new());
    let config = ProptestConfig::with_cases(1024);
    let rng = TestRng::deterministic_rng(config.rng_algorithm);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let tested = runner.run(&parts(), |parts| {
        let address = address(&parts, 1);
        let relay = Location::of(&hops(&address)[0]);
        if let Some(location) = Location::of(&address)
            && location.is_dialable()
            && address.iter().next() != Some(Protocol::Memory(7))
        {
            let ip = relay.and_then(|relay| relay.ip());
            let dialed = runtime.block_on(dial_everywhere(&parts, ip));
            arrived.borrow_mut().extend(dialed);
        }
        Ok(())
    });
    tested.unwrap();
    let arrived = arrived.into_inner();
    let mut all = vec![
        ("tcp", "ip4"),
        ("tcp", "name"),
        ("websocket", "ip4"),
        ("websocket", "name"),
        ("quic", "ip4"),
    ];
    if cfg!(feature = "webrtc") {
        all.push(("pxp", "ip4"));
    }
    if std::net::TcpListener::bind((HOSTS[4], 0)).is_ok() {
        all.extend([("tcp", "ip6"), ("quic", "ip6")]);
    }
    assert!(all.iter().all(|it| arrived.contains(it)), "{arrived:?}");
}
