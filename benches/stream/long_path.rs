//! Two ends of the signaled transport on a long path that loses nothing, in virtual time.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use libp2p::PeerId;

use super::{
    endpoint::{Endpoint, Event, Key, Status, Write},
    framing::Read,
};
use crate::{
    reach::Reach,
    signaling::{Command, Notice, SetupId},
};

/// The longest message of libp2p's framing.
const MESSAGE: usize = 16 << 10;

/// How long it takes to get `len` bytes across, once there is a connection. `None` if it ends.
pub(crate) fn transfer(len: usize, delay: Duration) -> Option<Duration> {
    let mut path = LongPath::new(delay)?;
    let [writer, reader] = path.connect()?;
    let start = path.now;
    let channel = path.ends[0].endpoint.open(start, writer)?;
    let (message, mut buffer) = (vec![7; MESSAGE], vec![0; 4 * MESSAGE]);
    let (mut written, mut read, mut incoming) = (0, 0, None);
    while read < len {
        let now = path.now;
        let [sender, receiver] = &mut path.ends;
        while written < len {
            match sender.endpoint.write(now, writer, channel, &message) {
                Write::Taken(len) => written += len,
                Write::Blocked => break,
                Write::Failed(_) => return None,
            }
        }
        incoming = incoming.or_else(|| receiver.endpoint.accept(reader));
        while let Some(channel) = incoming {
            match receiver.endpoint.read(now, reader, channel, &mut buffer) {
                Read::Bytes(len) => read += len,
                Read::Blocked => break,
                Read::Ended | Read::Failed(_) => return None,
            }
        }
        path.step()?;
    }
    Some(path.now - start)
}

struct End {
    endpoint: Endpoint,
    address: SocketAddr,
    /// The connection that came from the other end.
    incoming: Option<Key>,
}

enum Delivery {
    Datagram(Vec<u8>),
    Command(Command),
}

struct LongPath {
    now: Instant,
    delay: Duration,
    ends: [End; 2],
    /// What is under way: when it will be there, and at which end.
    mail: VecDeque<(Instant, usize, Delivery)>,
}

impl LongPath {
    fn new(delay: Duration) -> Option<Self> {
        let now = Instant::now();
        let end = |n: u8| {
            let address = SocketAddr::from(([9, 9, 9, n], 4000));
            let mut endpoint = Endpoint::new()?;
            endpoint.add_address(now, address, address.ip().into());
            let incoming = None;
            Some(End {
                endpoint,
                address,
                incoming,
            })
        };
        Some(Self {
            now,
            delay,
            ends: [end(1)?, end(2)?],
            mail: VecDeque::new(),
        })
    }

    fn connect(&mut self) -> Option<[Key; 2]> {
        // Both ends call it the same, for neither meets anybody else.
        let (peer, number, reach) = (PeerId::random(), 1, Reach::Global);
        let setup = SetupId { peer, number };
        let offer = Delivery::Command(Command::Offer { setup, reach });
        self.mail.push_back((self.now, 0, offer));
        let mut dialed = None;
        loop {
            self.step()?;
            dialed = dialed.or_else(|| self.ends[0].endpoint.dial(&peer));
            if let (Some(dialed), Some(incoming)) = (dialed, self.ends[1].incoming)
                && self.ends[0].endpoint.status(dialed) == Status::Connected
            {
                return Some([dialed, incoming]);
            }
        }
    }

    /// Goes on to what happens next, if anything does.
    fn step(&mut self) -> Option<()> {
        self.collect();
        let deadlines = self.ends.iter().map(|end| end.endpoint.next_deadline());
        let mail = self.mail.front().map(|(at, ..)| *at);
        self.now = deadlines.chain([mail]).flatten().min()?.max(self.now);
        while let Some((at, ..)) = self.mail.front()
            && *at <= self.now
            && let Some((_, to, delivery)) = self.mail.pop_front()
        {
            self.deliver(to, delivery);
        }
        for end in &mut self.ends {
            if end
                .endpoint
                .next_deadline()
                .is_some_and(|at| at <= self.now)
            {
                end.endpoint.handle_timeout(self.now);
            }
        }
        Some(())
    }

    fn deliver(&mut self, to: usize, delivery: Delivery) {
        let (now, remote) = (self.now, self.ends[1 - to].address);
        let end = &mut self.ends[to];
        match delivery {
            Delivery::Datagram(contents) => {
                end.endpoint
                    .handle_datagram(now, end.address, remote, &contents);
            }
            Delivery::Command(command) => end.endpoint.handle_command(now, command),
        }
        self.collect();
    }

    /// Sends what there is to be sent.
    fn collect(&mut self) {
        let at = self.now + self.delay;
        for (n, end) in self.ends.iter_mut().enumerate() {
            while let Some(transmit) = end.endpoint.poll_transmit() {
                let datagram = Delivery::Datagram(transmit.contents);
                self.mail.push_back((at, 1 - n, datagram));
            }
            while let Some(event) = end.endpoint.poll_event() {
                match event {
                    Event::Incoming { key, .. } => end.incoming = Some(key),
                    Event::Notice(Notice::Described { setup, sdp }) => {
                        let (sdp, reach) = (sdp.unwrap_or_default(), Reach::Global);
                        let command = match n {
                            0 => Command::Answer { setup, reach, sdp },
                            _ => Command::Accept { setup, sdp },
                        };
                        self.mail.push_back((at, 1 - n, Delivery::Command(command)));
                    }
                    _ => {}
                }
            }
        }
    }
}
