//! One failover: a new cluster, a load, a fault, a promotion, and what the application saw of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, sleep_until, timeout, timeout_at};

use crate::application::{Application, Contestant, Request};
use crate::peer::Peer;
use crate::rig::Rig;
use crate::support::fault_proxy::FaultProxy;

/// After the promotion: whoever has not recovered then is said not to.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// How long a contestant may take until its first write: some are programs that have to start.
const START_LIMIT: Duration = Duration::from_secs(20);

/// The load runs undisturbed before.
const LEAD: Duration = Duration::from_millis(600);
/// And for as long after it has recovered.
const TAIL: Duration = Duration::from_millis(400);

/// How long after the promotion the endpoint's name leads to the new writer, and how long a node that cuts its sessions
/// while it is promoted lets nobody in.
const DNS_LAG: Duration = Duration::from_secs(5);
const CLOSED: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Killed,
    Silent,
    /// Silent, and its address answers no connect either, as if each packet to it were dropped.
    Dropped,
}

/// What happens.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) fault: Fault,
    pub(crate) promoted_after: Duration,
    /// The promoted node ends its sessions, as an Aurora replica may.
    pub(crate) cuts: bool,
    /// What is in flight takes 30 s.
    pub(crate) long_statements: bool,
    /// The AWS wrappers take part: not in what they can only sit out.
    pub(crate) wrappers: bool,
    pub(crate) target: &'static str,
}

impl Case {
    pub(crate) const PLAIN: Self = Self {
        name: "",
        fault: Fault::Killed,
        promoted_after: Duration::ZERO,
        cuts: false,
        long_statements: false,
        wrappers: false,
        target: "",
    };
}

/// What came of it.
pub(crate) struct Trial {
    pub(crate) fault: Instant,
    /// The new writer takes writes.
    pub(crate) writes: Instant,
    pub(crate) requests: Vec<Request>,
    new_writer: u16,
}

impl Trial {
    pub(crate) fn recovered(&self) -> Option<Instant> {
        let good = self.requests.iter().filter(|request| request.taken_by == Some(self.new_writer));
        good.map(|request| request.ended).min()
    }

    /// In milliseconds; a prober that was slower than the application makes it 0.
    pub(crate) fn own_part(&self) -> Option<f64> {
        Some(self.recovered()?.saturating_duration_since(self.writes).as_secs_f64() * 1e3)
    }

    pub(crate) fn failed(&self) -> usize {
        self.requests.iter().filter(|request| request.taken_by.is_none()).count()
    }
}

/// What stands between the application and the servers.
struct Ways {
    /// The writer's name: follows it by [`DNS_LAG`].
    endpoint: FaultProxy,
    /// The writer's address, where it can drop packets.
    writer: FaultProxy,
    /// The replica's door.
    door: FaultProxy,
}

pub(crate) async fn run(case: &'static Case, contestant: Contestant) -> Trial {
    let rig = Rig::set(contestant, case.cuts || case.fault == Fault::Dropped).await;
    let ways = Ways {
        endpoint: FaultProxy::start(rig.address(0)).await,
        writer: FaultProxy::start(rig.address(0)).await,
        door: FaultProxy::start(rig.address(1)).await,
    };
    let mut members = rig.instances();
    if case.fault == Fault::Dropped {
        members[0].2 = ways.writer.port();
    }
    if case.cuts {
        members[1].2 = ways.door.port();
    }
    let application = match contestant {
        Contestant::Ours => Application::ours(&rig, members),
        Contestant::OursOnMariaDb => Application::ours_on_mariadb(&rig, members),
        Contestant::PgPool => Application::pg_pool(&rig, ways.endpoint.port()).await,
        Contestant::Python | Contestant::Node => {
            Application::Wrapper(Peer::new(contestant, ways.endpoint.port(), &members))
        }
    };

    let (long, (done, mut requests)) = (Arc::new(AtomicBool::new(false)), unbounded_channel());
    let _load = application.load(&long, &done);
    if timeout(START_LIMIT, begun(&mut requests)).await.is_err() {
        println!("  the {} did not begin to write within {START_LIMIT:?}", contestant.name());
    }
    sleep(LEAD).await;
    if case.long_statements {
        long.store(true, Ordering::Relaxed);
        sleep(LEAD / 4).await;
    }
    let fault = Instant::now();
    lose_writer(case, &rig, &ways).await;
    sleep(case.promoted_after).await;
    let writes = promote(case, &rig, &ways).await;
    let end = tokio::time::Instant::from_std(writes + PATIENCE);
    let dns = async {
        sleep_until(tokio::time::Instant::from_std(writes + DNS_LAG)).await;
        ways.endpoint.upstream(rig.address(1));
        ways.endpoint.pass();
        std::future::pending().await
    };
    let mut trial = Trial { fault, writes, requests: Vec::new(), new_writer: rig.address(1).port() };
    tokio::select! {
        () = observe(&mut trial, requests, end) => {}
        () = dns => {}
    }
    trial
}

async fn lose_writer(case: &Case, rig: &Rig, ways: &Ways) {
    match case.fault {
        Fault::Killed => {
            rig.kill().await;
            // Or it would be the stand-in for the name that answers.
            ways.endpoint.refuse().await;
        }
        Fault::Silent => rig.suspend(),
        Fault::Dropped => {
            rig.suspend();
            tokio::join!(ways.writer.drop_packets(), ways.endpoint.drop_packets());
        }
    }
}

/// Gives the moment from which on the new writer takes writes from who comes.
async fn promote(case: &Case, rig: &Rig, ways: &Ways) -> Instant {
    if !case.cuts {
        return rig.promote().await;
    }
    ways.door.refuse().await;
    rig.cut_sessions().await;
    let reopen = async {
        sleep(CLOSED).await;
        ways.door.pass();
        Instant::now()
    };
    let (writes, open) = tokio::join!(rig.promote(), reopen);
    writes.max(open)
}

/// Waits for the first good write.
async fn begun(requests: &mut UnboundedReceiver<Request>) {
    while requests.recv().await.is_some_and(|request| request.taken_by.is_none()) {}
}

/// Collects what the application saw, until a while after it has recovered.
async fn observe(trial: &mut Trial, mut requests: UnboundedReceiver<Request>, mut end: tokio::time::Instant) {
    let mut recovered = false;
    while let Ok(Some(request)) = timeout_at(end, requests.recv()).await {
        trial.requests.push(request);
        if !recovered && request.taken_by == Some(trial.new_writer) {
            recovered = true;
            end = end.min(tokio::time::Instant::now() + TAIL);
        }
    }
}
