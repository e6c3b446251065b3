//! What is lent as it is, what is asked first, what is closed.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_fresh_connection_is_lent_without_a_round_trip() {
    let rig = Rig::warm(2, 1).await;
    rig.server.stall_connects();
    rig.server.fall_silent();
    for pause in [0, 9, 10, 999] {
        sleep(ms(pause)).await;
        assert_eq!(rig.lend().await.conn().id, 0, "after {pause} ms at rest");
    }
    assert_eq!((rig.server.connects(), rig.server.restored()), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_connection_at_rest_for_longer_is_validated_first() {
    let rig = Rig::warm(1, 1).await;
    sleep(VALIDATE_AFTER).await;
    assert_eq!(rig.lend().await.conn().id, 0);
    assert_eq!(rig.server.restored(), [0]);
    assert!(rig.saw(|event| matches!(event, Event::Validated { idle, .. } if *idle >= VALIDATE_AFTER)));

    drop(rig.lend().await);
    assert_eq!(rig.server.restored(), [0], "the answer counts as a use");
}

#[tokio::test(start_paused = true)]
async fn a_freeze_makes_a_connection_doubtful_that_was_used_just_now() {
    let rig = Rig::warm(1, 1).await;
    rig.clock.freeze(ms(200));
    assert_eq!(rig.lend().await.conn().id, 0);
    assert_eq!(rig.server.restored(), [0]);
    assert!(rig.saw(|event| matches!(event, Event::Thawed { frozen } if *frozen == ms(200))));
}

#[tokio::test(start_paused = true)]
async fn a_long_freeze_is_a_long_rest() {
    let rig = Rig::warm(2, 2).await;
    rig.clock.freeze(IDLE_TIMEOUT);
    assert_eq!(rig.lend().await.conn().id, 2);
    assert_eq!(rig.discards(), [Discard::Idle; 2]);
    assert_eq!((rig.server.open(), rig.server.restored()), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_connection_past_its_lifetime_is_replaced_though_it_was_used_just_now() {
    let rig = Rig::warm(1, 1).await;
    let started = Instant::now();
    while started.elapsed() < MAX_LIFETIME {
        sleep(IDLE_TIMEOUT / 2).await;
        drop(rig.lend().await);
    }
    assert_eq!(rig.discards(), [Discard::Old]);
    assert_eq!((rig.server.connects(), rig.server.open()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hung_up_costs_one_connect_and_no_error() {
    for rest in [ms(20), VALIDATE_AFTER] {
        let rig = Rig::warm(1, 1).await;
        rig.server.hang_up(0);
        sleep(rest).await;
        let started = Instant::now();
        assert_eq!(rig.lend().await.conn().id, 1);
        assert_took(started, 0);
        assert_eq!(rig.discards(), [Discard::ClosedByPeer]);
        assert_eq!((rig.server.connects(), rig.server.restored()), (2, vec![]));
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_thaw_all_whose_peers_hung_up_are_gone_at_once() {
    let rig = Rig::warm(3, 3).await;
    rig.clock.freeze(ms(500));
    rig.server.hang_up(0);
    rig.server.hang_up(1);
    drop(rig.lend().await);
    assert_eq!(rig.discards(), [Discard::ClosedByPeer; 2]);
    assert_eq!((rig.numbers().idle, rig.server.connects()), (1, 3), "the one that is left serves");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_something_unasked_is_asked() {
    let rig = Rig::warm(1, 1).await;
    rig.server.chatter(0);
    sleep(ms(20)).await;
    assert_eq!(rig.lend().await.conn().id, 0);
    assert_eq!(rig.server.restored(), [0]);
}

#[tokio::test(start_paused = true)]
async fn the_connection_used_last_is_lent_first() {
    let rig = Rig::new(2);
    let [older, newer] = <[_; 2]>::try_from(rig.borrow(2).await).unwrap();
    drop(older);
    drop(newer);
    assert_eq!(rig.lend().await.conn().id, 1);
}

#[tokio::test(start_paused = true)]
async fn a_broken_lease_frees_its_slot_and_drop_spawns_nothing() {
    let rig = Rig::new(1);
    let mut lease = rig.lend().await;
    let waiter = rig.caller().await;
    lease.broke();
    // On a thread without a runtime a spawn would panic.
    std::thread::spawn(move || drop(lease)).join().expect("drop needs no runtime");
    assert_eq!((rig.server.connects(), rig.server.open()), (1, 0));
    assert_eq!(waiter.await.unwrap().unwrap().conn().id, 1, "the waiter woke up and dialled");
    assert_eq!(rig.discards(), [Discard::Broken]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_goes_home_clean_from_a_thread_without_a_runtime() {
    let rig = Rig::new(1);
    let lease = rig.lend().await;
    let waiter = rig.caller().await;
    std::thread::spawn(move || drop(lease)).join().expect("drop needs no runtime");
    assert_eq!(waiter.await.unwrap().unwrap().conn().id, 0);
}

#[tokio::test(start_paused = true)]
async fn work_that_began_and_ended_leaves_a_lease_clean_and_broken_stays_broken() {
    let rig = Rig::new(1);
    let mut lease = rig.lend().await;
    lease.begin();
    lease.end();
    drop(lease);
    let mut lease = rig.lend().await;
    assert!(rig.server.restored().is_empty());
    lease.broke();
    lease.begin();
    lease.end();
    drop(lease);
    assert_eq!(rig.discards(), [Discard::Broken]);
}
