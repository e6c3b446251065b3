//! The Runtime API, and as much of the Extensions API as registering one needs.
//!
//! All of it is one state behind a lock and one notification: whoever changes the state notifies, whoever waits for
//! something (`/next` for an event, `freeze` for quiet, the supervisor for a deadline) looks again.

use std::{
    future,
    process::ExitStatus,
    sync::Mutex,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hyper::{Method, Request, Response, StatusCode, body::Incoming};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use super::{
    super::{
        aws::ACCOUNT,
        http::{Reply, header, json_reply, lock, whole_body},
    },
    ErrorKind, FunctionError, FunctionSpec, Invocation,
    state::State,
};

/// The server side of one function process.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    name: String,
    arn: String,
    timeout: Duration,
    /// How many `/next` requests an idle function holds open.
    workers: usize,
    managed: bool,
    state: Mutex<State>,
    changed: Notify,
}

/// What the test's side of an environment asks for.
impl RuntimeApi {
    pub(super) fn new(spec: &FunctionSpec) -> Self {
        Self {
            name: spec.name.clone(),
            arn: spec.arn(),
            timeout: spec.timeout,
            workers: spec.concurrency.unwrap_or(1).max(1),
            managed: spec.concurrency.is_some(),
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(super) async fn invoke(&self, event: Value) -> Invocation {
        let (answer, answered) = oneshot::channel();
        self.change(|state| state.enqueue(event, answer));
        answered.await.expect("BUG: an event was dropped without an answer")
    }

    pub(super) async fn initialized(&self) -> Result<Instant, FunctionError> {
        self.until(|state| match (state.first_next, &state.end) {
            (Some(at), _) => Some(Ok(at)),
            (None, Some((_, error))) => Some(Err(error.clone())),
            (None, None) => None,
        })
        .await
    }

    /// Waits until the function's snapshot can be taken.
    pub(super) async fn ready_for_snapshot(&self) {
        self.until(|state| state.is_ready_for_snapshot.then_some(())).await;
    }

    pub(super) fn restored(&self) {
        self.change(|state| state.is_restored = true);
    }

    pub(super) fn init_error(&self) -> Option<FunctionError> {
        lock(&self.state).init_error.clone()
    }

    /// Waits until the function has nothing to do and, in the same moment, stops handing out events.
    pub(super) async fn close_when_quiet(&self) -> Result<(), FunctionError> {
        self.until(|state| match &state.end {
            Some((_, error)) => Some(Err(error.clone())),
            None => state.is_quiet(self.workers).then(|| {
                state.closed = true;
                Ok(())
            }),
        })
        .await
    }

    pub(super) fn open(&self) {
        self.change(|state| state.closed = false);
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    pub(super) fn has_extension(&self) -> bool {
        !lock(&self.state).extensions.is_empty()
    }

    pub(super) async fn exited(&self) -> ExitStatus {
        self.until(|state| state.end.as_ref().map(|(status, _)| *status)).await
    }
}

/// What the supervisor of the process asks for.
impl RuntimeApi {
    /// Waits until an invocation is overdue, for which the classic Lambda kills the function. Managed Instances let
    /// the code run on and give only the caller an answer, so there this never returns.
    pub(super) async fn overdue(&self) {
        loop {
            let changed = self.changed.notified();
            let next = lock(&self.state).next_deadline();
            match next {
                Some(deadline) if deadline > Instant::now() => {
                    let _ = tokio::time::timeout_at(deadline, changed).await;
                }
                Some(_) if self.managed => self.change(|state| state.expire(self.timeout)),
                Some(_) => return,
                None => changed.await,
            }
        }
    }

    /// The process is gone: everybody who waits hears about it, now and from now on.
    pub(super) fn end(&self, status: ExitStatus, stderr: &str) {
        self.change(|state| {
            // What was overdue is why the process was killed, not a victim of it.
            state.expire(self.timeout);
            state.end(status, stderr);
        });
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.state).end.is_some()
    }
}

/// What the function asks for.
impl RuntimeApi {
    pub(super) async fn serve(&self, request: Request<Incoming>) -> Reply {
        let path = request.uri().path().to_owned();
        let segments: Vec<_> = path.trim_matches('/').split('/').collect();
        match (request.method(), &segments[..]) {
            (&Method::GET, ["2018-06-01", "runtime", "invocation", "next"]) => self.next().await,
            (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "response"]) => {
                self.response(id, request).await
            }
            (&Method::POST, ["2018-06-01", "runtime", "invocation", id, "error"]) => self.error(id, request).await,
            (&Method::POST, ["2018-06-01", "runtime", "init", "error"]) => self.initialization_failed(request).await,
            (&Method::GET, ["2018-06-01", "runtime", "restore", "next"]) => self.restore().await,
            (&Method::POST, ["2020-01-01", "extension", "register"]) => self.register(&request),
            // An extension without subscriptions hears nothing until the environment ends.
            (&Method::GET, ["2020-01-01", "extension", "event", "next"]) => future::pending().await,
            _ => refused(StatusCode::NOT_FOUND, "UnknownPath", &path),
        }
    }

    /// Answered when the environment was restored.
    async fn restore(&self) -> Reply {
        self.change(|state| state.is_ready_for_snapshot = true);
        self.until(|state| state.is_restored.then_some(())).await;
        Response::new(hyper::body::Bytes::new().into())
    }

    async fn next(&self) -> Reply {
        let _asking = Asking::begin(self);
        let (id, payload) = self.until(|state| state.hand_out(self.timeout)).await;
        // The supervisor has a new deadline to watch.
        self.changed.notify_waiters();
        let deadline = epoch_milliseconds(SystemTime::now() + self.timeout);
        Response::builder()
            .header("content-type", "application/json")
            .header("lambda-runtime-aws-request-id", &id)
            .header("lambda-runtime-deadline-ms", deadline)
            .header("lambda-runtime-invoked-function-arn", &self.arn)
            .header("lambda-runtime-trace-id", format!("Root=1-{id};Sampled=0"))
            .body(payload.into())
            .expect("an ARN and an id are valid header values")
    }

    async fn response(&self, id: &str, request: Request<Incoming>) -> Reply {
        let streaming = header(&request, "lambda-runtime-function-response-mode") == "streaming";
        // A body that breaks off is no response: the process has died, and its end answers the invocation.
        let Some(body) = whole_body(request.into_body()).await else {
            return refused(StatusCode::BAD_REQUEST, "InvalidBody", id);
        };
        let result = if streaming { streamed(&body) } else { Ok(json_or_text(&body)) };
        self.finish(id, result)
    }

    async fn error(&self, id: &str, request: Request<Incoming>) -> Reply {
        let error = reported(ErrorKind::Function, request).await;
        self.finish(id, Err(error))
    }

    async fn initialization_failed(&self, request: Request<Incoming>) -> Reply {
        let error = reported(ErrorKind::Init, request).await;
        self.change(|state| state.init_error = Some(error));
        accepted()
    }

    fn register(&self, request: &Request<Incoming>) -> Reply {
        let name = header(request, "lambda-extension-name").to_owned();
        if lock(&self.state).extensions.contains(&name) {
            return refused(StatusCode::FORBIDDEN, "Extension.AlreadyRegistered", &name);
        }
        let body = json!({
            "functionName": self.name,
            "functionVersion": "$LATEST",
            "handler": "bootstrap",
            "accountId": ACCOUNT,
        });
        let mut reply = json_reply(StatusCode::OK, &body);
        let identifier = hyper::header::HeaderValue::from_static("00000000-0000-4000-8000-000000000000");
        reply.headers_mut().insert("lambda-extension-identifier", identifier);
        self.change(|state| state.extensions.push(name));
        reply
    }

    fn finish(&self, id: &str, result: Result<Value, FunctionError>) -> Reply {
        let now = Instant::now();
        match self.change(|state| state.in_flight.remove(id)) {
            Some(invocation) => {
                invocation.finish(result, now);
                accepted()
            }
            None => refused(StatusCode::GONE, "InvalidRequestID", id),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let outcome = change(&mut lock(&self.state));
        self.changed.notify_waiters();
        outcome
    }

    /// Waits until `check` finds what it looks for.
    async fn until<T>(&self, mut check: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            // Created before the look, so that no change between the look and the wait is missed.
            let changed = self.changed.notified();
            if let Some(found) = check(&mut lock(&self.state)) {
                return found;
            }
            changed.await;
        }
    }
}

/// Counts a held `/next` for as long as the function's request is open.
struct Asking<'a>(&'a RuntimeApi);

