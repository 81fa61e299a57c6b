//! All bounds on what others can make a node hold, do or send.

use std::time::Duration;

/// How much others may ask of this node: every bound on what they can make it hold, do or send. Those that an
/// application may want otherwise are set by methods, the others are constants. What is counted for a peer is counted over
/// all its links, and for [`Self::COUNT_TIME`] longer.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub(crate) max_peers: usize,
    pub(crate) max_queries: usize,
    pub(crate) introductions: Rate,
    pub(crate) requests: Rate,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_peers: 512,
            max_queries: 64,
            introductions: Rate::new(64, 16),
            requests: Rate::new(32, 8),
        }
    }
}

impl Limits {
    /// With this many peers the node is full: it accepts no introductions, and refuses links that others open. Peers that
    /// it dials or finds itself, and streams that it was given, are not limited. Default: 512, at 4 KiB each.
    ///
    /// A peer that was told that it may come is expected for [`Self::INTRODUCTION_TIME`]. One introducer has as many
    /// expected as there are places free, and all introducers together as many as there are places at all. With one more,
    /// the oldest of whichever introducer has the most is forgotten. Others that come first get the place all the same.
    pub fn with_max_peers(mut self, peers: usize) -> Self {
        self.max_peers = peers;
        self
    }

    pub(crate) fn max_sessions(&self) -> usize {
        self.max_peers.saturating_mul(Self::SESSIONS_PER_PEER)
    }

    /// How many queries may run at a time. Default: 64.
    pub fn with_max_queries(mut self, queries: usize) -> Self {
        self.max_queries = queries;
        self
    }

    /// How many introductions one peer may ask for, how many we carry to one peer, and how many one
    /// peer may carry to us. Default: bursts of 64, 16 a second: a crowd that starts at once through
    /// one node gets through, a flood does not.
    pub fn with_introductions(mut self, rate: Rate) -> Self {
        self.introductions = rate;
        self
    }

    /// How often one peer may ask for peers. Default: bursts of 32, 8 a second.
    pub fn with_requests(mut self, rate: Rate) -> Self {
        self.requests = rate;
        self
    }
}

/// # Of a link, in the order in which they are met
///
/// What cannot be chosen, as all that follows. Who exceeds a limit is refused, or not heard; what ends a link or a
/// connection says so. Where frames or signals are counted, one counts once for each 2 KiB that it has begun.
impl Limits {
    /// How long the remote may take to agree on the protocol: as long as for its hello thereafter. Then there is no
    /// link.
    pub const OPEN_TIME: Duration = Duration::from_secs(10);

    /// How long a stream that the caller gave, or a webrtc-direct connection, may take until both ends have proven
    /// who they are: three round trips suffice, and a swarm waits no longer for others. Then it ends.
    pub const PROOF_TIME: Duration = Duration::from_secs(10);

    /// How long a link may take to say hello: several round trips over any path. Then it ends.
    pub const HELLO_TIME: Duration = Duration::from_secs(10);

    /// How long a link, or a WebRTC connection, may bring nothing. A ping and a second of patience
    /// for each lost packet: a peer that is gone is noticed within 10 s. Then it ends.
    pub const SILENCE: Duration = Duration::from_secs(9);

    /// How many links one peer may have: a few connections that cross, and those of its last life that were not
    /// noticed to be dead yet. Others are refused.
    pub const LINKS: usize = 8;

    /// The longest frame, in bytes, without its length prefix: an SDP with all its candidates takes some 3 KiB, so
    /// this leaves room, and is what a remote can make us hold for one link. A longer one ends the link.
    pub const FRAME_LEN: usize = 16 * 1024;

    /// Frames that one peer may bring: a crowd of 64 introductions through it at once, each with a dozen
    /// signals, stays below it. More end the link.
    pub const FRAMES: Rate = Rate::new(1024, 512);

    /// How many frames wait for a remote to read, and one more. A healthy one leaves none waiting; this is what a busy
    /// introducer sends in the second that a phone takes to change networks. More end the link.
    pub const WAITING_FRAMES: u32 = 256;

