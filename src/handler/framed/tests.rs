use std::{future::poll_fn, task::Waker, time::Duration};

use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt};

use super::*;
use crate::{
    error::ProtocolError,
    id::SessionId,
    message::{Envelope, Signal},
};

type Duplex = Compat<tokio::io::DuplexStream>;

/// A framed end of a pipe that holds `room` bytes, and the bare other end.
fn pipe(room: usize) -> (Framed<Duplex>, Duplex) {
    let (near, far) = tokio::io::duplex(room);
    (Framed::new(near.compat()), far.compat())
}

fn signal_of(len: usize) -> Frame {
    Frame::Signal(Signal {
        session: SessionId([7; 16]),
        envelope: Envelope(vec![1; len]),
    })
}

async fn next<S>(framed: &mut Framed<S>) -> Result<Option<Frame>, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let frame = poll_fn(|cx| framed.poll_frame(cx));
    let frame = tokio::time::timeout(Duration::from_secs(5), frame).await;
    frame.unwrap().map(|frame| frame.map(|(frame, _)| frame))
}

fn protocol_error(result: Result<Option<Frame>, LinkError>) -> ProtocolError {
    match result {
        Err(LinkError::Protocol(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn frames_arrive_through_a_pipe_of_any_width() {
    let frames = [
        Frame::Ping(1),
        signal_of(300),
        Frame::Unknown,
        signal_of(16_000),
        Frame::Pong(2),
    ];
    for room in [1, 2, 3, 7, 8_000, 100_000] {
        let (near, far) = tokio::io::duplex(room);
        let mut near = Framed::new(near.compat());
        let mut far = Framed::new(far.compat());
        for frame in &frames {
            near.push(frame.clone()).unwrap();
        }
        let write = poll_fn(|cx| near.poll_close(cx));
        let read = async {
            for frame in &frames {
                assert_eq!(next(&mut far).await.unwrap().as_ref(), Some(frame));
            }
            assert_eq!(next(&mut far).await.unwrap(), None);
        };
        let (written, ()) = futures::join!(write, read);
        written.unwrap();
    }
}

#[tokio::test]
async fn two_frames_in_one_packet_are_two_frames() {
    let (mut near, mut far) = pipe(1_000);
    let packet = [&[2, 0x3a, 0][..], &[2, 0x42, 0]].concat();
    far.write_all(&packet).await.unwrap();
    assert_eq!(next(&mut near).await.unwrap(), Some(Frame::Ping(0)));
    assert_eq!(next(&mut near).await.unwrap(), Some(Frame::Pong(0)));
}

#[tokio::test]
async fn an_end_within_a_frame_is_no_clean_end() {
    let bytes = encode(&signal_of(20)).unwrap();
    for len in 1..bytes.len() {
        let (mut near, mut far) = pipe(1_000);
        far.write_all(&bytes[..len]).await.unwrap();
        far.close().await.unwrap();
        let error = protocol_error(next(&mut near).await);
        assert_eq!(error, ProtocolError::Truncated);
    }
}

#[tokio::test]
async fn bytes_that_are_not_the_protocol_are_an_error() {
    for (bytes, expected) in [
        (&b"\x02\x07\x07"[..], ProtocolError::Malformed),
        (&[0xff; 9], ProtocolError::Malformed),
        (&[0xff, 0xff, 0x01], ProtocolError::TooLong { len: 0x7fff }),
    ] {
        let (mut near, mut far) = pipe(1_000);
        far.write_all(bytes).await.unwrap();
        assert_eq!(protocol_error(next(&mut near).await), expected);
    }
}

#[tokio::test]
async fn nothing_is_read_that_nobody_asked_for() {
    let (mut near, mut far) = pipe(100);
    let bytes = encode(&signal_of(10)).unwrap().repeat(500);
    let flood = far.write_all(&bytes);
    futures::pin_mut!(flood);
    assert!(flood.as_mut().now_or_never().is_none());
    next(&mut near).await.unwrap();
    // One read took the pipe's 100 bytes, and the remote could refill it, but no more than that.
    assert!(flood.as_mut().now_or_never().is_none());
    assert!(near.decoder.finish().is_err());
    assert!(flood.now_or_never().is_none());
}

#[tokio::test]
async fn of_frames_that_nobody_reads_256_may_wait() {
    let (mut near, mut far) = pipe(10);
    for nonce in 0..Limits::WAITING_FRAMES {
        near.push(Frame::Ping(nonce.into())).unwrap();
    }
    let overflow = near.push(Frame::Ping(0));
    assert!(matches!(overflow, Err(LinkError::Stalled)));

    let (mut long, _far) = pipe(10);
    for _ in 0..Limits::WAITING_FRAMES / 4 {
        long.push(signal_of(8 * 1024 - Signal::OVERHEAD)).unwrap();
    }
    let overflow = long.push(Frame::Ping(0));
    assert!(matches!(overflow, Err(LinkError::Stalled)));

    let read = async {
        far.read_exact(&mut [0; 100]).await.unwrap();
    };
    let write = poll_fn(|cx| near.poll_flush(cx));
    futures::select! {
        () = read.fuse() => {}
        _ = write.fuse() => panic!("nobody read all"),
    }
    near.push(Frame::Ping(0)).unwrap();
}

#[tokio::test]
async fn a_framed_stream_holds_no_memory_between_frames() {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (mut near, mut far) = (Framed::new(near.compat()), Framed::new(far.compat()));
    for _ in 0..Limits::WAITING_FRAMES {
        near.push(signal_of(1_000)).unwrap();
    }
    poll_fn(|cx| near.poll_flush(cx)).await.unwrap();
    for _ in 0..Limits::WAITING_FRAMES {
        next(&mut far).await.unwrap().unwrap();
    }
    assert_eq!(near.queue.capacity() + near.chunk.capacity(), 0);
    assert_eq!(
        format!("{:?}", far.decoder),
        format!("{:?}", Decoder::default())
    );
}

#[tokio::test]
async fn a_stream_that_cannot_be_written_to_can_be_read_to_its_end() {
    let (near, far) = tokio::io::duplex(1_000);
    let mut near = Framed::new(near.compat());
    let mut far = Framed::new(far.compat());
    far.push(Frame::Pong(9)).unwrap();
    poll_fn(|cx| far.poll_flush(cx)).await.unwrap();
    drop(far);
    near.push(Frame::Ping(9)).unwrap();
    for _ in 0..2 {
        let sent = poll_fn(|cx| near.poll_flush(cx)).await;
        assert!(matches!(sent, Err(LinkError::Io(_))));
    }
    assert_eq!(next(&mut near).await.unwrap(), Some(Frame::Pong(9)));
    assert_eq!(next(&mut near).await.unwrap(), None);
}

/// Takes writes as libp2p-webrtc does, and keeps their lengths.
#[derive(Default)]
struct Recorder {
    writes: Vec<usize>,
    unflushed: bool,
}

impl AsyncRead for Recorder {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }
}

impl AsyncWrite for Recorder {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        assert!(!self.unflushed, "a write before the flush of the last");
        self.unflushed = true;
        self.writes.push(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_write_is_short_and_flushed_and_shared_by_small_frames() {
    let mut framed = Framed::new(Recorder::default());
    let cx = &mut Context::from_waker(Waker::noop());
    let large = encode(&signal_of(16_000)).unwrap().len();
    framed.push(signal_of(16_000)).unwrap();
    for _ in 0..100 {
        framed.push(Frame::Ping(0)).unwrap();
    }
    assert!(matches!(framed.poll_flush(cx), Poll::Ready(Ok(()))));
    let expected = [MAX_WRITE, MAX_WRITE, large - 2 * MAX_WRITE, 100 * 3];
    assert_eq!(framed.stream.writes, expected);
    assert!(!framed.stream.unflushed);
}

#[test]
fn a_frame_that_is_too_long_is_left_out() {
    let mut framed = Framed::new(Recorder::default());
    let cx = &mut Context::from_waker(Waker::noop());
    framed.push(signal_of(20_000)).unwrap();
    framed.push(Frame::Ping(0)).unwrap();
    assert!(matches!(framed.poll_flush(cx), Poll::Ready(Ok(()))));
    assert_eq!(framed.stream.writes, [3]);
}
