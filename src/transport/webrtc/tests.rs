//! Two nodes over real sockets on loopback; the test carries their signals.

use std::{
    array,
    error::Error,
    future::poll_fn,
    pin::Pin,
    process,
    time::{Duration, Instant},
};

use futures::{AsyncReadExt, AsyncWriteExt, task::noop_waker_ref};
use libp2p::core::muxing::{StreamMuxerEvent, StreamMuxerExt, SubstreamBox};
use tokio::{
    runtime,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{endpoint::Closed, shared::Stopped, *};
use crate::{Reach, signaling::SetupId};

mod life;
mod streams;

const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("in time")
}

/// One of the two nodes.
struct End {
    peer: PeerId,
    signaled: Signaled,
    incoming: VecDeque<TransportEvent<Connecting, io::Error>>,
}

/// The first offers and dials.
struct Pair {
    ends: [End; 2],
    number: u64,
}

impl Pair {
    fn new() -> Self {
        let ends = array::from_fn(|_| End {
            peer: PeerId::random(),
            signaled: Signaled::new(Stun::default()),
            incoming: VecDeque::new(),
        });
        Self { ends, number: 0 }
    }

    /// What the end of this index calls the set-up.
    fn setup(&self, end: usize) -> SetupId {
        SetupId {
            peer: self.ends[1 - end].peer,
            number: self.number,
        }
    }

    /// Carries everything that both have to say. Returns the dial once the answer is in.
    fn carry(&mut self, cx: &Context<'_>) -> Option<Connecting> {
        let mut dial = None;
        for end in [0, 1, 0] {
            let signaled = &mut self.ends[end].signaled;
            if signaled.poll_ready(cx).is_pending() {
                continue;
            }
            while let Poll::Ready(notice) = self.ends[end].signaled.poll_notice(cx) {
                let setup = self.setup(1 - end);
                let command = match notice {
                    Notice::PathFound(_)
                    | Notice::Failed(_)
                    | Notice::Serving { .. }
                    | Notice::NatMapping(_) => continue,
                    Notice::Candidate { candidate, .. } => Command::Candidate { setup, candidate },
                    Notice::Described { sdp, .. } => {
                        let sdp = sdp.expect("a description");
                        match end {
                            0 => Command::Answer {
                                setup,
                                reach: Reach::Machine,
                                sdp,
                            },
                            _ => Command::Accept { setup, sdp },
                        }
                    }
                };
                match command {
                    Command::Accept { .. } => dial = Some(self.dial([command])),
                    command => self.ends[1 - end].signaled.handle_command(command),
                }
            }
            while let Poll::Ready(event) = self.ends[end].signaled.poll(cx) {
                self.ends[end].incoming.push_back(event);
            }
        }
        dial
    }

    fn dial(&mut self, commands: impl IntoIterator<Item = Command>) -> Connecting {
        let peer = self.ends[1].peer;
        self.ends[0].signaled.dial(peer, commands.into_iter())
    }

    async fn ready(&mut self) {
        for end in &mut self.ends {
            soon(poll_fn(|cx| end.signaled.poll_ready(cx))).await;
        }
    }

    /// Offers, and returns the dial.
    async fn offer(&mut self) -> Connecting {
        self.ready().await;
        self.number += 1;
        let offer = Command::Offer {
            setup: self.setup(0),
            reach: Reach::Machine,
        };
        self.ends[0].signaled.handle_command(offer);
        let dial = poll_fn(|cx| self.carry(cx).map_or(Poll::Pending, Poll::Ready));
        soon(dial).await
    }

