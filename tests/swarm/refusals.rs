//! Peers that do not want us, or are not what we look for.

use std::time::Duration;

use crate::common::*;
use libp2p::{
    Multiaddr, PeerId,
    swarm::{SwarmEvent, dummy},
};
use pxp::{
    AttemptError, Candidate, Config, Incoming, JoinError, Limits, LinkError, NetworkId, Origin,
    PxpEvent, QueryError, Refusal, StartQueryError, StreamError,
};

async fn link_error(nodes: &mut [Node], at: usize) -> LinkError {
    event(nodes, at, "the end of a link", |event| match event {
        PxpEvent::LinkFailed { error, .. } => Some(error),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_peer_that_does_not_speak_the_protocol_is_a_typed_event_and_stays_connected() {
    let mut stranger = swarm(config(), |_| dummy::Behaviour).await;
    let address = listen(&mut stranger, "/ip4/127.0.0.1/tcp/0").await;
    let id = *stranger.local_peer_id();
    tokio::spawn(async move { drive(&mut [stranger], "the end", |_, _| None::<()>).await });
    let mut nodes = nodes::<1>().await;
    nodes[0].dial(address).unwrap();
    let error = link_error(&mut nodes, 0).await;
    assert!(matches!(error, LinkError::Unsupported), "{error:?}");
    assert!(nodes[0].is_connected(&id));
    assert_eq!(nodes[0].behaviour().peers().len(), 0);
}

#[tokio::test]
async fn a_peer_of_another_network_is_refused_and_stays_connected() {
    let mut nodes = [
        node(config()).await,
        node(Config::new("other".parse().unwrap())).await,
    ];
    let address = address(&nodes[1], "/tcp/");
    nodes[0].dial(address).unwrap();
    let error = link_error(&mut nodes, 0).await;
    assert!(matches!(error, LinkError::NoSharedNetwork), "{error:?}");
    let events = run(&mut nodes, Duration::from_secs(1)).await;
    assert!(
        !events
            .iter()
            .any(|(_, event)| matches!(event, PxpEvent::Connected { .. }))
    );
    let id = *nodes[1].local_peer_id();
    assert!(nodes[0].is_connected(&id));
}

#[tokio::test]
async fn the_node_itself_is_no_peer() {
    let mut nodes = nodes::<1>().await;
    let address = address(&nodes[0], "/tcp/");
    // The swarm may refuse at once, or when it finds out whom it has dialed.
    let _ = nodes[0].dial(address);
    let events = run(&mut nodes, Duration::from_secs(1)).await;
    assert!(events.is_empty(), "{events:?}");
    assert_eq!(nodes[0].behaviour().peers().len(), 0);
}

#[tokio::test]
async fn with_no_peers_no_query_starts() {
    let mut nodes = nodes::<1>().await;
    let node = nodes[0].behaviour_mut();
    assert_eq!(node.get_new_peer(), Err(StartQueryError::NoPeers));
    let other: NetworkId = "other".parse().unwrap();
    assert_eq!(
        node.get_new_peer_in(&other),
        Err(StartQueryError::UnknownNetwork(other))
    );
}

#[tokio::test]
async fn a_query_never_yields_a_peer_we_have() {
    let mut nodes = strangers().await;
    connect(&mut nodes, 0, 2).await;
    let query = nodes[0].behaviour_mut().get_new_peer().unwrap();
    match end_of_query(&mut nodes, 0, query).await {
        PxpEvent::QueryFailed {
            error: QueryError::NoCandidates { asked, full, known },
            ..
        } => {
            assert_eq!((asked, full), (2, 0));
            assert!(known > 0);
        }
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn a_full_candidate_is_left_alone_and_counted() {
    let full = config().with_limits(Limits::default().with_max_peers(1));
    let mut nodes = [node(config()).await, node(config()).await, node(full).await];
    connect(&mut nodes, 2, 1).await;
    run(&mut nodes, Duration::from_millis(1500)).await; // until B knows that C is full
    connect(&mut nodes, 0, 1).await;
    let query = nodes[0].behaviour_mut().get_new_peer().unwrap();
    let event = end_of_query(&mut nodes, 0, query).await;
    let PxpEvent::QueryFailed { error, .. } = event else {
        panic!("{event:?}");
    };
    assert_eq!(
        error,
        QueryError::NoCandidates {
            asked: 1,
            full: 1,
            known: 0
        }
    );
}

#[tokio::test]
async fn a_full_node_refuses_who_dials_it() {
    let full = config().with_limits(Limits::default().with_max_peers(0));
    let mut nodes = [node(config()).await, node(full).await];
    let address = address(&nodes[1], "/tcp/");
    nodes[0].dial(address).unwrap();
    let mut errors = [None, None];
    drive(&mut nodes, "both ends of the link", |node, event| {
        if let SwarmEvent::Behaviour(PxpEvent::LinkFailed { error, .. }) = event {
            errors[node] = Some(error);
        }
        errors.iter().all(Option::is_some).then_some(())
    })
    .await;
    assert!(
        matches!(errors[0], Some(LinkError::Refused(Refusal::Full))),
        "{errors:?}"
    );
    assert!(matches!(errors[1], Some(LinkError::Full)), "{errors:?}");
}

#[tokio::test]
async fn a_candidate_that_changed_its_mind_says_so() {
    let mut nodes = strangers().await;
    nodes[2].behaviour_mut().set_incoming(Incoming::Refuse);
    // Before the introducer knows: the candidate itself refuses.
    let query = nodes[0].behaviour_mut().get_new_peer().unwrap();
    let event = end_of_query(&mut nodes, 0, query).await;
    let PxpEvent::QueryFailed {
        error: QueryError::Unreachable { tried, last, .. },
        ..
    } = event
    else {
        panic!("{event:?}");
    };
    assert_eq!(
        (tried, last),
        (1, AttemptError::Rejected(Refusal::NotAccepting))
    );
    run(&mut nodes, Duration::from_millis(1500)).await;
    let query = nodes[0].behaviour_mut().get_new_peer().unwrap();
    let event = end_of_query(&mut nodes, 0, query).await;
    let PxpEvent::QueryFailed {
        error: QueryError::NoCandidates { full, .. },
        ..
    } = event
    else {
        panic!("{event:?}");
    };
    assert_eq!(full, 1);
}

#[tokio::test]
async fn after_close_everything_is_refused_and_the_connections_stay() {
    let mut nodes = strangers().await;
    let query = nodes[0].behaviour_mut().get_new_peer().unwrap();
    nodes[0].behaviour_mut().close();
    nodes[0].behaviour_mut().close();
    let mut events = run(&mut nodes, Duration::from_secs(2)).await.into_iter();
    let mut at_a = events
        .by_ref()
        .filter(|(node, _)| *node == 0)
        .map(|(_, event)| event);
    assert!(
        matches!(at_a.next(), Some(PxpEvent::QueryFailed { query: failed, error: QueryError::Closed }) if failed == query)
    );
    assert!(matches!(at_a.next(), Some(PxpEvent::Disconnected { .. })));
    assert!(matches!(at_a.next(), Some(PxpEvent::Closed)));
    assert!(at_a.next().is_none());
    assert_eq!(nodes[1].behaviour().peers().len(), 1);
    let b = *nodes[1].local_peer_id();
    assert!(nodes[0].is_connected(&b));

    let a = nodes[0].behaviour_mut();
    assert_eq!(a.get_new_peer(), Err(StartQueryError::Closed));
    assert_eq!(a.join("more".parse().unwrap()), Err(JoinError::Closed));
    let (ours, theirs) = (
        futures::io::Cursor::new(vec![]),
        futures::io::Cursor::new(vec![]),
    );
    assert_eq!(a.connect(ours), Err(StreamError::Closed));
    assert_eq!(a.accept(theirs), Err(StreamError::Closed));
    let address = address(&nodes[0], "/tcp/");
    nodes[2].dial(address).unwrap();
    let events = run(&mut nodes, Duration::from_secs(1)).await;
    assert!(events.is_empty(), "{events:?}");
}

#[tokio::test]
async fn what_the_application_vouches_for_is_dialed_without_an_introduction() {
    let mut vouched = node(config()).await;
    let (id, at) = (*vouched.local_peer_id(), address(&vouched, "/tcp/"));
    let source = move |_: &NetworkId, _: &PeerId, _: usize| -> Vec<Candidate> {
        let nowhere: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        vec![
            Candidate::peer(PeerId::random()),
            Candidate::vouched(id, [nowhere, at.clone()]),
        ]
    };
    tokio::spawn(async move {
        loop {
            futures::StreamExt::next(&mut vouched).await;
        }
    });
    let mut nodes = [
        node(config()).await,
        node(config().with_candidates(source)).await,
    ];
    connect(&mut nodes, 0, 1).await;
    let query = nodes[0].behaviour_mut().get_new_peer().unwrap();
    match end_of_query(&mut nodes, 0, query).await {
        PxpEvent::Connected { peer, origin, .. } => {
            assert_eq!((peer, origin), (id, Origin::Found(query)));
        }
        event => panic!("{event:?}"),
    }
}

#[tokio::test]
async fn a_candidate_that_cannot_be_dialed_fails_typed_and_in_time() {
    let nobody = PeerId::random();
    let source = move |_: &NetworkId, _: &PeerId, _: usize| -> Vec<Candidate> {
        vec![Candidate::vouched(
            nobody,
            ["/ip4/127.0.0.1/tcp/1".parse().unwrap()],
        )]
    };
    let mut nodes = [
        node(config()).await,
        node(config().with_candidates(source)).await,
    ];
    connect(&mut nodes, 0, 1).await;
    let query = nodes[0].behaviour_mut().get_new_peer().unwrap();
    let mut dial = None;
    let error = drive(
        &mut nodes,
        "the end of the query",
        |node, event| match event {
            SwarmEvent::OutgoingConnectionError { connection_id, .. } if node == 0 => {
                dial = Some(connection_id);
                None
            }
            SwarmEvent::Behaviour(PxpEvent::QueryFailed {
                query: failed,
                error,
            }) if failed == query => Some(error),
            _ => None,
        },
    )
    .await;
    let QueryError::Unreachable {
        peer,
        last: AttemptError::DialFailed(failed),
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((peer, Some(failed)), (nobody, dial));
}

#[tokio::test]
async fn networks_can_be_joined_and_left_while_connected() {
    let second: NetworkId = "second".parse().unwrap();
    let mut nodes = nodes::<2>().await;
    connect(&mut nodes, 0, 1).await;
    for node in &mut nodes {
        node.behaviour_mut().join(second.clone()).unwrap();
        assert_eq!(node.behaviour().networks().len(), 2);
    }
    run(&mut nodes, Duration::from_millis(1500)).await;
    assert_eq!(nodes[0].behaviour().peers_in(&second).len(), 1);
    let first: NetworkId = "test".parse().unwrap();
    assert!(nodes[0].behaviour_mut().leave(&first));
    assert!(!nodes[0].behaviour_mut().leave(&first));
    run(&mut nodes, Duration::from_millis(1500)).await;
    assert_eq!(nodes[1].behaviour().peers_in(&first).len(), 0);
    assert!(are_peers(&nodes, 0, 1));
    nodes[0].behaviour_mut().leave(&second);
    let error = link_error(&mut nodes, 1).await;
    assert!(matches!(error, LinkError::NoSharedNetwork), "{error:?}");
    assert!(!are_peers(&nodes, 0, 1));
}
