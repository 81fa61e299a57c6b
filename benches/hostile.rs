//! What an attack costs: one link sends each kind of frame as fast as it can, while two honest pairs go on being
//! introduced to each other through the same node. That node has a process of its own, and so has the attacker.
//! Read from Linux's `/proc`.

mod common;
#[allow(clippy::all, dead_code, missing_docs, unreachable_pub)]
#[path = "../src/wire/generated.rs"]
mod proto;
#[path = "hostile/strangers.rs"]
mod strangers;

use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, future::join_all};
use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder,
    core::SignedEnvelope,
    identity::Keypair,
    multiaddr::Protocol,
    noise,
    swarm::{
        NetworkBehaviour,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};
use peak_alloc::PeakAlloc;
use prost::Message;
use proto::{Frame, frame::Body};
use pxp::{Candidate, Incoming, NetworkId, PROTOCOL_NAME};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    time::{sleep, timeout},
};

use self::common::{PATIENCE, Process, Result, full_or};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const ATTACK_TIME: Duration = Duration::from_secs(10);
const SHORT_ATTACK_TIME: Duration = Duration::from_millis(200);
/// Longer than anything is kept that an attack has left.
const RECOVERY_TIME: Duration = Duration::from_secs(15);
/// How often each honest pair is introduced: less often than a single peer may ask.
const PACE: Duration = Duration::from_millis(300);
/// Links that never say anything, and that say hello and nothing more.
const SILENT_LINKS: usize = 500;
const SHORT_SILENT_LINKS: usize = 5;
const SALT: [u8; 16] = [7; 16];

/// The first of these is no frame of ours: what the same flood costs where a protocol reads and forgets.
const KINDS: [&str; 16] = [
    "plain",
    "garbage",
    "hello",
    "get_peers",
    "walk",
    "peers",
    "offer",
    "signal",
    "long_signal",
    "token",
    "refuse",
    "update",
    "ping",
    "pong",
    "deaf",
    "strangers",
];

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments = arguments.iter().map(String::as_str);
    let arguments: Vec<_> = arguments.filter(|it| !it.starts_with('-')).collect();
    match arguments[..] {
        ["victim"] => serve().await,
        ["attacker", kind, victim] => attack(kind, victim.parse()?).await,
        ["silent", kind, victim] => fall_silent(kind, victim.parse()?).await,
        _ => measure(&arguments).await,
    }
}

fn attack_time() -> Duration {
    full_or(SHORT_ATTACK_TIME, ATTACK_TIME)
}

fn silent_links() -> usize {
    full_or(SHORT_SILENT_LINKS, SILENT_LINKS)
}

fn candidates() -> Result<[Keypair; 2]> {
    Ok([
        Keypair::ed25519_from_bytes([1; 32])?,
        Keypair::ed25519_from_bytes([2; 32])?,
    ])
}

/// The protocol that reads and forgets.
const PLAIN: StreamProtocol = StreamProtocol::new("/plain");

#[derive(NetworkBehaviour)]
struct Victim {
    pxp: pxp::Behaviour,
    plain: libp2p_stream::Behaviour,
}

/// Prints its address, and then what it takes whenever it is asked.
async fn serve() -> Result<()> {
    // Of 500 more that it might name each costs an asker as much as it does, which is not the question here.
    let candidates = candidates()?.map(|key| PeerId::from(key.public()));
    let lead = move |_: &NetworkId, _: &PeerId, _| candidates.map(Candidate::peer).to_vec();
    let config = common::config()?.with_candidates(lead);
    let mut node = common::node_with(Keypair::generate_ed25519(), config, |pxp| Victim {
        pxp,
        plain: libp2p_stream::Behaviour::new(),
    })?;
    let mut streams = node.behaviour().plain.new_control().accept(PLAIN)?;
    tokio::spawn(async move {
        while let Some((_, mut stream)) = streams.next().await {
            let mut bytes = [0; 2048];
            while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
        }
    });
    for address in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/webrtc-direct"] {
        common::print(&common::listen(&mut node, address).await?)?;
    }
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            _ = node.select_next_some() => {}
            line = lines.next_line() => {
                if line?.is_none() {
                    return Ok(());
                }
                common::print(format!("{} {} {}", node.behaviour().pxp.peers().len(), HEAP.current_usage(), HEAP.peak_usage()))?;
                HEAP.reset_peak_usage();
            }
        }
    }
}

