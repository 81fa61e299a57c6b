//! What a node keeps from one start to the next: its key, its certificate, and peers that it knew.

use std::{
    error::Error,
    ffi::OsString,
    fs, io,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use libp2p::{Multiaddr, identity::Keypair};
use pxp::{Certificate, KnownPeer};
use serde::{Deserialize, Serialize};

use super::terminal::print_line;

/// The key in a file, or a new one that is kept there.
pub(crate) fn key(path: Option<&Path>) -> Result<Keypair, String> {
    let parse = |bytes: &[u8]| Ok(Keypair::from_protobuf_encoding(bytes)?);
    let write = |key: &Keypair| key.to_protobuf_encoding().ok();
    let key = secret(
        path,
        "key",
        parse,
        || Some(Keypair::generate_ed25519()),
        write,
    )?;
    Ok(key.unwrap_or_else(Keypair::generate_ed25519))
}

/// The certificate in a file, or a new one that is kept there.
pub(crate) fn certificate(path: Option<&Path>) -> Result<Option<Certificate>, String> {
    let parse = |bytes: &[u8]| Ok(Certificate::from_pem(std::str::from_utf8(bytes)?)?);
    let write = |certificate: &Certificate| Some(certificate.to_pem().into_bytes());
    secret(
        path,
        "certificate",
        parse,
        || Certificate::generate().ok(),
        write,
    )
}

/// A damaged file is left as it is: without its secret the node would be another. Of nodes that start at once
/// with the same file, one makes the secret.
fn secret<T>(
    path: Option<&Path>,
    what: &str,
    parse: impl Fn(&[u8]) -> Result<T, Box<dyn Error>>,
    make: impl Fn() -> Option<T>,
    write: impl Fn(&T) -> Option<Vec<u8>>,
) -> Result<Option<T>, String> {
    let Some(path) = path else {
        return Ok(None);
    };
    let file = path.display();
    if !is_there(path) {
        let secret = make().ok_or(format!("cannot make a {what}"))?;
        let bytes = write(&secret).ok_or(format!("cannot write a {what}"))?;
        match create(path, &bytes) {
            Ok(()) => return Ok(Some(secret)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("cannot write the {what} to {file}: {error}")),
        }
    }
    let bytes = read(path).map_err(|error| format!("cannot read the {what} in {file}: {error}"))?;
    let secret = parse(&bytes).map_err(|error| format!("there is no {what} in {file}: {error}"))?;
    Ok(Some(secret))
}

/// Returns true also for a file that cannot be looked at, which is then not to be read either.
fn is_there(path: &Path) -> bool {
    let looked = fs::symlink_metadata(path);
    !looked.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// Reads a file, and warns if others may read or write it too.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions());
        if mode & 0o077 != 0 {
            let (file, mode) = (path.display(), mode & 0o777);
            print_line(format_args!(
                "warning: {file} has mode {mode:03o}, so it is not yours alone: chmod 600"
            ));
        }
    }
    Ok(bytes)
}

/// Makes a file. Fails if there is one by that name.
fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    publish(path, bytes, |new| fs::hard_link(new, path))
}

/// Makes a file, or replaces the one by that name.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    publish(path, bytes, |new| fs::rename(new, path))
}

/// Writes a new file that only its owner can read, and has `put` give it its name. Whenever the program or the
/// machine ends, the name stands for all of the old contents or all of the new.
fn publish(path: &Path, bytes: &[u8], put: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    // No name that is left from a crash, or that somebody else could have made before.
    let new = beside(path, &format!(".{:016x}.new", rand::random::<u64>()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&new)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let put = written.and_then(|()| put(&new));
    // A rename has left nothing by this name.
    let _ = fs::remove_file(&new);
    put?;
    sync_directory(path)
}

/// Makes the name of a file outlast a crash of the machine. Elsewhere than on Unix a directory is no file.
fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    match cfg!(unix) {
        true => fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all(),
        false => Ok(()),
    }
}

/// The peers in a file, one a line. A line that is damaged is skipped, and the whole file then kept aside.
pub(crate) fn known_peers(path: &Path) -> Vec<KnownPeer> {
    let file = path.display();
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                print_line(format_args!("cannot read {file}: {error}"));
            }
            return Vec::new();
        }
    };
    let mut peers = Vec::new();
    let mut is_damaged = false;
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        match Line::parse(line) {
            Some(peer) => peers.push(peer),
            None if line.is_empty() => {}
            None => {
                is_damaged = true;
                print_line(format_args!("warning: line {number} of {file} is skipped"));
            }
        }
    }
    if is_damaged {
        let aside = beside(path, ".damaged");
        match fs::rename(path, &aside) {
            Ok(()) => print_line(format_args!("{file} is kept as {}", aside.display())),
            Err(error) => print_line(format_args!("{file} cannot be kept aside: {error}")),
        }
    }
    peers
}

/// Keeps these peers in a file.
pub(crate) fn keep_peers(path: &Path, peers: &[KnownPeer]) -> io::Result<()> {
    let mut lines = Vec::new();
    for line in peers.iter().filter_map(Line::new) {
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    replace(path, &lines)
}

/// A known peer as a line of JSON.
#[derive(Serialize, Deserialize)]
struct Line {
    peer: String,
    addresses: Vec<String>,
    /// In seconds since 1970.
    first_seen: u64,
    /// In seconds since 1970.
    last_seen: u64,
}

impl Line {
    /// Leaves out addresses whose text would be read as another address. Returns `None` without any other.
    fn new(known: &KnownPeer) -> Option<Self> {
        let is_read_back = |address: &&Multiaddr| {
            let read = address.to_string().parse::<Multiaddr>();
            read.is_ok_and(|read| read == **address)
        };
        let addresses = known.addresses.iter().filter(is_read_back);
        let addresses: Vec<_> = addresses.map(Multiaddr::to_string).collect();
        let [first_seen, last_seen] = [known.first_seen, known.last_seen].map(|time| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap_or_default().as_secs()
        });
        (!addresses.is_empty()).then(|| Self {
            peer: known.peer.to_string(),
            addresses,
            first_seen,
            last_seen,
        })
    }

    fn parse(line: &[u8]) -> Option<KnownPeer> {
        let line: Self = serde_json::from_slice(line).ok()?;
        let addresses = line.addresses.iter().map(|text| text.parse().ok());
        let time = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
        Some(KnownPeer {
            peer: line.peer.parse().ok()?,
            addresses: addresses.collect::<Option<_>>()?,
            first_seen: time(line.first_seen)?,
            last_seen: time(line.last_seen)?,
        })
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}
