//! One Lambda execution environment: the Runtime API, the function as a process of its own, freeze and thaw.
//!
//! ```text
//! start ──> init ──> ready ──> invoke ──> work after the response ──> freeze ──> thaw ──> invoke ... ──> shutdown
//! ```
//! Like Lambda, an environment serves one invocation at a time (as many as `concurrency` says, on Managed Instances),
//! kills the function when a deadline passes, and sends SIGTERM only to functions that have registered an extension.
//! Unlike Lambda, it freezes only when told to and never starts the function again: a dead environment stays dead.

mod binary;
mod process;
mod runtime_api;
mod state;

use std::{path::PathBuf, process::ExitStatus, sync::Arc, time::Duration};

use rustix::process::Signal;
use serde_json::Value;

use super::{
    aws::{ACCOUNT, REGION},
    http::Server,
};
use process::FunctionProcess;
use runtime_api::RuntimeApi;

#[allow(unused_imports, reason = "benches run no function")]
pub use binary::example;

/// What a function with an internal extension gets between SIGTERM and SIGKILL.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);

/// The function to run, and its configuration.
#[derive(Debug, Clone)]
pub struct FunctionSpec {
    /// The `bootstrap`.
    pub binary: PathBuf,
    /// Its own environment variables; they win over those Lambda sets.
    pub env: Vec<(String, String)>,
    /// The function's name.
    pub name: String,
    /// The configured memory. Reported to the function, not enforced.
    pub memory_mb: u32,
    /// What each invocation may take.
    pub timeout: Duration,
    /// Invocations at a time on Lambda Managed Instances; `None` is the classic Lambda.
    pub concurrency: Option<usize>,
    /// With SnapStart: after its init phase it is stopped until [`Environment::restore`].
    pub snap_start: bool,
}

impl FunctionSpec {
    /// `binary` as a function of 512 MB and 3 s, Lambda's default timeout.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            env: Vec::new(),
            name: "stage".to_owned(),
            memory_mb: 512,
            timeout: Duration::from_secs(3),
            concurrency: None,
            snap_start: false,
        }
    }

    fn arn(&self) -> String {
        format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", self.name)
    }

    /// Everything in the function's environment. The log stream identifies the execution environment, so it must
    /// differ between two of them; the Runtime API's address does.
    fn variables(&self, runtime_api: &str) -> Vec<(String, String)> {
        let initialization = match self.concurrency {
            Some(_) => "lambda-managed-instances",
            None if self.snap_start => "snap-start",
            None => "on-demand",
        };
        let mut variables = [
            ("AWS_LAMBDA_RUNTIME_API", runtime_api),
            ("AWS_LAMBDA_FUNCTION_NAME", &self.name),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &self.memory_mb.to_string()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", &format!("/aws/lambda/{}", self.name)),
            ("AWS_LAMBDA_LOG_STREAM_NAME", &format!("2026/01/01/[$LATEST]{runtime_api}")),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", initialization),
            ("AWS_REGION", REGION),
            ("AWS_DEFAULT_REGION", REGION),
            ("_HANDLER", "bootstrap"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("LAMBDA_RUNTIME_DIR", "/var/runtime"),
            ("TZ", ":UTC"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        if let Some(concurrency) = self.concurrency {
            variables.push(("AWS_LAMBDA_MAX_CONCURRENCY".to_owned(), concurrency.to_string()));
        }
        variables.extend(self.env.iter().cloned());
        variables
    }
}

/// How one invocation went.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    /// The function's answer, or why there is none. A streamed body is collected; what is not JSON is a string.
    pub result: Result<Value, FunctionError>,
    /// From the moment the event was handed out until the answer was there in full; zero when it was never handed out.
    pub latency: Duration,
}

/// Why an invocation, or the whole environment, has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionError {
    /// Who gave up.
    pub kind: ErrorKind,
    /// The `errorType` Lambda's caller would see.
    pub error_type: String,
    /// The `errorMessage`; of a crash, the exit status and the end of stderr.
    pub message: String,
}

/// Who gave up on an invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The handler: an error or a panic it has reported itself.
    Function,
    /// The function, while initializing, by `/init/error`.
    Init,
    /// Lambda: the deadline has passed.
    Timeout,
    /// Nobody: the process has ended.
    Crashed,
}

