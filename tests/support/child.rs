//! A part of a test in a process of its own, for what is read from the process's environment.

use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{self, ChildStdin, ChildStdout, Command};

/// Tells a test that it is the child.
const MARK: &str = "STAGE_CHILD";

/// Whether this process is such a child: then the test plays its second part.
pub fn is_one() -> bool {
    std::env::var_os(MARK).is_some()
}

/// The test `name` (its whole path, as `module_path!()` has it) of this binary, for a process of its own that sees `variables`
/// and nothing else of our environment.
fn command<N: AsRef<str>, V: AsRef<str>>(name: &str, variables: &[(N, V)]) -> Command {
    let name = name.strip_prefix(concat!(env!("CARGO_CRATE_NAME"), "::")).unwrap_or(name);
    let mut command = Command::new(std::env::current_exe().expect("a test knows its binary"));
    command
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env_clear()
        .env(MARK, "1")
        .envs(variables.iter().map(|(name, value)| (name.as_ref(), value.as_ref())))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs it once more in such a process, and returns what it printed. There [`is_one`] says `true`.
///
/// # Panics
/// When the test failed, or when there is none of that name.
pub async fn run<N: AsRef<str>, V: AsRef<str>>(name: &str, variables: &[(N, V)]) -> String {
    let Output { status, stdout, stderr } =
        command(name, variables).output().await.expect("our own binary can be started");
    let printed = String::from_utf8_lossy(&stdout).into_owned();
    let complaint = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{name} failed in a process of its own:\n{printed}\n{complaint}");
    assert!(printed.contains("1 passed"), "there is no test called {name}:\n{printed}");
    printed
}

/// What a child says when it has come to its [`pause`].
const PAUSED: &str = "the child pauses";

/// In the child: says that it has come so far, and waits until it is told to go on.
pub async fn pause() {
    println!("{PAUSED}");
    let told = tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
    told.await.expect("no panic").expect("standard input can be read");
}

/// A child that pauses. Dropped, it is killed.
pub struct Child {
    process: process::Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

/// As [`run`], until the child's [`pause`].
pub async fn start<N: AsRef<str>, V: AsRef<str>>(name: &str, variables: &[(N, V)]) -> Child {
    let mut command = command(name, variables);
    let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut process = started.expect("our own binary can be started");
    let stdin = process.stdin.take().expect("piped");
    let mut stdout = BufReader::new(process.stdout.take().expect("piped"));
    let mut said = String::new();
    while !said.contains(PAUSED) {
        let read = stdout.read_line(&mut said).await.expect("it speaks text");
        assert_ne!(read, 0, "{name} has ended before its pause:\n{said}");
    }
    Child { process, stdin, stdout }
}

impl Child {
    fn signal(&self, signal: Signal) {
        let pid = self.process.id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
        kill_process(pid, signal).expect("it is ours");
    }

    /// Kills it without a word.
    pub async fn kill(mut self) {
        self.process.kill().await.expect("it is ours");
    }

    /// Stops it, as a freeze does.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on, beyond its pause too.
    pub async fn go_on(&mut self) {
        self.signal(Signal::CONT);
        self.stdin.write_all(b"\n").await.expect("it reads");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it fails.
    pub async fn succeeds(mut self) {
        let mut printed = String::new();
        self.stdout.read_to_string(&mut printed).await.expect("it speaks text");
        let status = self.process.wait().await.expect("it is ours");
        assert!(status.success() && printed.contains("1 passed"), "the child failed:\n{printed}");
    }
}
