//! Commands on their way to the signaled transport, and its notices on their way back.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Waker},
};

#[cfg(any(feature = "webrtc", test))]
use super::TransportPort;
use super::{BehaviourPort, State};
use crate::signaling::{Command, Notice};

/// The most commands, and the most notices, that may wait: more than a crowd of set-ups says at
/// once. Both ends take them at the swarm's next poll, so more means that nobody polls the swarm.
const MAX_WAITING: usize = 1024;

/// Nothing, until the transport says that it is there.
#[derive(Default)]
pub(super) struct Signaling {
    /// At most [`MAX_WAITING`].
    commands: VecDeque<Command>,
    /// At most [`MAX_WAITING`].
    notices: VecDeque<Notice>,
    /// Wakes the behaviour.
    waker: Option<Waker>,
}

impl BehaviourPort {
    /// Whether the transport is set up by signals.
    pub(crate) fn has_signaling(&self) -> bool {
        self.0.lock().signaling.is_some()
    }

    /// Queues `command` for the transport. Returns the answer to one that the transport will not
    /// get: it describes nothing.
    pub(crate) fn signal(&self, command: Command) -> Option<Notice> {
        let mut state = self.0.lock();
        let State {
            signaling, waker, ..
        } = &mut *state;
        let signaling = signaling.as_mut();
        match signaling.filter(|signaling| signaling.commands.len() < MAX_WAITING) {
            Some(signaling) => {
                signaling.commands.push_back(command);
                let waker = waker.take();
                drop(state);
                waker.into_iter().for_each(Waker::wake);
                None
            }
            None => command.declined(),
        }
    }

