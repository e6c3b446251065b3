//! The known moments: upkeep, readiness, the end.

use super::*;

#[tokio::test(start_paused = true)]
async fn upkeep_brings_what_is_dirty_to_rest() {
    let rig = Rig::soiled(1).await;
    rig.upkeep(ms(500)).await;
    assert_eq!((rig.server.restored(), rig.numbers().idle), (vec![0], 1));
    assert!(rig.lend().await.conn().at_rest);
    assert_eq!(rig.server.restored(), [0], "nothing is left for the lease");
}

#[tokio::test(start_paused = true)]
async fn upkeep_closes_what_cannot_be_brought_to_rest() {
    for gate in [Gate::Err(Failure::Fatal), Gate::Never] {
        let rig = Rig::soiled(1).await;
        rig.server.always(Step::Restore, gate);
        rig.upkeep(ms(500)).await;
        assert_eq!(rig.discards(), [Discard::Unrecoverable]);
        rig.assert_at_rest("given up");
    }
}

/// It was lent long ago, and its time counts from then: what went on on it must end all the same.
#[tokio::test(start_paused = true)]
async fn what_was_on_loan_for_longer_than_the_idle_timeout_is_brought_to_rest() {
    for (gate, given_up) in [(Gate::Ok, 0), (Gate::Never, 1)] {
        let rig = Rig::warm(1, 1).await;
        let mut lease = rig.lend().await;
        lease.begin();
        sleep(IDLE_TIMEOUT).await;
        drop(lease);
        rig.server.always(Step::Restore, gate);
        rig.upkeep(ms(500)).await;
        assert_eq!(rig.server.restored(), [0]);
        assert_eq!(rig.server.given_up().len(), given_up);
    }
}

/// Whoever closes a connection on which something may go on has it ended.
#[tokio::test(start_paused = true)]
async fn what_goes_on_at_the_end_of_a_pool_is_ended() {
    let rig = Rig::soiled(1).await;
    rig.close().await;
    assert_eq!((rig.server.given_up(), rig.server.farewells()), (vec![0], vec![0]));
}

