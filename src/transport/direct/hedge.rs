//! Starts another attempt when the ones before are slow, and takes what succeeds first. It knows
//! time and attempts, and nothing of what is attempted.

use std::{io, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::timeout;

/// When the next attempt starts. Some dials hang and would come to nothing: where the remote's first
/// data is there before webrtc-rs came to open the channel it is for, the channel is lost. A dial
/// takes 200 ms and some eight round trips, so that at 1.5 s all but the slowest paths are done.
const NEXT_AFTER: Duration = Duration::from_millis(1500);

/// In our [`Room`](super::Room)s no dial was seen to hang. Elsewhere one in 200 does, and one in seven
/// on a busy machine, each whatever the others do: then one in 300 fails. More attempts would
/// multiply what a dial to nobody costs.
const MAX_ATTEMPTS: usize = 3;

/// How long one attempt, and all of them, may take: twice what the slowest paths need, and short
/// enough that the other addresses of a peer get their turn.
const TIMEOUT: Duration = Duration::from_secs(6);

/// The first success of up to [`MAX_ATTEMPTS`] attempts; an error as soon as each that was started
/// has failed.
pub(super) async fn first_of<T, F>(mut start: impl FnMut() -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut attempts = FuturesUnordered::new();
    attempts.push(start());
    for _ in 1..MAX_ATTEMPTS {
        if let Ok(result) = timeout(NEXT_AFTER, first(&mut attempts)).await {
            return result;
        }
        tracing::debug!("a dial is slow: trying another socket");
        attempts.push(start());
    }
    first(&mut attempts).await
}

/// Ends with an error after [`TIMEOUT`].
pub(super) async fn bounded<T>(attempt: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(TIMEOUT, attempt)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The first success, or the last error.
async fn first<T, F>(attempts: &mut FuturesUnordered<F>) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    while let Some(result) = attempts.next().await {
        match result {
            Ok(value) => return Ok(value),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future};
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Runs attempts that each take so many milliseconds, and then yield so; the result, how many
    /// were started, and after how many milliseconds it was there.
    async fn run(script: &[(u64, Result<u8, u8>)]) -> (Result<u8, String>, usize, u128) {
        let (begin, mut started) = (Instant::now(), 0);
        let result = bounded(first_of(|| {
            let (millis, result) = script[started];
            started += 1;
            sleep(Duration::from_millis(millis))
                .map(move |()| result.map_err(|error| io::Error::other(error.to_string())))
        }))
        .await;
        let result = result.map_err(|error| error.to_string());
        (result, started, begin.elapsed().as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_dial_is_alone() {
        assert_eq!(run(&[(1499, Ok(1))]).await, (Ok(1), 1, 1499));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hanging_dial_is_overtaken_by_the_next() {
        for (hanging, millis) in [(1, 1700), (2, 3200)] {
            let mut script = vec![(60_000, Ok(1)); hanging];
            script.push((200, Ok(2)));
            assert_eq!(run(&script).await, (Ok(2), hanging + 1, millis));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_dial_still_wins_if_it_is_first() {
        let script = [(4000, Ok(1)), (4000, Ok(2)), (4000, Ok(3))];
        assert_eq!(run(&script).await, (Ok(1), 3, 4000));
    }

    #[tokio::test(start_paused = true)]
    async fn once_all_that_were_started_failed_none_is_started() {
        assert_eq!(run(&[(10, Err(1))]).await, (Err("1".into()), 1, 10));
        let script = [(1600, Err(1)), (200, Err(2))];
        assert_eq!(run(&script).await, (Err("2".into()), 2, 1700));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_does_not_end_what_still_runs() {
        let script = [(1600, Err(1)), (1000, Ok(2))];
        assert_eq!(run(&script).await, (Ok(2), 2, 2500));
    }

    #[tokio::test(start_paused = true)]
    async fn all_of_it_ends_after_6_seconds() {
        let (begin, mut started) = (Instant::now(), 0);
        let result: io::Result<()> = bounded(first_of(|| {
            started += 1;
            future::pending()
        }))
        .await;
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!((started, begin.elapsed().as_secs()), (3, 6));
    }
}
