//! A cancel under way. It belongs to the connection whose statement it ends, and outlives whoever began it.
//!
//! The server executes a cancel when it gets to it, and ends whatever is going on then. So it counts as under way from the
//! moment that it may have been sent until it is answered *and* the connection has answered a question that was asked
//! after that: what it may have hit is that question, at the latest. Until then the connection is not at rest, whoever is
//! dropped meanwhile.
//!
//! It is a task, as a dial is: it begins with a login, which takes longer than most callers wait. It ends at its own
//! deadline, [`Connector::settled`] waits for it before an environment is frozen, and where it is ended all the same, its
//! stage says what may have been sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{sleep, timeout_at};

use super::{Connector, Wire};
use crate::credentials::Credentials;
use crate::deadline::Deadline;
use crate::engine::{Cleanup, Engine, Socket, Target, Way};
use crate::error::chain;
use crate::event::Event;
use crate::topology::Address;

/// Between two questions whether the session is idle, at first; one that is at work for longer is asked less often.
const LOOK_AGAIN: Duration = Duration::from_millis(25);
const LOOK_SELDOM: Duration = Duration::from_millis(200);

/// A session that is idle so often, one question after the other, has answered all that it was asked: the answer to what
/// was on its way to it takes one round trip, as each of these does.
const IDLE_LOOKS: u32 = 4;

/// How far a cancel is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing was sent.
    Dialling,
    /// Nothing was sent, and nothing will be.
    Unsent,
    /// It may be on its way.
    Sent,
    /// The server has processed it. It has hit its target already, or hits the next thing that the session does.
    Answered,
    /// As `Answered`, and the session waits for its client.
    Idle,
    /// The server has refused it.
    Refused,
    /// It was sent, and whether it is executed is not known.
    Doubtful,
}

/// The connection's hold on its cancel.
#[derive(Debug)]
pub(super) struct Cancel {
    stage: Arc<watch::Sender<Stage>>,
    seen: watch::Receiver<Stage>,
}

impl Cancel {
    fn new() -> Self {
        let (stage, seen) = watch::channel(Stage::Dialling);
        Self { stage: Arc::new(stage), seen }
    }

    /// Whether nothing was sent, and nothing will be from here on.
    pub(super) fn recall(&self) -> bool {
        advance(&self.stage, Stage::Dialling, Stage::Unsent) || self.is_unsent()
    }

    /// Whether it has ended, and nothing was sent.
    pub(super) fn is_unsent(&self) -> bool {
        *self.stage.borrow() == Stage::Unsent
    }

    /// Whether the server will not do it: what it was to end goes on.
    pub(super) fn is_refused(&self) -> bool {
        *self.stage.borrow() == Stage::Refused
    }

    /// Waits until the cancel can hit nothing more than the question that is asked next.
    ///
    /// # Errors
    /// It was sent, and may still hit something later.
    pub(super) async fn answered(&mut self) -> Result<(), sqlx::Error> {
        let seen = self.seen.wait_for(|stage| !matches!(stage, Stage::Dialling | Stage::Sent)).await;
        match seen.map(|stage| *stage) {
            Ok(Stage::Unsent | Stage::Answered | Stage::Refused | Stage::Idle) => Ok(()),
            _ => Err(sqlx::Error::Protocol("a cancel was sent, and may still come".to_owned())),
        }
    }

    /// Waits until the session is known to have answered all that it was asked.
    pub(super) async fn idle(&mut self) {
        if self.seen.wait_for(|stage| *stage == Stage::Idle).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Moves the stage from `from` to `to`. Returns whether it was at `from`; any other stage stays as it is.
fn advance(stage: &watch::Sender<Stage>, from: Stage, to: Stage) -> bool {
    stage.send_if_modified(|stage| {
        let advances = *stage == from;
        if advances {
            *stage = to;
        }
        advances
    })
}

/// Leaves word where a cancel stood, however it ends.
struct Work<DB: Engine> {
    connector: Arc<Connector<DB>>,
    stage: Arc<watch::Sender<Stage>>,
}

impl<DB: Engine> Drop for Work<DB> {
    fn drop(&mut self) {
        advance(&self.stage, Stage::Dialling, Stage::Unsent);
        advance(&self.stage, Stage::Sent, Stage::Doubtful);
        self.connector.cancels.send_modify(|cancels| *cancels -= 1);
    }
}

/// What a cancel has to know of a connection.
pub(super) struct Whose<'a> {
    at: &'a Address,
    credentials: &'a Credentials,
    name: &'a str,
    number: &'a Option<String>,
    pub(super) socket: Option<&'a Socket>,
    is_named: bool,
}

/// What is needed of a connection while it is read to its end, and cancelled beside that.
pub(super) struct Parts<'a, DB: Engine> {
    pub(super) driver: &'a mut DB::Connection,
    /// Where the error of a dropped statement is put.
    pub(super) late: &'a mut Option<sqlx::Error>,
    /// What a cancel has to know of the connection.
    pub(super) whose: Whose<'a>,
    /// The cancel that is under way.
    pub(super) under_way: &'a mut Option<Cancel>,
}

