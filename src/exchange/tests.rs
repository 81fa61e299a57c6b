//! What the core promises, proved on virtual time. Each failure names its seed.

mod basics;

use super::sim::{Sim, network, peer};
