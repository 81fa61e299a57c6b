#![forbid(unsafe_code)]

mod config;
mod error;
mod event;
mod exchange;
mod id;
mod message;

pub use config::*;
pub use error::*;
pub use event::*;
pub use id::*;
