//! Over real sockets on loopback.

use std::{future::poll_fn, net::SocketAddr, time::Duration};

use tokio::time::timeout;

use super::{super::endpoint::Transmit, *};

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A node's sockets, and what is to be sent and was received.
struct Node {
    sockets: Sockets,
    inbox: Inbox,
    outbox: Outbox,
}

impl Node {
    fn new() -> Self {
        Self::at(0)
    }

    fn at(port: u16) -> Self {
        Self {
            sockets: Sockets::bind(port).unwrap(),
            inbox: Inbox::new(),
            outbox: Outbox::default(),
        }
    }

    fn address(&self, ip: IpAddr) -> SocketAddr {
        self.sockets.address(ip).unwrap()
    }

    async fn send(&mut self, transmits: impl IntoIterator<Item = Transmit>) {
        for transmit in transmits {
            assert!(self.outbox.has_room());
            self.outbox.push(transmit);
        }
        let Self {
            sockets, outbox, ..
        } = self;
        timeout(
            Duration::from_secs(5),
            poll_fn(|cx| sockets.poll_send(cx, outbox)),
        )
        .await
        .unwrap();
    }

    /// Receives so many datagrams: for each our end, the other end, and what is in it.
    async fn receive(&mut self, count: usize) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        let Self { sockets, inbox, .. } = self;
        let mut received = Vec::new();
        while received.len() < count {
            let arrival = poll_fn(|cx| sockets.poll_receive(cx, inbox));
            timeout(Duration::from_secs(5), arrival).await.unwrap();
            while let Some(datagram) = inbox.next() {
                received.push((datagram.local, datagram.remote, datagram.contents.to_vec()));
            }
        }
        received
    }
}

fn transmit(source: SocketAddr, destination: SocketAddr, contents: Vec<u8>) -> Transmit {
    Transmit {
        source,
        destination,
        contents,
    }
}

/// Datagrams of these lengths, each with its number in it.
fn numbered(lens: &[usize]) -> Vec<Vec<u8>> {
    let numbered = lens.iter().enumerate();
    numbered.map(|(n, len)| vec![n as u8; *len]).collect()
}

fn max_segments(node: &Node) -> Vec<usize> {
    let sockets = node.sockets.sockets.iter();
    sockets.map(|socket| socket.max_segments).collect()
}

async fn assert_arrive(lens: &[usize]) {
    for ip in [V4, V6] {
        let (mut ours, mut theirs) = (Node::new(), Node::new());
        let (from, to) = (ours.address(ip), theirs.address(ip));
        let sent = numbered(lens);
        let transmits = sent
            .iter()
            .map(|contents| transmit(from, to, contents.clone()));
        ours.send(transmits).await;
        let received = theirs.receive(sent.len()).await;
        let expected: Vec<_> = sent
            .into_iter()
            .map(|contents| (to, from, contents))
            .collect();
        assert_eq!(received, expected);
    }
}

#[tokio::test]
async fn a_datagram_arrives_with_the_addresses_of_both_ends() {
    assert_arrive(&[1]).await;
    assert_arrive(&[1200]).await;
}

#[tokio::test]
async fn equal_datagrams_arrive_one_by_one() {
    assert_arrive(&[1200; 64]).await;
    assert_arrive(&[100; 40]).await;
}

#[tokio::test]
async fn unequal_datagrams_arrive_one_by_one_and_in_order() {
    assert_arrive(&[1200, 1200, 1200, 7, 1200, 1200, 900, 901, 1, 1, 1, 2]).await;
    assert_arrive(&[1, 2, 3, 4, 5, 4, 3, 2, 1]).await;
}

#[tokio::test]
async fn the_source_is_the_address_asked_for() {
    let (mut ours, mut theirs) = (Node::new(), Node::new());
    let from = ours.address("127.0.0.7".parse().unwrap());
    let to = theirs.address("127.0.0.9".parse().unwrap());
    ours.send([transmit(from, to, vec![1])]).await;
    assert_eq!(theirs.receive(1).await, [(to, from, vec![1])]);
}

