//! Runs the streams: the three protocols' listening ends, and the cases that open streams.

use std::{
    io,
    time::{Duration, Instant},
};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{PeerId, Stream, StreamProtocol};
use libp2p_stream::{AlreadyRegistered, Control};
use serde_json::{Value, json};

use crate::lines::{say, text};

/// Sends back what comes, then closes.
const ECHO: StreamProtocol = StreamProtocol::new("/interop/echo/1");
/// Reads a length of 8 bytes, big-endian, and data to its end; then sends as many bytes, and closes.
const PERF: StreamProtocol = StreamProtocol::new("/interop/perf/1");
/// Sends [`PUSHED`] bytes and closes its write side; then reads data to its end.
const PUSH: StreamProtocol = StreamProtocol::new("/interop/push/1");

const PUSHED: usize = 64 << 10;
const CHUNK: usize = 16 << 10;
/// The lengths of the messages that are echoed one by one.
const MESSAGES: [usize; 3] = [5, 1000, 10_000];
/// No stream takes longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A byte of the data that all implementations send: it depends on the place only.
fn pattern(place: usize) -> u8 {
    u8::try_from(place % 251).unwrap_or_default()
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(pattern).collect()
}

fn fault(what: impl Into<String>) -> io::Error {
    io::Error::other(what.into())
}

/// Answers on all protocols.
pub(crate) fn serve(mut control: Control) -> Result<(), AlreadyRegistered> {
    for protocol in [ECHO, PERF, PUSH] {
        let mut incoming = control.accept(protocol.clone())?;
        tokio::spawn(async move {
            while let Some((_, stream)) = incoming.next().await {
                let protocol = protocol.clone();
                tokio::spawn(async move {
                    let served = tokio::time::timeout(PATIENCE, answer(&protocol, stream)).await;
                    let served = served.unwrap_or_else(|_| Err(fault("timed out")));
                    say(&match served {
                        Ok(bytes) => json!({ "event": "answered", "bytes": bytes }),
                        Err(error) => json!({ "event": "fault", "error": error.to_string() }),
                    });
                });
            }
        });
    }
    Ok(())
}

/// Returns how many bytes of data came.
async fn answer(protocol: &StreamProtocol, mut stream: Stream) -> io::Result<usize> {
    if *protocol == ECHO {
        let (mut buffer, mut bytes) = (vec![0; CHUNK], 0);
        loop {
            let len = stream.read(&mut buffer).await?;
            let Some(read @ [_, ..]) = buffer.get(..len) else {
                break;
            };
            stream.write_all(read).await?;
            stream.flush().await?;
            bytes += len;
        }
        stream.close().await?;
        Ok(bytes)
    } else if *protocol == PERF {
        let mut wanted = [0; 8];
        stream.read_exact(&mut wanted).await?;
        let bytes = read_to_end(&mut stream).await?;
        let wanted = usize::try_from(u64::from_be_bytes(wanted)).map_err(io::Error::other)?;
        stream.write_all(&data(wanted)).await?;
        stream.close().await?;
        Ok(bytes)
    } else {
        stream.write_all(&data(PUSHED)).await?;
        stream.close().await?;
        read_to_end(&mut stream).await
    }
}

/// Reads data that must be the pattern. Returns its length.
async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<usize> {
    let (mut buffer, mut place) = (vec![0; CHUNK], 0);
    loop {
        let len = stream.read(&mut buffer).await?;
        if len == 0 {
            return Ok(place);
        }
        let right = buffer.iter().take(len).enumerate();
        if !right.fold(true, |all, (i, byte)| all && *byte == pattern(place + i)) {
            return Err(fault(format!(
                "wrong data within {len} bytes after {place}"
            )));
        }
        place += len;
    }
}

/// A stream that is opened for a test.
pub(crate) struct Case {
    name: String,
    bytes: usize,
}

impl TryFrom<&Value> for Case {
    type Error = String;

    fn try_from(command: &Value) -> Result<Self, String> {
        let bytes = command.get("bytes").and_then(Value::as_u64).unwrap_or(0);
        Ok(Self {
            name: text(command, "case")?.to_owned(),
            bytes: usize::try_from(bytes).map_err(|it| it.to_string())?,
        })
    }
}

impl Case {
    /// Returns how many milliseconds the stream took.
    pub(crate) async fn run(&self, control: Control, peer: PeerId) -> io::Result<f64> {
        let start = Instant::now();
        let done = tokio::time::timeout(PATIENCE, self.go(control, peer)).await;
        done.map_err(|_| fault("timed out"))??;
        Ok(start.elapsed().as_secs_f64() * 1000.0)
    }

    async fn go(&self, control: Control, peer: PeerId) -> io::Result<()> {
        let bytes = self.bytes;
        match self.name.as_str() {
            "messages" => messages(open(control, peer, ECHO).await?).await,
            "echo" => echo(open(control, peer, ECHO).await?, bytes).await,
            "upload" => perf(open(control, peer, PERF).await?, bytes, 1).await,
            "download" => perf(open(control, peer, PERF).await?, 0, bytes).await,
            "half-close" => perf(open(control, peer, PERF).await?, 5000, PUSHED).await,
            "half-close-by-listener" => pushed(open(control, peer, PUSH).await?).await,
            other => Err(fault(format!("no case {other}"))),
        }
    }
}

async fn open(mut control: Control, peer: PeerId, protocol: StreamProtocol) -> io::Result<Stream> {
    let opened = control.open_stream(peer, protocol).await;
    opened.map_err(io::Error::other)
}

fn complete(len: usize, wanted: usize) -> io::Result<()> {
    if len != wanted {
        return Err(fault(format!("{len} of {wanted} bytes came")));
    }
    Ok(())
}

/// Sends messages, the next one once the one before is back.
async fn messages(mut stream: Stream) -> io::Result<()> {
    for len in MESSAGES {
        let (sent, mut back) = (data(len), vec![0; len]);
        stream.write_all(&sent).await?;
        stream.flush().await?;
        stream.read_exact(&mut back).await?;
        if back != sent {
            return Err(fault(format!("a message of {len} bytes came back changed")));
        }
    }
    stream.close().await?;
    complete(read_to_end(&mut stream).await?, 0)
}

/// Writes all and reads it back at the same time.
async fn echo(stream: Stream, bytes: usize) -> io::Result<()> {
    let (mut reader, mut writer) = stream.split();
    let write = async {
        writer.write_all(&data(bytes)).await?;
        writer.close().await
    };
    let ((), back) = futures::try_join!(write, read_to_end(&mut reader))?;
    complete(back, bytes)
}

/// Writes, closes the write side, then reads.
async fn perf(mut stream: Stream, up: usize, down: usize) -> io::Result<()> {
    stream.write_all(&(down as u64).to_be_bytes()).await?;
    stream.write_all(&data(up)).await?;
    stream.close().await?;
    complete(read_to_end(&mut stream).await?, down)
}

/// Reads until the other end has closed its write side, then writes.
async fn pushed(mut stream: Stream) -> io::Result<()> {
    complete(read_to_end(&mut stream).await?, PUSHED)?;
    stream.write_all(&data(PUSHED)).await?;
    stream.close().await
}
