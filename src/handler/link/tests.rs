use std::{future::poll_fn, time::Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;
use crate::{config::Limits, error::ProtocolError};

type Duplex = Compat<tokio::io::DuplexStream>;

const PING: [u8; 3] = [2, 0x3a, 0];

/// A link that has said that it is open, over a pipe of `room` bytes, and the bare other end.
async fn open(room: usize) -> (Link<Duplex>, Duplex) {
    let (near, far) = tokio::io::duplex(room);
    let mut link = Link::new(near.compat());
    assert!(matches!(next(&mut link).await, FromLink::Opened));
    (link, far.compat())
}

async fn next(link: &mut Link<Duplex>) -> FromLink {
    let event = poll_fn(|cx| link.poll(cx));
    tokio::time::timeout(Duration::from_secs(5), event)
        .await
        .unwrap()
}

/// All that comes once the connection closes.
async fn part(link: &mut Link<Duplex>) -> Vec<FromLink> {
    let mut events = Vec::new();
    while let Some(event) = poll_fn(|cx| link.poll_close(cx)).await {
        events.push(event);
    }
    assert!(poll_fn(|cx| link.poll_close(cx)).await.is_none());
    events
}

fn assert_is_over(link: &mut Link<Duplex>) {
    link.on_command(ToLink::Send(Frame::Ping(1)));
    link.on_command(ToLink::Close);
    assert!(poll_fn(|cx| link.poll(cx)).now_or_never().is_none());
}

#[tokio::test]
async fn a_link_that_the_remote_closes_is_closed_on_both_sides() {
    let (mut link, mut far) = open(100).await;
    link.on_command(ToLink::Send(Frame::Ping(0)));
    far.write_all(&PING).await.unwrap();
    far.close().await.unwrap();
    assert!(matches!(
        next(&mut link).await,
        FromLink::Frame(Frame::Ping(0), _)
    ));
    assert!(matches!(next(&mut link).await, FromLink::Closed(Ok(()))));
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, PING);
    assert_is_over(&mut link);
}

#[tokio::test]
async fn a_link_that_we_close_sends_its_last_words_and_waits_for_the_remote_to_close() {
    let (mut link, mut far) = open(100).await;
    for _ in 0..100 {
        link.on_command(ToLink::Send(Frame::Ping(0)));
    }
    link.on_command(ToLink::Close);
    link.on_command(ToLink::Send(Frame::Pong(0)));
    let remote = async {
        far.write_all(&PING).await.unwrap();
        let mut sent = Vec::new();
        far.read_to_end(&mut sent).await.unwrap();
        assert_eq!(sent, PING.repeat(100));
        far.close().await.unwrap();
        Instant::now()
    };
    let (event, closed) = futures::join!(next(&mut link), remote);
    assert!(matches!(event, FromLink::Closed(Ok(()))));
    assert!(closed.elapsed() < Limits::FAREWELL_TIME / 2);
    assert_is_over(&mut link);
}

#[tokio::test]
async fn a_remote_that_does_not_read_or_close_delays_the_end_by_a_second() {
    for frames in [0, 100] {
        let (mut link, mut far) = open(100).await;
        for _ in 0..frames {
            link.on_command(ToLink::Send(Frame::Ping(0)));
        }
        far.write_all(&PING).await.unwrap();
        let start = Instant::now();
        link.on_command(ToLink::Close);
        assert!(matches!(next(&mut link).await, FromLink::Closed(Ok(()))));
        let took = start.elapsed();
        assert!(
            Limits::FAREWELL_TIME <= took && took < 3 * Limits::FAREWELL_TIME,
            "{took:?}"
        );
        assert_is_over(&mut link);
    }
}

#[tokio::test]
async fn a_remote_that_floods_delays_the_end_by_a_second() {
    let (mut link, mut far) = open(1 << 16).await;
    link.on_command(ToLink::Close);
    let start = Instant::now();
    let bytes = PING.repeat(1_000);
    let flood = async { while far.write_all(&bytes).await.is_ok() {} };
    tokio::select! {
        event = next(&mut link) => assert!(matches!(event, FromLink::Closed(Ok(())))),
        () = flood => panic!("the link is held"),
    }
    assert!(start.elapsed() < 3 * Limits::FAREWELL_TIME);
}