    /// How often one link may tell changes: once a second, and then the network may bunch them. More end the link.
    pub const UPDATES: Rate = Rate::new(8, 2);

    /// How many networks a peer names: enough for one application, little enough to hash for each. With more, a
    /// hello or an update ends the link.
    pub const NETWORKS: usize = 16;

    /// How long a link that ends may take to send its last frames: a few round trips of a slow path.
    pub const FAREWELL_TIME: Duration = Duration::from_secs(1);

    /// The time for which the counts of a peer are kept after its last link has ended, so that it gains nothing by coming back: 15
    /// times as long as its slowest bucket takes to fill by default.
    pub const COUNT_TIME: Duration = Duration::from_secs(60);

    /// Peers that have left and are still counted for, at 400 bytes each: twice as many as there are peers by default. The
    /// one that left first is forgotten first. To have one forgotten takes as many others, each of which had as much.
    pub const GONE_PEERS: usize = 1024;
}

/// # Of what an introducer does for others
impl Limits {
    /// How many candidates are in one answer: enough to choose from, and an answer stays below 1 KiB. The rest of
    /// a longer one is left out.
    pub const CANDIDATES: usize = 8;

    /// How many addresses come with one candidate or signal: bounds what one signed message can make us dial. The
    /// rest is left out.
    pub const ADDRESSES: usize = 4;

    /// The longest address that travels, in bytes: five times a webrtc-direct one, and an answer with all its
    /// addresses still fits into a frame. Longer ones are left out.
    pub const ADDRESS_LEN: usize = 256;

    /// How many tokens can be used over one link: four answers' worth. Older ones are forgotten first.
    pub const TOKENS: usize = 4 * Self::CANDIDATES;

    /// Sessions that are relayed at a time, for each peer that there may be ([`Self::with_max_peers`]): every second one
    /// may well be asking, and be introduced to its six at once. More are refused. While less than half of them are in use,
    /// one asker has as many as [`Self::with_introductions`] lets begin within [`Self::SESSION_TIME`], 304 by default.
    /// Beyond, an asker that has 4 is refused, so that there are 4 for each peer whatever others do.
    pub const SESSIONS_PER_PEER: usize = 8;

    /// How long signals are passed on in a session: an offer, its answer and their ICE candidates need a few round
    /// trips.
    pub const SESSION_TIME: Duration = Duration::from_secs(15);

    /// How many signals one end may send in a session: a description and some two dozen candidates. More are
    /// refused.
    pub const SESSION_SIGNALS: u32 = 32;

    /// Signals that are passed on to one peer: half of what it may take for a flood, so that nobody can make it
    /// think that we flood it, and fewer at once than may wait for it. More are refused.
    pub const SIGNALS: Rate = Rate::new(192, 256);

    /// How many signals we pass on over all links together: a dozen for each of 340 introductions a second, and 8 MiB.
    /// More are refused.
    pub const ALL_SIGNALS: Rate = Rate::new(4096, 4096);

    /// The number of signals that one counts as for its receiver ([`Self::SIGNALS`]) while less than half of
    /// [`Self::ALL_SIGNALS`] is left. Each receiver then has 24 at once and 32 a second, enough for a few introductions, and
    /// 128 receivers have to be flooded before others are refused.
    pub const SCARCE_SIGNAL_WEIGHT: u32 = 8;

    /// Requests that we make of one peer in the names of others: half of what a peer takes by default
    /// ([`Self::with_requests`]), so that the other half is left for our own. Beyond, others are told of our own peers.
    pub const REQUESTS_FOR_OTHERS: Rate = Rate::new(16, 4);

    /// Introductions that we ask of one peer in the names of others: half of what a peer takes by default
    /// ([`Self::with_introductions`]), for the same reason. More are refused.
    pub const INTRODUCTIONS_FOR_OTHERS: Rate = Rate::new(32, 8);

    /// The longest walk that can be asked for, in hops.
    pub const HOPS: u8 = 3;

