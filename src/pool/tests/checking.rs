//! Checks of what is doubtful or dirty, and the replacement that is sought beside them.

use super::*;
use crate::deadline::INVOCATION;

#[tokio::test(start_paused = true)]
async fn a_dirty_connection_is_restored_before_it_is_lent_again() {
    let rig = Rig::soiled(1).await;
    let mut lease = rig.lend().await;
    assert!(lease.conn().at_rest);
    assert_eq!((lease.conn().id, rig.server.restored()), (0, vec![0]));
    assert!(rig.saw(|event| matches!(event, Event::Recovered { .. })));
    drop(lease);
    drop(rig.lend().await);
    assert_eq!(rig.server.restored(), [0], "once is enough");
}

#[tokio::test(start_paused = true)]
async fn a_dirty_connection_that_cannot_be_restored_is_replaced() {
    for (gate, took) in [(Gate::Err(Failure::Fatal), 0), (Gate::Never, 250)] {
        let rig = Rig::soiled(1).await;
        rig.server.always(Step::Restore, gate);
        let started = Instant::now();
        assert_eq!(rig.lend().await.conn().id, 1);
        assert_took(started, took);
        assert_eq!(rig.discards(), [Discard::Unrecoverable]);
        assert_eq!(rig.server.most_open(), 1);
        // What may still go on on one that has not answered is ended beside it.
        assert_eq!(rig.server.given_up().len(), usize::from(took > 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_given_up_after_validate_timeout() {
    let rig = Rig::warm(1, 1).await;
    rig.server.fall_silent();
    sleep(VALIDATE_AFTER).await;
    let started = Instant::now();
    assert_eq!(rig.lend().await.conn().id, 1);
    assert_took(started, 250);
    assert_eq!(rig.discards(), [Discard::Silent]);
    assert!(rig.server.given_up().is_empty(), "nothing went on on it");
}

#[tokio::test(start_paused = true)]
async fn with_room_a_replacement_is_dialled_beside_a_silent_check_and_wins() {
    let rig = Rig::warm(2, 1).await;
    rig.server.fall_silent();
    rig.server.slow_connects(ms(10));
    sleep(VALIDATE_AFTER).await;
    let started = Instant::now();
    assert_eq!(rig.lend().await.conn().id, 1);
    assert_took(started, 35); // HEDGE and the dial
    assert_eq!((rig.numbers().idle, rig.discards()), (2, vec![]), "the silent one is left for upkeep");
    rig.upkeep(ms(500)).await;
    assert_eq!((rig.numbers().idle, rig.discards()), (1, vec![Discard::Unrecoverable]));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_answers_wins_over_its_replacement() {
    let rig = Rig::warm(2, 1).await;
    rig.server.always(Step::Restore, Gate::Slow(ms(60)));
    rig.server.slow_connects(ms(100));
    sleep(VALIDATE_AFTER).await;
    let started = Instant::now();
    let mut lease = rig.lend().await;
    assert_took(started, 60);
    assert_eq!(lease.conn().id, 0);
    sleep(ms(100)).await;
    assert_eq!((rig.numbers().idle, rig.server.connects()), (1, 2), "what was dialled is the pool's");
}

#[tokio::test(start_paused = true)]
async fn an_ordinary_check_costs_no_second_connection() {
    let rig = Rig::warm(2, 1).await;
    rig.server.always(Step::Restore, Gate::Slow(ms(20)));
    sleep(VALIDATE_AFTER).await;
    drop(rig.lend().await);
    assert_eq!(rig.server.connects(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_fails_does_not_fail_the_check_beside_it() {
    let rig = Rig::warm(2, 1).await;
    rig.server.always(Step::Restore, Gate::Slow(ms(60)));
    rig.server.fail_connects::<1>();
    sleep(VALIDATE_AFTER).await;
    assert_eq!(rig.lend().await.conn().id, 0);
}

#[tokio::test(start_paused = true)]
async fn when_check_and_replacement_fail_the_caller_hears_why_nothing_could_be_dialled() {
    let rig = Rig::warm(2, 1).await;
    rig.server.fall_silent();
    rig.server.fail_connects::<1>();
    sleep(VALIDATE_AFTER).await;
    let started = Instant::now();
    let error = rig.lease(Purpose::Statement).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert_took(started, 250);
}

#[tokio::test(start_paused = true)]
async fn a_dirty_connection_that_comes_home_to_a_check_is_restored_like_any_other() {
    let rig = Rig::new(2);
    let [silent, mut other] = <[_; 2]>::try_from(rig.borrow(2).await).unwrap();
    drop(silent);
    rig.server.next(Step::Restore, [Gate::Never]);
    sleep(VALIDATE_AFTER).await;
    let caller = rig.caller().await;
    sleep(ms(50)).await;
    other.conn().at_rest = false;
    other.begin();
    drop(other);
    let mut lease = caller.await.unwrap().unwrap();
    assert!(lease.conn().at_rest, "lent in the middle of somebody else's work");
    assert_eq!(rig.server.restored(), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn beside_a_silent_check_another_connection_at_rest_is_tried() {
    let rig = Rig::warm(2, 2).await;
    rig.server.next(Step::Restore, [Gate::Never]);
    sleep(VALIDATE_AFTER).await;
    let started = Instant::now();
    assert_eq!(rig.lend().await.conn().id, 0);
    assert_took(started, 25);
    assert_eq!(rig.server.restored(), [1, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_pool_full_of_silence_costs_one_validate_timeout() {
    let rig = Rig::warm(3, 3).await;
    rig.server.fall_silent();
    sleep(VALIDATE_AFTER).await;
    let started = Instant::now();
    assert_eq!(rig.lend().await.conn().id, 3);
    assert_took(started, 250);
    assert_eq!(rig.server.most_open(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_check_does_not_outlast_the_borrow_timeout() {
    let rig = Rig::new(1);
    let mut holder = rig.lend().await;
    rig.server.fall_silent();
    let started = Instant::now();
    let caller = rig.caller().await;
    sleep(ms(990)).await;
    holder.begin();
    drop(holder);
    let error = caller.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::PoolExhausted { .. }), "{error}");
    assert_took(started, 1000);
    assert_eq!(rig.discards(), [], "a check that was cut short proves nothing");
}

#[tokio::test(start_paused = true)]
async fn a_check_does_not_outlast_the_invocation() {
    let rig = Rig::warm(1, 1).await;
    rig.server.fall_silent();
    sleep(VALIDATE_AFTER).await;
    let started = Instant::now();
    let leased = INVOCATION.scope(started + ms(100), rig.lease(Purpose::Statement)).await;
    assert!(matches!(leased, Err(Error::PoolExhausted { .. })));
    assert_took(started, 100);
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_held_by_a_check_until_it_is_lent() {
    let rig = Rig::new(1);
    let mut lease = rig.lease(Purpose::Pin).await.unwrap();
    lease.begin();
    drop(lease);
    rig.server.always(Step::Restore, Gate::Slow(ms(20)));
    let caller = rig.caller().await;
    assert_eq!(rig.numbers().holders[0].purpose, Purpose::Check);
    let lease = caller.await.unwrap().unwrap();
    assert_eq!(rig.numbers().holders[0].purpose, Purpose::Statement);
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn a_pool_closed_during_a_check_does_not_keep_the_caller() {
    let rig = Rig::warm(1, 1).await;
    rig.server.fall_silent();
    sleep(VALIDATE_AFTER).await;
    let started = Instant::now();
    let caller = rig.caller().await;
    rig.close().await;
    let error = caller.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Closed), "{error}");
    assert_took(started, 250);
    rig.assert_at_rest("closed");
}