async fn measure(arguments: &[&str]) -> Result<()> {
    let mut victim = Process::start(&["victim"])?;
    let (address, direct) = (victim.line()?, victim.line()?);
    for key in candidates()? {
        let mut candidate = common::node(key, common::config()?)?;
        common::join(&mut candidate, &address).await?;
        tokio::spawn(async move { match common::run(&mut candidate).await {} });
    }
    let mut askers = Vec::new();
    for _ in 0..2 {
        let config = common::config()?.with_incoming(Incoming::Refuse);
        let mut asker = common::node(Keypair::generate_ed25519(), config)?;
        common::join(&mut asker, &address).await?;
        askers.push(asker);
    }
    let chosen = |kind: &&&str| arguments.is_empty() || arguments.contains(kind);
    let (attack_time, silent_links) = (attack_time(), silent_links());
    let recovery_time = full_or(attack_time, RECOVERY_TIME);
    // Everything that is there anyhow has come then.
    introduce(&mut askers, attack_time).await?;
    for kind in KINDS.iter().filter(chosen) {
        Usage::of(&mut victim)?;
        let before = introduce(&mut askers, attack_time / 2).await?;
        let usage = Usage::of(&mut victim)?;
        let target = match *kind {
            "strangers" => &direct,
            _ => &address,
        };
        let mut attacker = Process::start(&["attacker", kind, target])?;
        attacker.line()?;
        let start = Instant::now();
        let during = introduce(&mut askers, attack_time).await?;
        let elapsed = common::milliseconds(start);
        let attacked = Usage::of(&mut victim)?;
        let sent = attacker.line()?;
        drop(attacker);
        introduce(&mut askers, recovery_time).await?;
        let recovered = Usage::of(&mut victim)?;
        let after = introduce(&mut askers, attack_time / 2).await?;
        println!("{kind:<11} {sent}; heap {usage:?}, {attacked:?}, {recovered:?}");
        println!(
            "RESULT hostile kind={kind} honest_ms_before={:.2} honest_ms_during={:.2} honest_ms_after={:.2} failed={} \
             heap_growth_kb={:.0} heap_left_kb={:.0} cpu_share={:.2}",
            common::median(&before.times),
            common::median(&during.times),
            common::median(&after.times),
            before.failed + during.failed + after.failed,
            attacked.peak - usage.peak,
            recovered.current - usage.current,
            (attacked.cpu_ms - usage.cpu_ms) / elapsed,
        );
    }
    for kind in ["no_hello", "only_hello"].iter().filter(chosen) {
        let usage = Usage::of(&mut victim)?;
        let mut silent = Process::start(&["silent", kind, &address])?;
        silent.line()?;
        let start = Instant::now();
        let during = introduce(&mut askers, attack_time / 2).await?;
        let gone = silent.line()?;
        let seconds = start.elapsed().as_secs_f64();
        introduce(&mut askers, PACE).await?;
        let after = Usage::of(&mut victim)?;
        println!("{kind:<11} {gone}; heap {usage:?}, {after:?}");
        println!(
            "RESULT hostile kind={kind} links={silent_links} gone_s={seconds:.1} honest_ms_during={:.2} failed={} peers_left={}",
            common::median(&during.times),
            during.failed,
            after.peers - usage.peers,
        );
    }
    Ok(())
}

struct Introductions {
    times: Vec<f64>,
    failed: usize,
}

/// Has each asker find a candidate again and again.
async fn introduce(askers: &mut [Swarm<pxp::Behaviour>], time: Duration) -> Result<Introductions> {
    let end = Instant::now() + time;
    let results = askers.iter_mut().map(|asker| async move {
        let (mut times, mut failed) = (Vec::new(), 0);
        while Instant::now() < end {
            let start = Instant::now();
            match timeout(PATIENCE, common::get_new_peer(asker)).await? {
                Ok((peer, _)) => {
                    times.push(common::milliseconds(start));
                    common::disconnect(asker, peer).await;
                }
                Err(error) => {
                    eprintln!("not introduced: {error}");
                    failed += 1;
                }
            }
            let rest = tokio::time::Instant::from_std(end.min(start + PACE));
            let _ = tokio::time::timeout_at(rest, common::run(asker)).await;
        }
        Result::Ok((times, failed))
    });
    let mut all = Introductions {
        times: Vec::new(),
        failed: 0,
    };
    for result in join_all(results).await {
        let (times, failed) = result?;
        all.times.extend(times);
        all.failed += failed;
    }
    Ok(all)
}

/// What the victim has, and has used.
#[derive(Debug)]
struct Usage {
    peers: usize,
    /// In KiB, as the peak since the last time.
    current: f64,
    peak: f64,
    cpu_ms: f64,
}

impl Usage {
    fn of(victim: &mut Process) -> Result<Self> {
        victim.say("report")?;
        let line = victim.line()?;
        let mut words = line.split(' ');
        let mut next = || words.next().ok_or("no report");
        let peers = next()?.parse()?;
        let (current, peak) = (
            next()?.parse::<f64>()? / 1024.0,
            next()?.parse::<f64>()? / 1024.0,
        );
        let cpu_ms = common::cpu_ms(victim.id())?;
        Ok(Self {
            peers,
            current,
            peak,
            cpu_ms,
        })
    }
}

