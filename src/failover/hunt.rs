//! The search for the writer: all candidates at once, the first that proves it wins.
//!
//! Nobody believes anybody here: a candidate is dialled and asked on that connection. A reader that was reached is not
//! left again; its server waits for its own promotion, so that the news comes when it happens and a fleet does not poll.
//! What refuses or hangs up is dialled again after a pause. Generic over [`Scout`], so that time can be virtual.

use std::future::pending;
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};

use crate::backoff::Backoff;
use crate::credentials::CredentialsError;
use crate::deadline::Deadline;
use crate::error::{Answer, Error, Unreachable, chain};
use crate::random;
use crate::topology::{Address, Candidates};

/// Dials under way at the same time. A reader that waits for its promotion is none.
const MOST_DIALS: usize = 3;

/// The likeliest candidate has this long for itself: mostly a suspicion is a cut connection and not a failover, and then
/// nobody else is bothered. It ends when that candidate fails.
const HEAD_START: Duration = Duration::from_millis(15);

/// A dial within a region takes 5-50 ms, and in a loaded function a few times that. One that took longer gets twice the
/// time when it is repeated: a slow function must not search for ever.
const DIAL_BOUND: Duration = Duration::from_secs(1);

/// One question on a connection that has just been opened, or whose server has just answered.
const ASK_BOUND: Duration = Duration::from_millis(500);

/// How long a server waits for its promotion before it says that there was none.
const WAIT_BOUND: Duration = Duration::from_millis(900);

/// Pauses before a candidate that refused is dialled again. The cap bounds what is added to a restart of the server. An
/// attempt that came further than a closed port costs the server a login: of a search that has taken long already the pause after it
/// is at least a hundredth, so that a minute of searching is some four hundred logins, and not two and a half thousand.
const PAUSE_BASE: Duration = Duration::from_millis(5);
const PAUSE_CAP: Duration = Duration::from_millis(25);
const SHARE_OF_THE_SEARCH: u32 = 100;

/// How often a source that is not a candidate is offered its turn.
const CONSULT_EVERY: Duration = Duration::from_millis(500);

/// What a server says of its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Writer,
    Reader,
}

/// Who goes and asks.
pub(super) trait Scout: Sync {
    type Conn: Send;

    /// Whom to ask, as far as is known by now.
    fn candidates(&self) -> Candidates;

    /// A login, and the answer to the question for the role.
    fn dial(&self, at: &Address, deadline: Deadline) -> impl Future<Output = Result<(Self::Conn, Told), Error>> + Send;

    /// Lets a reader's server wait until it is promoted, and asks again.
    fn wait(&self, conn: &mut Self::Conn, bound: Duration) -> impl Future<Output = Result<Told, Error>> + Send;

    /// Asks whoever knows more candidates, if it is time.
    fn consult(&self, deadline: Deadline) -> impl Future<Output = ()> + Send;

    /// What a candidate answered.
    fn heard(&self, answer: Answer);
}

/// Somebody who is asked.
struct Quarry {
    at: Address,
    /// Reached by a name that may lead elsewhere tomorrow: not waited on, but looked up anew.
    by_name: bool,
    answer: String,
    pauses: Backoff,
    patience: Duration,
}

impl Quarry {
    fn told(&self) -> Answer {
        Answer { host: self.at.to_string(), answer: self.answer.clone() }
    }
}

/// What has happened.
enum Step<C> {
    Told(usize, Result<(C, Told), Error>),
    Consulted,
}

/// The first candidate that proves to be the writer; or, at the deadline or when nobody is left, what each one said.
pub(super) async fn hunt<S: Scout>(scout: &S, deadline: Deadline) -> Result<S::Conn, Vec<Answer>> {
    let (dials, first_failed) = (Semaphore::new(MOST_DIALS), Notify::new());
    let (dials, first_failed) = (&dials, &first_failed);
    let (quarries, steps) = (Vec::new(), FuturesUnordered::new());
    let mut hunt = Hunt { scout, deadline, began: Instant::now(), quarries, steps, hopeful: 0 };
    hunt.take_up(dials, first_failed);
    hunt.steps.push(Box::pin(consult(scout, deadline)));
    loop {
        if hunt.hopeful == 0 {
            return Err(hunt.answers());
        }
        let Ok(Some(step)) = timeout_at(deadline.instant(), hunt.steps.next()).await else {
            return Err(hunt.answers());
        };
        match step {
            Step::Consulted => hunt.steps.push(Box::pin(async move {
                sleep(CONSULT_EVERY).await;
                consult(scout, deadline).await
            })),
            Step::Told(_, Ok((conn, Told::Writer))) => return Ok(conn),
            Step::Told(n, Ok((conn, Told::Reader))) => hunt.stay(n, conn, dials),
            Step::Told(n, Err(error)) => {
                if n == 0 {
                    first_failed.notify_waiters();
                    first_failed.notify_one();
                }
                hunt.try_again(n, &error, dials);
            }
        }
        hunt.take_up(dials, first_failed);
    }
}

