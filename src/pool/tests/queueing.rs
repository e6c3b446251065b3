//! Those who wait: in order, within their budget, and told why in vain.

use super::*;
use crate::deadline::INVOCATION;

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_the_order_they_came_and_nobody_overtakes() {
    let rig = Rig::new(1);
    let holder = rig.lend().await;
    let served = Arc::<Mutex<Vec<usize>>>::default();
    let mut callers = Vec::new();
    for n in 0..20 {
        let (pool, served) = (rig.pool.clone(), Arc::clone(&served));
        callers.push(tokio::spawn(async move {
            let lease = pool.lease(Purpose::Statement).await.unwrap();
            served.lock().unwrap().push(n);
            sleep(ms(1)).await;
            drop(lease);
            // At once back in the queue, behind everybody.
            let _again = pool.lease(Purpose::Statement).await.unwrap();
            served.lock().unwrap().push(20 + n);
        }));
        settle().await;
    }
    drop(holder);
    assert!(poll_once(pin!(rig.lease(Purpose::Statement))).await.is_pending(), "a newcomer waits");
    join_all(callers).await;
    assert_eq!(*served.lock().unwrap(), (0..40).collect::<Vec<_>>());
    rig.assert_at_rest("all served");
}

#[tokio::test(start_paused = true)]
async fn a_connect_whose_caller_was_cancelled_serves_the_next() {
    let rig = Rig::new(1);
    rig.server.slow_connects(ms(100));
    let mut cancelled = Box::pin(rig.lease(Purpose::Statement));
    assert!(poll_once(cancelled.as_mut()).await.is_pending());
    drop(cancelled);
    assert_eq!((rig.numbers().waiting, rig.numbers().connecting.len()), (0, 1));
    sleep(ms(60)).await;
    let started = Instant::now();
    drop(rig.lend().await);
    assert_took(started, 40);
    assert_eq!(rig.server.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_fails_fails_the_eldest_and_the_next_gets_its_own() {
    let rig = Rig::new(1);
    let mut holder = rig.lend().await;
    let (first, second) = (rig.caller().await, rig.caller().await);
    rig.server.fail_connects::<1>();
    holder.broke();
    drop(holder);
    assert!(matches!(first.await.unwrap(), Err(Error::Unreachable { .. })));
    assert!(second.await.unwrap().is_ok());
    assert_eq!(rig.server.connects(), 3);
    assert!(rig.saw(|event| matches!(event, Event::ConnectFailed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_fails_for_nobody_fails_nobody_and_is_an_event() {
    let rig = Rig::new(2);
    rig.server.next(Step::Connect, [Gate::Slow(ms(50)), Gate::Never]);
    let mut cancelled = Box::pin(rig.lease(Purpose::Statement));
    assert!(poll_once(cancelled.as_mut()).await.is_pending());
    let waiter = rig.caller().await;
    drop(cancelled);
    assert!(waiter.await.unwrap().is_ok(), "the first dial serves the second caller");
    sleep(BORROW_TIMEOUT).await;
    rig.assert_at_rest("the second dial failed in silence");
    assert!(rig.saw(|event| matches!(event, Event::ConnectFailed { .. })));
}

/// As after a freeze: the time of both is over at once, and the caller has its turn first.
#[tokio::test(start_paused = true)]
async fn whoever_runs_out_of_time_together_with_its_dial_hears_what_the_dial_knows() {
    let rig = Rig::new(1);
    rig.server.stall_connects();
    let mut caller = pin!(rig.lease(Purpose::Statement));
    assert!(poll_once(caller.as_mut()).await.is_pending());
    settle().await;
    let (outcome, ()) = tokio::join!(caller, tokio::time::advance(2 * BORROW_TIMEOUT));
    assert!(matches!(outcome, Err(Error::Connect { .. } | Error::Unreachable { .. })), "{outcome:?}");
    rig.assert_at_rest("the caller was told");
}

/// As on a busy machine: the dial has its first turn when a part of the caller's time is gone.
#[tokio::test(start_paused = true)]
async fn a_dial_that_begins_late_ends_before_its_caller_gives_up() {
    let rig = Rig::new(1);
    rig.server.stall_connects();
    let mut caller = pin!(rig.lease(Purpose::Statement));
    assert!(poll_once(caller.as_mut()).await.is_pending());
    tokio::time::advance(BORROW_TIMEOUT / 4).await;
    let outcome = caller.await;
    assert!(matches!(outcome, Err(Error::Connect { .. } | Error::Unreachable { .. })), "{outcome:?}");
    rig.assert_at_rest("the caller was told");
}

#[tokio::test(start_paused = true)]
async fn a_full_server_is_asked_again_after_a_pause() {
    let rig = Rig::new(1);
    rig.server.refuse::<3>();
    let started = Instant::now();
    drop(rig.lend().await);
    assert_eq!(rig.server.connects(), 4);
    assert!(started.elapsed() >= ms(60), "at least 20 ms a pause");
    assert!(rig.saw(|event| matches!(event, Event::Refused { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_comes_late_is_not_taken_for_a_server_that_is_slow_to_refuse() {
    let rig = Rig::new(1);
    rig.server.next(Step::Secret, [Gate::Slow(ms(500))]);
    rig.server.refuse::<1>();
    drop(rig.lend().await);
    assert!(rig.saw(|event| matches!(event, Event::Refused { pause, .. } if *pause <= ms(60))));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_stays_full_is_the_error_and_in_time() {
    let rig = Rig::new(2);
    rig.server.refuse_connects();
    let started = Instant::now();
    let errors = join_all((0..2).map(|_| rig.lease(Purpose::Statement))).await;
    assert!(started.elapsed() <= BORROW_TIMEOUT);
    for error in errors {
        assert!(matches!(error, Err(Error::TooManyConnections { .. })), "{error:?}");
    }
    assert!(rig.server.connects() > 4, "it was asked more than once each");
    rig.assert_at_rest("refused");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_cut_off_does_not_hide_why_the_one_before_was_turned_away() {
    let rig = Rig::new(1);
    rig.server.stall_connects();
    rig.server.refuse::<1>();
    let error = rig.lease(Purpose::Statement).await;
    assert!(matches!(error, Err(Error::TooManyConnections { .. })), "{error:?}");
    assert_eq!(rig.server.connects(), 2);
    rig.assert_at_rest("cut off");
}

#[tokio::test(start_paused = true)]
async fn what_comes_home_serves_a_refused_caller_and_ends_the_dial() {
    let rig = Rig::new(2);
    let holder = rig.lend().await;
    rig.server.refuse_connects();
    let caller = rig.caller().await;
    sleep(ms(200)).await;
    let asked = rig.server.connects();
    drop(holder);
    assert_eq!(caller.await.unwrap().unwrap().conn().id, 0);
    sleep(BORROW_TIMEOUT).await;
    assert_eq!(rig.server.connects(), asked, "a full server is not asked for what nobody wants");
    rig.assert_at_rest("served");
}

#[tokio::test(start_paused = true)]
async fn exhaustion_says_who_holds_what_for_how_long() {
    let rig = Rig::new(2);
    let transaction = rig.lease(Purpose::Transaction).await.unwrap();
    sleep(ms(300)).await;
    let pinned = rig.lease(Purpose::Statement).await.unwrap();
    pinned.note(Purpose::Pin);
    let behind = rig.caller().await;
    let error = rig.lease(Purpose::Statement).await.unwrap_err();
    let Error::PoolExhausted { waited, phase: Phase::Waiting, numbers, last: None } = error else {
        panic!("{error:?}")
    };
    assert!(about(1000).contains(&waited), "{waited:?}");
    assert_eq!((numbers.limit, numbers.idle, numbers.connecting.len()), (2, 0, 0));
    assert!((1..=2).contains(&numbers.waiting), "the one that reports is counted: {numbers}");
    let [first, second] = numbers.holders[..] else { panic!("{numbers}") };
    assert_eq!((first.purpose, second.purpose), (Purpose::Transaction, Purpose::Pin));
    assert!(about(1300).contains(&first.held) && about(1000).contains(&second.held), "{numbers}");
    assert!(behind.await.unwrap().is_err());
    drop((transaction, pinned));
    rig.assert_at_rest("all came home");
}

#[tokio::test(start_paused = true)]
async fn exhaustion_during_a_connect_says_how_far_that_was() {
    let rig = Rig::new(1);
    rig.server.stall_connects();
    let error = lease_until(&rig, ms(300)).await.unwrap_err();
    let Error::PoolExhausted { phase, last: None, .. } = error else { panic!("{error:?}") };
    assert_eq!(phase, Phase::Handshake);
}

#[tokio::test(start_paused = true)]
async fn exhaustion_names_the_refusals_of_its_own_wait_only() {
    let rig = Rig::new(2);
    let holder = rig.lend().await;
    rig.server.refuse_connects();
    let error = lease_until(&rig, ms(300)).await.unwrap_err();
    let Error::PoolExhausted { last: Some(last), .. } = error else { panic!("{error:?}") };
    assert!(matches!(*last, Error::TooManyConnections { .. }));

    sleep(BORROW_TIMEOUT * 2).await;
    rig.server.stall_connects();
    let error = lease_until(&rig, ms(300)).await.unwrap_err();
    let Error::PoolExhausted { last, .. } = error else { panic!("{error:?}") };
    assert!(last.is_none(), "of a wait long over: {last:?}");
    drop(holder);
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_stalls_is_told_before_the_budget_ends() {
    let rig = Rig::new(1);
    rig.server.stall_connects();
    let started = Instant::now();
    let error = rig.lease(Purpose::Statement).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "the cause and not just a timeout: {error}");
    assert!(started.elapsed() < BORROW_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn the_borrow_timeout_is_one_budget_for_queue_check_and_connect() {
    let rig = Rig::new(1);
    let mut holder = rig.lend().await;
    rig.server.fall_silent();
    rig.server.stall_connects();
    let started = Instant::now();
    let caller = rig.caller().await;
    sleep(ms(600)).await;
    holder.begin();
    drop(holder);
    let error = caller.await.unwrap().unwrap_err();
    assert_took(started, 1000);
    let Error::PoolExhausted { waited, phase, .. } = error else { panic!("{error:?}") };
    assert!(about(1000).contains(&waited), "{waited:?}");
    assert_eq!(phase, Phase::Handshake);
}

#[tokio::test(start_paused = true)]
async fn the_invocation_bounds_the_wait() {
    let rig = Rig::new(1);
    let holder = rig.lend().await;
    let started = Instant::now();
    let error = lease_until(&rig, ms(120)).await.unwrap_err();
    assert!(matches!(error, Error::PoolExhausted { .. }), "{error}");
    assert_took(started, 120);
    drop(holder);
}

#[tokio::test(start_paused = true)]
async fn with_next_to_nothing_left_of_the_invocation_nothing_is_begun() {
    let rig = Rig::new(1);
    let error = lease_until(&rig, ms(9)).await.unwrap_err();
    let Error::DeadlineTooClose { phase: Phase::Waiting, remaining } = error else { panic!("{error:?}") };
    assert_eq!((remaining, rig.server.connects()), (ms(9), 0));

    drop(rig.lend().await);
    assert!(lease_until(&rig, ms(1)).await.is_ok(), "what takes no time is always possible");
}

#[tokio::test(start_paused = true)]
async fn under_random_load_the_limit_holds_and_all_comes_home() {
    for seed in 0..40 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let limit = rng.usize(1..=4);
        let rig = Rig::new(limit);
        let callers: Vec<_> = (0..30).map(|_| tokio::spawn(random_caller(rig.pool.clone(), rng.fork()))).collect();
        let mayhem = random_server(rig.server.clone(), rng.fork());
        let (ends, ()) = tokio::join!(join_all(callers), mayhem);
        rig.server.recover();
        sleep(BORROW_TIMEOUT * 3).await;
        assert!(ends.into_iter().all(|end| end.is_ok()), "seed {seed}: a caller panicked");
        assert!(rig.server.most_open() <= limit, "seed {seed}: {} of {limit}", rig.server.most_open());
        rig.assert_at_rest(&format!("seed {seed}"));
        assert_eq!(rig.borrow(limit).await.len(), limit, "seed {seed}");
    }
}

/// Borrows, works, and is cancelled at times; what it gets is always at rest.
async fn random_caller(pool: Pool<Double>, mut rng: fastrand::Rng) {
    for _ in 0..20 {
        sleep(ms(rng.u64(0..400))).await;
        let patience = ms(rng.u64(0..600));
        if rng.u8(..) < 32 {
            let _ = timeout(patience, pool.upkeep(patience)).await;
            continue;
        }
        let Ok(Ok(mut lease)) = timeout(patience, pool.lease(Purpose::Statement)).await else { continue };
        assert!(lease.conn().at_rest);
        lease.conn().at_rest = false;
        lease.begin();
        sleep(ms(rng.u64(0..30))).await;
        match rng.u8(0..4) {
            0 => lease.broke(),
            1 => {}
            _ => {
                lease.conn().at_rest = true;
                lease.end();
            }
        }
    }
}

/// For some seconds everything that can go wrong does.
async fn random_server(server: Double, mut rng: fastrand::Rng) {
    for _ in 0..100 {
        let step = [Step::Connect, Step::Restore, Step::Close][rng.usize(0..3)];
        let failure = if rng.bool() { Failure::Fatal } else { Failure::Refusal };
        let gates = [Gate::Ok, Gate::Slow(ms(rng.u64(0..80))), Gate::Err(failure), Gate::Never];
        server.next(step, [gates[rng.usize(0..4)]]);
        sleep(ms(rng.u64(0..100))).await;
    }
}

/// A lease in an invocation that ends in `span`.
async fn lease_until(rig: &Rig, span: Duration) -> Result<Lease<Double>, Error> {
    INVOCATION.scope(Instant::now() + span, rig.lease(Purpose::Statement)).await
}
