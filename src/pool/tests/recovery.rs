//! What came home in the middle of something, and whoever comes next.

use super::*;

/// So many connections at rest, of which the first that were opened are dirty.
async fn soiled(limit: usize, dirty: usize) -> Rig {
    let rig = Rig::new(limit);
    let mut leases = rig.borrow(limit).await;
    for lease in &mut leases[..dirty] {
        lease.conn().at_rest = false;
        lease.begin();
    }
    drop(leases);
    rig
}

#[tokio::test(start_paused = true)]
async fn a_dirty_connection_is_brought_to_rest_before_a_clean_one_is_lent() {
    let rig = soiled(3, 1).await;
    rig.server.always(Step::Restore, Gate::Slow(ms(20)));
    let mut lease = rig.lend().await;
    assert_eq!((lease.conn().id, lease.conn().at_rest), (0, true));
    assert_eq!(rig.server.restored(), [0]);
}

#[tokio::test(start_paused = true)]
async fn one_lease_brings_all_that_is_dirty_to_rest() {
    let rig = soiled(3, 3).await;
    rig.server.always(Step::Restore, Gate::Slow(ms(20)));
    let started = Instant::now();
    let lease = rig.lend().await;
    settle().await;
    assert_took(started, 20);
    let mut restored = rig.server.restored();
    restored.sort_unstable();
    assert_eq!((restored, rig.numbers().idle), (vec![0, 1, 2], 2), "beside each other, and each once");
    drop(lease);
    for mut lease in rig.borrow(3).await {
        assert!(lease.conn().at_rest);
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_wait_for_a_recovery_is_lent_a_clean_one_and_the_recovery_goes_on() {
    let rig = soiled(2, 1).await;
    rig.server.always(Step::Restore, Gate::Slow(ms(100)));
    let started = Instant::now();
    let mut lease = rig.lend().await;
    assert_took(started, 25); // HEDGE
    assert_eq!(lease.conn().id, 1);
    // Nobody asks for another one: whoever waits for what the dirty one holds does so on the connection that it has.
    sleep(ms(80)).await;
    assert!(rig.saw(|event| matches!(event, Event::Recovered { .. })));
    assert_eq!((rig.server.restored(), rig.numbers().idle), (vec![0], 1));
}

#[tokio::test(start_paused = true)]
async fn a_recovery_goes_on_without_the_caller_that_was_dropped() {
    let rig = soiled(1, 1).await;
    rig.server.always(Step::Restore, Gate::Slow(ms(100)));
    assert!(timeout(ms(10), rig.lease(Purpose::Statement)).await.is_err());
    sleep(ms(95)).await;
    assert!(rig.saw(|event| matches!(event, Event::Recovered { .. })));
    assert_eq!((rig.server.restored(), rig.numbers().idle), (vec![0], 1));
}

#[tokio::test(start_paused = true)]
async fn upkeep_waits_for_recoveries_that_a_lease_began() {
    let rig = soiled(2, 1).await;
    rig.server.always(Step::Restore, Gate::Slow(ms(100)));
    drop(rig.lend().await);
    assert_eq!(rig.numbers().holders.len(), 1);
    rig.upkeep(ms(500)).await;
    rig.assert_at_rest("after upkeep");
    assert_eq!((rig.server.restored(), rig.numbers().idle), (vec![0], 2));
}

#[tokio::test(start_paused = true)]
async fn upkeep_that_is_cut_short_ends_recoveries_and_they_are_begun_again() {
    let rig = soiled(2, 1).await;
    rig.server.fall_silent();
    drop(rig.lend().await);
    rig.upkeep(ms(50)).await;
    settle().await;
    rig.assert_at_rest("cut short");
    rig.server.recover();
    assert!(rig.lend().await.conn().at_rest);
    assert_eq!((rig.server.restored(), rig.discards()), (vec![0, 0], vec![]));
}

#[tokio::test(start_paused = true)]
async fn upkeep_waits_for_what_goes_on_beside_the_connections() {
    let rig = soiled(1, 1).await;
    rig.server.always(Step::Restore, Gate::Err(Failure::Fatal));
    rig.server.always(Step::Settle, Gate::Slow(ms(100)));
    let started = Instant::now();
    rig.upkeep(ms(500)).await;
    assert_took(started, 100);
    rig.server.always(Step::Settle, Gate::Never);
    rig.upkeep(ms(500)).await;
    assert!(rig.saw(|event| matches!(event, Event::UpkeepCutShort { .. })));
}
