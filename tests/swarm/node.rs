//! The parts of the example `node` that files and terminals see.

#[path = "../../examples/node/files.rs"]
mod files;
#[path = "../../examples/node/terminal.rs"]
mod terminal;

use std::time::{Duration, SystemTime};

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use pxp::KnownPeer;

use crate::examples::Directory;
use terminal::escaped;

fn known(address: Multiaddr) -> KnownPeer {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
    KnownPeer {
        peer: PeerId::random(),
        addresses: vec![address],
        first_seen: time,
        last_seen: time + Duration::from_secs(60),
    }
}

fn plain() -> Multiaddr {
    "/ip4/9.9.9.8/tcp/1".parse().unwrap()
}

/// An address with a text of its owner's choice in it.
fn with_text(text: &str) -> Multiaddr {
    let address: Multiaddr = "/ip4/9.9.9.9/tcp/1/tls".parse().unwrap();
    address.with(Protocol::Sni(text.into()))
}

/// Returns what is left of these peers after a restart.
fn kept(peers: &[KnownPeer]) -> Vec<KnownPeer> {
    let directory = Directory::new("kept");
    let file = directory.file("known");
    files::keep_peers(file.as_ref(), peers).unwrap();
    files::known_peers(file.as_ref())
}

#[test]
fn a_line_break_in_an_address_invents_no_peer_and_loses_none() {
    let evil = PeerId::random();
    let old = format!("x\n{evil} 0 1 /ip4/6.6.6.6/tcp/6\n{evil} 0 1 /ip4/6.6.6.7/tcp/6");
    let json = r#"x"]}
{"peer":"{evil}","addresses":["/ip4/6.6.6.6/tcp/6"],"first_seen":0,"last_seen":1}
{"peer":"{evil}","addresses":[""#;
    let json = json.replace("{evil}", &evil.to_string());
    for text in [
        "x\ny",
        "x\r\ny",
        "\u{2028}",
        json.split('/').next().unwrap(),
    ] {
        let peers = [known(with_text(text)), known(plain())];
        assert_eq!(kept(&peers)[..], peers, "{text:?}");
    }
    // A slash makes it another address, which is not kept.
    for text in [&old, &json] {
        let peers = [known(with_text(text)), known(plain())];
        assert_eq!(kept(&peers)[..], peers[1..], "{text:?}");
    }
}

#[test]
fn an_address_that_would_be_read_as_another_is_not_kept() {
    let smuggler = with_text("x/ip4/127.0.0.1/tcp/6379");
    let read: Multiaddr = smuggler.to_string().parse().unwrap();
    assert_ne!(smuggler, read);
    let mut peer = known(smuggler.clone());
    assert!(kept(&[peer.clone()]).is_empty());
    peer.addresses.push(plain());
    let [left] = &kept(&[peer.clone()])[..] else {
        panic!("it is known still");
    };
    assert_eq!(left.addresses, [plain()]);
}

#[test]
fn a_damaged_line_is_skipped_by_itself() {
    let directory = Directory::new("damaged");
    let file = directory.file("known");
    let peers = [known(plain()), known(plain())];
    files::keep_peers(file.as_ref(), &peers).unwrap();
    let good = std::fs::read(&file).unwrap();
    let huge = br#"{"peer":"x","addresses":[],"first_seen":18446744073709551615,"last_seen":0}"#;
    for bad in [&b"\xff\xfe"[..], b"{}", b"null", &good[..20], huge] {
        let [first, second] = good
            .split_inclusive(|byte| *byte == b'\n')
            .collect::<Vec<_>>()[..]
        else {
            panic!("one line each");
        };
        let damaged = [first, bad, b"\n", second, bad].concat();
        std::fs::write(&file, &damaged).unwrap();
        assert_eq!(files::known_peers(file.as_ref()), peers, "{bad:?}");
        // The owner may repair it.
        assert_eq!(std::fs::read(file.clone() + ".damaged").unwrap(), damaged);
        assert!(!std::fs::exists(&file).unwrap());
    }
}

#[test]
fn nodes_that_start_at_once_share_the_key_of_one_of_them() {
    let directory = Directory::new("race");
    let file = directory.file("key");
    let start = std::sync::Barrier::new(8);
    let key = || {
        start.wait();
        files::key(Some(file.as_ref())).unwrap().public()
    };
    let keys: Vec<_> = std::thread::scope(|scope| {
        let threads = [(); 8].map(|()| scope.spawn(key));
        threads.map(|thread| thread.join().unwrap()).into()
    });
    let first = &keys[0];
    assert!(keys.iter().all(|key| key == first), "{keys:?}");
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[cfg(unix)]
#[test]
fn secrets_and_peers_are_readable_to_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;

    let directory = Directory::new("modes");
    let [key, certificate, peers] = ["key", "certificate", "known"].map(|it| directory.file(it));
    files::key(Some(key.as_ref())).unwrap();
    files::certificate(Some(certificate.as_ref())).unwrap();
    // Also in place of a file that others can read.
    std::fs::write(&peers, b"").unwrap();
    files::keep_peers(peers.as_ref(), &[known(plain())]).unwrap();
    for file in [key, certificate, peers] {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[cfg(unix)]
#[test]
fn a_secret_is_not_written_through_a_dangling_link() {
    let directory = Directory::new("link");
    let [link, elsewhere] = ["key", "elsewhere"].map(|it| directory.file(it));
    std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
    let error = files::key(Some(link.as_ref())).unwrap_err();
    assert!(error.starts_with("cannot read the key"), "{error}");
    assert!(!std::fs::exists(&elsewhere).unwrap());
}

#[test]
fn text_of_others_cannot_steer_a_terminal() {
    for (text, printed) in [
        ("good evening \u{1f319}", "good evening \u{1f319}"),
        (
            "\u{e9}t\u{e9} \u{5e2}\u{5d1}",
            "\u{e9}t\u{e9} \u{5e2}\u{5d1}",
        ),
        ("\u{1b}[2J\u{7}", r"\u{1b}[2J\u{7}"),
        ("\u{9b}31m\u{7f}", r"\u{9b}31m\u{7f}"),
        ("hi\r\nyou say: no\t", r"hi\r\nyou say: no\t"),
        (
            "\u{202e}evil\u{2066}\u{200f}",
            r"\u{202e}evil\u{2066}\u{200f}",
        ),
        ("one\u{2028}two", r"one\u{2028}two"),
    ] {
        assert_eq!(escaped(text), printed);
    }
}
