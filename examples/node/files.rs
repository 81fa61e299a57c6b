//! What a node keeps from one start to the next: its key, its certificate, and peers that it knew.

use std::{
    error::Error,
    ffi::OsString,
    fmt::Write as _,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use libp2p::identity::Keypair;
use pxp::{Certificate, KnownPeer};

/// The key in a file, or a new one that is kept there.
pub(crate) fn key(path: Option<&Path>) -> Result<Keypair, String> {
    let read = |bytes: &[u8]| Ok(Keypair::from_protobuf_encoding(bytes)?);
    let write = |key: &Keypair| key.to_protobuf_encoding().ok();
    let key = secret(
        path,
        "key",
        read,
        || Some(Keypair::generate_ed25519()),
        write,
    )?;
    Ok(key.unwrap_or_else(Keypair::generate_ed25519))
}

/// The certificate in a file, or a new one that is kept there.
pub(crate) fn certificate(path: Option<&Path>) -> Result<Option<Certificate>, String> {
    let read = |bytes: &[u8]| Ok(Certificate::from_pem(std::str::from_utf8(bytes)?)?);
    let write = |certificate: &Certificate| Some(certificate.to_pem().into_bytes());
    secret(
        path,
        "certificate",
        read,
        || Certificate::generate().ok(),
        write,
    )
}

/// A damaged file is left as it is: without its secret the node would be another.
fn secret<T>(
    path: Option<&Path>,
    what: &str,
    read: impl Fn(&[u8]) -> Result<T, Box<dyn Error>>,
    make: impl Fn() -> Option<T>,
    write: impl Fn(&T) -> Option<Vec<u8>>,
) -> Result<Option<T>, String> {
    let Some(path) = path else {
        return Ok(None);
    };
    let file = path.display();
    match fs::read(path) {
        Ok(bytes) => read(&bytes)
            .map(Some)
            .map_err(|error| format!("there is no {what} in {file}: {error}")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = make().ok_or(format!("cannot make a {what}"))?;
            let bytes = write(&secret).ok_or(format!("cannot write a {what}"))?;
            replace(path, &bytes)
                .map_err(|error| format!("cannot write the {what} to {file}: {error}"))?;
            Ok(Some(secret))
        }
        Err(error) => Err(format!("cannot read the {what} in {file}: {error}")),
    }
}

/// Writes a file that only its owner can read, at once: whenever the program or the machine ends, there is what
/// was there before or the new.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(new, path)
}

/// The peers in a file. One that is damaged is put aside, and the node starts without it.
pub(crate) fn known_peers(path: &Path) -> Vec<KnownPeer> {
    let read = fs::read_to_string(path);
    let peers = read.and_then(|text| {
        let peers: Option<Vec<_>> = text.lines().map(parse).collect();
        peers.ok_or(io::ErrorKind::InvalidData.into())
    });
    match peers {
        Ok(peers) => peers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) if error.kind() != io::ErrorKind::InvalidData => {
            println!("cannot read {}: {error}", path.display());
            Vec::new()
        }
        Err(error) => {
            let aside = beside(path, ".damaged");
            match fs::rename(path, &aside) {
                Ok(()) => println!(
                    "{}: {error}; put aside as {}",
                    path.display(),
                    aside.display()
                ),
                Err(_) => println!("{}: {error}", path.display()),
            }
            Vec::new()
        }
    }
}

/// Keeps these peers in a file.
pub(crate) fn keep_peers(path: &Path, peers: &[KnownPeer]) -> io::Result<()> {
    let mut text = String::new();
    for peer in peers {
        let seen = [peer.first_seen, peer.last_seen].map(seconds);
        let _ = write!(text, "{} {} {}", peer.peer, seen[0], seen[1]);
        for address in &peer.addresses {
            let _ = write!(text, " {address}");
        }
        text.push('\n');
    }
    replace(path, text.as_bytes())
}

/// A line: the id, when it was seen first and last, in seconds since 1970, and its addresses.
fn parse(line: &str) -> Option<KnownPeer> {
    let mut words = line.split(' ');
    let peer = words.next()?.parse().ok()?;
    let mut time = || {
        let seconds = words.next()?.parse().ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    };
    let (first_seen, last_seen) = (time()?, time()?);
    let addresses = words.map(|word| word.parse().ok()).collect::<Option<_>>()?;
    Some(KnownPeer {
        peer,
        addresses,
        first_seen,
        last_seen,
    })
}

fn seconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}
