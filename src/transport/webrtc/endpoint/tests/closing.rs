//! How channels are closed, and what the engine logs of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tracing::{Level, Subscriber};
use tracing_subscriber::{Layer, layer, prelude::*};

use super::*;

/// Counts the warnings of the engines.
struct Warnings(Arc<AtomicUsize>);

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &tracing::Event<'_>, _: layer::Context<'_, S>) {
        let metadata = event.metadata();
        let is_engine = ["str0m", "stun_", "turn_"]
            .iter()
            .any(|start| metadata.target().starts_with(start));
        if is_engine && *metadata.level() <= Level::WARN {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How a channel ends on which both sides have written.
#[derive(Debug, Clone, Copy)]
enum End {
    OneAfterTheOther,
    AtOnce,
    WhileTheOtherWrites,
}

/// Returns how often the engines warn during `action`.
pub(super) fn warnings_of(action: impl FnOnce()) -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let subscriber = tracing_subscriber::registry().with(Warnings(count.clone()));
    tracing::subscriber::with_default(subscriber, action);
    count.load(Ordering::Relaxed)
}

/// How often the engine warns while ten channels end.
fn warnings(end: End) -> usize {
    warnings_of(|| {
        let mut lab = Lab::new(1);
        let (a, b) = lab.connect(0, 1).unwrap();
        for _ in 0..10 {
            let ours = lab.open(0, a);
            lab.run(SECOND);
            assert_eq!(lab.write(0, a, ours, b"ask"), Write::Taken(3));
            let theirs = lab.accept(1, b);
            assert_eq!(lab.write(1, b, theirs, b"answer"), Write::Taken(6));
            lab.run(SECOND);
            match end {
                End::OneAfterTheOther => {
                    lab.release_channel(0, a, ours);
                    lab.run(SECOND);
                }
                End::AtOnce => lab.release_channel(0, a, ours),
                End::WhileTheOtherWrites => {
                    lab.release_channel(0, a, ours);
                    assert_eq!(lab.write(1, b, theirs, b"late"), Write::Taken(4));
                    lab.run(SECOND);
                }
            }
            lab.release_channel(1, b, theirs);
            lab.run(SECOND);
        }
        lab.release(0, a);
        lab.release(1, b);
        lab.assert_empty();
    })
}

#[test]
fn a_close_on_either_side_makes_the_engine_warn_of_nothing() {
    assert_eq!(warnings(End::OneAfterTheOther), 0);
    assert_eq!(warnings(End::AtOnce), 0);
    assert_eq!(warnings(End::WhileTheOtherWrites), 0);
}