    /// The next notice of the transport.
    pub(crate) fn poll_notice(&self, cx: &Context<'_>) -> Poll<Notice> {
        let mut state = self.0.lock();
        let Some(signaling) = &mut state.signaling else {
            return Poll::Pending;
        };
        match signaling.notices.pop_front() {
            Some(notice) => Poll::Ready(notice),
            None => {
                signaling.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(any(feature = "webrtc", test))]
impl State {
    fn next_command(&mut self) -> Option<Command> {
        self.signaling.as_mut()?.commands.pop_front()
    }
}

#[cfg(any(feature = "webrtc", test))]
impl TransportPort {
    /// Says that the transport is set up by signals. To be called before the behaviour is given its
    /// end, for it asks once.
    pub(crate) fn set_signaling(&self) {
        self.0.lock().signaling.get_or_insert_default();
    }

    /// The next command for the transport. Shares its waker with [`Self::poll_accepted`]: both are
    /// to be polled by the same task.
    pub(crate) fn poll_command(&self, cx: &Context<'_>) -> Poll<Command> {
        let mut state = self.0.lock();
        match state.next_command() {
            Some(command) => Poll::Ready(command),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The next command for the transport, if there is one: a dial comes right behind the
    /// [`Command::Accept`] that it needs, before the transport is polled for that.
    pub(crate) fn next_command(&self) -> Option<Command> {
        self.0.lock().next_command()
    }

    /// Queues `notice` for the behaviour. One too many is lost, as a signal may be.
    pub(crate) fn notify(&self, notice: Notice) {
        let mut state = self.0.lock();
        let signaling = state.signaling.as_mut();
        if let Some(signaling) = signaling.filter(|signaling| signaling.notices.len() < MAX_WAITING)
        {
            signaling.notices.push_back(notice);
            let waker = signaling.waker.take();
            drop(state);
            waker.into_iter().for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use futures::task::{ArcWake, waker};
    use libp2p::PeerId;

    use super::*;
    use crate::{
        event::NatMapping,
        reach::Reach,
        route::{TransportPort, ports},
        signaling::SetupId,
    };

    /// Counts how often a task is woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl ArcWake for Wakes {
        fn wake_by_ref(wakes: &Arc<Self>) {
            wakes.0.fetch_add(1, Relaxed);
        }
    }

    fn signaling_ports() -> (BehaviourPort, TransportPort) {
        let (behaviour, transport) = ports();
        transport.set_signaling();
        (behaviour, transport)
    }

    fn command(port: &TransportPort, wakes: &Arc<Wakes>) -> Option<Command> {
        match port.poll_command(&Context::from_waker(&waker(wakes.clone()))) {
            Poll::Ready(command) => Some(command),
            Poll::Pending => None,
        }
    }

    fn notice(port: &BehaviourPort, wakes: &Arc<Wakes>) -> Option<Notice> {
        match port.poll_notice(&Context::from_waker(&waker(wakes.clone()))) {
            Poll::Ready(notice) => Some(notice),
            Poll::Pending => None,
        }
    }

    fn setup() -> SetupId {
        let (peer, number) = (PeerId::random(), 1);
        SetupId { peer, number }
    }

    /// One of each kind, and what answers it where there is no transport for it.
    fn commands() -> Vec<(Command, Option<Notice>)> {
        let (setup, reach) = (setup(), Reach::Global);
        let [sdp, candidate] = ["sdp", "candidate:"].map(str::to_owned);
        let undescribed = Some(Notice::Described { setup, sdp: None });
        let answer = Command::Answer {
            setup,
            reach,
            sdp: sdp.clone(),
        };
        vec![
            (Command::Offer { setup, reach }, undescribed.clone()),
            (answer, undescribed),
            (Command::Accept { setup, sdp }, None),
            (Command::Candidate { setup, candidate }, None),
            (Command::Abandon { setup }, None),
            (
                Command::StunNeighbors(vec!["9.9.9.9:1".parse().unwrap()]),
                None,
            ),
        ]
    }

    #[test]
    fn commands_go_down_and_notices_come_up_in_order_and_wake_who_waits() {
        let (behaviour, transport) = signaling_ports();
        let (up, down) = (Arc::<Wakes>::default(), Arc::<Wakes>::default());
        assert!(behaviour.has_signaling());
        assert_eq!(notice(&behaviour, &up), None);
        assert_eq!(command(&transport, &down), None);
        let commands = commands().into_iter().map(|(command, _)| command);
        for command in commands.clone() {
            assert_eq!(behaviour.signal(command), None);
        }
        for expected in commands {
            assert_eq!(command(&transport, &down), Some(expected));
        }
        let (setup, candidate) = (setup(), "candidate:".to_owned());
        let notices = [
            Notice::Described { setup, sdp: None },
            Notice::Candidate { setup, candidate },
            Notice::NatMapping(NatMapping::EndpointIndependent),
        ];
        for notice in notices.clone() {
            transport.notify(notice);
        }
        assert_eq!(notices.map(Some), [(); 3].map(|()| notice(&behaviour, &up)));
        assert_eq!((up.0.load(Relaxed), down.0.load(Relaxed)), (1, 1));
    }

    #[test]
    fn a_command_and_a_stream_wake_the_same_task() {
        let (behaviour, transport) = signaling_ports();
        let wakes = Arc::<Wakes>::default();
        let waker = waker(wakes.clone());
        let cx = Context::from_waker(&waker);
        assert!(transport.poll_command(&cx).is_pending());
        assert!(transport.poll_accepted(&cx).is_pending());
        behaviour.signal(Command::Abandon { setup: setup() });
        assert_eq!(wakes.0.load(Relaxed), 1);
        assert!(transport.poll_accepted(&cx).is_pending());
        assert!(transport.poll_command(&cx).is_ready());
    }

    #[test]
    fn a_transport_that_cannot_signal_or_is_gone_describes_nothing() {
        let (silent, gone) = (ports(), signaling_ports());
        drop(gone.1);
        for behaviour in [silent.0, gone.0] {
            assert!(!behaviour.has_signaling());
            for (command, answer) in commands() {
                assert_eq!(behaviour.signal(command), answer);
            }
            assert_eq!(notice(&behaviour, &Arc::default()), None);
        }
    }

    #[test]
    fn at_most_1024_commands_wait() {
        let (behaviour, transport) = signaling_ports();
        let abandon = Command::Abandon { setup: setup() };
        for _ in 0..1023 {
            behaviour.signal(abandon.clone());
        }
        let mut commands = commands().into_iter();
        let (last, _) = commands.next().unwrap();
        assert_eq!(
            behaviour.signal(last.clone()),
            None,
            "there is room for one"
        );
        for (command, answer) in commands {
            assert_eq!(behaviour.signal(command), answer);
        }
        let taken: Vec<_> = std::iter::from_fn(|| command(&transport, &Arc::default())).collect();
        assert_eq!((taken.len(), taken.last()), (1024, Some(&last)));
        assert_eq!(behaviour.signal(last), None);
    }

    #[test]
    fn at_most_1024_notices_wait() {
        let (behaviour, transport) = signaling_ports();
        let setup = setup();
        for _ in 0..1025 {
            transport.notify(Notice::Described { setup, sdp: None });
        }
        let taken = std::iter::from_fn(|| notice(&behaviour, &Arc::default())).count();
        assert_eq!(taken, 1024);
        transport.notify(Notice::Described { setup, sdp: None });
        assert!(notice(&behaviour, &Arc::default()).is_some());
    }

    #[test]
    fn without_a_behaviour_nothing_is_kept() {
        let (behaviour, transport) = signaling_ports();
        let setup = setup();
        behaviour.signal(Command::Abandon { setup });
        drop(behaviour);
        transport.notify(Notice::Described { setup, sdp: None });
        assert_eq!(command(&transport, &Arc::default()), None);
        assert!(transport.0.lock().signaling.is_none());
    }
}