    /// Walks of one peer that may be under way, each a request that we make of a neighbour. Who asks for more is
    /// told of our own peers.
    pub const WALKS: usize = 8;

    /// Walks of all peers together that may be under way.
    pub const ALL_WALKS: usize = 256;

    /// How long a neighbour may take in a walk. The asker waits a little longer, and is told of our own peers then.
    pub const WALK_TIME: Duration = Duration::from_millis(2500);
}

/// # Of whom a query asks and tries
impl Limits {
    /// How many peers one query of ours asks: where so many know nobody new, there is nobody.
    pub const ASKED: usize = 16;

    /// How often a query of the view asks one peer: where so many walks lead to nobody who takes us, others are asked.
    pub const SEARCH_REQUESTS: usize = 8;

    /// How long a peer may take to name candidates: it needs nobody else for it. Then others are asked.
    pub const ASK_TIME: Duration = Duration::from_secs(3);

    /// How long a candidate may take to answer an offer: its turn there comes within [`Self::WAITING_TIME`], and the rest
    /// is for two legs there and two back and for the transports that describe both ends. Then others are tried.
    pub const ANSWER_TIME: Duration = Duration::from_secs(5);

    /// How long a connection may take from the answer on: a few addresses that lead nowhere may come before the one that
    /// does. Then others are tried.
    pub const CONNECT_TIME: Duration = Duration::from_secs(20);
}

/// # Of who is offered a connection
impl Limits {
    /// How long an offer is remembered, so that nobody can play it again.
    pub const REPLAY_TIME: Duration = Duration::from_secs(60);

    /// Offers that are remembered, which takes 2 MiB and 32 peers that bring as many as they may within that time. With
    /// one more, the oldest is forgotten: to refuse it would let a few peers keep out whom all others bring.
    pub const REPLAYS: usize = 32 * 1024;

    /// How long a place is kept for an offerer that was answered: longer than any dial of its.
    pub const INTRODUCTION_TIME: Duration = Duration::from_secs(25);

    /// Dials under way to offerers whom one peer has brought, whether their offers go on or not: a dial that leads nowhere
    /// takes up to 40 s, and honest ones some hundred milliseconds. More are refused.
    pub const DIALS_BACK: usize = 2;

    /// Dials under way to offerers in all: those of 16 introducers. More are refused.
    pub const ALL_DIALS_BACK: usize = 16 * Self::DIALS_BACK;
}

/// # Of a connection in set-up
impl Limits {
    /// The longest description, in bytes: without candidates none is longer than 1 KiB, and this has room for 50 usual
    /// ones, more than a browser on a host with many interfaces names. Longer ones are refused.
    pub const DESCRIPTION_LEN: usize = 8 * 1024;

    /// The most lines of a description: some 20 and those 50, and half as many again. More are refused.
    pub const DESCRIPTION_LINES: usize = 128;

    /// The longest ICE candidate, in bytes: twice what a browser says of one with two IPv6 addresses. Longer ones are
    /// left out.
    pub const CANDIDATE_LEN: usize = 512;

    /// How many ICE candidates are given to the other side and taken from it: two address families with a few
    /// interfaces and a mapped address each; and a lying peer can name no more victims. The rest is left out.
    pub const ICE_CANDIDATES: usize = 8;

    /// How many connections may be in set-up at a time with those whom one peer brings, at some 40 kB each: on most paths
    /// they take some hundred milliseconds. More offers wait.
    pub const SETUPS_PER_INTRODUCER: usize = 8;

    /// How long offers wait for a set-up that was answered, and again once it has found a path: two or three round trips
    /// of a slow one. Then it gives way to them, for most often nobody is there.
    pub const SETUP_PATIENCE: Duration = Duration::from_secs(1);

    /// How many bytes of offers wait that one peer has brought: a crowd of 64 that comes at once through one node, as
    /// [`Self::with_introductions`] has it, with 2 KiB each. More are refused.
    pub const WAITING_OFFERS: usize = 128 * 1024;

