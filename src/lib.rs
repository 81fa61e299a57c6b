#![forbid(unsafe_code)]

mod config;
mod error;
mod event;
mod id;
mod message;
mod wire;

pub use config::*;
pub use error::*;
pub use event::*;
pub use id::*;
