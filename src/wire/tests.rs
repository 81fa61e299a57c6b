//! The wire as a whole, from the types of `message` to bytes and back.

mod envelopes;
mod frames;
mod generated_code;
mod hostile;
mod samples;
