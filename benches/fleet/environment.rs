//! One environment of a fleet: started when it is first needed, frozen whenever it has nothing to do, replaced when its
//! function has died.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::service::Service;
use crate::support::lambda::{Environment as Process, ErrorKind};

#[derive(Debug, Default)]
pub(crate) struct Environment {
    process: Option<Process>,
    /// The server's session that the last invocation ran in.
    session: Option<i64>,
}

/// One invocation.
#[derive(Debug)]
pub(crate) struct Sample {
    /// From the arrival to the response.
    pub(crate) latency: Duration,
    /// Whether it ran in the session of the one before; unknown for the first, and for one that failed.
    pub(crate) kept: Option<bool>,
    pub(crate) failure: Option<Failure>,
}

#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) kind: String,
    pub(crate) message: String,
}

impl Environment {
    /// Serves what has arrived at that moment, and returns when the environment is frozen again.
    pub(crate) async fn serve(&mut self, service: &Service, arrived: Instant) -> Sample {
        if let Some(process) = &self.process {
            process.thaw();
        } else {
            self.process = Some(Process::start(service.function()).await);
        }
        let process = self.process.as_ref().expect("it was just started");
        let invocation = process.invoke(json!({})).await;
        let latency = arrived.elapsed();
        let (before, mut failure) = (self.session, None);
        match invocation.result {
            Ok(session) => {
                self.session = session.as_i64();
                process.freeze().await;
            }
            Err(error) => {
                let message = cause(process).unwrap_or(error.message);
                failure = Some(Failure { kind: error.error_type, message });
                self.session = None;
                if matches!(error.kind, ErrorKind::Crashed | ErrorKind::Timeout | ErrorKind::Init) {
                    self.process = None;
                } else {
                    process.freeze().await;
                }
            }
        }
        let kept = before.zip(self.session).map(|(before, now)| before == now);
        Sample { latency, kept, failure }
    }

    /// Ends it as Lambda does.
    pub(crate) async fn end(&mut self) {
        if let Some(process) = self.process.take() {
            process.shutdown().await;
        }
    }
}

/// The last error in the function's log, which says more than the invoker is told.
fn cause(process: &Process) -> Option<String> {
    let log = process.stdout();
    let line = log.lines().rfind(|line| line.contains("the invocation failed"))?;
    Some(line.split("the invocation failed").nth(1)?.trim_start_matches(": ").to_owned())
}