/// A remote that speaks no peer exchange by itself.
struct Remote {
    local: PeerId,
    victim: PeerId,
    control: libp2p_stream::Control,
}

impl Remote {
    async fn connect(victim: &Multiaddr) -> Result<Self> {
        let Some(Protocol::P2p(peer)) = victim.iter().last() else {
            return Err("whose address?".into());
        };
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                noise::Config::new,
                yamux::Config::default,
            )?
            .with_behaviour(|_| libp2p_stream::Behaviour::new())?
            .build();
        let local = *swarm.local_peer_id();
        let control = swarm.behaviour().new_control();
        let address = victim.clone();
        let opts = move || {
            let opts = DialOpts::peer_id(peer).addresses(vec![address.clone()]);
            opts.condition(PeerCondition::Disconnected).build()
        };
        swarm.dial(opts())?;
        common::until(&mut swarm, |_| true).await;
        while !swarm.is_connected(&peer) {
            swarm.select_next_some().await;
        }
        tokio::spawn(async move {
            loop {
                swarm.select_next_some().await;
                if !swarm.is_connected(&peer) {
                    let _ = swarm.dial(opts());
                }
            }
        });
        Ok(Self {
            local,
            victim: peer,
            control,
        })
    }

    async fn open(&mut self, protocol: StreamProtocol) -> Result<Stream> {
        Ok(self.control.open_stream(self.victim, protocol).await?)
    }

    /// The offer of somebody new, who wants to come.
    fn offer(&self, exchange: Vec<u8>) -> Option<Vec<u8>> {
        let key = Keypair::generate_ed25519();
        let body = proto::SignalBody {
            to: self.victim.to_bytes(),
            network: tag(&key.public().to_peer_id(), &exchange),
            exchange: exchange.clone(),
            body: Some(proto::signal_body::Body::Offer(proto::Offer {
                sdp: SDP.to_owned(),
                addresses: Vec::new(),
            })),
        };
        let (domain, kind) = (
            "libp2p-pxp-signal".to_owned(),
            b"/libp2p/pxp/signal/1".to_vec(),
        );
        let envelope = SignedEnvelope::new(&key, domain, kind, body.encode_to_vec()).ok()?;
        let envelope = envelope.into_protobuf_encoding();
        Some(frame(Body::Signal(proto::Signal {
            session: exchange,
            envelope,
        })))
    }

    fn hello(&self) -> Vec<u8> {
        frame(Body::Hello(proto::Hello {
            salt: SALT.to_vec(),
            networks: vec![tag(&self.local, &SALT)],
            accepting: false,
            stun_port: 0,
        }))
    }
}

/// An offer as an honest stranger would make it, but that nobody is there.
const SDP: &str = "v=0\r\n\
    o=- 1 2 IN IP4 0.0.0.0\r\n\
    s=-\r\n\
    t=0 0\r\n\
    a=group:BUNDLE 0\r\n\
    m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
    c=IN IP4 0.0.0.0\r\n\
    a=ice-ufrag:abcd\r\n\
    a=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
    a=ice-options:trickle\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:\
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=setup:actpass\r\n\
    a=mid:0\r\n\
    a=sctp-port:5000\r\n\
    a=max-message-size:65536\r\n\
    a=candidate:1 1 udp 2130706175 127.0.0.1 9 typ host\r\n";

/// How a member of the network is recognised.
fn tag(sender: &PeerId, salt: &[u8]) -> Vec<u8> {
    let mut tag = Sha256::new();
    tag.update(b"pxp-network");
    tag.update(sender.to_bytes());
    tag.update(salt);
    tag.update(b"bench");
    tag.finalize()[..16].to_vec()
}

fn frame(body: Body) -> Vec<u8> {
    Frame { body: Some(body) }.encode_length_delimited_to_vec()
}

/// Sends frames of one kind, over a new link whenever the last has ended, and tells how many.
async fn attack(kind: &str, victim: Multiaddr) -> Result<()> {
    if kind == "strangers" {
        common::print("ready")?;
        let flood = move || strangers::flood(&victim, Instant::now() + attack_time());
        let sent = tokio::task::spawn_blocking(flood).await??;
        return common::print(format!("{sent} datagrams"));
    }
    let mut remote = Remote::connect(&victim).await?;
    common::print("ready")?;
    let end = Instant::now() + attack_time();
    let (mut links, mut frames) = (0, 0);
    while Instant::now() < end {
        let protocol = if kind == "plain" {
            PLAIN
        } else {
            PROTOCOL_NAME
        };
        let Ok(stream) = remote.open(protocol).await else {
            sleep(Duration::from_millis(1)).await;
            continue;
        };
        links += 1;
        let left = end.saturating_duration_since(Instant::now());
        let _ = timeout(left, flood(kind, &remote, stream, &mut frames)).await;
    }
    common::print(format!("{frames} frames over {links} links"))
}

