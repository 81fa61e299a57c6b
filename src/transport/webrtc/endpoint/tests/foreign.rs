//! Another implementation at the other end: the `webrtc` crate, over real sockets.

use std::{net::IpAddr, sync::Arc};

use tokio::{net::UdpSocket, sync::mpsc, time::timeout};
use webrtc::{
    api::{APIBuilder, setting_engine::SettingEngine},
    data_channel::{RTCDataChannel, data_channel_message::DataChannelMessage},
    ice::{mdns::MulticastDnsMode, network_type::NetworkType},
    ice_transport::ice_candidate::RTCIceCandidateInit,
    peer_connection::{
        RTCPeerConnection, configuration::RTCConfiguration,
        sdp::session_description::RTCSessionDescription,
    },
};

use super::{
    super::super::framing::{Item, Scanner},
    *,
};

const SENT: usize = 200_000;
const MESSAGE: usize = 10_000;

/// Our end on a real socket.
struct Ours {
    endpoint: Endpoint,
    socket: UdpSocket,
    local: SocketAddr,
    setup: SetupId,
    described: Option<String>,
    incoming: Option<Key>,
}

impl Ours {
    async fn new(ip: IpAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).await.unwrap();
        let local = socket.local_addr().unwrap();
        let mut endpoint = Endpoint::new().unwrap();
        endpoint.add_address(Instant::now(), local, local.ip().into());
        let setup = SetupId {
            peer: PeerId::random(),
            number: 1,
        };
        Self {
            endpoint,
            socket,
            local,
            setup,
            described: None,
            incoming: None,
        }
    }

    fn command(&mut self, command: Command) {
        self.endpoint.handle_command(Instant::now(), command);
    }

    /// Runs until something is so.
    async fn run_until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + SECOND * 20;
        let mut buffer = vec![0; 2048];
        while !is_so(self) {
            assert!(Instant::now() < deadline, "it took too long");
            while let Some(event) = self.endpoint.poll_event() {
                match event {
                    Event::Notice(Notice::Described { sdp, .. }) => self.described = sdp,
                    Event::Incoming { key, .. } => self.incoming = Some(key),
                    _ => {}
                }
            }
            while let Some(transmit) = self.endpoint.poll_transmit() {
                let to = transmit.destination;
                let _ = self.socket.send_to(&transmit.contents, to).await;
            }
            let received = timeout(MS * 5, self.socket.recv_from(&mut buffer)).await;
            let now = Instant::now();
            if let Ok(Ok((n, from))) = received {
                self.endpoint
                    .handle_datagram(now, self.local, from, &buffer[..n]);
            }
            self.endpoint.handle_timeout(now);
        }
    }

    async fn describe(&mut self, command: Command) -> String {
        self.command(command);
        self.run_until(|ours| ours.described.is_some()).await;
        self.described.take().unwrap()
    }

    /// Echoes what comes over the next channel that the other side opens.
    async fn echo(&mut self, key: Key) {
        let mut channel = None;
        self.run_until(|ours| {
            channel = ours.endpoint.accept(key);
            channel.is_some()
        })
        .await;
        let (channel, mut echoed, mut buffer) = (channel.unwrap(), 0, vec![0; MESSAGE]);
        let mut waiting = Vec::new();
        self.run_until(|ours| {
            let now = Instant::now();
            loop {
                if waiting.is_empty() {
                    match ours.endpoint.read(now, key, channel, &mut buffer) {
                        Read::Bytes(n) => waiting.extend_from_slice(&buffer[..n]),
                        _ => break,
                    }
                }
                match ours.endpoint.write(now, key, channel, &waiting) {
                    Write::Taken(n) => echoed += n,
                    _ => break,
                }
                waiting.clear();
            }
            echoed == SENT
        })
        .await;
    }

    /// Sends over a channel of our own and takes in what is echoed.
    async fn ask(&mut self, key: Key) {
        let channel = self.endpoint.open(Instant::now(), key).unwrap();
        let (sent, mut written) = (pattern(SENT), 0);
        let (mut received, mut buffer) = (Vec::new(), vec![0; MESSAGE]);
        self.run_until(|ours| {
            let now = Instant::now();
            while written < SENT {
                let message = &sent[written..written + MESSAGE];
                match ours.endpoint.write(now, key, channel, message) {
                    Write::Taken(n) => written += n,
                    _ => break,
                }
            }
            while let Read::Bytes(n) = ours.endpoint.read(now, key, channel, &mut buffer) {
                received.extend_from_slice(&buffer[..n]);
            }
            received.len() == SENT
        })
        .await;
        assert!(received == sent);
    }

    /// The other side closes.
    async fn sees_the_end(&mut self, key: Key) {
        self.run_until(|ours| matches!(ours.endpoint.status(key), Status::Closed(_)))
            .await;
        assert_eq!(
            self.endpoint.status(key),
            Status::Closed(Closed::Remote),
            "the end of the foreign side"
        );
    }
}

