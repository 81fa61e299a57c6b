//! How much is sent ahead of what is acknowledged.

use super::*;

/// What a system keeps for a socket with default settings and for Chromium's, and what it counts for each datagram: its
/// buffer and its header, whatever is in it.
const CAPACITY: usize = 128 * 1024;
const DATAGRAM: usize = 2304;

/// A process is woken up so often, and then reads so many: 21 MiB/s, as Chromium does.
const QUANTUM: Duration = Duration::from_micros(200);
const READ_AT_ONCE: usize = 4;

/// The time that it takes to encrypt and send a datagram, at 75 MiB/s.
const TRANSMISSION: Duration = Duration::from_micros(15);

/// The socket of the second end, behind a link of this length.
pub(super) struct Socket {
    delay: Duration,
    link_is_free: Instant,
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
    is_reading: bool,
    /// It does not read before this.
    stalls_until: Instant,
    lost: usize,
}

impl Socket {
    fn new(now: Instant, delay: Duration) -> Self {
        Self {
            delay,
            link_is_free: now,
            waiting: VecDeque::new(),
            is_reading: false,
            stalls_until: now,
            lost: 0,
        }
    }

    pub(super) fn is_at(&self, to: SocketAddr) -> bool {
        to == address(1, 0)
    }

    pub(super) fn delay(&mut self, now: Instant, to: SocketAddr) -> Duration {
        if !self.is_at(to) {
            return self.delay;
        }
        self.link_is_free = self.link_is_free.max(now) + TRANSMISSION;
        self.link_is_free - now + self.delay
    }
}

impl Lab {
    pub(super) fn queue(&mut self, from: SocketAddr, contents: Vec<u8>) {
        let socket = self.socket.as_mut().unwrap();
        if socket.waiting.len() * DATAGRAM > CAPACITY {
            socket.lost += 1;
            return;
        }
        socket.waiting.push_back((from, contents));
        if !std::mem::replace(&mut socket.is_reading, true) {
            let stalled = socket.stalls_until.saturating_duration_since(self.now);
            self.mail(stalled.max(QUANTUM), Delivery::Read);
        }
    }

    pub(super) fn read_socket(&mut self) {
        for _ in 0..READ_AT_ONCE {
            let Some((from, contents)) = self.socket.as_mut().unwrap().waiting.pop_front() else {
                break;
            };
            let endpoint = &mut self.ends[1].endpoint;
            endpoint.handle_datagram(self.now, address(1, 0), from, &contents);
            self.collect(1);
        }
        let socket = self.socket.as_mut().unwrap();
        socket.is_reading = !socket.waiting.is_empty();
        if socket.is_reading {
            let stalled = socket.stalls_until.saturating_duration_since(self.now);
            self.mail(stalled.max(QUANTUM), Delivery::Read);
        }
    }

    fn socket(&mut self) -> &mut Socket {
        self.socket.as_mut().unwrap()
    }

    fn window(&self, key: Key) -> usize {
        self.ends[0].endpoint.connections[&key].window()
    }
}

/// A lab whose second end has a small socket, so far away, and a connection.
fn connected(delay: Duration) -> (Lab, Key, Key) {
    let mut lab = Lab::new(1);
    lab.socket = Some(Socket::new(lab.now, delay));
    let (a, b) = lab.connect(0, 1).unwrap();
    lab.run(SECOND * 5);
    (lab, a, b)
}

/// Sends so much. How long it takes.
fn send(lab: &mut Lab, a: Key, b: Key, len: usize) -> Duration {
    let (sent, start) = (pattern(len), lab.now);
    assert!(lab.transfer((0, a), (1, b), &sent) == sent);
    lab.now - start
}

const MIB: usize = 1 << 20;

#[test]
fn a_browser_loses_nothing_of_4_mib_on_a_short_path() {
    for delay in [MS / 10, MS / 2, MS * 2] {
        let (mut lab, a, b) = connected(delay);
        for _ in 0..4 {
            let took = send(&mut lab, a, b, 4 * MIB);
            println!("{delay:?}: {took:?}, window {}", lab.window(a));
            assert_eq!(lab.socket().lost, 0, "{delay:?}");
            assert!(took < SECOND / 2, "{delay:?}: {took:?}");
        }
    }
}

#[test]
fn a_stall_on_a_short_path_does_not_grow_the_window() {
    let (mut lab, a, b) = connected(MS / 10);
    send(&mut lab, a, b, MIB);
    let before = lab.window(a);
    assert!(before < 96 << 10, "{before}");
    for _ in 0..5 {
        // Datagrams wait for the stalled process meanwhile.
        let stalls_until = lab.now + SECOND * 2;
        lab.socket().stalls_until = stalls_until;
        send(&mut lab, a, b, 4 * MIB);
        assert!(lab.window(a) <= before + (16 << 10), "{}", lab.window(a));
    }
}

#[test]
fn a_path_of_50_ms_is_filled() {
    let mut lab = Lab::new(1);
    lab.delay = MS * 25..MS * 25 + Duration::from_nanos(1);
    let (a, b) = lab.connect(0, 1).unwrap();
    lab.run(SECOND * 5);
    let took = send(&mut lab, a, b, 32 * MIB);
    let rate = 32.0 / took.as_secs_f64();
    println!("{rate:.1} MiB/s, window {}", lab.window(a));
    assert!(rate > 13.0, "{rate}");
}