/// One execution environment. Dropping it kills the function's whole process group, frozen or not; the group is also
/// killed when the owner of the environment dies without dropping anything.
#[derive(Debug)]
pub struct Environment {
    api: Arc<RuntimeApi>,
    process: FunctionProcess,
    // The held `/next` requests live in here.
    _server: Server,
}

impl Environment {
    /// Starts the Runtime API and the function. Does not wait for the function to be [`ready`](Self::ready).
    ///
    /// # Panics
    ///
    /// When the binary cannot be started.
    pub async fn start(spec: FunctionSpec) -> Self {
        let api = Arc::new(RuntimeApi::new(&spec));
        let routes = Arc::clone(&api);
        let server = Server::start(move |request| {
            let api = Arc::clone(&routes);
            async move { api.serve(request).await }
        })
        .await;
        let variables = spec.variables(&server.address().to_string());
        let process = FunctionProcess::start(&spec.binary, variables, Arc::clone(&api));
        Self { api, process, _server: server }
    }

    /// Waits until the function asks for its first event, and gives the time this took from the start of the process.
    ///
    /// # Errors
    ///
    /// When the process has ended instead.
    pub async fn ready(&self) -> Result<Duration, FunctionError> {
        let first_next = self.api.initialized().await?;
        Ok(first_next.saturating_duration_since(self.process.started()))
    }

    /// Queues an event and waits for its answer. Events are handed out in the order of the calls, as soon as the
    /// function asks for them; a frozen function does not, so there the event waits for [`thaw`](Self::thaw).
    ///
    /// The deadline counts from the moment the event is handed out. When it passes, the classic Lambda kills the
    /// function; Managed Instances only stop waiting for the answer.
    pub async fn invoke(&self, event: Value) -> Invocation {
        self.api.invoke(event).await
    }

    /// What the function has reported to `/init/error`, if it has.
    pub fn init_error(&self) -> Option<FunctionError> {
        self.api.init_error()
    }

    /// Waits until the function has ended its init phase, and stops it there, as a snapshot does.
    pub async fn snapshot(&self) {
        self.api.ready_for_snapshot().await;
        self.process.stop().await;
    }

    /// Lets the function go on from its snapshot.
    pub fn restore(&self) {
        self.api.restored();
        self.process.signal_group(Signal::CONT);
    }

    /// Waits until the function asks for its next event, which means that its work after the response is done, and
    /// stops its whole process group. It stands still when this returns.
    ///
    /// # Panics
    ///
    /// When the process has ended.
    pub async fn freeze(&self) {
        if let Err(error) = self.api.close_when_quiet().await {
            panic!("a dead function cannot be frozen: {}", error.message);
        }
        self.process.stop().await;
    }

    /// Lets a frozen function go on, and hands out what was queued meanwhile.
    pub fn thaw(&self) {
        self.process.signal_group(Signal::CONT);
        self.api.open();
    }

    /// Whether the function is between [`freeze`](Self::freeze) and [`thaw`](Self::thaw).
    pub fn is_frozen(&self) -> bool {
        self.api.is_closed()
    }

    /// Ends the environment as Lambda does: SIGTERM and 500 ms for a function with an extension, SIGKILL for any
    /// other, and for one that is late. A status with a signal says that it was killed.
    pub async fn shutdown(&self) -> ExitStatus {
        // Queued events stay queued: this thaw is for the signal only.
        self.process.signal_group(Signal::CONT);
        if self.api.has_extension() {
            self.process.signal(Signal::TERM);
            if let Ok(status) = tokio::time::timeout(SHUTDOWN_GRACE, self.api.exited()).await {
                return status;
            }
        }
        self.kill();
        self.api.exited().await
    }

    /// Kills the process group without a word.
    pub fn kill(&self) {
        self.process.signal_group(Signal::KILL);
    }

    /// What the function has written to stdout so far (the last megabyte of it).
    pub fn stdout(&self) -> String {
        self.process.stdout()
    }

    /// What the function has written to stderr so far (the last megabyte of it).
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// The function's process id, which is also the id of its process group.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        self.kill();
    }
}
