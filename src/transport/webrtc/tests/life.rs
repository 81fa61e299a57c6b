//! How connections begin and end, and what is left of them.

use std::iter;

use super::*;

#[tokio::test]
async fn an_offer_made_at_once_names_addresses() {
    let mut end = Signaled::new(Stun::default());
    soon(poll_fn(|cx| end.poll_ready(cx))).await;
    let setup = SetupId {
        peer: PeerId::random(),
        number: 1,
    };
    end.handle_command(Command::Offer {
        setup,
        reach: Reach::Machine,
    });
    // In the same poll.
    let notice = end.poll_notice(&Context::from_waker(noop_waker_ref()));
    let Poll::Ready(Notice::Described { sdp: Some(sdp), .. }) = notice else {
        panic!("{notice:?}");
    };
    assert!(sdp.contains("127.0.0.1"), "{sdp}");
    assert!(!sdp.contains("fe80"), "{sdp}");
}

/// What a STUN server answers.
fn mapped(datagram: &[u8]) -> Vec<u8> {
    use stun::{
        message::{BINDING_SUCCESS, Message, Setter},
        xoraddr::XorMappedAddress,
    };

    let (mut request, mut answer) = (Message::new(), Message::new());
    request.raw = datagram.to_vec();
    request.decode().unwrap();
    let (ip, port) = ("9.8.7.6".parse().unwrap(), 5);
    let parts: [Box<dyn Setter>; 3] = [
        Box::new(request.transaction_id),
        Box::new(BINDING_SUCCESS),
        Box::new(XorMappedAddress { ip, port }),
    ];
    answer.build(&parts).unwrap();
    answer.raw
}

#[tokio::test]
async fn a_stun_server_tells_how_the_socket_looks_from_outside() {
    let server = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("stun:{}", server.local_addr().unwrap());
    let servers = vec![uri.parse().unwrap()];
    let service = None;
    let mut end = Signaled::new(Stun { servers, service });
    soon(poll_fn(|cx| end.poll_ready(cx))).await;
    let (peer, number) = (PeerId::random(), 1);
    let setup = SetupId { peer, number };
    let reach = Reach::Global;
    end.handle_command(Command::Offer { setup, reach });

    tokio::spawn(async move {
        let mut buffer = [0; 64];
        loop {
            let (len, from) = server.recv_from(&mut buffer).await.unwrap();
            let answer = mapped(&buffer[..len]);
            server.send_to(&answer, from).await.unwrap();
        }
    });
    let described = soon(poll_fn(|cx| end.poll_notice(cx))).await;
    assert!(matches!(described, Notice::Described { sdp: Some(_), .. }));
    let Notice::Candidate { candidate, .. } = soon(poll_fn(|cx| end.poll_notice(cx))).await else {
        panic!("no candidate");
    };
    assert!(candidate.contains("9.8.7.6 5 typ srflx"), "{candidate}");
}

#[tokio::test]
async fn the_swarm_is_told_first_where_the_other_end_is() {
    let mut pair = Pair::new();
    for end in &mut pair.connect().await {
        let address = soon(end.addresses.recv()).await.unwrap().to_string();
        assert!(address.starts_with("/ip"), "{address}");
        assert!(address.contains("/udp/"), "{address}");
        assert!(address.contains("/webrtc/p2p/"), "{address}");
    }
}

#[tokio::test]
async fn a_close_is_seen_by_the_other_side_within_100_ms() {
    let mut pair = Pair::new();
    for closer in [0, 1] {
        let mut ends = pair.connect().await;
        let start = Instant::now();
        ends[closer].close().await.unwrap();
        let error = ends[1 - closer].ended().await;
        assert!(start.elapsed() < Duration::from_millis(100), "{error}");
        assert_eq!(cause(&error), Some(Closed::Remote));
    }
}

#[tokio::test]
async fn a_dropped_connection_is_seen_by_the_other_side_within_100_ms() {
    let mut pair = Pair::new();
    let [one, mut other] = pair.connect().await;
    let start = Instant::now();
    drop(one);
    let error = other.ended().await;
    assert!(start.elapsed() < Duration::from_millis(100), "{error}");
    assert_eq!(cause(&error), Some(Closed::Remote));
}

#[tokio::test]
async fn the_same_two_connect_again_right_after_a_close() {
    let mut pair = Pair::new();
    for round in 0..100 {
        let mut ends = pair.connect().await;
        let mut ours = ends[round % 2].open().await;
        soon(ours.write_all(b"ping")).await.unwrap();
        soon(ours.flush()).await.unwrap();
        let mut theirs = ends[1 - round % 2].accept().await;
        soon(theirs.read_exact(&mut [0; 4])).await.unwrap();
        ends[round % 2].close().await.unwrap();
    }
}

#[tokio::test]
async fn nobody_is_dialed_without_a_set_up() {
    let mut end = Signaled::new(Stun::default());
    let error = end
        .dial(PeerId::random(), iter::empty())
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(cause(&error), Some(NotSetUp));
}

#[tokio::test]
async fn a_connection_that_is_up_before_its_dial_is_polled_is_not_lost() {
    let mut pair = Pair::new();
    let dial = pair.offer().await;
    let accepted = poll_fn(|cx| {
        pair.carry(cx);
        match pair.ends[1].incoming.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    });
    soon(accepted).await;
    soon(dial).await.unwrap();
}

#[tokio::test]
async fn a_dial_that_is_dropped_gives_up_its_connection() {
    let mut pair = Pair::new();
    let dial = pair.offer().await;
    drop(dial);
    let error = pair.dial([]).await.map(drop).unwrap_err();
    assert_eq!(cause(&error), Some(NotSetUp));
}