impl<'a> Asking<'a> {
    fn begin(api: &'a RuntimeApi) -> Self {
        api.change(|state| {
            state.asking += 1;
            state.first_next.get_or_insert_with(Instant::now);
        });
        Self(api)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.asking -= 1);
    }
}

fn accepted() -> Reply {
    json_reply(StatusCode::ACCEPTED, &json!({ "status": "OK" }))
}

fn refused(status: StatusCode, error_type: &str, message: &str) -> Reply {
    let body = json!({ "errorType": error_type, "errorMessage": message });
    json_reply(status, &body)
}

/// The diagnostic a function posts about its own failure.
async fn reported(kind: ErrorKind, request: Request<Incoming>) -> FunctionError {
    let body = whole_body(request.into_body()).await.unwrap_or_default();
    let body = json_or_text(&body);
    let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    FunctionError { kind, error_type: field("errorType"), message: field("errorMessage") }
}

fn json_or_text(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into())
}

/// A streamed body: JSON metadata, eight NULs, the content; and, when the stream broke, the runtime's error trailer,
/// which `lambda_runtime` writes as if it were content.
fn streamed(body: &[u8]) -> Result<Value, FunctionError> {
    const END_OF_METADATA: &[u8] = &[0; 8];
    let metadata = body.windows(8).position(|window| window == END_OF_METADATA);
    let content = metadata.map_or(body, |at| &body[at + END_OF_METADATA.len()..]);
    let text = String::from_utf8_lossy(content);
    match text.split_once("Lambda-Runtime-Function-Error-Type: ") {
        None => Ok(json_or_text(content)),
        Some((before, trailer)) => Err(FunctionError {
            kind: ErrorKind::Function,
            error_type: trailer.lines().next().unwrap_or_default().to_owned(),
            message: format!("the stream broke after {} bytes", before.len()),
        }),
    }
}

fn epoch_milliseconds(time: SystemTime) -> String {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_millis().to_string()
}
