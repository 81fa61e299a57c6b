//! The addresses of this machine, as they come and go. It knows nothing of what they are used for.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    task::{Context, Poll, ready},
};

use if_watch::{IfEvent, IpNet, tokio::IfWatcher};

use super::super::host;

/// What has become of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// With the network that it is in.
    Gained(IpNet),
    Lost(IpAddr),
}

/// Watches the addresses, as well as the system lets it.
pub(super) struct Interfaces {
    watcher: Option<IfWatcher>,
    /// What is gone by without a watcher, and was not told yet.
    probed: Vec<IpAddr>,
    has_told: bool,
}

impl Interfaces {
    pub(super) fn new() -> Self {
        let mut interfaces = Self {
            watcher: None,
            probed: Vec::new(),
            has_told: false,
        };
        match IfWatcher::new() {
            Ok(watcher) => interfaces.watcher = Some(watcher),
            Err(error) => interfaces.give_up(&error),
        }
        interfaces
    }

    /// Tells of one address, which is not watched.
    pub(super) fn one(ip: IpAddr) -> Self {
        Self {
            watcher: None,
            probed: vec![ip],
            has_told: false,
        }
    }

    /// Once this is pending, and was not before the first change, all addresses so far are told:
    /// the system gives them at once when it is first asked.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Change> {
        let change = loop {
            if let Some(ip) = self.probed.pop() {
                break Change::Gained(ip.into());
            }
            let Some(watcher) = &mut self.watcher else {
                return Poll::Pending;
            };
            match ready!(watcher.poll_if_event(cx)) {
                Ok(IfEvent::Up(net)) if is_usable(net.addr()) => break Change::Gained(net),
                // Another interface may have it still, or another prefix of the same interface.
                Ok(IfEvent::Down(net)) if watcher.iter().all(|it| it.addr() != net.addr()) => {
                    break Change::Lost(net.addr());
                }
                Ok(_) => {}
                Err(error) => self.give_up(&error),
            }
        };
        self.has_told = true;
        Poll::Ready(change)
    }

    /// Whether there was a change, which means that all addresses are told when next it is pending.
    pub(super) fn has_told(&self) -> bool {
        self.has_told
    }

    /// Keeps what is known, and adds what can be found out without a watcher.
    fn give_up(&mut self, error: &io::Error) {
        tracing::debug!(%error, "the interfaces cannot be watched");
        self.watcher = None;
        self.probed = probe();
    }
}

/// Candidates carry no scope, without which an IPv6 link-local address leads nowhere.
fn is_usable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_unicast_link_local(),
    }
}

/// The loopback addresses, and those from which the internet is reached.
fn probe() -> Vec<IpAddr> {
    // Nothing is sent there; any public address would do as well.
    const ROOT_V4: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);
    const ROOT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30);
    let targets: [IpAddr; 4] = [
        Ipv4Addr::LOCALHOST.into(),
        Ipv6Addr::LOCALHOST.into(),
        ROOT_V4.into(),
        ROOT_V6.into(),
    ];
    let sources = targets.map(|ip| host::source_ip(SocketAddr::new(ip, 53)));
    sources
        .into_iter()
        .flatten()
        .filter(|ip| is_usable(*ip))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn has_loopback(told: &[Change]) -> bool {
        let is_loopback = |net: &IpNet| net.addr() == Ipv4Addr::LOCALHOST;
        told.iter()
            .any(|it| matches!(it, Change::Gained(net) if is_loopback(net)))
    }

    #[tokio::test]
    async fn loopback_is_among_the_addresses_told_at_once() {
        let mut interfaces = Interfaces::new();
        let mut told = vec![poll_fn(|cx| interfaces.poll(cx)).await];
        assert!(interfaces.has_told());
        while let Poll::Ready(change) =
            interfaces.poll(&mut Context::from_waker(futures::task::noop_waker_ref()))
        {
            told.push(change);
        }
        assert!(has_loopback(&told), "{told:?}");
    }

    #[tokio::test]
    async fn without_a_watcher_addresses_are_found_by_probing() {
        let mut interfaces = Interfaces::new();
        interfaces.give_up(&io::ErrorKind::BrokenPipe.into());
        let mut told = Vec::new();
        while let Poll::Ready(change) =
            interfaces.poll(&mut Context::from_waker(futures::task::noop_waker_ref()))
        {
            told.push(change);
        }
        assert!(has_loopback(&told), "{told:?}");
    }

    #[test]
    fn what_needs_a_scope_is_left_out() {
        for (ip, usable) in [
            ("fe80::1", false),
            ("::", false),
            ("0.0.0.0", false),
            ("::1", true),
            ("fd00::1", true),
            ("169.254.0.1", true),
        ] {
            assert_eq!(is_usable(ip.parse().unwrap()), usable, "{ip}");
        }
    }
}