#[test]
fn outside_of_a_runtime_commands_are_declined_and_dials_fail() {
    let mut end = Signaled::new(Stun::default());
    let cx = &mut Context::from_waker(noop_waker_ref());
    let setup = SetupId {
        peer: PeerId::random(),
        number: 1,
    };
    assert!(end.poll_ready(cx).is_ready());
    let reach = Reach::Machine;
    let offer = Command::Offer { setup, reach };
    end.handle_command(offer.clone());
    end.handle_command(Command::Abandon { setup });
    let declined = Notice::Described { setup, sdp: None };
    assert_eq!(end.poll_notice(cx), Poll::Ready(declined.clone()));
    assert!(end.poll_notice(cx).is_pending());
    assert!(end.poll(cx).is_pending());
    let dialed = end
        .dial(setup.peer, iter::once(offer))
        .now_or_never()
        .unwrap();
    assert_eq!(
        dialed.map(drop).unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(end.poll_notice(cx), Poll::Ready(declined));
}

#[test]
fn when_the_runtime_ends_nobody_waits_for_ever() {
    let inner = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let outer = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut pair = Pair::new();
    // The drivers run in one runtime, everything else in the other.
    inner.block_on(pair.ready());
    outer.block_on(async {
        let mut ends = pair.connect().await;
        let mut stream = ends[0].open().await;
        soon(stream.write_all(b"ping")).await.unwrap();
        soon(stream.flush()).await.unwrap();
        let mut buffer = [0];
        let read = stream.read(&mut buffer);
        tokio::task::spawn_blocking(|| drop(inner)).await.unwrap();
        let error = soon(read).await.unwrap_err();
        assert_eq!(cause(&error), Some(Stopped));
        for end in &mut ends {
            let error = end.ended().await;
            assert_eq!(cause(&error), Some(Stopped), "{error:?}");
        }
        let ready = poll_fn(|cx| pair.ends[0].signaled.poll_ready(cx));
        soon(ready).await;
        let setup = pair.setup(0);
        let reach = Reach::Machine;
        let offer = Command::Offer { setup, reach };
        pair.ends[0].signaled.handle_command(offer);
        let declined = Notice::Described { setup, sdp: None };
        let notice = pair.ends[0]
            .signaled
            .poll_notice(&Context::from_waker(noop_waker_ref()));
        assert_eq!(notice, Poll::Ready(declined));
    });
}

/// Runs a test again in a process of its own, where nobody else has tasks and files.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "PXP_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let status = process::Command::new(std::env::current_exe().unwrap())
        .args([
            &format!("{}::{test}", module_path!().split_once("::").unwrap().1),
            "--exact",
            "--nocapture",
        ])
        .env(ALONE, "1")
        .status();
    assert!(status.unwrap().success());
    false
}

fn tasks() -> usize {
    runtime::Handle::current().metrics().num_alive_tasks()
}

fn files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[test]
fn connections_need_no_tasks_or_files_and_leave_none_behind() {
    if !is_alone("connections_need_no_tasks_or_files_and_leave_none_behind") {
        return;
    }
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let before = (tasks(), files());
        let mut pair = Pair::new();
        pair.ready().await;
        let idle = (tasks(), files());
        assert_eq!(idle.0, before.0 + 2, "one driver each");
        let mut pairs: Vec<_> = (0..20).map(|_| Pair::new()).collect();
        for other in &mut pairs {
            other.ready().await;
        }
        let apart = (tasks(), files());
        drop(pairs);
        settled(idle).await;
        // Two sockets and the watch over the interfaces, for each of the nodes.
        assert_eq!(apart.0 - idle.0, 40);
        assert_eq!(apart.1 - idle.1, 40 * 3);

        let ends = pair.connect().await;
        let stream = ends[0].open().await;
        // The two that play the swarm.
        assert_eq!((tasks(), files()), (idle.0 + 2, idle.1));
        drop(ends);
        settled(idle).await;
        drop(pair);
        // A stream keeps the driver of its node, and nothing else.
        settled((before.0 + 1, before.1 + 3)).await;
        drop(stream);
        settled(before).await;
    });
}

async fn settled(expected: (usize, usize)) {
    let settled = async {
        while (tasks(), files()) != expected {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let is_settled = timeout(Duration::from_secs(5), settled).await.is_ok();
    assert!(
        is_settled,
        "{:?} instead of {expected:?}",
        (tasks(), files())
    );
}

#[tokio::test]
async fn a_node_that_serves_stun_says_so_first_and_answers() {
    use stun::{
        agent::TransactionId,
        message::{BINDING_REQUEST, Getter, Message, Setter},
        xoraddr::XorMappedAddress,
    };

    let taken = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let taken = taken.local_addr().unwrap().port();
    for wanted in [0, taken] {
        let (servers, service) = (Vec::new(), Some(wanted));
        let mut end = Signaled::new(Stun { servers, service });
        let Notice::Serving { port } = soon(poll_fn(|cx| end.poll_notice(cx))).await else {
            panic!("nothing is said of it");
        };
        assert_ne!(port.get(), wanted);
        let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (mut request, mut answer) = (Message::new(), Message::new());
        let parts: [Box<dyn Setter>; 2] =
            [Box::new(TransactionId::new()), Box::new(BINDING_REQUEST)];
        request.build(&parts).unwrap();
        let server = ("127.0.0.1", port.get());
        client.send_to(&request.raw, server).await.unwrap();
        answer.raw.resize(100, 0);
        soon(client.recv_from(&mut answer.raw)).await.unwrap();
        answer.decode().unwrap();
        let mut mapped = XorMappedAddress::default();
        mapped.get_from(&answer).unwrap();
        let expected = client.local_addr().unwrap();
        assert_eq!((mapped.ip, mapped.port), (expected.ip(), expected.port()));
    }
}
