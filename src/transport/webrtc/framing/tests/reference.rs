//! The framing of libp2p-webrtc (`libp2p-webrtc-utils`) at the other end.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt};
use proptest::{collection::vec, prelude::*};

use super::*;

type Theirs = libp2p_webrtc_utils::Stream<Channel>;

/// Bytes to be read, and messages that were written.
type Contents = (VecDeque<u8>, Vec<Vec<u8>>);

/// Their channel.
#[derive(Clone, Default)]
struct Channel(Arc<Mutex<Contents>>);

impl Channel {
    fn arrives(&self, bytes: &[u8]) {
        self.0.lock().unwrap().0.extend(bytes);
    }

    fn written(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.lock().unwrap().1)
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut bytes = self.0.lock().unwrap();
        match bytes.0.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(io::Read::read(&mut bytes.0, buf)),
        }
    }
}

impl AsyncWrite for Channel {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().unwrap().1.push(buf.to_vec());
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn their_stream() -> (Theirs, Channel) {
    let channel = Channel::default();
    (Theirs::new(channel.clone()).0, channel)
}

/// Has something done that must not have to wait.
fn now<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    future.now_or_never().expect("it would wait")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(100) })]

    #[test]
    fn we_read_what_they_write(lens in vec(1..20_000_usize, 1..10), cut in 1..20_000_usize) {
        let ((mut theirs, channel), mut ours) = (their_stream(), stream());
        let mut written = Vec::new();
        for (n, len) in lens.into_iter().enumerate() {
            let data = vec![n as u8; len];
            now(theirs.write_all(&data)).unwrap();
            now(theirs.flush()).unwrap();
            written.extend(data);
        }
        now(theirs.close()).unwrap();
        let messages = channel.written().concat();
        for message in messages.chunks(cut) {
            ours.receive(message.to_vec(), true);
        }
        let mut all = Vec::new();
        while let (Read::Bytes(_), data) = read(&mut ours) {
            all.extend(data);
        }
        prop_assert!(all == written);
        prop_assert_eq!(read(&mut ours).0, Read::Ended);
    }

    #[test]
    fn they_read_what_we_write(lens in vec(1..=MAX_DATA_LEN, 1..10)) {
        let (mut theirs, channel) = their_stream();
        let mut written = Vec::new();
        for (n, len) in lens.into_iter().enumerate() {
            let data = vec![n as u8; len];
            channel.arrives(&data_frame(&data));
            written.extend(data);
        }
        channel.arrives(&Flag::Fin.frame());
        let mut all = Vec::new();
        now(theirs.read_to_end(&mut all)).unwrap();
        prop_assert!(all == written);
    }

    #[test]
    fn of_frames_that_are_cut_short_both_read_the_same(
        lens in vec(1..200usize, 1..5),
        at in any::<prop::sample::Index>(),
    ) {
        let ((mut theirs, channel), mut ours) = (their_stream(), stream());
        let written: Vec<_> = (0..lens.iter().sum()).map(|n| n as u8).collect();
        let (mut frames, mut rest) = (Vec::new(), &written[..]);
        for len in lens {
            let data;
            (data, rest) = rest.split_at(len);
            frames.extend(data_frame(data));
        }
        frames.truncate(at.index(frames.len() + 1));
        channel.arrives(&frames);
        ours.receive(frames, true);
        let (mut by_them, mut by_us, mut buffer) = (Vec::new(), Vec::new(), [0; 200]);
        while let Some(Ok(len @ 1..)) = theirs.read(&mut buffer).now_or_never() {
            by_them.extend_from_slice(&buffer[..len]);
        }
        let end = loop {
            match read(&mut ours) {
                (Read::Bytes(_), data) => by_us.extend(data),
                (end, _) => break end,
            }
        };
        prop_assert_eq!(end, Read::Blocked);
        // They wait for the whole of a frame.
        prop_assert!(by_us.starts_with(&by_them) && written.starts_with(&by_us));
    }
}

#[test]
fn they_understand_our_flags() {
    for (flag, kind) in [
        (Flag::Fin, None),
        (Flag::Reset, Some(io::ErrorKind::ConnectionReset)),
        // This is why none is sent to them.
        (Flag::FinAck, Some(io::ErrorKind::InvalidData)),
    ] {
        let (mut theirs, channel) = their_stream();
        channel.arrives(&flag.frame());
        // It returns nothing, as at the end, before it says why.
        let first = now(theirs.read(&mut [0]));
        let error = first.and_then(|_| now(theirs.read(&mut [0]))).err();
        let expected = kind.or(Some(io::ErrorKind::BrokenPipe));
        assert_eq!(error.map(|error| error.kind()), expected, "{flag:?}");
    }
}

#[test]
fn we_understand_their_flags() {
    let (mut theirs, channel) = their_stream();
    now(theirs.close()).unwrap();
    assert_eq!(channel.written(), [Flag::Fin.frame()]);
    let (mut theirs, channel) = their_stream();
    std::future::poll_fn(|cx| Pin::new(&mut theirs).poll_close_read(cx))
        .now_or_never()
        .unwrap()
        .unwrap();
    assert_eq!(channel.written(), [Flag::StopSending.frame()]);
}
