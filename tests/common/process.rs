//! Programs as processes, to be spoken to and ended like by a user.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{path::PathBuf, process::ExitStatus, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};

/// No program takes so long to say or do what is waited for, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running program, killed when dropped.
pub struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    log: Vec<String>,
}

impl Process {
    /// Starts an example.
    pub fn start(example: &str, args: &[&str]) -> Self {
        let mut command = Command::new(path(example));
        command.args(args);
        Self::spawn(command).unwrap_or_else(|error| {
            panic!("{error}: `cargo test` or `cargo build --examples` makes {example}")
        })
    }

    pub fn spawn(mut command: Command) -> std::io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (sender, lines) = mpsc::unbounded_channel();
        read_lines(child.stdout.take().unwrap(), sender.clone());
        read_lines(child.stderr.take().unwrap(), sender);
        Ok(Self {
            stdin: child.stdin.take(),
            child,
            lines,
            log: Vec::new(),
        })
    }

    /// Waits for a line with `text` in it, and skips those before.
    pub async fn line(&mut self, text: &str) -> String {
        self.line_of(&[text]).await
    }

    /// Waits for a line with one of these in it, and skips those before.
    pub async fn line_of(&mut self, texts: &[&str]) -> String {
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = self.lines.recv().await {
                self.log.push(line.clone());
                if texts.iter().any(|text| line.contains(text)) {
                    return Some(line);
                }
            }
            None
        });
        let found = found.await.ok().flatten();
        found.unwrap_or_else(|| panic!("no line with {texts:?}, but\n{}", self.log.join("\n")))
    }

    /// Whether there was a line with `text` in it, of those that were waited for or skipped.
    pub fn has_said(&self, text: &str) -> bool {
        self.log.iter().any(|line| line.contains(text))
    }

    /// The last line with `text` in it, of those that were waited for or skipped.
    pub fn last(&self, text: &str) -> Option<&str> {
        let mut latest = self.log.iter().rev();
        latest.find(|line| line.contains(text)).map(String::as_str)
    }

    /// Types a line.
    pub async fn say(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes()).await;
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("an open stdin");
        stdin.write_all(bytes).await.unwrap();
        stdin.flush().await.unwrap();
    }

    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal, by its name without `SIG`.
    #[cfg(unix)]
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().expect("it runs");
        let kill = format!("kill -{name} {pid}");
        let sent = std::process::Command::new("sh")
            .args(["-c", &kill])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for its end. Returns how it ended and all that it printed.
    pub async fn end(mut self) -> (ExitStatus, Vec<String>) {
        let ended = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = self.lines.recv().await {
                self.log.push(line);
            }
            self.child.wait().await.unwrap()
        });
        match ended.await {
            Ok(status) => (status, self.log),
            Err(_) => panic!("it runs on:\n{}", self.log.join("\n")),
        }
    }
}

fn read_lines(from: impl AsyncRead + Unpin + Send + 'static, to: mpsc::UnboundedSender<String>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if to.send(line).is_err() {
                return;
            }
        }
    });
}

/// Where `cargo test` puts an example: beside the directory of this test.
fn path(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let name = format!("{example}{}", std::env::consts::EXE_SUFFIX);
    profile.join("examples").join(name)
}
