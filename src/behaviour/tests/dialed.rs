//! Compares where an address is said to lead with where libp2p's transports and our own really go.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
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
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::net::{TcpListener, UdpSocket};

use crate::address::Location;

const CERTHASH: &str = "uEiDDq4_xNyDorZBH3TlGazyJdOWSwvo4PUo5YHFMrvDE8g";
const RELAY: &str = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo";

/// Only these are dialed.
const HOSTS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(127, 0, 0, 2),
    Ipv4Addr::new(127, 0, 0, 3),
    Ipv4Addr::new(127, 0, 0, 4),
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
const STACKS: [&[&str]; 7] = [
    &["/ip4/127.0.0.2", "/tcp/PORT"],
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

/// Listens at one port of all hosts.
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
            tcp.push(TcpListener::bind((host, port)).await.ok()?);
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

/// Returns the address that is dialed first: of a circuit, that of its relay, which stands before it.
fn first_hop(address: &Multiaddr) -> Multiaddr {
    let parts = address.iter();
    parts
        .take_while(|part| *part != Protocol::P2pCircuit)
        .collect()
}

/// Dials an address by each transport. Returns those that led to a host, all of them to the one that is expected.
async fn dial_everywhere(parts: &[&str], expected: IpAddr) -> Vec<&'static str> {
    let key = Keypair::generate_ed25519();
    let mut arrived = Vec::new();
    for (name, dial) in TRANSPORTS {
        let sink = Sink::new().await;
        let address = first_hop(&address(parts, sink.port));
        let Some(dialing) = dial(&key, address.clone()) else {
            continue;
        };
        let arrival = tokio::time::timeout(Duration::from_secs(20), sink.arrival());
        let host = match select(Box::pin(arrival), dialing).await {
            Either::Left((host, _)) => host.ok(),
            Either::Right(((), arrival)) => arrival.now_or_never().and_then(Result::ok),
        };
        if let Some(host) = host {
            assert_eq!(host, expected, "{address} by {name}");
            arrived.push(name);
        }
    }
    arrived
}

#[test]
fn dials_lead_where_addresses_say() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _guard = runtime.enter();
    let arrived = RefCell::new(BTreeSet::new());
    let mut runner = TestRunner::deterministic();
    let tested = runner.run(&parts(), |parts| {
        let address = address(&parts, 1);
        let Some(location) = Location::of(&address) else {
            return Ok(());
        };
        let hosts = parts.iter().filter(|part| {
            let kinds = ["/ip4/", "/ip6/", "/dns", "/memory/", "/unix/"];
            kinds.iter().any(|kind| part.starts_with(kind))
        });
        prop_assert_eq!(hosts.count(), 1, "{}", address);
        let hop = Location::of(&first_hop(&address)).and_then(|hop| hop.ip());
        if location.is_dialable()
            && let Some(ip) = hop.filter(IpAddr::is_ipv4)
        {
            let dialed = runtime.block_on(dial_everywhere(&parts, ip));
            arrived.borrow_mut().extend(dialed);
        }
        Ok(())
    });
    tested.unwrap();
    let all: &[_] = match cfg!(feature = "webrtc") {
        true => &["pxp", "quic", "tcp", "websocket"],
        false => &["quic", "tcp", "websocket"],
    };
    assert_eq!(Vec::from_iter(arrived.into_inner()), all);
}
