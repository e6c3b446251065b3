//! Where a database server of the stage lives: a private directory, the files in it, and the process that runs there.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tokio::time::sleep;

use super::{
    certificates::{Authority, Validity},
    keeper::{Account, Keeper, Server},
};

/// The password of the accounts `app`, `lim` and `plain`.
pub const APP_PASSWORD: &str = "app-secret-1";

/// The name the certificates are for.
pub const HOST: &str = "localhost";

/// How long a server may take until it answers; a loaded machine recovers slowly.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// How long a condition may take to come true.
pub const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// How long a server may take to end. A MySQL that has a replica gives its other sessions eight seconds to end by
/// themselves, and then two more.
const END_LIMIT: Duration = Duration::from_secs(25);

/// What a server's program says when somebody else was faster at its port.
pub const PORT_TAKEN: &str = "Address already in use";

/// The TLS a server offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerTls {
    /// A certificate for `localhost` and 127.0.0.1; all accounts but `plain` must use TLS.
    #[default]
    Valid,
    /// As `Valid`, but its time is over.
    Expired,
    /// As `Valid`, but for another host.
    WrongName,
    /// None, and nobody needs it.
    Off,
}

/// See the module. Dropping it ends the server and removes the directory, in any state; so does the end of this process,
/// also by SIGKILL.
#[derive(Debug)]
pub struct Site {
    account: Account,
    directory: PathBuf,
    keeper: Mutex<Keeper>,
}

/// Files.
impl Site {
    /// A new directory that only `account` may read.
    pub fn new(account: Account) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("lambda-rds-stage-{}-{number}", process::id()));
        fs::create_dir(&directory).unwrap_or_else(|error| panic!("{} cannot be created: {error}", directory.display()));
        give(account, &directory, 0o700);
        let keeper = Mutex::new(Keeper::guard(&directory, account));
        Self { account, directory, keeper }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Where the server's data is.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a file that only the server's user may read.
    pub fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("{} cannot be written: {error}", path.display()));
        give(self.account, &path, 0o600);
    }

    /// Copies another site's data here, where there is none yet.
    pub async fn copy_data(&self, from: &Self) {
        let mut copy = self.account.command("cp");
        copy.arg("-R").arg(from.data()).arg(self.data());
        run(copy).await;
    }

    /// Removes the data, of a server that has ended.
    pub fn remove_data(&self) {
        let data = self.data();
        fs::remove_dir_all(&data).unwrap_or_else(|error| panic!("{} cannot be removed: {error}", data.display()));
    }

    /// Writes `server.crt` and `server.key`, where the server has TLS.
    pub fn write_certificate(&self, authority: &Authority, tls: ServerTls) {
        let (names, validity): (&[&str], _) = match tls {
            ServerTls::Valid => (&[HOST, "127.0.0.1"], Validity::Current),
            ServerTls::Expired => (&[HOST, "127.0.0.1"], Validity::Expired),
            ServerTls::WrongName => (&["elsewhere.example"], Validity::Current),
            ServerTls::Off => return,
        };
        let (certificate, key) = authority.issue(names, validity);
        self.write("server.crt", &certificate);
        self.write("server.key", &key);
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        self.read("server.log")
    }

    /// What is in a file, or why that cannot be told.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| format!("({name} cannot be read: {error})"))
    }
}

/// The process.
impl Site {
    /// Starts the server; `end_signal` ends it when the site is dropped.
    pub fn start(&self, program: PathBuf, arguments: Vec<OsString>, end_signal: Signal) {
        let path = self.path("server.log");
        let log = File::options().create(true).append(true).open(&path).expect("the server's log can be opened");
        self.account.own_path(&path).expect("the server's log can be given to its user");
        let directory = self.directory.clone();
        let (account, patience) = (self.account, WAIT_LIMIT);
        let server = Keeper::start(Server { program, arguments, account, directory, log, end_signal, patience });
        std::mem::replace(&mut *self.keeper(), server).leave();
    }

    /// Waits until the server that was just started answers; or why it does not.
    pub async fn wait_until_ready(&self, answers: impl AsyncFn() -> bool) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if answers().await {
                return Ok(());
            }
            if !self.is_running() {
                return Err(format!("did not start:\n{}", self.log()));
            }
            if Instant::now() > deadline {
                return Err(format!("did not answer within {START_LIMIT:?}:\n{}", self.log()));
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends the server by a signal and waits for that; or why it has not ended.
    pub async fn end(&self, signal: Signal) -> Result<(), String> {
        if signal == Signal::KILL {
            self.keeper().kill_family();
        } else {
            self.signal(signal);
            // A suspended server would not notice.
            self.signal_family(Signal::CONT);
        }
        let deadline = Instant::now() + END_LIMIT;
        while self.is_running() {
            if Instant::now() > deadline {
                return Err(format!("did not end within {END_LIMIT:?}:\n{}", self.log()));
            }
            sleep(Duration::from_millis(2)).await;
        }
        // Its last words to its clients may still be on their way within the kernel.
        sleep(Duration::from_millis(10)).await;
        Ok(())
    }

    /// Whether the server process exists, suspended or not.
    pub fn is_running(&self) -> bool {
        !self.keeper().has_exited()
    }

    /// Whether the server's first process is frozen.
    pub fn is_suspended(&self) -> bool {
        self.keeper().is_stopped()
    }

    /// Signals the server's first process.
    pub fn signal(&self, signal: Signal) {
        self.keeper().signal(signal);
    }

    /// Signals the server's first process and those it has started.
    pub fn signal_family(&self, signal: Signal) {
        self.keeper().signal_family(signal);
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A command that sees nothing of our environment: a server's own variables would mislead it.
pub fn command(account: Account, program: impl AsRef<Path>) -> Command {
    let mut command = account.command(program);
    command.env_clear().env("LC_ALL", "C");
    if let Some(path) = env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Runs a program that ends by itself; panics with what it said when it fails.
pub async fn run(mut command: Command) {
    command.current_dir("/").stdout(Stdio::null());
    let name = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await.unwrap_or_else(|error| panic!("{name} cannot run: {error}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} failed with {}:\n{complaint}", output.status);
}

/// Waits until `account` has exactly `wanted` sessions: a server notices a closed connection a moment later. `sessions`: what each
/// of them does.
pub async fn wait_until_sessions(account: &str, wanted: i64, sessions: impl AsyncFn() -> Vec<String>) {
    let wanted = usize::try_from(wanted).expect("a number of sessions");
    let deadline = Instant::now() + WAIT_LIMIT;
    loop {
        let seen = sessions().await;
        if seen.len() == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{account} has not {wanted} sessions after {WAIT_LIMIT:?}: {seen:#?}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// As a URL has it.
pub fn percent_encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let encoded = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(encoded).collect()
}

fn give(account: Account, path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .and_then(|()| account.own_path(path))
        .unwrap_or_else(|error| panic!("{} cannot be given to the server's user: {error}", path.display()));
}
