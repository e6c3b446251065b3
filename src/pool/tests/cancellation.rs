//! Every place where a future of the pool waits, every way the server may behave there, dropped after every number of
//! polls: nothing may be missing afterwards.

use super::*;

/// The time between two polls. The 8 of them outlast `validate_timeout`, and the second is past `HEDGE`.
const STEP: Duration = Duration::from_millis(40);

const POLLS: usize = 8;

const GATES: [Gate; 5] = [
    Gate::Ok,
    Gate::Err(Failure::Fatal),
    Gate::Err(Failure::Refusal),
    Gate::Slow(Duration::from_millis(60)),
    Gate::Never,
];

/// Where a future waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    FastRoad,
    Queue,
    /// As `Queue`, and what it waited for came home just before it is dropped.
    HandedOver,
    Dial,
    Doubtful,
    Dirty,
    /// A silent check, and a dial beside it.
    Hedge,
    /// A silent check, and no room to dial.
    HedgeWithoutRoom,
    /// A silent check, and another one beside it.
    HedgeAtRest,
    Upkeep,
    UpkeepOfDial,
    UpkeepGoodbye,
    Close,
    ReadyCold,
    ReadyDoubtful,
}

const PLACES: [Place; 15] = [
    Place::FastRoad,
    Place::Queue,
    Place::HandedOver,
    Place::Dial,
    Place::Doubtful,
    Place::Dirty,
    Place::Hedge,
    Place::HedgeWithoutRoom,
    Place::HedgeAtRest,
    Place::Upkeep,
    Place::UpkeepOfDial,
    Place::UpkeepGoodbye,
    Place::Close,
    Place::ReadyCold,
    Place::ReadyDoubtful,
];

/// One combination.
#[derive(Debug, Clone, Copy)]
struct Case {
    place: Place,
    gate: Gate,
    polls: usize,
    /// Somebody else asks for a connection meanwhile.
    bystander: bool,
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_whenever_a_future_is_dropped() {
    for place in PLACES {
        for gate in GATES {
            for polls in 0..=POLLS {
                for bystander in [false, true] {
                    Case { place, gate, polls, bystander }.play().await;
                }
            }
        }
    }
}

impl Case {
    async fn play(self) {
        let (rig, mut holders) = self.stage().await;
        let mut future = self.place.future(rig.pool.clone());
        let mut bystander = None;
        for poll in 0..self.polls {
            if poll_once(future.as_mut()).await.is_ready() {
                break;
            }
            if self.bystander && poll == 0 {
                bystander = Some(rig.caller().await);
            }
            sleep(STEP).await;
        }
        if self.place == Place::HandedOver {
            holders.clear();
        }
        drop(future);
        drop(holders);
        rig.server.recover();
        sleep(BORROW_TIMEOUT).await;
        if let Some(bystander) = bystander {
            assert!(bystander.is_finished(), "{self:?}: the bystander waits for longer than its budget");
            self.judge(bystander.await.unwrap().map(drop));
        }
        sleep(BORROW_TIMEOUT).await;
        rig.assert_at_rest(&format!("{self:?}"));
        self.assert_goes_on(&rig).await;
    }

    /// The pool before the future's first poll, and what is on loan.
    async fn stage(self) -> (Rig, Vec<Lease<Double>>) {
        let (rig, lent, step) = match self.place {
            Place::FastRoad => (Rig::warm(2, 1).await, 0, Step::Restore),
            Place::Queue | Place::HandedOver => (Rig::new(2), 2, Step::Connect),
            Place::Dial | Place::UpkeepOfDial | Place::ReadyCold => (Rig::new(2), 0, Step::Connect),
            Place::Doubtful | Place::ReadyDoubtful => (Rig::warm(2, 1).await, 0, Step::Restore),
            Place::Dirty | Place::Upkeep => (Rig::soiled(2).await, 0, Step::Restore),
            Place::Hedge => (Rig::warm(2, 1).await, 0, Step::Connect),
            Place::HedgeWithoutRoom => (Rig::warm(1, 1).await, 0, Step::Connect),
            Place::HedgeAtRest => (Rig::warm(2, 2).await, 0, Step::Restore),
            Place::UpkeepGoodbye => (Rig::warm(2, 2).await, 0, Step::Close),
            Place::Close => (Rig::warm(3, 3).await, 1, Step::Close),
        };
        let holders = rig.borrow(lent).await;
        sleep(self.place.rest()).await;
        rig.server.always(step, self.gate);
        match self.place {
            Place::Hedge | Place::HedgeWithoutRoom => rig.server.fall_silent(),
            Place::HedgeAtRest => rig.server.next(Step::Restore, [Gate::Never]),
            Place::UpkeepOfDial => {
                assert!(poll_once(pin!(rig.lease(Purpose::Statement))).await.is_pending());
            }
            _ => {}
        }
        (rig, holders)
    }

    /// A cancelled neighbour is no reason to fail.
    fn judge(self, bystander: Result<(), Error>) {
        let well = matches!(self.gate, Gate::Ok | Gate::Slow(_));
        match bystander {
            Err(Error::Closed) if self.place == Place::Close => {}
            Err(error) if well => panic!("{self:?}: the bystander was told: {error}"),
            _ => {}
        }
    }

    /// Every slot can still be lent, or, where the pool was closed, none.
    async fn assert_goes_on(self, rig: &Rig) {
        let limit = rig.numbers().limit;
        let leases = join_all((0..limit).map(|_| rig.lease(Purpose::Statement))).await;
        let lent = leases.iter().filter(|lease| lease.is_ok()).count();
        let expected = if self.place == Place::Close && self.polls > 0 { 0 } else { limit };
        assert_eq!(lent, expected, "{self:?}: lent of {limit}: {leases:?}");
        assert!(rig.server.most_open() <= limit, "{self:?}: {} open of {limit}", rig.server.most_open());
    }
}

impl Place {
    fn future(self, pool: Pool<Double>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            match self {
                Self::Upkeep | Self::UpkeepOfDial | Self::UpkeepGoodbye => pool.upkeep(ms(200)).await,
                Self::Close => pool.close().await,
                // The server's errors are part of the play.
                Self::ReadyCold | Self::ReadyDoubtful => drop(pool.ready().await),
                _ => drop(pool.lease(Purpose::Statement).await),
            }
        })
    }

    /// How long the connections have been at rest.
    fn rest(self) -> Duration {
        match self {
            Self::Doubtful | Self::ReadyDoubtful | Self::Hedge | Self::HedgeWithoutRoom | Self::HedgeAtRest => {
                VALIDATE_AFTER
            }
            Self::UpkeepGoodbye => IDLE_TIMEOUT,
            _ => Duration::ZERO,
        }
    }
}
