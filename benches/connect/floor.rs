//! The floor of a signaled connection: the same transport without a swarm and without the exchange.
//! Two processes hand each other its descriptions over one TCP stream.

use std::{
    future::poll_fn,
    pin::Pin,
    task::Poll,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, Transport as _,
    core::{
        Endpoint, StreamMuxer,
        muxing::StreamMuxerBox,
        transport::{DialOpts, PortUse, TransportEvent},
    },
    identity::Keypair,
    multiaddr::Protocol,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Split},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{
    common::{self, Result},
    config::Config,
    reach::Reach,
    route::{self, BehaviourPort},
    signaling::{Command, Notice, SetupId},
    transport::Transport,
};

/// One of the two ends.
pub(crate) struct Floor {
    transport: Transport,
    port: BehaviourPort,
    incoming: Split<BufReader<OwnedReadHalf>>,
    outgoing: OwnedWriteHalf,
    remote: PeerId,
    setups: u64,
}

/// Ends a description on the stream.
const END: u8 = 0;

impl Floor {
    /// The end that offers, in this process.
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        Self::new(TcpStream::connect(address).await?).await
    }

    async fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        let (read, mut outgoing) = stream.into_split();
        let mut incoming = BufReader::new(read).split(END);
        let key = Keypair::generate_ed25519();
        let (port, transport_port) = route::ports();
        let config = Config::new("floor".parse()?);
        let transport = Transport::new(&key, transport_port, &config);
        send(&mut outgoing, &key.public().to_peer_id().to_string()).await?;
        let remote = receive(&mut incoming).await?.parse()?;
        let setups = 0;
        Ok(Self {
            transport,
            port,
            incoming,
            outgoing,
            remote,
            setups,
        })
    }

    fn next_setup(&mut self) -> SetupId {
        self.setups += 1;
        let (peer, number) = (self.remote, self.setups);
        SetupId { peer, number }
    }

    /// From the command for an offer to the end of the dial.
    pub(crate) async fn measure(&mut self) -> Result<Duration> {
        let (setup, reach) = (self.next_setup(), Reach::Machine);
        let start = Instant::now();
        let offer = self.describe(Command::Offer { setup, reach }).await?;
        send(&mut self.outgoing, &offer).await?;
        let sdp = receive(&mut self.incoming).await?;
        self.port.signal(Command::Accept { setup, sdp });
        let address = Multiaddr::from(Protocol::WebRTC).with(Protocol::P2p(self.remote));
        let opts = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::Reuse,
        };
        let (_, muxer) = self.transport.dial(address, opts)?.await?;
        let time = start.elapsed();
        close(muxer).await;
        Ok(time)
    }

    /// Our end's description.
    async fn describe(&mut self, command: Command) -> Result<String> {
        self.port.signal(command);
        let described = poll_fn(|cx| {
            while let Poll::Ready(event) = Pin::new(&mut self.transport).poll(cx) {
                keep(event);
            }
            loop {
                match self.port.poll_notice(cx) {
                    Poll::Ready(Notice::Described { sdp, .. }) => return Poll::Ready(sdp),
                    // All addresses are in the description.
                    Poll::Ready(_) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        Ok(described.await.ok_or("no description")?)
    }

    async fn answer(&mut self) -> Result<()> {
        let (setup, reach) = (self.next_setup(), Reach::Machine);
        let sdp = loop {
            let event = poll_fn(|cx| Pin::new(&mut self.transport).poll(cx));
            tokio::select! {
                offer = receive(&mut self.incoming) => break offer?,
                event = event => keep(event),
            }
        };
        let command = Command::Answer { setup, reach, sdp };
        let answer = self.describe(command).await?;
        send(&mut self.outgoing, &answer).await
    }
}

/// Prints its address, and is the end that answers.
pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    common::print(listener.local_addr()?)?;
    let mut floor = Floor::new(listener.accept().await?.0).await?;
    loop {
        floor.answer().await?;
    }
}

async fn send(stream: &mut OwnedWriteHalf, text: &str) -> Result<()> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(END);
    Ok(stream.write_all(&bytes).await?)
}

async fn receive(stream: &mut Split<BufReader<OwnedReadHalf>>) -> Result<String> {
    let bytes = stream
        .next_segment()
        .await?
        .ok_or("the other end is gone")?;
    Ok(String::from_utf8(bytes)?)
}

/// Holds an incoming connection until the other side closes it.
fn keep<E>(
    event: TransportEvent<
        impl Future<Output = std::io::Result<(PeerId, StreamMuxerBox)>> + Send + 'static,
        E,
    >,
) {
    if let Some((upgrade, _)) = event.into_incoming() {
        tokio::spawn(async move {
            if let Ok((_, mut muxer)) = upgrade.await {
                while poll_fn(|cx| Pin::new(&mut muxer).poll(cx)).await.is_ok() {}
            }
        });
    }
}

async fn close(mut muxer: StreamMuxerBox) {
    let _ = poll_fn(|cx| Pin::new(&mut muxer).poll_close(cx)).await;
}
