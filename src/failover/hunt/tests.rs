//! A hunt in virtual time, among hosts that do as they are told.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::*;
use crate::error::{ConnectionLimit, Phase};
use crate::topology::Candidate;

const SECOND: Duration = Duration::from_secs(1);
const LOGIN: Duration = Duration::from_millis(10);

/// What a host is like at a given time since the hunt began.
type Nature = fn(Duration) -> Host;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Host {
    Writer,
    /// A writer whose login takes this long.
    Slow(Duration),
    Reader,
    Refuses,
    Full,
    Silent,
    WrongPassword,
}

struct Stage {
    began: Instant,
    hosts: Mutex<BTreeMap<&'static str, Nature>>,
    endpoint: Option<&'static str>,
    /// Becomes known by a consultation at this time.
    latecomer: Option<(Duration, &'static str, Nature)>,
    dials: Mutex<BTreeMap<String, usize>>,
    under_way: Mutex<(usize, usize)>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stage {
    fn of(hosts: &[(&'static str, Nature)]) -> Self {
        Self {
            began: Instant::now(),
            hosts: Mutex::new(hosts.iter().copied().collect()),
            endpoint: None,
            latecomer: None,
            dials: Mutex::default(),
            under_way: Mutex::default(),
        }
    }

    fn nature(&self, host: &str) -> Host {
        let nature = lock(&self.hosts).get(host).copied();
        nature.map_or(Host::Refuses, |nature| nature(self.began.elapsed()))
    }

    fn dials(&self, host: &str) -> usize {
        lock(&self.dials).get(host).copied().unwrap_or_default()
    }

    /// Who won and when.
    async fn hunt(&self, bound: Duration) -> (Result<String, Vec<Answer>>, Duration) {
        let found = hunt(self, Deadline::after(bound)).await;
        (found, self.began.elapsed())
    }
}

fn unreachable(at: &Address, reason: Unreachable) -> Error {
    let (host, port) = (at.host.clone(), at.port);
    Error::Unreachable { host, port, reason, phase: Phase::Dialling, elapsed: Duration::ZERO, source: None }
}

impl Scout for Stage {
    type Conn = String;

    fn candidates(&self) -> Candidates {
        let at = |host: &&'static str| Address::new(*host, 1);
        let is_endpoint = |host: &&&'static str| Some(**host) == self.endpoint;
        let hosts = lock(&self.hosts);
        let members = hosts.keys().filter(|host| !is_endpoint(host));
        let members = members.map(|host| Candidate { id: None, address: at(host) }).collect();
        Candidates { members, endpoint: self.endpoint.as_ref().map(at) }
    }

    async fn dial(&self, at: &Address, deadline: Deadline) -> Result<(String, Told), Error> {
        *lock(&self.dials).entry(at.host.clone()).or_default() += 1;
        {
            let mut under_way = lock(&self.under_way);
            under_way.0 += 1;
            under_way.1 = under_way.1.max(under_way.0);
        }
        let told = match self.nature(&at.host) {
            Host::Refuses => Err(unreachable(at, Unreachable::Refused)),
            Host::Silent => {
                sleep(deadline.remaining()).await;
                Err(unreachable(at, Unreachable::Silent))
            }
            Host::Slow(login) if login > deadline.remaining() => {
                sleep(deadline.remaining()).await;
                Err(unreachable(at, Unreachable::Silent))
            }
            Host::Slow(login) => {
                sleep(login).await;
                Ok(Told::Writer)
            }
            Host::Full => {
                let (host, elapsed) = (at.host.clone(), Duration::ZERO);
                let limit = ConnectionLimit::Server;
                Err(Error::TooManyConnections { host, elapsed, limit, seen: None, source: sqlx::Error::PoolClosed })
            }
            Host::WrongPassword => Err(Error::Authentication {
                host: at.host.clone(),
                user: String::new(),
                refused: 1,
                elapsed: Duration::ZERO,
                source: sqlx::Error::PoolClosed,
            }),
            Host::Reader | Host::Writer => {
                sleep(LOGIN).await;
                Ok(if self.nature(&at.host) == Host::Writer { Told::Writer } else { Told::Reader })
            }
        };
        lock(&self.under_way).0 -= 1;
        told.map(|told| (at.host.clone(), told))
    }

    async fn wait(&self, conn: &mut String, bound: Duration) -> Result<Told, Error> {
        let ends = Instant::now() + bound;
        loop {
            match self.nature(conn) {
                Host::Reader if Instant::now() < ends => sleep(Duration::from_millis(5)).await,
                Host::Reader => return Ok(Told::Reader),
                Host::Writer => return Ok(Told::Writer),
                Host::Silent => pending().await,
                _ => return Err(Error::Database(sqlx::Error::Io(io::ErrorKind::ConnectionReset.into()))),
            }
        }
    }

    async fn consult(&self, _: Deadline) {
        if let Some((at, host, nature)) = self.latecomer
            && self.began.elapsed() >= at
        {
            lock(&self.hosts).insert(host, nature);
        }
    }

    fn heard(&self, _: Answer) {}
}

fn reader(_: Duration) -> Host {
    Host::Reader
}

fn refuses(_: Duration) -> Host {
    Host::Refuses
}

fn silent(_: Duration) -> Host {
    Host::Silent
}

fn writer(_: Duration) -> Host {
    Host::Writer
}

fn promoted(since: Duration) -> Host {
    if since < 3 * SECOND { Host::Reader } else { Host::Writer }
}

/// Case 1, in the ordinary form: the last writer is first in line, alone, and nobody else is bothered.
#[tokio::test(start_paused = true)]
async fn a_cut_connection_bothers_nobody_else() {
    let stage = Stage::of(&[("a", writer), ("b", reader), ("c", reader)]);
    let (found, took) = stage.hunt(SECOND).await;
    assert_eq!((found.as_deref(), took), (Ok("a"), LOGIN));
    assert_eq!((stage.dials("b"), stage.dials("c")), (0, 0));
}

/// Cases 9 and 10: whoever becomes the writer, and after however long.
#[tokio::test(start_paused = true)]
async fn a_promotion_is_known_when_it_happens() {
    let stage = Stage::of(&[("a", refuses), ("b", reader), ("c", promoted)]);
    let (found, took) = stage.hunt(60 * SECOND).await;
    assert_eq!(found.as_deref(), Ok("c"));
    assert!(took < 3 * SECOND + Duration::from_millis(20), "{took:?}");
    // A reader is dialled once, and then waits.
    assert_eq!((stage.dials("b"), stage.dials("c")), (1, 1));

    let back =
        Stage::of(&[("a", |since| if since < 5 * SECOND { Host::Refuses } else { Host::Writer }), ("b", reader)]);
    let (found, took) = back.hunt(60 * SECOND).await;
    assert_eq!(found.as_deref(), Ok("a"));
    assert!(took < 5 * SECOND + PAUSE_CAP + 2 * LOGIN, "{took:?}");
}

/// Case 16, and no busy loop: a host that refuses is asked 25 to 200 times a second, by one environment.
#[tokio::test(start_paused = true)]
async fn nobody_ends_it_at_the_deadline_with_everybodys_answer() {
    let stage = Stage::of(&[("a", refuses), ("b", reader), ("c", silent)]);
    let (found, took) = stage.hunt(60 * SECOND).await;
    let answers = found.unwrap_err();
    assert_eq!((answers.len(), took), (3, 60 * SECOND));
    assert!((1500..6000).contains(&stage.dials("a")), "{}", stage.dials("a"));
    assert!(stage.dials("b") == 1 && stage.dials("c") < 10, "{:?}", stage.dials);
}

/// Case 21: four black holes before the one that answers.
#[tokio::test(start_paused = true)]
async fn silent_hosts_stand_in_nobodys_way_for_long() {
    let stage = Stage::of(&[("a", silent), ("b", silent), ("c", silent), ("d", silent), ("e", writer)]);
    let (found, took) = stage.hunt(60 * SECOND).await;
    assert_eq!(found.as_deref(), Ok("e"));
    assert!(took < 2 * SECOND, "{took:?}");
    assert!(lock(&stage.under_way).1 <= MOST_DIALS);
}

/// Cases 20 and 21: a reader that waits for its promotion falls silent, and another is promoted.
#[tokio::test(start_paused = true)]
async fn a_reader_that_falls_silent_is_given_up() {
    let fades = |since| if since < SECOND { Host::Reader } else { Host::Silent };
    let stage = Stage::of(&[("a", refuses), ("b", fades), ("c", promoted)]);
    assert_eq!(stage.hunt(60 * SECOND).await.0.as_deref(), Ok("c"));
    let returns = |since: Duration| match since.as_secs() {
        0 => Host::Reader,
        1..4 => Host::Silent,
        _ => Host::Writer,
    };
    let alone = Stage::of(&[("a", refuses), ("b", returns)]);
    let (found, took) = alone.hunt(60 * SECOND).await;
    assert_eq!(found.as_deref(), Ok("b"));
    assert!(took < 10 * SECOND, "{took:?}");
}

/// Case 38: what a name leads to is looked up again and again, and not waited on.
#[tokio::test(start_paused = true)]
async fn a_name_that_leads_to_a_reader_is_dialled_again() {
    let mut stage = Stage::of(&[("a", reader), ("name", promoted)]);
    stage.endpoint = Some("name");
    let (found, took) = stage.hunt(60 * SECOND).await;
    assert_eq!(found.as_deref(), Ok("name"));
    assert!(took < 5 * SECOND && stage.dials("name") > 1, "{took:?}");
}

/// Cases 35 and 55: all that were known are gone for good, and one appears.
#[tokio::test(start_paused = true)]
async fn a_member_that_becomes_known_is_asked() {
    let mut stage = Stage::of(&[("a", refuses), ("b", refuses)]);
    stage.latecomer = Some((2 * SECOND, "z", writer));
    let (found, took) = stage.hunt(60 * SECOND).await;
    assert_eq!(found.as_deref(), Ok("z"));
    assert!(took < 3 * SECOND, "{took:?}");
}

/// Case 58: full, and then not.
#[tokio::test(start_paused = true)]
async fn a_full_writer_is_asked_again() {
    let fills = |since| if since < 2 * SECOND { Host::Full } else { Host::Writer };
    let stage = Stage::of(&[("a", refuses), ("b", fills)]);
    let (found, took) = stage.hunt(60 * SECOND).await;
    assert_eq!(found.as_deref(), Ok("b"));
    assert!(took < 3 * SECOND, "{took:?}");
}

/// A server that lets in, or says that it is full or starting, has a login's work with each attempt.
#[tokio::test(start_paused = true)]
async fn who_answers_each_login_is_asked_less_often_the_longer_it_takes() {
    let fills = |since| if since < 50 * SECOND { Host::Full } else { Host::Writer };
    let stage = Stage::of(&[("a", fills)]);
    let (found, took) = stage.hunt(60 * SECOND).await;
    assert_eq!(found.as_deref(), Ok("a"));
    assert!(took < 51 * SECOND, "{took:?}");
    assert!((200..600).contains(&stage.dials("a")), "{}", stage.dials("a"));
}

/// A function whose processor is a small share of one: its logins take longer than the first bound.
#[tokio::test(start_paused = true)]
async fn a_slow_login_gets_the_time_it_takes() {
    let stage = Stage::of(&[("a", |_| Host::Slow(Duration::from_millis(2500))), ("b", reader)]);
    let (found, took) = stage.hunt(60 * SECOND).await;
    assert_eq!(found.as_deref(), Ok("a"));
    assert!(took < 8 * SECOND, "{took:?}");
}

/// What waiting cannot change ends the hunt where it is everybody's answer, and not before.
#[tokio::test(start_paused = true)]
async fn only_unanimous_refusal_is_final() {
    let wrong = |_| Host::WrongPassword;
    let (found, took) = Stage::of(&[("a", wrong), ("b", wrong)]).hunt(60 * SECOND).await;
    assert!(found.is_err() && took < SECOND, "{took:?}");
    let (found, _) = Stage::of(&[("a", wrong), ("b", promoted)]).hunt(60 * SECOND).await;
    assert_eq!(found.as_deref(), Ok("b"));
}
