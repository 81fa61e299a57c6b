//! Where the servers are: names become addresses, again and again, for both may change. It knows
//! nothing of STUN and TURN.

use std::{io, net::SocketAddr, time::Duration};

use futures::{Stream, future::join_all, stream};
use tokio::{net::lookup_host, time};

use crate::config::{FoundServer, IceServer};

/// How long an address is used before its name is looked up again: as long as names that move are
/// usually cached.
const REFRESH: Duration = Duration::from_secs(300);

/// How long until a failed lookup is repeated; doubled each time up to [`REFRESH`]. A node is often
/// started before its network is up.
const FIRST_RETRY: Duration = Duration::from_secs(2);

/// How long a lookup may take. It goes on in the background, as the system has no way to end it.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The addresses of all servers, at once and whenever they were looked up again. One of each family
/// is taken, the same as before if it is still among them: what goes over a server is lost with it. Where a
/// lookup fails, those of the one before stay.
pub(super) fn resolve(
    servers: Vec<IceServer>,
) -> impl Stream<Item = Vec<FoundServer>> + Send + 'static {
    let lookups: Vec<_> = servers.into_iter().map(Lookup::new).collect();
    let begin = (lookups, None);
    stream::unfold(begin, |(mut lookups, pause)| async move {
        if lookups.is_empty() {
            return None;
        }
        if let Some(pause) = pause {
            time::sleep(pause).await;
        }
        let found = join_all(lookups.iter_mut().map(Lookup::run)).await;
        let pause = match found.iter().all(|found| *found) {
            true => REFRESH,
            false => pause.map_or(FIRST_RETRY, |pause| REFRESH.min(pause * 2)),
        };
        let found = lookups.iter().flat_map(|lookup| lookup.found.clone());
        Some((found.collect(), (lookups, Some(pause))))
    })
}

struct Lookup {
    server: IceServer,
    found: Vec<FoundServer>,
}

impl Lookup {
    fn new(server: IceServer) -> Self {
        Self {
            server,
            found: Vec::new(),
        }
    }

    /// Whether it was found.
    async fn run(&mut self) -> bool {
        let lookup = lookup_host((self.server.host(), self.server.port()));
        let found = match time::timeout(LOOKUP_TIMEOUT, lookup).await {
            Ok(found) => found,
            Err(elapsed) => Err(io::Error::from(elapsed)),
        };
        match found {
            Ok(found) => {
                let before: Vec<_> = self.found.iter().map(|found| found.address).collect();
                let found = one_of_each_family(found, &before).into_iter();
                self.found = found.map(|at| self.server.found_at(at)).collect();
                true
            }
            Err(error) => {
                tracing::debug!(server = %self.server, %error, "not found");
                false
            }
        }
    }
}

fn one_of_each_family(
    addresses: impl Iterator<Item = SocketAddr>,
    preferred: &[SocketAddr],
) -> Vec<SocketAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.partition(SocketAddr::is_ipv4);
    let best = |family: Vec<SocketAddr>| {
        let known = family.iter().find(|address| preferred.contains(address));
        known.or(family.first()).copied()
    };
    best(v4).into_iter().chain(best(v6)).collect()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::StreamExt;
    use tokio::time::Instant;

    use super::*;

    fn servers(uris: &[&str]) -> Vec<IceServer> {
        uris.iter().map(|uri| uri.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_are_told_at_once_and_again_after_five_minutes() {
        let mut found = pin!(resolve(servers(&["stun:127.0.0.1", "stun:[::1]:1"])));
        let start = Instant::now();
        let expected = ["127.0.0.1:3478", "[::1]:1"].map(|address| FoundServer {
            address: address.parse().unwrap(),
            credentials: None,
        });
        assert_eq!(found.next().await, Some(expected.clone().into()));
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(found.next().await, Some(expected.into()));
        assert!(start.elapsed() >= REFRESH);
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_not_found_is_looked_up_again_ever_more_rarely() {
        let missing = format!("stun:{}.", "a".repeat(64));
        let mut found = pin!(resolve(servers(&[&missing, "stun:127.0.0.1"])));
        let start = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert_eq!(found.next().await.map(|found| found.len()), Some(1));
            pauses.push(start.elapsed().as_secs());
        }
        assert_eq!(pauses, [0, 2, 6, 14, 30, 62, 126, 254, 510, 810]);
    }

    #[tokio::test]
    async fn without_servers_nothing_is_told() {
        assert_eq!(pin!(resolve(Vec::new())).next().await, None);
    }

    #[test]
    fn one_address_of_each_family_is_taken() {
        let all = ["[::1]:1", "127.0.0.1:1", "127.0.0.2:1", "[::2]:1"];
        let all = all.map(|address| -> SocketAddr { address.parse().unwrap() });
        let taken = |preferred: &[SocketAddr]| one_of_each_family(all.into_iter(), preferred);
        assert_eq!(taken(&[]), [all[1], all[0]]);
        assert_eq!(taken(&[all[3]]), [all[1], all[3]], "the one before stays");
        assert_eq!(taken(&["127.0.0.9:1".parse().unwrap()]), [all[1], all[0]]);
    }
}
