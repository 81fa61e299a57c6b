//! Each example does what it says when it is run like by a user.
use std::time::{Duration, Instant};

use crate::process::Process;
use sha2::{Digest, Sha256};

#[tokio::test]
async fn introduce_connects_strangers_and_ends_within_10_seconds() {
    let start = Instant::now();
    let (status, lines) = Process::start("introduce", &[]).end().await;
    let elapsed = start.elapsed();
    assert!(status.success(), "{lines:#?}");
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    for (receiver, sender, seed) in [("A", "C", b'c'), ("C", "A", b'a')] {
        let wanted = format!("{receiver} has 4 MiB of {sender}, SHA-256 {}", hash(seed));
        assert!(
            lines.iter().any(|line| line.contains(&wanted)),
            "{wanted}\n{lines:#?}"
        );
    }
    assert!(
        lines
            .last()
            .unwrap()
            .ends_with("A and C are still connected"),
        "{lines:#?}"
    );
}

/// Of the 4 MiB that a node sends.
fn hash(seed: u8) -> String {
    let sent: Vec<u8> = (0..4 * 1024 * 1024)
        .map(|n: usize| (n / 251 + n) as u8 ^ seed)
        .collect();
    let hash = Sha256::digest(sent);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn own_stream_finds_a_peer_and_ends() {
    let (status, lines) = Process::start("own_stream", &[]).end().await;
    assert!(status.success(), "{lines:#?}");
    assert!(lines.last().unwrap().contains("Found("), "{lines:#?}");
}

const NETWORK: &str = "examples \u{1f955}";
const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/0";

/// A running node, its id and its TCP address.
struct Node {
    process: Process,
    id: String,
    address: String,
}

impl Node {
    async fn start(args: &[&str]) -> Self {
        Self::start_at(LOOPBACK, args).await
    }

    async fn start_at(listen: &str, args: &[&str]) -> Self {
        let mut all = vec!["--network", NETWORK, "--listen", listen];
        all.extend(args);
        let mut process = Process::start("node", &all);
        let id = last_word(&process.line("this is ").await);
        let listening = format!("listening at {}", listen.trim_end_matches('0'));
        let address = last_word(&process.line(&listening).await);
        assert!(address.ends_with(&id), "{address}");
        Self {
            process,
            id,
            address,
        }
    }

    /// Ends it as Ctrl-C does, with its stdin as it is, and expects no complaint.
    #[cfg(unix)]
    async fn interrupt(self) -> Vec<String> {
        self.process.signal("INT");
        let start = Instant::now();
        let (status, lines) = self.process.end().await;
        assert!(status.success(), "{status}\n{lines:#?}");
        assert_eq!(lines.last().unwrap(), "closed");
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
        lines
    }
}

fn last_word(line: &str) -> String {
    line.rsplit(' ').next().unwrap().to_owned()
}

#[cfg(unix)]
#[tokio::test]
async fn nodes_find_each_other_and_chat_until_they_are_interrupted() {
    let mut one = Node::start(&["--peers", "2"]).await;
    let args = ["--peers", "2", "--bootstrap", &one.address.clone()];
    let mut two = Node::start(&args).await;
    let mut three = Node::start(&args).await;
    for node in [&mut one, &mut two, &mut three] {
        node.process.line(", 2 peers").await;
    }
    two.process.say("good evening \u{1f319}").await;
    let heard = format!("{} says: good evening \u{1f319}", two.id);
    assert_eq!(one.process.line("says:").await, heard);
    assert_eq!(three.process.line("says:").await, heard);

    let gone = format!("disconnected from {}, 1 peers", one.id);
    one.interrupt().await;
    two.process.line(&gone).await;
    three.process.line(&gone).await;
    three.process.say("still here").await;
    two.process.line("says: still here").await;
    two.interrupt().await;
    three.interrupt().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_node_that_is_started_again_needs_no_bootstrap_and_puts_a_damaged_file_aside() {
    let folder = std::env::temp_dir().join(format!("pxp-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (known, key) = (path("known"), path("key"));
    let args = ["--known", &known, "--key", &key];
    let one = Node::start(&[]).await;
    let mut two = Node::start(&[&args[..], &["--bootstrap", &one.address]].concat()).await;
    two.process.line("connected to").await;
    let id = two.id.clone();
    two.interrupt().await;
    let kept = std::fs::read_to_string(&known).unwrap();
    assert!(
        kept.starts_with(&one.id) && kept.lines().count() == 1,
        "{kept}"
    );

    let mut two = Node::start(&args).await;
    assert_eq!(two.id, id);
    let connected = format!("connected to {}", one.id);
    two.process.line(&connected).await;
    two.interrupt().await;

    std::fs::write(&known, &kept[..20]).unwrap();
    let two = Node::start(&args).await;
    two.interrupt().await;
    let damaged = std::fs::read_to_string(format!("{known}.damaged")).unwrap();
    assert_eq!(damaged, kept[..20]);
    assert!(!std::fs::exists(&known).unwrap());
    one.interrupt().await;
    std::fs::remove_dir_all(folder).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_node_whose_stdin_brings_no_text_or_ends_goes_on() {
    let mut quiet = Node::start(&[]).await;
    let mut other = Node::start(&["--bootstrap", &quiet.address]).await;
    other.process.line("connected to").await;
    quiet.process.line("connected to").await;
    quiet.process.write(b"\xff\xfe\n").await;
    other.process.line("says: \u{fffd}\u{fffd}").await;
    quiet.process.write(b"no newline").await;
    quiet.process.close_stdin();
    other.process.line("says: no newline").await;
    other.process.say("anybody there?").await;
    quiet.process.line("says: anybody there?").await;
    quiet.interrupt().await;
    other.interrupt().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_node_says_how_it_looks_to_two_that_serve_stun() {
    let one = Node::start(&["--serve-stun", "0"]).await;
    let other = Node::start_at("/ip4/127.0.0.2/tcp/0", &["--serve-stun", "0"]).await;
    let args = ["--bootstrap", &one.address, "--bootstrap", &other.address];
    let mut node = Node::start(&args).await;
    let line = node.process.line("NAT").await;
    assert_eq!(line, "this node's NAT has EndpointIndependent mapping");
    for node in [one, other, node] {
        node.interrupt().await;
    }
}

/// A new directory, removed when dropped.
struct Directory(std::path::PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("pxp-examples-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_node_keeps_its_key_and_keeps_it_to_itself() {
    use std::os::unix::fs::PermissionsExt;

    let directory = Directory::new("key");
    let file = directory.file("key");
    let first = Node::start(&["--key", &file]).await;
    let id = first.id.clone();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    first.interrupt().await;
    let again = Node::start(&["--key", &file]).await;
    assert_eq!(again.id, id);
    again.interrupt().await;
    let other = Node::start(&[]).await;
    assert_ne!(other.id, id);
    other.interrupt().await;
}

/// A node with these options ends with this complaint and nothing else but its name.
async fn assert_complains(args: &[&str], complaint: &str) {
    let (status, lines) = Process::start("node", args).end().await;
    assert!(
        status.code().is_some_and(|code| code != 0),
        "{args:?}: {status}"
    );
    let complaints = lines.iter().filter(|line| line.starts_with("error: "));
    let complaints: Vec<_> = complaints.collect();
    assert!(
        matches!(complaints[..], [one] if one.contains(complaint)),
        "{args:?}: {complaint:?} is not in {lines:#?}"
    );
    assert!(
        !lines.iter().any(|line| line.contains("panicked")),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn a_node_says_what_is_wrong_with_its_options() {
    let port = |address: std::io::Result<std::net::SocketAddr>| address.unwrap().port();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp_address = format!("/ip4/127.0.0.1/tcp/{}", port(tcp.local_addr()));
    let used = [
        tcp_address.clone(),
        format!("{tcp_address}/ws"),
        format!(
            "/ip4/127.0.0.1/udp/{}/webrtc-direct",
            port(udp.local_addr())
        ),
    ];
    for address in &used {
        let complaint = format!("cannot listen at {address}: Address already in use");
        assert_complains(&["--network", "n", "--listen", address], &complaint).await;
    }
    let long = "n".repeat(256);
    for (args, complaint) in [
        (
            ["--network", "n", "--listen", "here"],
            "invalid value 'here' for '--listen",
        ),
        (
            ["--network", "n", "--bootstrap", "/ip4/1"],
            "invalid value '/ip4/1' for '--bootstrap",
        ),
        (
            ["--network", "n", "--peers", "-1"],
            "unexpected argument '-1'",
        ),
        (
            ["--network", "", "--peers", "1"],
            "a network's name cannot be empty",
        ),
        (["--network", &long, "--peers", "1"], "for '--network"),
        (
            ["--network", "n", "--listen", "/ip4/127.0.0.1/udp/1"],
            "cannot listen at /ip4/127.0.0.1/udp/1: ",
        ),
    ] {
        assert_complains(&args, complaint).await;
    }
}

#[tokio::test]
async fn a_node_says_what_is_wrong_with_its_key() {
    let directory = Directory::new("bad-keys");
    let (garbage, empty) = (directory.file("garbage"), directory.file("empty"));
    std::fs::write(&garbage, b"this is no key").unwrap();
    std::fs::write(&empty, b"").unwrap();
    let (folder, nowhere) = (directory.file(""), directory.file("no/such/folder"));
    for (file, complaint) in [
        (&garbage, "there is no key in"),
        (&empty, "there is no key in"),
        (&folder, "cannot read the key in"),
        (&nowhere, "cannot write the key to"),
    ] {
        let complaint = format!("{complaint} {file}: ");
        assert_complains(&["--network", "n", "--key", file], &complaint).await;
    }
    // What was there is still there.
    assert_eq!(std::fs::read(&garbage).unwrap(), b"this is no key");
}

#[cfg(unix)]
#[tokio::test]
async fn a_node_dials_its_bootstrap_until_somebody_is_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", free.local_addr().unwrap().port());
    drop(free);
    let mut early = Node::start(&["--bootstrap", &address]).await;
    let line = early.process.line("cannot connect to").await;
    assert!(
        line.contains(&address) && line.contains("refused"),
        "{line}"
    );
    let late = Node::start_at(&address, &[]).await;
    early
        .process
        .line(&format!("connected to {}", late.id))
        .await;
    early.interrupt().await;
    late.interrupt().await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_node_leaves_out_its_own_address_in_its_bootstrap() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", free.local_addr().unwrap().port());
    drop(free);
    let mut one = Node::start_at(&address, &["--bootstrap", &address]).await;
    let other = Node::start(&["--bootstrap", &address]).await;
    one.process.line("connected to").await;
    let lines = one.interrupt().await;
    assert!(
        !lines.iter().any(|line| line.contains("cannot")),
        "{lines:#?}"
    );
    other.interrupt().await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn soak_fails_to_introduce_nobody_and_leaves_nothing_behind() {
    let mut process = Process::start("soak", &["--minutes", "0.3"]);
    process.line("introductions=").await;
    let (status, lines) = process.end().await;
    assert!(status.success(), "{lines:#?}");
    let figure = |name: &str| -> usize {
        let words = lines.last().unwrap().split(' ');
        let mut values = words.filter_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        let value = values.next().and_then(|value| value.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {lines:#?}"))
    };
    assert!(figure("introductions") > 0, "{lines:#?}");
    assert_eq!(figure("failed"), 0, "{lines:#?}");
    assert_eq!(figure("fds_end"), figure("fds_start"), "{lines:#?}");
    assert_eq!(figure("tasks_end"), 0, "{lines:#?}");
}