#[tokio::test(start_paused = true)]
async fn upkeep_closes_politely_what_has_served_its_term_and_nothing_else() {
    let rig = Rig::warm(2, 2).await;
    sleep(IDLE_TIMEOUT).await;
    rig.upkeep(ms(500)).await;
    assert_eq!(rig.discards(), [Discard::Idle; 2]);
    assert_eq!(rig.server.farewells(), [0, 1]);

    drop(rig.lend().await);
    for _ in 0..13 {
        sleep(IDLE_TIMEOUT / 2).await;
        rig.upkeep(ms(500)).await;
        drop(rig.lend().await);
    }
    assert_eq!(rig.discards().last(), Some(&Discard::Old));
    assert_eq!(rig.server.farewells(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn upkeep_does_no_io_for_connections_that_are_merely_idle() {
    let rig = Rig::warm(2, 2).await;
    sleep(VALIDATE_AFTER * 2).await;
    rig.upkeep(ms(500)).await;
    assert_eq!((rig.server.restored(), rig.server.connects(), rig.numbers().idle), (vec![], 2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_keeps_its_slot_until_the_socket_is_closed() {
    let rig = Rig::warm(1, 1).await;
    rig.server.always(Step::Close, Gate::Slow(ms(100)));
    sleep(IDLE_TIMEOUT).await;
    let (_, lease) = tokio::join!(rig.upkeep(ms(500)), rig.lease(Purpose::Statement));
    assert_eq!(lease.unwrap().conn().id, 1);
    assert_eq!(rig.server.most_open(), 1, "the server never saw one too many");
}

#[tokio::test(start_paused = true)]
async fn upkeep_waits_for_connects_under_way() {
    let rig = Rig::new(1);
    abandon_a_connect(&rig, Gate::Slow(ms(50))).await;
    rig.upkeep(ms(500)).await;
    assert_eq!((rig.numbers().idle, rig.numbers().connecting.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn upkeep_is_bounded_and_ends_a_connect_that_nobody_waits_for() {
    let rig = Rig::new(1);
    abandon_a_connect(&rig, Gate::Never).await;
    let started = Instant::now();
    rig.upkeep(ms(100)).await;
    assert_took(started, 100);
    settle().await;
    rig.assert_at_rest("ended");
    assert!(rig.saw(|event| matches!(event, Event::UpkeepCutShort { .. })));
    rig.server.recover();
    drop(rig.lend().await);
}

#[tokio::test(start_paused = true)]
async fn upkeep_leaves_a_connect_that_somebody_waits_for() {
    let rig = Rig::new(1);
    rig.server.slow_connects(ms(300));
    let caller = rig.caller().await;
    rig.upkeep(ms(100)).await;
    assert!(caller.await.unwrap().is_ok());
    assert_eq!(rig.server.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn upkeep_that_is_cut_short_puts_everything_back() {
    let rig = Rig::soiled(1).await;
    rig.server.fall_silent();
    rig.upkeep(ms(100)).await;
    rig.assert_at_rest("cut short");
    rig.server.recover();
    assert!(rig.lend().await.conn().at_rest, "it is still known to be dirty");
}

#[tokio::test(start_paused = true)]
async fn ready_does_no_io_when_warm() {
    let rig = Rig::warm(2, 1).await;
    sleep(ms(500)).await;
    rig.server.stall_connects();
    rig.server.fall_silent();
    let started = Instant::now();
    rig.ready().await.unwrap();
    assert_took(started, 0);
    assert_eq!((rig.server.connects(), rig.server.restored()), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn ready_connects_when_cold_and_keeps_nothing() {
    let rig = Rig::new(1);
    rig.ready().await.unwrap();
    assert_eq!(rig.server.connects(), 1);
    rig.assert_at_rest("ready");

    let cold = Rig::new(1);
    cold.server.fail_connects::<1>();
    assert!(matches!(cold.ready().await, Err(Error::Unreachable { .. })));
}

#[tokio::test(start_paused = true)]
async fn ready_validates_what_is_doubtful() {
    let rig = Rig::warm(1, 1).await;
    rig.clock.freeze(ms(500));
    rig.ready().await.unwrap();
    assert_eq!(rig.server.restored(), [0]);

    rig.server.hang_up(0);
    sleep(ms(20)).await;
    rig.ready().await.unwrap();
    assert_eq!(rig.server.connects(), 2);
}

#[tokio::test(start_paused = true)]
async fn ready_does_not_wait_when_all_are_on_loan() {
    let rig = Rig::new(2);
    let _holders = rig.borrow(2).await;
    let started = Instant::now();
    rig.ready().await.unwrap();
    assert_took(started, 0);
}

#[tokio::test(start_paused = true)]
async fn a_closed_pool_tells_its_waiters_and_keeps_nothing() {
    let rig = Rig::warm(2, 2).await;
    let holder = rig.lend().await;
    rig.close().await;
    assert_eq!((rig.server.farewells(), rig.server.open()), (vec![0], 1));
    drop(holder);
    rig.assert_at_rest("closed");
    assert_eq!(rig.server.open(), 0);
    assert!(matches!(rig.lease(Purpose::Statement).await, Err(Error::Closed)));
    assert!(matches!(rig.ready().await, Err(Error::Closed)));
    rig.close().await;
    rig.upkeep(ms(10)).await;
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_when_the_pool_closes_are_told_and_their_connects_end() {
    let rig = Rig::new(2);
    let holder = rig.lend().await;
    rig.server.stall_connects();
    let callers = [rig.caller().await, rig.caller().await];
    let started = Instant::now();
    rig.close().await;
    for caller in callers {
        assert!(matches!(caller.await.unwrap(), Err(Error::Closed)));
    }
    assert_took(started, 0);
    drop(holder);
    settle().await;
    rig.assert_at_rest("closed");
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_that_is_not_taken_does_not_hold_up_the_end() {
    let rig = Rig::warm(2, 2).await;
    rig.server.always(Step::Close, Gate::Never);
    let started = Instant::now();
    rig.close().await;
    assert_took(started, 200); // CLOSE_BOUND
    assert_eq!(rig.server.open(), 0);
}

/// A connect under way that nobody waits for.
async fn abandon_a_connect(rig: &Rig, gate: Gate) {
    rig.server.next(Step::Connect, [gate]);
    assert!(poll_once(pin!(rig.lease(Purpose::Statement))).await.is_pending());
    settle().await;
    assert_eq!(rig.numbers().connecting.len(), 1);
}