async fn foreign(network: NetworkType) -> Arc<RTCPeerConnection> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut settings = SettingEngine::default();
    settings.set_ice_multicast_dns_mode(MulticastDnsMode::Disabled);
    settings.set_include_loopback_candidate(true);
    settings.set_network_types(vec![network]);
    let api = APIBuilder::new().with_setting_engine(settings).build();
    let connection = api.new_peer_connection(RTCConfiguration::default()).await;
    Arc::new(connection.unwrap())
}

/// Echoes on each channel that we open.
fn echo(connection: &RTCPeerConnection) {
    connection.on_data_channel(Box::new(|channel: Arc<RTCDataChannel>| {
        Box::pin(async move {
            let weak = Arc::downgrade(&channel);
            channel.on_message(Box::new(move |message: DataChannelMessage| {
                let channel = weak.upgrade().unwrap();
                Box::pin(async move {
                    channel.send(&message.data).await.unwrap();
                })
            }));
        })
    }));
}

/// Sends over a channel and says when all of it has come back.
async fn ask(channel: Arc<RTCDataChannel>) -> mpsc::Receiver<()> {
    let (done, is_done) = mpsc::channel(1);
    let received = Arc::new(std::sync::Mutex::new((Scanner::default(), Vec::new())));
    channel.on_message(Box::new(move |message: DataChannelMessage| {
        let mut all = received.lock().unwrap();
        let (scanner, all) = &mut *all;
        let mut at = 0;
        while let Some(item) = scanner.next(&message.data, &mut at).unwrap() {
            if let Item::Data(part) = item {
                all.extend_from_slice(&message.data[part]);
            }
        }
        if all.len() == SENT {
            assert!(*all == pattern(SENT));
            done.try_send(()).unwrap();
        }
        Box::pin(async {})
    }));
    let weak = Arc::downgrade(&channel);
    channel.on_open(Box::new(move || {
        Box::pin(async move {
            let channel = weak.upgrade().unwrap();
            for message in pattern(SENT).chunks(MESSAGE) {
                let frame = framing::data_frame(message);
                channel.send(&frame.into()).await.unwrap();
            }
        })
    }));
    is_done
}

async fn we_offer(ip: IpAddr, network: NetworkType) {
    let mut ours = Ours::new(ip).await;
    let theirs = foreign(network).await;
    echo(&theirs);
    let (setup, reach) = (ours.setup, Reach::Machine);
    let offer = ours.describe(Command::Offer { setup, reach }).await;
    let offer = RTCSessionDescription::offer(offer).unwrap();
    theirs.set_remote_description(offer).await.unwrap();
    let answer = theirs.create_answer(None).await.unwrap();
    let mut gathered = theirs.gathering_complete_promise().await;
    theirs.set_local_description(answer).await.unwrap();
    gathered.recv().await;
    let sdp = theirs.local_description().await.unwrap().sdp;
    ours.command(Command::Accept { setup, sdp });
    let key = ours.endpoint.dial(&setup.peer).unwrap();
    ours.run_until(|ours| ours.endpoint.status(key) == Status::Connected)
        .await;
    ours.ask(key).await;
    let close = tokio::spawn(async move { theirs.close().await });
    ours.sees_the_end(key).await;
    close.await.unwrap().unwrap();
}

async fn they_offer(ip: IpAddr, network: NetworkType) {
    let mut ours = Ours::new(ip).await;
    let theirs = foreign(network).await;
    let (trickle, mut trickled) = mpsc::unbounded_channel();
    theirs.on_ice_candidate(Box::new(move |candidate| {
        let init = candidate.map(|candidate| candidate.to_json().unwrap());
        let _ = trickle.send(init);
        Box::pin(async {})
    }));
    let channel = theirs.create_data_channel("", None).await.unwrap();
    let mut is_done = ask(channel).await;
    let offer = theirs.create_offer(None).await.unwrap();
    let (setup, reach, sdp) = (ours.setup, Reach::Machine, offer.sdp.clone());
    theirs.set_local_description(offer).await.unwrap();
    let answer = ours.describe(Command::Answer { setup, reach, sdp }).await;
    let answer = RTCSessionDescription::answer(answer).unwrap();
    theirs.set_remote_description(answer).await.unwrap();
    while let Some(Some(RTCIceCandidateInit { candidate, .. })) = trickled.recv().await {
        ours.command(Command::Candidate { setup, candidate });
    }
    ours.run_until(|ours| ours.incoming.is_some()).await;
    let key = ours.incoming.unwrap();
    ours.echo(key).await;
    ours.run_until(|_| is_done.try_recv().is_ok()).await;
    let close = tokio::spawn(async move { theirs.close().await });
    ours.sees_the_end(key).await;
    close.await.unwrap().unwrap();
}

const LOOPBACK4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const LOOPBACK6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_our_offer_over_ipv4() {
    we_offer(LOOPBACK4, NetworkType::Udp4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_answers_our_offer_over_ipv6() {
    we_offer(LOOPBACK6, NetworkType::Udp6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_answer_its_offer_over_ipv4() {
    they_offer(LOOPBACK4, NetworkType::Udp4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn we_answer_its_offer_over_ipv6() {
    they_offer(LOOPBACK6, NetworkType::Udp6).await;
}