impl<DB: Engine> Wire<DB> {
    /// Borrows its parts at once, because the driver is read from while the cancel runs.
    pub(super) fn parts(&mut self) -> Parts<'_, DB> {
        // Nothing that is known of has given it another name.
        let is_named = self.number.is_some()
            || DB::RULES
                .renamed_by
                .is_none_or(|name| self.carried.cleanup() == Cleanup::None && !self.carried.settings().contains(name));
        let Self { driver, late, at, credentials, name, number, socket, cancel, .. } = self;
        let whose = Whose { at, credentials, name, number, socket: socket.as_ref(), is_named };
        Parts { driver, late, whose, under_way: cancel }
    }
}

impl<DB: Engine> Connector<DB> {
    /// Begins to cancel what is going on on a connection, over one of its own, which may be one more than
    /// `max_connections` for a moment. `None` behind a pooler, which has sessions of its own.
    pub(super) fn cancel(self: &Arc<Self>, whose: &Whose<'_>) -> Option<Cancel> {
        if self.config.via_proxy() {
            return None;
        }
        let cancel = Cancel::new();
        self.cancels.send_modify(|cancels| *cancels += 1);
        let work = Work { connector: Arc::clone(self), stage: Arc::clone(&cancel.stage) };
        // The name is the session's own as long as it has no other one.
        let socket = whose.socket.filter(|_| !whose.is_named);
        let way = socket.and_then(|socket| Some((socket.local()?, socket.peer()?)));
        let target = Target { name: whose.name.to_owned(), number: whose.number.clone(), way: None };
        tokio::spawn(work.cancel(whose.at.clone(), whose.credentials.clone(), target, way, whose.is_named));
        Some(cancel)
    }

    /// Waits until no cancel is under way.
    pub(crate) async fn settled(&self) {
        // The sender is this connector's.
        let _ = self.cancels.subscribe().wait_for(|cancels| *cancels == 0).await;
    }
}

/// A socket on this side, and the one that it leads to.
type Ends = (std::net::SocketAddr, std::net::SocketAddr);

impl<DB: Engine> Work<DB> {
    async fn cancel(
        self,
        at: Address,
        credentials: Credentials,
        mut target: Target,
        ends: Option<Ends>,
        is_named: bool,
    ) {
        let Self { connector, stage } = &self;
        let deadline = Deadline::after(connector.config.connect_timeout());
        let recalled = async {
            if DB::RULES.probes_by_login {
                // A login that is broken off would be held against this host.
                std::future::pending().await
            }
            let _ = stage.subscribe().wait_for(|stage| *stage == Stage::Unsent).await;
        };
        let login = connector.log_in_as(credentials, at, deadline);
        let logged_in = tokio::select! {
            logged_in = login => logged_in,
            () = recalled => return,
        };
        let mut side = match logged_in {
            Ok(side) => side,
            Err(Some(error)) => return self.failed(&chain(&error)),
            Err(None) => {
                return self.failed(
                    "the login for it did not end in time, or there were no credentials that the server takes",
                );
            }
        };
        let beside = side.socket.as_ref().and_then(|socket| Some((socket.local()?, socket.peer()?)));
        target.way = match (ends, beside) {
            (Some((to_it, one)), Some((beside, other))) if one == other => Some(Way { to_it, beside }),
            _ => None,
        };
        if advance(stage, Stage::Dialling, Stage::Sent) {
            self.send(&mut side, &target, deadline, is_named).await;
        }
        connector.close(side).await;
    }

    /// Sends it, and says what came of it. `is_named`: the server would have known the session by its name.
    async fn send(&self, side: &mut Wire<DB>, target: &Target, deadline: Deadline, is_named: bool) {
        let stage = &self.stage;
        match timeout_at(deadline.instant(), DB::cancel(&mut side.driver, target)).await {
            Ok(Ok(found)) => {
                advance(stage, Stage::Sent, Stage::Answered);
                // One whose connection was given up meanwhile may be at an end, if it would have been known.
                let is_over = is_named && stage.is_closed();
                if !found && !is_over {
                    self.failed("the server knows of no such session");
                }
                if found && DB::RULES.loses_its_place {
                    self.watch(side, target, deadline).await;
                }
            }
            Ok(Err(error)) => {
                if DB::diagnose(&error).is_of_statement() {
                    advance(stage, Stage::Sent, Stage::Refused);
                }
                self.failed(&chain(&error));
            }
            Err(_) => self.failed("the server did not answer in time"),
        }
    }

    fn failed(&self, error: &str) {
        // Recalled, it has nothing to do any more.
        if *self.stage.borrow() != Stage::Unsent {
            self.connector.events.emit(&Event::CancelFailed { error: error.to_owned() });
        }
    }

    /// As long as the connection waits: whether there is still something to wait for.
    async fn watch(&self, side: &mut Wire<DB>, target: &Target, deadline: Deadline) {
        let looks = async {
            let (mut idle, mut pause) = (0, LOOK_AGAIN);
            while idle < IDLE_LOOKS {
                sleep(pause).await;
                // A server that does not tell is not asked again.
                let Ok(is_idle) = DB::is_idle(&mut side.driver, target).await else { return };
                (idle, pause) = if is_idle { (idle + 1, LOOK_AGAIN) } else { (0, LOOK_SELDOM.min(pause * 2)) };
            }
            advance(&self.stage, Stage::Answered, Stage::Idle);
        };
        let looks = timeout_at(deadline.instant(), looks);
        tokio::select! {
            () = self.stage.closed() => {}
            // Either way there is nothing more to be learnt.
            _ = looks => {}
        }
    }
}
