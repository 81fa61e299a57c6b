//! WebRTC whose descriptions travel as signals through a peer that both ends have: the fast way to a
//! new peer. A pure [`endpoint`] holds all connections of the node, and thin shells around it give it
//! sockets, time and libp2p's traits; nothing here knows what a signal is signed with or what runs on
//! the connections.

mod endpoint;