#[tokio::test]
async fn a_link_that_is_closed_before_it_was_used_says_no_more_than_that() {
    let (near, far) = tokio::io::duplex(100);
    let mut link = Link::new(near.compat());
    link.on_command(ToLink::Close);
    drop(far);
    assert!(matches!(next(&mut link).await, FromLink::Closed(Ok(()))));
    assert_is_over(&mut link);
}

#[tokio::test]
async fn a_remote_that_breaks_the_protocol_ends_the_link_after_what_it_said_before() {
    let (mut link, mut far) = open(100).await;
    far.write_all(&PING).await.unwrap();
    far.write_all(&[1, 0x07]).await.unwrap();
    assert!(matches!(next(&mut link).await, FromLink::Frame(_, _)));
    let FromLink::Closed(Err(LinkError::Protocol(error))) = next(&mut link).await else {
        panic!("it is still open");
    };
    assert_eq!(error, ProtocolError::Malformed);
    assert_is_over(&mut link);
}

#[tokio::test]
async fn a_remote_that_reads_too_slowly_ends_the_link() {
    let (mut link, _far) = open(10).await;
    for _ in 0..Limits::WAITING_FRAMES {
        link.on_command(ToLink::Send(Frame::Ping(0)));
    }
    assert!(poll_fn(|cx| link.poll(cx)).now_or_never().is_none());
    for _ in 0..=Limits::WAITING_FRAMES {
        link.on_command(ToLink::Send(Frame::Ping(0)));
    }
    let event = next(&mut link).await;
    assert!(matches!(event, FromLink::Closed(Err(LinkError::Stalled))));
    assert_is_over(&mut link);
}

#[tokio::test]
async fn what_a_remote_said_before_it_went_away_is_heard() {
    let (mut link, mut far) = open(100).await;
    far.write_all(&PING).await.unwrap();
    drop(far);
    link.on_command(ToLink::Send(Frame::Ping(0)));
    assert!(matches!(next(&mut link).await, FromLink::Frame(_, _)));
    assert!(matches!(next(&mut link).await, FromLink::Closed(Ok(()))));
}

#[tokio::test]
async fn a_flood_of_frames_does_not_keep_our_own_from_going_out() {
    let (mut link, mut far) = open(1 << 16).await;
    far.write_all(&PING.repeat(1_000)).await.unwrap();
    link.on_command(ToLink::Send(Frame::Ping(0)));
    assert!(matches!(next(&mut link).await, FromLink::Frame(_, _)));
    let mut sent = [0; 3];
    far.read_exact(&mut sent).now_or_never().unwrap().unwrap();
    assert_eq!(sent, PING);
}

#[tokio::test]
async fn a_connection_that_closes_hands_over_what_came_and_sends_what_waits() {
    let (mut link, mut far) = open(100).await;
    link.on_command(ToLink::Send(Frame::Ping(0)));
    far.write_all(&PING.repeat(2)).await.unwrap();
    let [
        FromLink::Frame(_, _),
        FromLink::Frame(_, _),
        FromLink::Closed(Ok(())),
    ] = *part(&mut link).await
    else {
        panic!("other events came");
    };
    let mut sent = Vec::new();
    far.read_to_end(&mut sent).await.unwrap();
    assert_eq!(sent, PING);
}

#[tokio::test]
async fn a_connection_that_closes_waits_for_nobody_longer_than_a_quarter_of_a_second() {
    let (mut link, _far) = open(10).await;
    for _ in 0..100 {
        link.on_command(ToLink::Send(Frame::Ping(0)));
    }
    let start = Instant::now();
    let [FromLink::Closed(Ok(()))] = *part(&mut link).await else {
        panic!("other events came");
    };
    let took = start.elapsed();
    assert!(
        PARTING_TIMEOUT <= took && took < Limits::FAREWELL_TIME,
        "{took:?}"
    );
}

#[tokio::test]
async fn a_connection_that_closes_after_the_link_has_nothing_to_say() {
    let (mut link, far) = open(10).await;
    drop(far);
    assert!(matches!(next(&mut link).await, FromLink::Closed(Ok(()))));
    assert!(part(&mut link).await.is_empty());

    let (near, _far) = tokio::io::duplex(10);
    assert!(part(&mut Link::new(near.compat())).await.is_empty());
}