    /// How long an offer waits: shorter by a second, for its way and that of the answer, than the offerer does
    /// ([`Self::ANSWER_TIME`]). Then it is refused.
    pub const WAITING_TIME: Duration = Duration::from_secs(4);

    /// How long a path may be searched for: one that exists is found in a few round trips; the rest of a swarm's 10 s is
    /// for the addresses to be dialed next. Then it ends.
    pub const PATH_TIME: Duration = Duration::from_secs(5);

    /// How long the set-up may take in all, once there is a path: a swarm waits no longer. Then it ends.
    pub const SETUP_TIME: Duration = Duration::from_secs(10);

    /// How many checks of the other side are kept until its answer is here, which they overtake. Others are dropped, and
    /// come again 50 ms later.
    pub const EARLY_CHECKS: usize = 8;

    /// How many of our checks are remembered that were not answered: more than one of every pair of addresses has
    /// under way. The oldest are forgotten first.
    pub const TRANSACTIONS: usize = 64;

    /// How many pairs of addresses lead to one connection: more than two hosts with a few addresses each use. The oldest
    /// are forgotten first.
    pub const PAIRS: usize = 16;

    /// How many addresses that the other side has not named its checks may come from before it has answered one of
    /// ours there: a peer behind a NAT shows itself at addresses that it does not know, each of which answers within
    /// a round trip; and who forges sources can aim us at no more. Checks from others are dropped.
    pub const ICE_SOURCES: usize = 4;

    /// How many such addresses there may be while the connection lives, with those that have answered: a peer that
    /// changes networks each few minutes for a day. The engine forgets none of them.
    pub const ALL_ICE_SOURCES: usize = 256;

    /// How many bytes go to an address that has not answered, because the other side has named it; and how many
    /// because its checks seem to come from there, then no more than three times as many as came. Eight checks each: one
    /// more than a path is tried with in 5 s. What exceeds it is not sent, as long as the connection lives.
    pub const UNANSWERED: usize = 1000;

    /// How many addresses the other side may say to see us at: one for each of its own and of ours behind a
    /// symmetric NAT, several times over. What tells of more is dropped.
    pub const MAPPED_ADDRESSES: usize = 64;

    /// How many connections are set up by signals at a time, incoming and outgoing, at some 40 kB each. Who comes when
    /// so many are under way is reached in another way.
    pub const SETUPS: usize = 512;

    /// The most of [`Self::SETUPS`] that others have offered: the rest is for offers of our own. Who offers one more is
    /// reached in another way.
    pub const SETUPS_OFFERED_TO_US: usize = Self::SETUPS / 4 * 3;

    /// How many connections one webrtc-direct listener may have whose other end has answered and not yet proven who it
    /// is, at some 16 kB each, and at most 160 kB where [`Self::DTLS_RECORDS`] wait. Who comes when there are so many comes
    /// again.
    pub const DIRECT_SETUPS: usize = 400;

    /// How many of [`Self::DIRECT_SETUPS`] one host may have, an IPv4 address or an IPv6 /64: a room full of peers
    /// behind one router, and a fraction of all.
    pub const DIRECT_SETUPS_PER_HOST: usize = 64;

    /// How many sources are asked at a time whether they want to connect by webrtc-direct, or somebody in their name:
    /// up to 1.5 kB each. The oldest are forgotten first.
    pub const DIRECT_SOURCES: usize = 1024;

    /// How often a source is asked within [`Self::DIRECT_QUESTION_TIME`], for requests and answers are lost.
    pub const DIRECT_QUESTIONS: u8 = 3;

    /// How long such a source may take to answer: longer than any path.
    pub const DIRECT_QUESTION_TIME: Duration = Duration::from_secs(2);

    /// The bytes that a DTLS handshake may bring. A usual one takes 3 KiB, and this leaves room for those who send
    /// their flights again after 50, 100, 200 ms and so on. Further datagrams are dropped.
    pub const DTLS_HANDSHAKE: usize = 16 * 1024;

    /// The records that a DTLS handshake may bring: each side has seven, and sends five of them again four times. The
    /// engine takes 5 kB for one that waits for others. Further datagrams are dropped.
    pub const DTLS_RECORDS: usize = 32;

