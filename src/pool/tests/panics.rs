//! A connect or an observer that panics: one failure, and a pause.

use super::*;
use crate::error::chain;
use crate::panicked::Panicked;

/// As often as a pause of a second at the most, and of 20 ms at the least while they grow, allows in so long, and as much
/// again. Without a pause it would be thousands.
const MOST_IN_A_SECOND: usize = 100;

fn failures(rig: &Rig) -> usize {
    rig.seen.lock().unwrap().iter().filter(|event| matches!(event, Event::ConnectFailed { .. })).count()
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_panics_fails_one_waiter_and_the_next_is_served_after_a_pause() {
    let rig = Rig::new(1);
    rig.server.next(Step::Connect, [Gate::Panic]);
    let (first, second) = (rig.caller().await, rig.caller().await);
    let started = Instant::now();
    let error = first.await.unwrap().unwrap_err();
    assert!(Panicked::is_behind(&error) && chain(&error).contains("the double was told to"), "{}", chain(&error));
    assert!(matches!(error, Error::Connect { phase: Phase::Handshake, .. }), "{error:?}");
    assert!(started.elapsed() < ms(20), "nobody waits to be told");
    assert!(second.await.unwrap().is_ok());
    assert!(started.elapsed() >= ms(20), "not at once");
    assert_eq!((rig.server.connects(), failures(&rig)), (2, 1));
    rig.assert_at_rest("served");
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_always_panics_is_not_begun_again_and_again() {
    let rig = Rig::new(2);
    rig.server.always(Step::Connect, Gate::Panic);
    let (started, mut told) = (Instant::now(), 0);
    // A handler that tries again at once.
    while started.elapsed() < ms(1000) {
        let error = rig.lease(Purpose::Statement).await.unwrap_err();
        assert!(Panicked::is_behind(&error), "{error:?}");
        told += 1;
    }
    assert_eq!((rig.server.connects(), failures(&rig)), (told, told), "one panic, one error, one event");
    assert!((2..=MOST_IN_A_SECOND).contains(&told), "{told}");
    rig.assert_at_rest("told");

    rig.server.recover();
    drop(rig.lend().await);
    rig.server.next(Step::Connect, [Gate::Panic]);
    let _holder = rig.lend().await;
    rig.lease(Purpose::Statement).await.unwrap_err();
    let started = Instant::now();
    drop(rig.lend().await);
    assert!(started.elapsed() <= ms(62), "a success ends the row: {:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_waits_while_connects_panic_is_told_one_by_one() {
    let rig = Rig::new(4);
    rig.server.always(Step::Connect, Gate::Panic);
    let crowd: Vec<_> = join_all((0..20).map(|_| rig.lease(Purpose::Statement))).await;
    assert!(crowd.iter().all(Result::is_err));
    let told = crowd.iter().filter(|lease| matches!(lease, Err(error) if Panicked::is_behind(error))).count();
    assert_eq!((rig.server.connects(), failures(&rig)), (told, told), "one panic, one waiter");
    // The pauses after the last panics end, and nobody waits for a dial any more.
    sleep(BORROW_TIMEOUT).await;
    rig.assert_at_rest("told");
}

#[tokio::test(start_paused = true)]
async fn nobody_dials_after_the_pause_when_nobody_waits_any_more() {
    let rig = Rig::new(1);
    rig.server.always(Step::Connect, Gate::Panic);
    rig.lease(Purpose::Statement).await.unwrap_err();
    let mut cancelled = Box::pin(rig.lease(Purpose::Statement));
    assert!(poll_once(cancelled.as_mut()).await.is_pending());
    settle().await;
    drop(cancelled);
    sleep(BORROW_TIMEOUT).await;
    assert_eq!(rig.server.connects(), 1);
    rig.assert_at_rest("cancelled");
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_little_time_hears_of_the_panic_all_the_same() {
    let rig = Rig::new(1);
    rig.server.always(Step::Connect, Gate::Panic);
    for _ in 0..30 {
        let error = rig.lease(Purpose::Statement).await.unwrap_err();
        assert!(Panicked::is_behind(&error), "the pause never takes all of {BORROW_TIMEOUT:?}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_loses_the_event_and_nothing_else() {
    let (server, clock) = (Double::default(), VirtualClock::new());
    let seen = Arc::<Mutex<Vec<Event>>>::default();
    let log = Arc::clone(&seen);
    let events = Events::new(vec![
        Box::new(|_: &Event| panic!("cannot take it")),
        Box::new(move |event: &Event| log.lock().unwrap().push(event.clone())),
    ]);
    let policy = Policy {
        validate_after: VALIDATE_AFTER,
        validate_timeout: VALIDATE_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        max_lifetime: MAX_LIFETIME,
    };
    let settings = Settings { limit: 1, borrow_timeout: BORROW_TIMEOUT, policy };
    let pool = Pool::new(server.clone(), settings, Clock::Virtual(clock), events);
    server.fail_connects::<1>();
    assert!(matches!(pool.lease(Purpose::Statement).await, Err(Error::Unreachable { .. })));
    assert!(matches!(seen.lock().unwrap()[..], [Event::ConnectFailed { .. }]), "the others hear of it");
    for _ in 0..3 {
        let mut lease = pool.lease(Purpose::Statement).await.unwrap();
        lease.broke();
    }
    assert_eq!(server.connects(), 4, "each was used");
}
