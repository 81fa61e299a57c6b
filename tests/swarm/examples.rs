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
async fn a_node_that_is_started_again_needs_no_bootstrap_and_skips_a_damaged_line() {
    let directory = Directory::new("known");
    let (known, key) = (directory.file("known"), directory.file("key"));
    let args = ["--known", &known, "--key", &key];
    let one = Node::start(&[]).await;
    let mut two = Node::start(&[&args[..], &["--bootstrap", &one.address]].concat()).await;
    two.process.line("connected to").await;
    let id = two.id.clone();
    two.interrupt().await;
    let kept = std::fs::read_to_string(&known).unwrap();
    assert!(
        kept.contains(&one.id) && kept.lines().count() == 1,
        "{kept}"
    );

    std::fs::write(&known, format!("{}\n{kept}", &kept[..20])).unwrap();
    let mut two = Node::start(&args).await;
    assert_eq!(two.id, id);
    let warning = format!("warning: line 1 of {known} is skipped");
    assert!(two.process.has_said(&warning));
    let connected = format!("connected to {}", one.id);
    two.process.line(&connected).await;
    two.interrupt().await;
    assert!(std::fs::read_to_string(&known).unwrap().contains(&one.id));
    one.interrupt().await;
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
pub(crate) struct Directory(std::path::PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("pxp-{name}-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }

    pub(crate) fn file(&self, name: &str) -> String {
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

#[cfg(unix)]
#[tokio::test]
async fn a_node_warns_of_files_that_others_can_read() {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt};

    let directory = Directory::new("loose");
    let names = ["key", "certificate", "known"].map(|name| directory.file(name));
    let options = ["--key", "--certificate", "--known"];
    let pairs = options.iter().zip(&names);
    let args: Vec<_> = pairs.flat_map(|(option, file)| [*option, file]).collect();
    std::fs::write(&names[2], b"").unwrap();
    Node::start(&args).await.interrupt().await; // makes the others
    for mode in [0o600, 0o640, 0o602] {
        for file in &names {
            std::fs::set_permissions(file, Permissions::from_mode(mode)).unwrap();
        }
        let node = Node::start(&args).await;
        for file in &names {
            let warning = format!("warning: {file} has mode {mode:o}");
            assert_eq!(node.process.has_said(&warning), mode != 0o600, "{warning}");
        }
        node.interrupt().await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_node_prints_text_of_others_without_its_control_characters() {
    let mut one = Node::start(&["--bootstrap", "/unix/\u{1b}[2J\u{202e}"]).await;
    let line = one.process.line("cannot connect to").await;
    assert!(line.contains(r"/unix/\u{1b}[2J\u{202e}"), "{line:?}");
    let mut other = Node::start(&["--bootstrap", &one.address]).await;
    other.process.line("connected to").await;
    one.process.line("connected to").await;
    other
        .process
        .write(b"\x1b]0;x\x07\xc2\x9b1A\rme says: hi\n")
        .await;
    let line = one.process.line("says:").await;
    let text = r"\u{1b}]0;x\u{7}\u{9b}1A\rme says: hi";
    assert_eq!(line, format!("{} says: {text}", other.id));
    one.interrupt().await;
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
