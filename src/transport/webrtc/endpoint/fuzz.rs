//! Whatever descriptions, candidates and datagrams a fuzzer thinks of, and those of an honest other end that it
//! has damaged.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use if_watch::IpNet;
use libp2p::PeerId;

pub use self::strangers::strangers;
pub use super::association::fuzz::association;
use super::{ChannelId, Endpoint, Event, Key};
use crate::{
    reach::Reach,
    script::Script,
    signaling::{Command, Notice, SetupId},
};

pub(super) mod strangers;

const PORT: u16 = 4000;

/// More operations than this add nothing but time.
const MAX_OPERATIONS: usize = 100;

/// Two ends, and a network that a fuzzer is.
struct World {
    now: Instant,
    ends: [Endpoint; 2],
    peers: [PeerId; 2],
    setups: u64,
    /// What a swarm would own.
    connections: Vec<(usize, Key)>,
    channels: Vec<(usize, Key, ChannelId)>,
    /// What becomes of the next signals and datagrams.
    fates: VecDeque<u8>,
    /// What somebody else was sent last, by where that is.
    sent: HashMap<SocketAddr, Vec<u8>>,
    /// Who has answered what it was sent.
    answered: HashSet<IpAddr>,
}

/// Sets up connections by signals and over datagrams that nobody vouches for. Whatever comes, nothing is left in
/// the end.
pub fn setup(bytes: &[u8]) {
    play(bytes, World::act);
}

