//! What goes through the streams of a connection.

use super::*;

/// Different at each place, so that nothing that is missing or twice goes unseen.
fn data(len: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

#[tokio::test]
async fn streams_go_both_ways() {
    let mut pair = Pair::new();
    let mut ends = pair.connect().await;
    for opener in [0, 1, 0] {
        let mut ours = ends[opener].open().await;
        soon(ours.write_all(b"ping")).await.unwrap();
        soon(ours.flush()).await.unwrap();
        let mut theirs = ends[1 - opener].accept().await;
        let mut buffer = [0; 4];
        soon(theirs.read_exact(&mut buffer)).await.unwrap();
        assert_eq!(&buffer, b"ping");
        soon(theirs.write_all(b"pong")).await.unwrap();
        soon(theirs.flush()).await.unwrap();
        soon(ours.read_exact(&mut buffer)).await.unwrap();
        assert_eq!(&buffer, b"pong");
    }
}

#[tokio::test]
async fn a_megabyte_arrives_byte_for_byte_in_both_directions_at_once() {
    let mut pair = Pair::new();
    let [one, mut other] = pair.connect().await;
    let sent = data(1 << 20);
    let exchange = async |stream: SubstreamBox| {
        let (mut reader, mut writer) = stream.split();
        let write = async {
            writer.write_all(&sent).await.unwrap();
            writer.close().await.unwrap();
        };
        let mut received = Vec::new();
        let (read, ()) = futures::join!(reader.read_to_end(&mut received), write);
        read.unwrap();
        assert!(received == sent);
    };
    let ours = one.open().await;
    let theirs = async { exchange(other.accept().await).await };
    soon(async { futures::join!(exchange(ours), theirs) }).await;
}

#[tokio::test]
async fn a_closed_stream_still_reads() {
    let mut pair = Pair::new();
    let [one, mut other] = pair.connect().await;
    let mut ours = one.open().await;
    soon(ours.write_all(b"question")).await.unwrap();
    soon(ours.close()).await.unwrap();
    let mut theirs = other.accept().await;
    let mut received = Vec::new();
    soon(theirs.read_to_end(&mut received)).await.unwrap();
    assert_eq!(received, b"question");
    soon(theirs.write_all(&data(100_000))).await.unwrap();
    soon(theirs.close()).await.unwrap();
    drop(theirs);
    let mut answer = Vec::new();
    soon(ours.read_to_end(&mut answer)).await.unwrap();
    assert!(answer == data(100_000));
}

#[tokio::test]
async fn what_was_written_before_a_stream_is_dropped_arrives() {
    let mut pair = Pair::new();
    let [one, mut other] = pair.connect().await;
    let mut ours = one.open().await;
    let writer = tokio::spawn(async move {
        ours.write_all(&data(300_000)).await.unwrap();
        ours.close().await.unwrap();
    });
    let mut received = Vec::new();
    let mut theirs = other.accept().await;
    soon(theirs.read_to_end(&mut received)).await.unwrap();
    assert!(received == data(300_000));
    soon(writer).await.unwrap();
}

#[tokio::test]
async fn a_stream_dropped_before_it_is_closed_is_no_end_but_an_error() {
    let mut pair = Pair::new();
    let [one, mut other] = pair.connect().await;
    let mut ours = one.open().await;
    soon(ours.write_all(b"half of it")).await.unwrap();
    soon(ours.flush()).await.unwrap();
    drop(ours);
    let mut theirs = other.accept().await;
    let error = soon(theirs.read_to_end(&mut Vec::new())).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_that_closes_in_the_middle_is_no_end_of_a_stream() {
    let mut pair = Pair::new();
    let [one, mut other] = pair.connect().await;
    let mut ours = one.open().await;
    soon(ours.write_all(b"half of it")).await.unwrap();
    soon(ours.flush()).await.unwrap();
    let mut theirs = other.accept().await;
    let mut buffer = [0; 10];
    soon(theirs.read_exact(&mut buffer)).await.unwrap();
    one.close().await.unwrap();
    let error = soon(theirs.read(&mut buffer)).await.unwrap_err();
    assert_eq!(cause(&error), Some(Closed::Remote));
    let error = soon(ours.read(&mut buffer)).await.unwrap_err();
    assert_eq!(cause(&error), Some(Closed::Local));
}

#[tokio::test]
async fn who_does_not_read_blocks_the_writer_and_then_gets_everything() {
    let mut pair = Pair::new();
    let [one, mut other] = pair.connect().await;
    let mut ours = one.open().await;
    let sent = data(8 << 20);
    let expected = sent.clone();
    let mut writer = tokio::spawn(async move {
        ours.write_all(&sent).await.unwrap();
        ours.close().await.unwrap();
    });
    let blocked = timeout(Duration::from_secs(1), &mut writer).await;
    assert!(blocked.is_err(), "8 MiB were buffered");
    let mut theirs = other.accept().await;
    let mut received = Vec::new();
    soon(theirs.read_to_end(&mut received)).await.unwrap();
    assert!(received == expected);
    soon(writer).await.unwrap();
}

#[tokio::test]
async fn a_thousand_streams_at_once() {
    let mut pair = Pair::new();
    let [one, mut other] = pair.connect().await;
    let echo = tokio::spawn(async move {
        let mut tasks = Vec::new();
        for _ in 0..1000 {
            let mut stream = other.accept().await;
            tasks.push(tokio::spawn(async move {
                let mut received = Vec::new();
                stream.read_to_end(&mut received).await.unwrap();
                stream.write_all(&received).await.unwrap();
                stream.close().await.unwrap();
            }));
        }
        for task in tasks {
            soon(task).await.unwrap();
        }
        other
    });
    let mut streams = Vec::new();
    for _ in 0..1000 {
        streams.push(one.open().await);
    }
    let mut tasks = Vec::new();
    for (n, mut stream) in streams.into_iter().enumerate() {
        tasks.push(tokio::spawn(async move {
            let sent = format!("stream {n}").repeat(n % 100);
            stream.write_all(sent.as_bytes()).await.unwrap();
            stream.close().await.unwrap();
            let mut received = String::new();
            stream.read_to_string(&mut received).await.unwrap();
            assert_eq!(received, sent);
        }));
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
    soon(echo).await.unwrap();
}