async fn consult<S: Scout>(scout: &S, deadline: Deadline) -> Step<S::Conn> {
    scout.consult(deadline).await;
    Step::Consulted
}

struct Hunt<'s, S: Scout> {
    scout: &'s S,
    deadline: Deadline,
    began: Instant,
    quarries: Vec<Quarry>,
    steps: FuturesUnordered<BoxFuture<'s, Step<S::Conn>>>,
    /// Candidates that are not given up.
    hopeful: usize,
}

impl<'s, S: Scout> Hunt<'s, S> {
    /// Goes after every candidate that is not known yet.
    fn take_up(&mut self, dials: &'s Semaphore, first_failed: &'s Notify) {
        let Candidates { members, endpoint } = self.scout.candidates();
        let members = members.into_iter().map(|candidate| (candidate.address, false));
        for (at, by_name) in members.chain(endpoint.map(|at| (at, true))) {
            if self.quarries.iter().any(|known| known.at.is(&at)) {
                continue;
            }
            let n = self.quarries.len();
            let pauses = Backoff::new(PAUSE_BASE, PAUSE_CAP, random::generator());
            self.quarries.push(Quarry {
                at: at.clone(),
                by_name,
                answer: "nothing yet".to_owned(),
                pauses,
                patience: DIAL_BOUND,
            });
            self.hopeful += 1;
            let dial = self.dial(n, dials);
            self.steps.push(Box::pin(async move {
                if n > 0 {
                    tokio::select! {
                        () = sleep(HEAD_START) => {}
                        () = first_failed.notified() => first_failed.notify_one(),
                    }
                }
                dial.await
            }));
        }
    }

    fn dial(&self, n: usize, dials: &'s Semaphore) -> impl Future<Output = Step<S::Conn>> + Send + use<'s, S> {
        let Quarry { at, patience, .. } = &self.quarries[n];
        let (scout, deadline, at, patience) = (self.scout, self.deadline, at.clone(), *patience);
        async move {
            let Ok(_permit) = dials.acquire().await else { return pending().await };
            Step::Told(n, scout.dial(&at, deadline.within(patience)).await)
        }
    }

    /// A reader: it is the first to know when it is none any more.
    fn stay(&mut self, n: usize, mut conn: S::Conn, dials: &'s Semaphore) {
        let quarry = &mut self.quarries[n];
        "I am a reader".clone_into(&mut quarry.answer);
        self.scout.heard(quarry.told());
        let (scout, by_name) = (self.scout, quarry.by_name);
        let dial = by_name.then(|| self.dial(n, dials));
        self.steps.push(Box::pin(async move {
            let bound = Deadline::after(WAIT_BOUND + ASK_BOUND);
            let told = match timeout_at(bound.instant(), scout.wait(&mut conn, WAIT_BOUND)).await {
                Ok(told) => told,
                Err(_) => Err(silent(bound)),
            };
            match (told, dial) {
                // The name may lead elsewhere by now.
                (Ok(Told::Reader), Some(dial)) => dial.await,
                (told, _) => Step::Told(n, told.map(|told| (conn, told))),
            }
        }));
    }

    fn try_again(&mut self, n: usize, error: &Error, dials: &'s Semaphore) {
        let quarry = &mut self.quarries[n];
        quarry.answer = chain(error);
        self.scout.heard(quarry.told());
        if is_final(error) {
            self.hopeful -= 1;
            return;
        }
        if matches!(error, Error::Unreachable { reason: Unreachable::Silent | Unreachable::NoRoute, .. }) {
            quarry.patience *= 2;
        }
        let is_cheap = matches!(error, Error::Unreachable { reason: Unreachable::Refused, .. });
        let least = if is_cheap { Duration::ZERO } else { self.began.elapsed() / SHARE_OF_THE_SEARCH };
        let pause = quarry.pauses.next().unwrap_or(PAUSE_CAP).max(least);
        let dial = self.dial(n, dials);
        self.steps.push(Box::pin(async move {
            sleep(pause).await;
            dial.await
        }));
    }

    fn answers(self) -> Vec<Answer> {
        self.quarries.iter().map(Quarry::told).collect()
    }
}

/// The server hesitated for longer than it takes to say that it hesitates.
fn silent(bound: Deadline) -> Error {
    Error::Database(sqlx::Error::Io(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("no answer for {:.1?}", bound.spent()),
    )))
}

/// What another dial would not change.
fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::Config(_)
            | Error::Authentication { .. }
            // The same refusal, remembered.
            | Error::Credentials(CredentialsError::Refused { .. } | CredentialsError::Exhausted)
            | Error::UnknownDatabase { .. }
            | Error::Tls { .. }
            | Error::Closed
    )
}

#[cfg(test)]
mod tests;