fn play(bytes: &[u8], act: impl Fn(&mut World, &mut Script<'_>) -> Option<()>) {
    let mut script = Script(bytes);
    let (Some(one), Some(other)) = (Endpoint::new(), Endpoint::new()) else {
        return;
    };
    let mut world = World {
        now: Instant::now(),
        ends: [one, other],
        peers: [PeerId::random(), PeerId::random()],
        setups: 0,
        connections: Vec::new(),
        channels: Vec::new(),
        fates: VecDeque::new(),
        sent: HashMap::new(),
        answered: HashSet::from([address(0).ip()]),
    };
    for n in 0..2 {
        let network = IpNet::new(address(n).ip(), 24).unwrap();
        world.ends[n].add_address(world.now, address(n), network);
        world.ends[n].serve_stun(PORT);
    }
    for _ in 0..MAX_OPERATIONS {
        if act(&mut world, &mut script).is_none() {
            break;
        }
        world.settle();
    }
    world.end();
}

fn address(n: usize) -> SocketAddr {
    SocketAddr::from(([9, 0, 0, n as u8], PORT))
}

impl World {
    fn act(&mut self, script: &mut Script<'_>) -> Option<()> {
        let (operation, now) = (script.below(10)?, self.now);
        let n = script.below(2)?;
        let reach = [Reach::Global, Reach::Machine][n];
        match operation {
            0 => {
                self.setups += 1;
                let setup = self.named(n);
                self.ends[n].handle_command(now, Command::Offer { setup, reach });
            }
            1 => {
                self.setups += 1;
                let (setup, sdp) = (self.named(n), text(script)?);
                self.ends[n].handle_command(now, Command::Answer { setup, reach, sdp });
            }
            2 => {
                let (setup, sdp) = (self.named(n), text(script)?);
                self.ends[n].handle_command(now, Command::Accept { setup, sdp });
            }
            3 => {
                let (setup, candidate) = (self.named(n), text(script)?);
                self.ends[n].handle_command(now, Command::Candidate { setup, candidate });
            }
            4 => {
                let setup = self.named(n);
                self.ends[n].handle_command(now, Command::Abandon { setup });
            }
            5 => {
                let remote = address(script.below(3)?);
                self.ends[n].handle_datagram(now, address(n), remote, script.bytes()?);
            }
            6 => self.run(Duration::from_millis(10 * u64::from(script.byte()?))),
            7 => self.fates.extend(script.bytes()?.iter().take(64)),
            8 => {
                let dialed = self.ends[n].dial(&self.peers[1 - n]);
                self.connections.extend(dialed.map(|key| (n, key)));
            }
            _ => self.talk(n, script.bytes()?),
        }
        Some(())
    }

    /// Reads what has come over new channels, and writes to another one.
    fn talk(&mut self, n: usize, bytes: &[u8]) {
        let now = self.now;
        for key in self.ends[n].keys() {
            if let Some(channel) = self.ends[n].open(now, key) {
                self.ends[n].write(now, key, channel, bytes);
                self.channels.push((n, key, channel));
            }
            while let Some(channel) = self.ends[n].accept(key) {
                self.ends[n].read(now, key, channel, &mut [0; 100]);
                self.channels.push((n, key, channel));
            }
        }
    }

    /// The newest set-up, as this end calls it.
    fn named(&self, n: usize) -> SetupId {
        let (peer, number) = (self.peers[1 - n], self.setups);
        SetupId { peer, number }
    }

    /// Delivers what the ends say, until they say nothing.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let spoke = [0, 1].map(|n| self.deliver(n));
            if spoke == [false; 2] {
                return;
            }
        }
        panic!("the ends answer each other without end");
    }

    /// Delivers what one end says. Whether it says anything.
    fn deliver(&mut self, n: usize) -> bool {
        let mut speaks = false;
        while let Some(transmit) = self.ends[n].poll_transmit() {
            speaks = true;
            let datagrams = suffer(self.fates.pop_front(), transmit.contents);
            for datagram in datagrams {
                let (to, from) = (transmit.destination, address(n));
                if to == address(1 - n) {
                    self.ends[1 - n].handle_datagram(self.now, to, from, &datagram);
                } else {
                    self.sent.insert(to, datagram);
                }
            }
        }
        while let Some(event) = self.ends[n].poll_event() {
            speaks = true;
            match event {
                Event::Notice(notice) => self.pass(n, notice),
                Event::Incoming { key, .. } | Event::Stranger { key } => {
                    self.connections.push((n, key));
                }
                _ => {}
            }
        }
        speaks
    }

    fn pass(&mut self, n: usize, notice: Notice) {
        let (setup, text, is_candidate) = match notice {
            Notice::Described {
                setup,
                sdp: Some(sdp),
            } => (setup, sdp, false),
            Notice::Candidate { setup, candidate } => (setup, candidate, true),
            _ => return,
        };
        let setup = SetupId {
            peer: self.peers[n],
            ..setup
        };
        for text in suffer(self.fates.pop_front(), text.into_bytes()) {
            let text = String::from_utf8_lossy(&text).into_owned();
            let command = match (is_candidate, text.contains("actpass")) {
                (true, _) => Command::Candidate {
                    setup,
                    candidate: text,
                },
                (_, true) => Command::Answer {
                    setup,
                    reach: Reach::Global,
                    sdp: text,
                },
                _ => Command::Accept { setup, sdp: text },
            };
            self.ends[1 - n].handle_command(self.now, command);
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            for end in &mut self.ends {
                end.handle_timeout(self.now);
            }
            self.settle();
        }
        self.now = end;
    }

    fn next(&self) -> Option<Instant> {
        self.ends.iter().filter_map(Endpoint::next_deadline).min()
    }

    fn end(mut self) {
        self.settle();
        for (n, key, channel) in std::mem::take(&mut self.channels) {
            self.ends[n].release_channel(self.now, key, channel);
        }
        for _ in 0..2 {
            for (n, key) in std::mem::take(&mut self.connections) {
                self.ends[n].release(self.now, key);
            }
            // Some come up only now.
            self.run(Duration::from_secs(60));
        }
        for end in &self.ends {
            end.assert_empty();
        }
    }
}

/// As a description: any bytes are some text.
fn text(script: &mut Script<'_>) -> Option<String> {
    Some(String::from_utf8_lossy(script.bytes()?).into_owned())
}

/// What arrives of what was sent.
fn suffer(fate: Option<u8>, mut bytes: Vec<u8>) -> Vec<Vec<u8>> {
    match fate {
        None | Some(0..=119) => vec![bytes],
        Some(120..=139) => Vec::new(),
        Some(140..=159) => vec![bytes.clone(), bytes],
        Some(damage) => {
            let place = usize::from(damage).wrapping_mul(37) % bytes.len().max(1);
            match (damage % 3, bytes.get_mut(place)) {
                (0, Some(byte)) => *byte ^= 1 << (damage % 8),
                (1, _) => bytes.truncate(place),
                _ => drop(bytes.splice(place..place, [damage])),
            }
            vec![bytes]
        }
    }
}
