//! The peers that a node keeps by itself.

/// How many peers a node chooses and keeps by itself, and how many it lets come.
///
/// Peers that a node chose are worth more than those that chose it: whoever wants to surround a node comes
/// to it, and cannot make the node come.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    pub(crate) chosen: usize,
    pub(crate) max_incoming: usize,
}

impl Default for View {
    fn default() -> Self {
        Self {
            chosen: 6,
            max_incoming: 12,
        }
    }
}

impl View {
    /// How many peers the node looks for in each of its networks, and replaces when they go. Default: 6,
    /// with which a simulated network of 10,000 stayed whole, but for 2 in 100, when 60 in 100 of them went. A
    /// node that others begin with should have more, for they share what is asked of it: 32 do for 10,000
    /// that begin within four minutes.
    pub fn with_chosen(mut self, peers: usize) -> Self {
        self.chosen = peers;
        self
    }

    /// How many peers may come by themselves, in all networks together. Default: 12, twice as many as each
    /// node looks for, so that there is nearly always one with a place. A node that others begin with needs
    /// more: as many as begin within a minute or two.
    pub fn with_max_incoming(mut self, peers: usize) -> Self {
        self.max_incoming = peers;
        self
    }
}
