//! Over real swarms, one file a subject. They are one program, which builds in a fraction of the time
//! that one a file takes; what looks at the clock or at the whole process, its memory or its log,
//! is one of its own.

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "webrtc")]
#[path = "../common/process.rs"]
mod process;

mod application;
mod bootstrap;
#[cfg(feature = "webrtc")]
mod examples;
mod hidden;
mod known;
mod meet;
#[cfg(feature = "webrtc")]
mod node;
mod refusals;
mod relayed;
mod streams;
#[cfg(feature = "webrtc")]
mod stun;