    /// Both ends of a new connection, the dialer's first.
    async fn connect(&mut self) -> [Connection; 2] {
        let mut dial = self.offer().await;
        let mut dialed = None;
        let both = poll_fn(|cx| {
            self.carry(cx);
            if dialed.is_none()
                && let Poll::Ready(connected) = dial.as_mut().poll(cx)
            {
                dialed = Some(connected.expect("connected"));
            }
            match dialed.is_some() && !self.ends[1].incoming.is_empty() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        soon(both).await;
        let (peer, dialed) = dialed.unwrap();
        assert_eq!(peer, self.ends[1].peer);
        let event = self.ends[1].incoming.pop_front().unwrap();
        let (upgrade, send_back) = event.into_incoming().unwrap();
        let (peer, accepted) = upgrade.await.unwrap();
        assert_eq!(peer, self.ends[0].peer);
        assert_eq!(signaled_peer(&send_back), Some(peer));
        [dialed, accepted].map(Connection::new)
    }
}

enum Request {
    Open(oneshot::Sender<SubstreamBox>),
    Close(oneshot::Sender<io::Result<()>>),
}

/// A muxer in a task of its own, as a swarm has it. Dropped with this.
struct Connection {
    requests: mpsc::UnboundedSender<Request>,
    inbound: mpsc::UnboundedReceiver<SubstreamBox>,
    addresses: mpsc::UnboundedReceiver<Multiaddr>,
    task: JoinHandle<io::Error>,
}

impl Connection {
    fn new(mut muxer: StreamMuxerBox) -> Self {
        let (requests, mut requested) = mpsc::unbounded_channel();
        let (found, inbound) = mpsc::unbounded_channel();
        let (moved, addresses) = mpsc::unbounded_channel();
        let mut opening = VecDeque::new();
        let task = tokio::spawn(poll_fn(move |cx| {
            loop {
                match muxer.poll_unpin(cx) {
                    Poll::Ready(Ok(StreamMuxerEvent::AddressChange(address))) => {
                        let _ = moved.send(address);
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(error),
                    Poll::Pending => {}
                }
                if let Poll::Ready(Some(request)) = requested.poll_recv(cx) {
                    match request {
                        Request::Open(reply) => opening.push_back(reply),
                        Request::Close(reply) => {
                            let muxer = std::mem::replace(&mut muxer, never());
                            tokio::spawn(async move { reply.send(muxer.close().await) });
                        }
                    }
                    continue;
                }
                if !opening.is_empty() {
                    match muxer.poll_outbound_unpin(cx) {
                        Poll::Ready(Ok(stream)) => {
                            let _ = opening.pop_front().unwrap().send(stream);
                            continue;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(error),
                        Poll::Pending => {}
                    }
                }
                match muxer.poll_inbound_unpin(cx) {
                    Poll::Ready(Ok(stream)) => {
                        let _ = found.send(stream);
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(error),
                    Poll::Pending => return Poll::Pending,
                }
            }
        }));
        Self {
            requests,
            inbound,
            addresses,
            task,
        }
    }

    async fn open(&self) -> SubstreamBox {
        let (reply, stream) = oneshot::channel();
        assert!(self.requests.send(Request::Open(reply)).is_ok());
        soon(stream).await.unwrap()
    }

    async fn accept(&mut self) -> SubstreamBox {
        soon(self.inbound.recv()).await.unwrap()
    }

    async fn close(&self) -> io::Result<()> {
        let (reply, closed) = oneshot::channel();
        assert!(self.requests.send(Request::Close(reply)).is_ok());
        soon(closed).await.unwrap()
    }

    /// How the connection ended without us.
    async fn ended(&mut self) -> io::Error {
        soon(&mut self.task).await.unwrap()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// In the place of a muxer that is being closed.
fn never() -> StreamMuxerBox {
    struct Never;
    impl libp2p::core::StreamMuxer for Never {
        type Substream = substream::Substream;
        type Error = io::Error;
        fn poll_inbound(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<io::Result<Self::Substream>> {
            Poll::Pending
        }
        fn poll_outbound(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<io::Result<Self::Substream>> {
            Poll::Pending
        }
        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
            Poll::Pending
        }
    }
    StreamMuxerBox::new(Never)
}

fn cause<T: Error + Copy + 'static>(error: &io::Error) -> Option<T> {
    let mut cause: &(dyn Error + 'static) = error;
    loop {
        if let Some(found) = cause.downcast_ref::<T>() {
            return Some(*found);
        }
        if let Some(error) = cause.downcast_ref::<io::Error>()
            && let Some(inner) = error.get_ref()
        {
            cause = inner;
            continue;
        }
        cause = cause.source()?;
    }
}
