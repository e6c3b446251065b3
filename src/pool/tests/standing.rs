//! What is known of a connection's server without asking it.

use super::*;

#[tokio::test(start_paused = true)]
async fn what_is_doubtful_is_asked_before_it_is_lent() {
    let rig = Rig::new(1);
    drop(rig.lend().await);
    rig.server.stands(0, Standing::Doubtful);
    drop(rig.lend().await);
    assert_eq!((rig.server.restored(), rig.server.connects()), (vec![0], 1));
    rig.assert_at_rest("it answered");
}

#[tokio::test(start_paused = true)]
async fn what_is_obsolete_is_never_lent_and_is_closed_where_it_lies_or_when_it_comes_home() {
    let rig = Rig::new(2);
    let (held, rest) = (rig.lend().await, rig.lend().await);
    drop(rest);
    rig.server.stands(0, Standing::Obsolete);
    rig.server.stands(1, Standing::Obsolete);
    let mut fresh = rig.lend().await;
    assert_eq!(fresh.conn().id, 2);
    drop(held);
    assert_eq!(rig.discards(), [Discard::Obsolete; 2]);
    assert!(rig.server.restored().is_empty(), "nobody asks them anything");
    drop(fresh);
    rig.server.stands(2, Standing::Obsolete);
    rig.upkeep(ms(100)).await;
    assert_eq!(rig.server.farewells(), [2], "at upkeep with a goodbye");
    rig.assert_at_rest("all gone");
}

#[tokio::test(start_paused = true)]
async fn callers_wait_longer_while_the_way_is_searched_for() {
    let rig = Rig::new(1);
    let _holder = rig.lend().await;
    rig.server.searches(Some(BORROW_TIMEOUT * 3));
    let started = Instant::now();
    assert!(matches!(rig.lease(Purpose::Statement).await, Err(Error::PoolExhausted { .. })));
    assert_eq!(started.elapsed().as_secs(), (BORROW_TIMEOUT * 3).as_secs());
    rig.server.searches(None);
    let started = Instant::now();
    assert!(rig.lease(Purpose::Statement).await.is_err());
    assert_eq!(started.elapsed().as_secs(), BORROW_TIMEOUT.as_secs());
}