async fn flood(kind: &str, remote: &Remote, stream: Stream, frames: &mut u64) -> Result<()> {
    let (mut read, mut write) = stream.split();
    write.write_all(&remote.hello()).await?;
    let (tokens, mut told) = tokio::sync::mpsc::unbounded_channel();
    let reads = async {
        let mut buffer = Vec::new();
        let mut bytes = vec![0; 16 * 1024];
        loop {
            match kind {
                "deaf" => std::future::pending().await,
                _ => match read.read(&mut bytes).await? {
                    0 => return Result::Ok(()),
                    count => buffer.extend_from_slice(&bytes[..count]),
                },
            }
            let mut rest = &buffer[..];
            while let Some((len, prefix)) = length(rest)
                && let Some(body) = rest.get(prefix..prefix + len)
            {
                if let Ok(Frame {
                    body: Some(Body::Peers(peers)),
                }) = Frame::decode(body)
                {
                    let handed_out = peers
                        .candidates
                        .into_iter()
                        .map(|candidate| candidate.token);
                    handed_out.for_each(|token| drop(tokens.send(token)));
                }
                rest = &rest[prefix + len..];
            }
            buffer = rest.to_vec();
        }
    };
    let writes = async {
        loop {
            let mut batch = Vec::new();
            while batch.len() < 32 * 1024 {
                batch.extend(match kind {
                    "token" => match told.try_recv() {
                        Ok(token) => signal(token, 200),
                        Err(_) => made(remote, "get_peers", *frames),
                    },
                    _ => made(remote, kind, *frames),
                });
                *frames += 1;
            }
            write.write_all(&batch).await?;
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        result = reads => result,
        result = writes => result,
    }
}

/// The length prefix at the start: what it says, and how long it is.
fn length(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.iter().position(|byte| byte & 0x80 == 0)?;
    let len = prost::decode_length_delimiter(bytes.get(..=end)?).ok()?;
    Some((len, end + 1))
}

fn signal(session: Vec<u8>, len: usize) -> Vec<u8> {
    let envelope = vec![0x5a; len];
    frame(Body::Signal(proto::Signal { session, envelope }))
}

fn made(remote: &Remote, kind: &str, n: u64) -> Vec<u8> {
    let id = u128::from(n).to_be_bytes().to_vec();
    let get_peers = |hops| {
        frame(Body::GetPeers(proto::GetPeers {
            request: n as u32,
            network: 0,
            limit: 8,
            hops,
        }))
    };
    match kind {
        "garbage" => vec![0x55; 100],
        "hello" => remote.hello(),
        "get_peers" | "deaf" => get_peers(0),
        "walk" => get_peers(3),
        "peers" => frame(Body::Peers(proto::Peers {
            request: n as u32 % 64,
            candidates: vec![
                proto::PeerCandidate {
                    peer: remote.local.to_bytes(),
                    token: id,
                    accepting: true,
                    addresses: Vec::new(),
                };
                8
            ],
        })),
        "offer" => remote.offer(id).unwrap_or_default(),
        "signal" => signal(id, 200),
        "long_signal" | "plain" => signal(id, 16_000),
        "refuse" => frame(Body::Refuse(proto::Refuse {
            reason: 4,
            subject: Some(proto::refuse::Subject::Session(id)),
        })),
        "update" => frame(Body::Update(proto::Update {
            networks: vec![id; 16],
            accepting: n.is_multiple_of(2),
        })),
        "pong" => frame(Body::Pong(proto::Pong { nonce: n })),
        _ => frame(Body::Ping(proto::Ping { nonce: n })),
    }
}

/// Opens links of different peers that say nothing from then on, and waits until they have ended.
async fn fall_silent(kind: &str, victim: Multiaddr) -> Result<()> {
    let mut links = Vec::new();
    for _ in 0..silent_links() {
        let mut remote = Remote::connect(&victim).await?;
        let mut stream = remote.open(PROTOCOL_NAME).await?;
        if kind == "only_hello" {
            stream.write_all(&remote.hello()).await?;
        }
        links.push((remote, stream));
    }
    common::print("ready")?;
    let start = Instant::now();
    let ends = links.iter_mut().map(|(_, stream)| async {
        // Lets the protocol be agreed on; whatever is said is not answered.
        let _ = stream.flush().await;
        let mut bytes = [0; 1024];
        while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
        start.elapsed().as_secs_f64()
    });
    let ends = join_all(ends).await;
    common::print(format!(
        "{} links ended {:.1} s after the last was there",
        ends.len(),
        common::quantile(&ends, 1.0)
    ))
}
