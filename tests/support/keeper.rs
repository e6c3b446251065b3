//! Child processes that never outlive us, however we die.
//!
//! `Drop` does not run when this process is killed, and a "signal on parent's death" fires when the *thread* that
//! spawned the child ends, which in a Rust test is after a few milliseconds. So a small shell script watches a pipe we
//! hold: the kernel closes it when we end, for whatever reason, and the script then ends the server and removes its
//! files.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{self, Pid, Signal, WaitId, WaitIdOptions};

/// Starts the server in its own place and leaves a watcher behind. Arguments: signal, tries, directory, server...
///
/// The server replaces the first shell, so it is our direct child and its pid is ours to signal. The watcher is
/// orphaned on purpose (two subshells): a server such as the postmaster would be surprised by a child it did not start.
const SCRIPT: &str = r#"
signal=$1 tries=$2 directory=$3
shift 3
exec 3<&0 </dev/null

family() {
    echo $$ $(cat /proc/$$/task/$$/children || pgrep -P $$)
}

# An ended server is a zombie until its parent looks at it, and some parents never do.
lives() {
    kill -0 $$ && ! grep -q '^State:[[:space:]]*Z' /proc/$$/status
}

end_server() {
    everybody=$(family)
    kill -"$signal" $$
    # A suspended process does not notice a signal until it is continued.
    kill -CONT $everybody
    while lives; do
        if [ "$tries" -eq 0 ]; then
            kill -KILL $(family)
            break
        fi
        tries=$((tries - 1))
        sleep 0.01
    done
}

