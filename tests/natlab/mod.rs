//! Peers behind NATs: a throw-away internet of network namespaces (`natlab`), in which this program
//! runs once more for each node. What runs there is in `peer`, what they do together in `pair`.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    env, io,
    process::{Command, ExitCode, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::{
    runtime::Runtime,
    sync::{Semaphore, SemaphorePermit},
};

use self::{
    peer::{TURN_PASSWORD, TURN_USER},
    process::Process,
};

pub mod pair;
pub mod peer;
#[path = "../common/process.rs"]
pub mod process;

const NATLAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/natlab/natlab");

/// Tells a program that it is inside of the namespaces that [`enter`] makes.
const INSIDE: &str = "PXP_NATLAB_INSIDE";

/// A TURN server, of Debian's package `coturn`.
const TURN_SERVER: &str = "turnserver";

/// Set to `require` where a lab has to be possible.
const POLICY: &str = "PXP_NATLAB";

/// How many labs there are at a time: three processes each, which mostly wait.
static ROOM: Semaphore = Semaphore::const_new(8);

/// The frame of a program whose nodes run in labs. Calls `body` with its arguments where labs can be
/// made, unless it was started as one of the nodes. Without labs, says so and is content.
pub fn run(body: impl AsyncFnOnce(&[&str]) -> ExitCode) -> ExitCode {
    let args: Vec<_> = env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let runtime = Runtime::new().expect("a runtime");
    if let Some(played) = runtime.block_on(peer::play(&args)) {
        return played.map_or_else(fail, |()| ExitCode::SUCCESS);
    }
    match (enter(), env::var(POLICY).as_deref()) {
        (Ok(()), _) => runtime.block_on(body(&args)),
        (Err(error), Ok("require")) => fail(format!("no lab, but {POLICY}=require: {error}")),
        (Err(error), _) => {
            println!("skipped, for there can be no lab here: {error}");
            ExitCode::SUCCESS
        }
    }
}

fn fail(error: impl ToString) -> ExitCode {
    eprintln!("{}", error.to_string());
    ExitCode::FAILURE
}

/// Starts this program anew in namespaces of its own, where it may make networks, and of which nothing
/// stays behind, however it ends. Returns there; elsewhere only if it cannot be done.
fn enter() -> io::Result<()> {
    if env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    // With a delay, which takes the most.
    let trial = "run A=fullcone -- NATLAB link natA delay=1";
    let trial = trial.split(' ').map(|word| word.replace("NATLAB", NATLAB));
    let tried = Command::new(NATLAB)
        .args(["wrap", NATLAB])
        .args(trial)
        .output()?;
    if !tried.status.success() {
        return Err(io::Error::other(first_line(&tried.stderr)));
    }
    let mut command = Command::new(NATLAB);
    command.arg("wrap").arg(env::current_exe()?);
    command.args(env::args_os().skip(1)).env(INSIDE, "1");
    Err(become_process(&mut command))
}

/// Returns only if it fails. The process stays the same one, for who waits for it or ends it.
#[cfg(unix)]
fn become_process(command: &mut Command) -> io::Error {
    std::os::unix::process::CommandExt::exec(command)
}

#[cfg(not(unix))]
fn become_process(_: &mut Command) -> io::Error {
    io::ErrorKind::Unsupported.into()
}

fn first_line(errors: &[u8]) -> String {
    let errors = String::from_utf8_lossy(errors);
    errors.lines().next().unwrap_or_default().to_owned()
}

/// An internet with its routers and hosts, gone when dropped.
pub struct Lab {
    name: String,
    _permit: SemaphorePermit<'static>,
}

impl Lab {
    /// Builds one, once there is room for it. A router is described as in `natlab help`.
    pub async fn up(routers: &[&str]) -> Self {
        static LABS: AtomicU32 = AtomicU32::new(0);
        let lab = Self {
            _permit: ROOM.acquire().await.expect("it is never closed"),
            name: format!("n{}", LABS.fetch_add(1, Ordering::Relaxed)),
        };
        lab.run("up", routers).await;
        lab
    }

    /// Replaces a router's behaviour, by which it forgets its mappings.
    pub async fn set(&self, router: &str) {
        self.run("set", &[router]).await;
    }

    /// Says what an access link does to packets.
    pub async fn link(&self, node: &str, setting: &str) {
        self.run("link", &[node, setting]).await;
    }

    async fn run(&self, verb: &str, args: &[&str]) {
        let mut command = tokio::process::Command::from(self.natlab(verb, args));
        let output = command.output().await.expect("natlab was there");
        assert!(output.status.success(), "{verb} {args:?}: {output:?}");
    }

    /// Starts this program on a host, in one of the roles of [`peer`].
    pub fn start(&self, host: &str, role: &[&str]) -> Process {
        let program = env::current_exe().expect("this program has a path");
        let mut command = self.natlab("exec", &[host]);
        command.arg(program).args(role);
        Process::spawn(command.into()).expect("natlab was there")
    }

    /// Starts a TURN server on the public side, and returns its URI with it. `None` if there is no such
    /// program and none is required.
    pub async fn turn_server(&self) -> Option<(Process, String)> {
        const ADDRESS: &str = "11.22.33.2";
        if let Err(error) = Command::new(TURN_SERVER).arg("--version").output() {
            let is_required = env::var(POLICY).is_ok_and(|policy| policy == "require");
            assert!(!is_required, "{TURN_SERVER}: {error}");
            println!("skipped, for there is no {TURN_SERVER} here, which coturn brings: {error}");
            return None;
        }
        let (user, state) = (
            format!("{TURN_USER}:{TURN_PASSWORD}"),
            format!("/run/natlab/{}", self.name),
        );
        let mut command = self.natlab("exec", &["pub2", TURN_SERVER]);
        command.args([
            "-n",
            "--no-tls",
            "--no-dtls",
            "--no-cli",
            "--simple-log",
            "--log-file=stdout",
        ]);
        command.args(["-L", ADDRESS, "-E", ADDRESS, "-a", "-r", "lab", "-u", &user]);
        command.arg(format!("--userdb={state}/turn.db"));
        command.arg(format!("--pidfile={state}/turn.pid"));
        let mut server = Process::spawn(command.into()).expect("natlab was there");
        server.line("Relay ports initialization done").await;
        Some((server, format!("turn:{ADDRESS}")))
    }

    fn natlab(&self, verb: &str, args: &[&str]) -> Command {
        let mut command = Command::new(NATLAB);
        command.arg(verb).args(args).env("NATLAB", &self.name);
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let mut down = self.natlab("down", &[]);
        // Nobody waits for it: whatever is left ends with the namespaces around it.
        let _ = down.stdin(Stdio::null()).spawn();
    }
}
