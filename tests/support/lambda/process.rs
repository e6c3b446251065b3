//! The function as an operating system sees it: a process group, its output, and the two that watch over it.
//!
//! The *supervisor* is a task here: it kills on a missed deadline and reports the end. The *watchdog* is a process of
//! its own, because a frozen function would never notice that we have died: it kills the group when the pipe that
//! only we hold open comes to its end.

use std::{
    collections::VecDeque,
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    super::{http::lock, until::until_paced},
    runtime_api::RuntimeApi,
};

/// How much of each output is kept.
const OUTPUT_LIMIT: usize = 1 << 20;

/// How much of stderr goes into the message of a crash.
const STDERR_TAIL: usize = 2_000;

/// How long the output of a dead function is awaited: only what was already in the pipe can come.
const LAST_WORDS: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct FunctionProcess {
    pid: Pid,
    started: Instant,
    stdout: Output,
    stderr: Output,
    api: Arc<RuntimeApi>,
}

impl FunctionProcess {
    /// Starts `binary` in a process group of its own with nothing but `variables` and our `PATH`.
    pub(super) fn start(binary: &Path, variables: Vec<(String, String)>, api: Arc<RuntimeApi>) -> Self {
        let started = Instant::now();
        let mut child = Command::new(binary)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", binary.display()));
        let pid = pid_of(&child);
        let watchdog = watch(pid);
        let stdout = Output::default();
        let stderr = Output::default();
        let drained = [stdout.drain(child.stdout.take()), stderr.drain(child.stderr.take())];
        let supervisor =
            Supervisor { child, pid, drained, stderr: stderr.clone(), api: Arc::clone(&api), _watchdog: watchdog };
        tokio::spawn(supervisor.run());
        Self { pid, started, stdout, stderr, api }
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(super) fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub(super) fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Signals the function's own process, as Lambda does with SIGTERM.
    pub(super) fn signal(&self, signal: Signal) {
        if !self.api.has_ended() {
            // It may end at any time; then there is nobody left to signal.
            let _ = kill_process(self.pid, signal);
        }
    }

    pub(super) fn signal_group(&self, signal: Signal) {
        // Once the process has been waited for, its number may belong to somebody else.
        if !self.api.has_ended() {
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Stops the group, and waits until the function stands still: the signal alone takes effect when it likes.
    pub(super) async fn stop(&self) {
        self.signal_group(Signal::STOP);
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let stands_still = async || !matches!(waitid(WaitId::Pid(self.pid), options), Ok(None));
        until_paced(Duration::from_millis(1), "the function stands still", stands_still).await;
    }
}

struct Supervisor {
    child: Child,
    pid: Pid,
    drained: [JoinHandle<()>; 2],
    stderr: Output,
    api: Arc<RuntimeApi>,
    // Killed when dropped, that is when there is no group left to watch.
    _watchdog: Child,
}

impl Supervisor {
    async fn run(mut self) {
        tokio::select! {
            _ = self.child.wait() => {}
            () = self.api.overdue() => {}
        }
        // Either Lambda ends the function here, or it has ended and what it started ends with it.
        let _ = kill_process_group(self.pid, Signal::KILL);
        let status = self.child.wait().await;
        let [stdout, stderr] = self.drained;
        let _ = timeout(LAST_WORDS, async { tokio::join!(stdout, stderr) }).await;
        let status = status.expect("the function is our child");
        self.api.end(status, &self.stderr.tail(STDERR_TAIL));
    }
}

/// Starts the watchdog of process group `group`. It sits in a group of its own, out of reach of what stops the
/// function and of what a terminal sends to us.
fn watch(group: Pid) -> Child {
    Command::new("sh")
        .args(["-c", r#"read -r _; kill -s KILL -- "-$0""#])
        .arg(group.as_raw_nonzero().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .expect("a POSIX shell")
}

fn pid_of(child: &Child) -> Pid {
    child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw)
        .expect("a child that nobody has waited for has a pid")
}

/// The end of what a process writes.
#[derive(Debug, Clone, Default)]
struct Output(Arc<Mutex<VecDeque<u8>>>);

impl Output {
    /// Reads `pipe` to its end: a full pipe would block the function.
    fn drain(&self, pipe: Option<impl AsyncRead + Unpin + Send + 'static>) -> JoinHandle<()> {
        let output = self.clone();
        let mut pipe = pipe.expect("the output was piped");
        tokio::spawn(async move {
            let mut buffer = vec![0; 8192];
            while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
                output.push(&buffer[..length]);
            }
        })
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = lock(&self.0);
        kept.extend(bytes);
        let surplus = kept.len().saturating_sub(OUTPUT_LIMIT);
        kept.drain(..surplus);
    }

    fn text(&self) -> String {
        self.tail(OUTPUT_LIMIT)
    }

    fn tail(&self, length: usize) -> String {
        let mut kept = lock(&self.0);
        let skipped = kept.len().saturating_sub(length);
        String::from_utf8_lossy(&kept.make_contiguous()[skipped..]).into_owned()
    }
}
