//! What the Runtime API knows: queued events, invocations in flight, and what became of the function.

use std::{
    collections::{HashMap, VecDeque},
    process::ExitStatus,
    time::Duration,
};

use hyper::body::Bytes;
use serde_json::Value;
use tokio::{sync::oneshot, time::Instant};

use super::{ErrorKind, FunctionError, Invocation};

#[derive(Debug, Default)]
pub(super) struct State {
    queue: VecDeque<Event>,
    pub(super) in_flight: HashMap<String, InFlight>,
    /// `/next` requests being held.
    pub(super) asking: usize,
    /// Nothing is handed out: the function is frozen.
    pub(super) closed: bool,
    /// The function has ended its init phase, and waits for a restore (SnapStart).
    pub(super) is_ready_for_snapshot: bool,
    pub(super) is_restored: bool,
    pub(super) first_next: Option<Instant>,
    pub(super) init_error: Option<FunctionError>,
    pub(super) extensions: Vec<String>,
    pub(super) end: Option<(ExitStatus, FunctionError)>,
    events: u64,
}

#[derive(Debug)]
struct Event {
    id: String,
    payload: Bytes,
    answer: oneshot::Sender<Invocation>,
}

#[derive(Debug)]
pub(super) struct InFlight {
    handed_out: Instant,
    deadline: Instant,
    answer: oneshot::Sender<Invocation>,
}

impl InFlight {
    pub(super) fn finish(self, result: Result<Value, FunctionError>, at: Instant) {
        // Whoever invoked may have stopped waiting.
        let _ = self.answer.send(Invocation { result, latency: at.saturating_duration_since(self.handed_out) });
    }
}

impl State {
    pub(super) fn enqueue(&mut self, event: Value, answer: oneshot::Sender<Invocation>) {
        if let Some((_, error)) = &self.end {
            let _ = answer.send(never_ran(error.clone()));
            return;
        }
        self.events += 1;
        self.queue.push_back(Event {
            id: format!("00000000-0000-4000-8000-{:012x}", self.events),
            payload: event.to_string().into(),
            answer,
        });
    }

    pub(super) fn hand_out(&mut self, timeout: Duration) -> Option<(String, Bytes)> {
        if self.closed {
            return None;
        }
        let event = self.queue.pop_front()?;
        let now = Instant::now();
        let invocation = InFlight { handed_out: now, deadline: now + timeout, answer: event.answer };
        self.in_flight.insert(event.id.clone(), invocation);
        Some((event.id, event.payload))
    }

    pub(super) fn is_quiet(&self, workers: usize) -> bool {
        self.asking >= workers && self.in_flight.is_empty() && self.queue.is_empty()
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.in_flight.values().map(|i| i.deadline).min()
    }

    /// Answers every invocation whose deadline has passed.
    pub(super) fn expire(&mut self, timeout: Duration) {
        let now = Instant::now();
        for (id, invocation) in self.in_flight.extract_if(|_, i| i.deadline <= now) {
            invocation.finish(Err(timed_out(&id, timeout)), now);
        }
    }

    /// The process is gone: everybody who still waits hears about it.
    pub(super) fn end(&mut self, status: ExitStatus, stderr: &str) {
        let reported = self.init_error.clone();
        let error = reported.unwrap_or_else(|| crashed(status, stderr));
        let now = Instant::now();
        for (_, invocation) in self.in_flight.drain() {
            invocation.finish(Err(error.clone()), now);
        }
        for event in self.queue.drain(..) {
            let _ = event.answer.send(never_ran(error.clone()));
        }
        self.closed = false;
        self.end = Some((status, error));
    }
}

fn never_ran(error: FunctionError) -> Invocation {
    Invocation { result: Err(error), latency: Duration::ZERO }
}

fn timed_out(id: &str, timeout: Duration) -> FunctionError {
    FunctionError {
        kind: ErrorKind::Timeout,
        error_type: "Sandbox.Timedout".to_owned(),
        message: format!("RequestId: {id} Error: Task timed out after {:.2} seconds", timeout.as_secs_f64()),
    }
}

fn crashed(status: ExitStatus, stderr: &str) -> FunctionError {
    FunctionError {
        kind: ErrorKind::Crashed,
        error_type: "Runtime.ExitError".to_owned(),
        message: format!("Runtime exited with {status}; the end of its stderr: {stderr}"),
    }
}