    /// The longest certificate, in bytes, ours or the other side's: the engine has no room for a longer one. Those that
    /// WebRTC makes have 300 to 1,000. A longer one ends the connection.
    pub const CERTIFICATE_LEN: usize = 2000;

    /// The bytes that a webrtc-direct connection may have us hold before the other side has proven who it is: what is
    /// unread, incomplete, out of order or early, and what the engine takes beside. Further chunks are dropped, and come
    /// again.
    pub const UNPROVEN: usize = 8 * 1024;

    /// The bytes of [`Self::UNPROVEN`] that may wait for the proof because they are for other streams: the first
    /// three datagrams that the other side sends when it is done with its own proof. Others are dropped, and come again.
    pub const UNPROVEN_STREAMS: usize = Self::UNPROVEN / 2;

    /// The bytes of [`Self::UNPROVEN`] that an honest proof takes.
    pub const PROOF: usize = 2 * 1024;

    /// The bytes that all such connections of one node hold together. Half of it is for those that hold no more than
    /// [`Self::PROOF`], for 1,024 of them, so that nobody else keeps a proof out: two listeners have at most 800
    /// ([`Self::DIRECT_SETUPS`]). Further chunks are dropped, and come again.
    pub const ALL_UNPROVEN: usize = 4 * 1024 * 1024;
}

/// # Of a WebRTC connection
impl Limits {
    /// The longest datagram that is taken, in bytes: WebRTC keeps below what every path carries. Longer ones are
    /// dropped.
    pub const DATAGRAM_LEN: usize = 1500;

    /// The longest message, in bytes: libp2p's framing makes none above 16 KiB, and others may be less exact. A longer
    /// one ends the connection.
    pub const MESSAGE_LEN: u32 = 64 * 1024;

    /// How many streams may wait for the application: a burst of a thousand gets through, for a swarm takes 128 at a
    /// time. Others are reset.
    pub const WAITING_STREAMS: usize = 1024;

    /// How many streams the other side may have open: the engine looks at each of them for each datagram, and has no
    /// bound of its own. More end the connection.
    pub const STREAMS: usize = 2 * Self::WAITING_STREAMS;

    /// How many bytes may be unread. With more, no more is decrypted, so that it is not acknowledged and the other side
    /// stops sending; below half of it, it goes on.
    pub const UNREAD: usize = 1024 * 1024;

    /// How many datagrams are kept for a reader that is behind: all that SCTP sends into its window of 1 MiB. The
    /// engine has no means to stop a sender, and what it does not get is asked for again, ever more slowly.
    pub const BACKLOG: usize = 1024;

    /// How many bytes may be written that the other side has not acknowledged: this fills a path of 10 MiB/s at 100 ms.
    /// A short path gets 48 KiB, for which a browser's socket has room. Who writes more has to wait.
    pub const UNACKNOWLEDGED: usize = 1024 * 1024;

    /// Time for the other side to acknowledge the end of a stream, and as long again to close its data channel once we have
    /// dropped it: a round trip, and what a busy end takes to get to it. Then each is taken as done.
    pub const STREAM_CLOSE_TIME: Duration = Duration::from_secs(5);

    /// How long what was written may take to arrive when a connection is to be closed. The rest is lost.
    pub const CLOSE_TIME: Duration = Duration::from_secs(2);

    /// The most closed connections whose checks are refused, some 200 bytes each. The oldest are forgotten first.
    pub const REFUSED_CONNECTIONS: usize = 256;

    /// The time for which checks of a closed connection are refused: a browser that is not answered gives up after 15 s, and its page
    /// may have been asleep.
    pub const REFUSAL_TIME: Duration = Duration::from_secs(30);

    /// Checks of a closed connection that are refused: several, for refusals are lost. Others are dropped.
    pub const REFUSED_CHECKS: u8 = 8;

    /// How many datagrams of all connections wait for the socket: it takes more than a second of sending to get there.
    /// Others are lost, as they would be in the network.
    pub const WAITING_DATAGRAMS: usize = 16 * 1024;
}