( (
    trap '' HUP INT QUIT TERM
    exec 2>/dev/null
    cd /
    read -r word <&3
    [ "$word" = leave ] && exit
    [ $# -gt 0 ] && end_server
    # A killed server's children may write for one more moment.
    rm -rf "$directory" || { sleep 0.2; rm -rf "$directory"; }
) & )

exec 3<&-
[ $# -gt 0 ] && exec "$@" >&2
"#;

/// Pause between two of the script's looks at an ending server; must agree with its `sleep`.
const LOOK: Duration = Duration::from_millis(10);

/// What we allow the script beyond the server's own patience: one `rm` and some scheduling.
const MARGIN: Duration = Duration::from_secs(2);

/// Whom a server runs as.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    ids: Option<(u32, u32)>,
}

impl Account {
    /// The user of this process.
    pub const fn own() -> Self {
        Self { ids: None }
    }

    /// The user of this process, or, for root, the first of `names` that exists: database servers refuse to be root.
    pub fn unprivileged(names: &[&str]) -> Self {
        if !process::geteuid().is_root() {
            return Self::own();
        }
        let users = fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
        let ids = names.iter().find_map(|name| ids_of(&users, name));
        assert!(ids.is_some(), "a server may not run as root, and none of the users {names:?} exists");
        Self { ids }
    }

    /// A command that runs as this user.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        if let Some((user, group)) = self.ids {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes this user the owner of `path`.
    pub fn own_path(&self, path: &Path) -> io::Result<()> {
        let Some((user, group)) = self.ids else {
            return Ok(());
        };
        chown(path, Some(user), Some(group))
    }
}

fn ids_of(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// A server to be kept.
#[derive(Debug)]
pub struct Server {
    /// The server's program; it must stay in the foreground.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// The user it runs as.
    pub account: Account,
    /// Working directory, removed with everything in it when the server has ended.
    pub directory: PathBuf,
    /// Where it writes, both standard output and standard error.
    pub log: File,
    /// The signal that asks it to end.
    pub end_signal: Signal,
    /// How long it may take to end before it is killed.
    pub patience: Duration,
}

/// Holds a server and its directory. Dropping it ends the one and removes the other, and returns when both are gone;
/// the end of this process, also by SIGKILL, does the same.
///
/// The server has its own process group: Ctrl-C in a terminal reaches us and not the server, which therefore goes on
/// until we let go of it.
#[derive(Debug)]
pub struct Keeper {
    /// Never waited for before the keeper ends. An exited server stays a zombie until then, so that its pid cannot name
    /// anybody else.
    server: Child,
    lifeline: Option<ChildStdin>,
    watcher: ChildStdout,
    patience: Duration,
}

impl Keeper {
    /// Starts `server` and keeps it.
    pub fn start(server: Server) -> Self {
        let mut shell = shell(server.account, server.end_signal, server.patience, &server.directory);
        shell.arg(&server.program).args(&server.arguments).stderr(server.log);
        Self::spawn(shell, server.patience)
    }

    /// Keeps a directory only.
    pub fn guard(directory: &Path, account: Account) -> Self {
        let mut shell = shell(account, Signal::TERM, Duration::ZERO, directory);
        shell.stderr(Stdio::null());
        Self::spawn(shell, Duration::ZERO)
    }

    fn spawn(mut shell: Command, patience: Duration) -> Self {
        let mut server = shell.spawn().expect("a shell can be started in the server's directory");
        let lifeline = server.stdin.take();
        let watcher = server.stdout.take().expect("standard output is a pipe, see `shell`");
        Self { server, lifeline, watcher, patience }
    }

    /// The server's process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.server)
    }

    /// Whether the server has ended, by itself or by a signal.
    pub fn has_exited(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = process::waitid(WaitId::Pid(self.pid()), look).expect("the server is our child");
        status.is_some()
    }

    /// Whether the server's process is stopped by a signal, to be continued.
    pub fn is_stopped(&self) -> bool {
        let look = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        process::waitid(WaitId::Pid(self.pid()), look).is_ok_and(|status| status.is_some())
    }

    /// Sends `signal` to the server; nothing happens when it has exited.
    pub fn signal(&self, signal: Signal) {
        process::kill_process(self.pid(), signal).expect("we may signal our own server");
    }

    /// Sends `signal` to the server and to the processes it has started.
    pub fn signal_family(&self, signal: Signal) {
        self.signal(signal);
        // The first list may miss somebody, since children come and go while it is read; when the signal stops them,
        // the second one is complete.
        for _ in 0..2 {
            for child in children(self.pid()) {
                // One that has ended meanwhile needs no signal.
                let _ = process::kill_process(child, signal);
            }
        }
    }

    /// Kills the server and the processes it has started, as the death of their host does: none of them goes on for a moment.
    pub fn kill_family(&self) {
        // It starts no other one then, and does not see how they end.
        self.signal(Signal::STOP);
        for _ in 0..2 {
            for child in children(self.pid()) {
                let _ = process::kill_process(child, Signal::KILL);
            }
        }
        self.signal(Signal::KILL);
    }

    /// Ends the server, removes its directory, and returns when both are gone; the same as dropping.
    pub fn stop(self) {}

    /// Lets go of a server that has exited and leaves its directory alone, for the next keeper of that directory.
    pub fn leave(mut self) {
        if let Some(lifeline) = &mut self.lifeline {
            lifeline.write_all(b"leave\n").expect("the watcher listens as long as its keeper lives");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.lifeline = None;
        let deadline = Instant::now() + self.patience + MARGIN;
        while matches!(self.server.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                // Only when the watcher itself was killed. Nothing more can be done about a failure here.
                let _ = self.server.kill();
                let _ = self.server.wait();
            }
            thread::sleep(Duration::from_millis(2));
        }
        // The watcher never writes: this waits until it has removed the directory and ended.
        let _ = self.watcher.read(&mut [0]);
    }
}

fn shell(account: Account, end_signal: Signal, patience: Duration, directory: &Path) -> Command {
    let tries = patience.as_millis() / LOOK.as_millis();
    let mut shell = account.command("/bin/sh");
    shell
        .args(["-c", SCRIPT, "keeper", &end_signal.as_raw().to_string(), &tries.to_string()])
        .arg(directory)
        .current_dir(directory)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    shell
}

fn children(parent: Pid) -> Vec<Pid> {
    let list = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .or_else(|_| {
            let output = Command::new("pgrep").args(["-P", &parent.to_string()]).output()?;
            Ok::<_, io::Error>(String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .expect("either /proc or pgrep lists a process's children");
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw).collect()
}