#[tokio::test]
async fn the_system_may_choose_the_source() {
    let (mut ours, mut theirs) = (Node::new(), Node::new());
    for ip in [V4, V6] {
        let any = match ip {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let to = theirs.address(ip);
        ours.send([transmit(SocketAddr::new(any, 0), to, vec![1])])
            .await;
        assert_eq!(theirs.receive(1).await, [(to, ours.address(ip), vec![1])]);
    }
}

#[tokio::test]
async fn datagrams_to_several_are_kept_apart() {
    let (mut ours, mut one, mut other) = (Node::new(), Node::new(), Node::new());
    let from = ours.address(V4);
    let targets = [one.address(V4), other.address(V4)];
    let transmits = (0..20).map(|n| transmit(from, targets[n % 2], vec![n as u8; 50]));
    ours.send(transmits).await;
    for (parity, node) in [&mut one, &mut other].into_iter().enumerate() {
        let received = node.receive(10).await;
        assert!(
            received
                .iter()
                .all(|(.., contents)| contents[0] % 2 == parity as u8)
        );
    }
}

#[tokio::test]
async fn what_cannot_be_sent_holds_up_nothing() {
    let (mut ours, mut theirs) = (Node::new(), Node::new());
    let limits = max_segments(&ours);
    let (from, to) = (ours.address(V4), theirs.address(V4));
    let foreign = SocketAddr::new("192.0.2.77".parse().unwrap(), from.port());
    let bad = [
        transmit(foreign, to, vec![0]),
        transmit(from, SocketAddr::new(V4, 0), vec![0]),
        transmit(from, "255.255.255.255:9".parse().unwrap(), vec![0]),
        transmit(from, "[fe80::1]:9".parse().unwrap(), vec![0]),
        transmit(from, to, vec![0; 70_000]),
    ];
    ours.send(bad).await;
    let batch = (0..10).map(|_| transmit(foreign, to, vec![0; 9]));
    ours.send(batch).await;
    ours.send([transmit(from, to, vec![1])]).await;
    assert_eq!(theirs.receive(1).await, [(to, from, vec![1])]);
    // A batch that fails as each of its datagrams does is no reason to do without batches.
    assert_eq!(max_segments(&ours), limits);
}

#[tokio::test]
async fn the_ports_of_both_families_are_free_ones() {
    let node = Node::new();
    for ip in [V4, V6] {
        assert_ne!(node.address(ip).port(), 0);
        assert_eq!(node.address(ip).ip(), ip);
    }
}

#[tokio::test]
async fn a_port_that_is_free_is_used_for_both_families_and_one_that_is_taken_is_not() {
    // Another test may take it in between.
    let is_so = (0..10).any(|_| {
        let first = Node::new();
        let port = first.sockets.port();
        let second = Node::at(port);
        assert_ne!(second.address(V4).port(), port);
        drop(first);
        let third = Node::at(port);
        [V4, V6].map(|ip| third.address(ip).port()) == [port; 2]
    });
    assert!(is_so);
}

#[tokio::test]
async fn at_most_64_datagrams_wait() {
    let mut outbox = Outbox::default();
    let to = SocketAddr::new(V4, 9);
    for len in 0..65 {
        assert_eq!(outbox.has_room(), len < 64);
        outbox.push(transmit(to, to, vec![0]));
    }
}

#[test]
fn a_batch_is_of_equal_datagrams_with_the_same_ends() {
    let [a, b] = [1, 2].map(|port| SocketAddr::new(V4, port));
    for (queue, max, count) in [
        (vec![(a, a, 9), (a, a, 9), (a, a, 9)], 64, 3),
        (vec![(a, a, 9), (a, a, 9), (a, a, 9)], 2, 2),
        (vec![(a, a, 9), (a, a, 9), (a, a, 9)], 1, 1),
        (vec![(a, a, 9), (a, a, 8), (a, a, 8)], 64, 2),
        (vec![(a, a, 9), (a, a, 10)], 64, 1),
        (vec![(a, a, 9), (a, a, 0)], 64, 1),
        (vec![(a, a, 0), (a, a, 0)], 64, 1),
        (vec![(a, a, 9), (a, b, 9)], 64, 1),
        (vec![(a, a, 9), (b, a, 9)], 64, 1),
        (vec![(a, a, 30_000); 3], 64, 2),
    ] {
        let mut outbox = Outbox::default();
        for (source, destination, len) in &queue {
            outbox.push(transmit(*source, *destination, vec![0; *len]));
        }
        let batch = outbox.batch(max).unwrap();
        assert_eq!(batch.count, count, "{queue:?}");
        let len: usize = queue.iter().take(count).map(|(.., len)| len).sum();
        assert_eq!(batch.transmit.contents.len(), len);
    }
}