/// # Of the SCTP association of a WebRTC connection, where the engine has no bound of its own
impl Limits {
    /// How many packets a handshake may take, both sides' and those that are sent again in the ten seconds that it has.
    /// Others are dropped.
    pub const SCTP_HANDSHAKE: usize = 32;

    /// How far ahead of the first chunk that is missing others may be: a whole window (1 MiB) of full ones are 900. The
    /// engine goes through all of them for each that comes. Others are dropped, and come again.
    pub const SCTP_AHEAD: usize = 2048;

    /// From which length on, in bytes, the engine's window of 1 MiB bounds how many chunks it keeps: 4096.
    pub const SCTP_SMALL: u16 = 256;

    /// How many chunks below that length may come while the engine does not say that it has nothing unread. That is when
    /// one is missing, or on a stream that we have closed and the other side not yet, and an honest one has sent some
    /// hundreds until then. At 1 kB each at most, they cost what ten connections in set-up do. More end the connection.
    pub const SCTP_HELD: usize = 8192;

    /// Into how many fragments a message may be cut: one of [`Self::MESSAGE_LEN`], into those that an IPv4 path of
    /// 576 bytes carries, are 140. More end the connection.
    pub const SCTP_FRAGMENTS: usize = 256;

    /// How many streams may be open that the other side has opened: twice [`Self::STREAMS`], for some of these are
    /// closed at our end and not yet at the other. More end the connection.
    pub const SCTP_STREAMS: usize = 2 * Self::STREAMS;

    /// How many streams the other side may send on that were for us to open (RFC 8832, section 6) and are not open. Two
    /// ends that close many channels at once while packets get lost come to disagree on some: the engine repeats a reset
    /// when the stream may be another one already. More end the connection.
    pub const SCTP_UNINVITED: usize = Self::WAITING_STREAMS;

    /// Messages on streams that are not open, or that open them once more. None is honest, but two ends that disagree as
    /// above may send some. The engine warns of each once or twice. More end the connection.
    pub const SCTP_STRAYS: usize = 8;

    /// How many streams we may have opened that the other side has not closed yet, if it ever does: each is an id
    /// less for the next ones, of 32,768. Nobody has so many open. With more, the connection ends.
    pub const SCTP_OURS: usize = 8192;

    /// How many resets of our own may wait for the other side to answer those before: an implementation that resets a
    /// stream at a time closes a thousand at once. Further requests of its are dropped, and come again.
    pub const SCTP_RESETS: usize = 1024;

    /// How many streams may be in [`Self::SCTP_RESETS`].
    pub const SCTP_RESET_STREAMS: usize = Self::SCTP_STREAMS;

    /// How many bytes of requests for resets may wait for what was sent before them: 600 of one stream, or eight of as
    /// many as fit into a packet. Others are dropped, and come again.
    pub const SCTP_WAITING: usize = 16 * 1024;
}

/// # Of what strangers ask by STUN, where that is answered
impl Limits {
    /// How often one source, an IPv4 address or an IPv6 /64, is answered: a host asks once in 20 s, or up to five times
    /// if answers are lost, and a few hosts behind a router may start at once.
    pub const STUN_ANSWERS: Rate = Rate::new(10, 1);

    /// How many sources are remembered until they may have all of [`Self::STUN_ANSWERS`] again, which takes 10 s at
    /// most: twice as many as there are peers by default, and 64 kB.
    pub const STUN_SOURCES: usize = 1024;

    /// How often all those together are answered for whom there is no room. Most of them are forged; one that is not
    /// asks again.
    pub const OTHER_STUN_ANSWERS: Rate = Rate::new(100, 100);
}

/// A limit on how often something happens. Unused allowance is kept up to `burst` and no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub(crate) burst: u32,
    pub(crate) per_second: u32,
}

impl Rate {
    /// At most `burst` at once and `per_second` a second in the long run.
    pub const fn new(burst: u32, per_second: u32) -> Self {
        Self { burst, per_second }
    }
}
