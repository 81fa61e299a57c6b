#![forbid(unsafe_code)]

mod config;
mod error;
mod event;
mod exchange;
mod handler;
mod id;
mod message;
mod wire;

pub use config::*;
pub use error::*;
pub use event::*;
pub use handler::PROTOCOL_NAME;
pub use id::*;
