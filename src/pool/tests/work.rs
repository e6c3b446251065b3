//! What becomes of connections at rest when the work is done.

use super::*;
use crate::deadline::Deadline;

fn soon() -> Deadline {
    Deadline::after(Duration::from_millis(500))
}

#[tokio::test(start_paused = true)]
async fn what_is_not_worth_its_slot_says_goodbye_at_the_end_of_the_invocation() {
    let rig = Rig::new(2);
    let (pool, server) = (&rig.pool, &rig.server);
    server.has(90, 100);
    let invocation = pool.invoked();
    drop(pool.lease(Purpose::Statement).await.unwrap());
    pool.rest(soon()).await;
    assert_eq!((server.asked(), server.open()), (0, 1), "it is at work");
    drop(invocation);
    pool.rest(soon()).await;
    assert_eq!((server.asked(), server.open()), (1, 0));
    assert_eq!(server.farewells(), [0]);
    assert_eq!(pool.numbers().idle, 0);
}

#[tokio::test(start_paused = true)]
async fn what_has_room_is_kept_and_asked_about_once() {
    let rig = Rig::new(2);
    let (pool, server) = (&rig.pool, &rig.server);
    server.has(10, 100);
    for _ in 0..20 {
        let invocation = pool.invoked();
        drop(pool.lease(Purpose::Statement).await.unwrap());
        drop(invocation);
        pool.rest(soon()).await;
    }
    assert_eq!((server.asked(), server.open(), server.connects()), (1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_let_for_a_term_in_a_crowd_and_at_first() {
    for (sessions, expected) in [(10, vec![]), (40, vec![10_000]), (80, vec![80; 4])] {
        // The fullest server gets the first one back: whether it comes again soon is not known by then.
        let rig = Rig::new(2);
        let (pool, server) = (&rig.pool, &rig.server);
        server.has(sessions, 100);
        for _ in 0..5 {
            let invocation = pool.invoked();
            drop(pool.lease(Purpose::Statement).await.unwrap());
            drop(invocation);
            pool.rest(soon()).await;
            tokio::time::advance(Duration::from_millis(20)).await;
        }
        assert_eq!(server.open(), 1, "{sessions} of 100: it comes back soon");
        let terms: Vec<_> = server.terms().iter().map(|(_, term)| term.as_millis()).collect();
        assert_eq!(terms, expected, "{sessions} of 100");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_let_for_a_term_is_not_used_by_that() {
    let rig = Rig::new(2);
    let (pool, server) = (&rig.pool, &rig.server);
    server.has(80, 100);
    let serve = async || {
        let invocation = pool.invoked();
        drop(pool.lease(Purpose::Statement).await.unwrap());
        drop(invocation);
        pool.rest(soon()).await;
        tokio::time::advance(Duration::from_millis(20)).await;
    };
    for _ in 0..3 {
        serve().await;
    }
    let both = (pool.lease(Purpose::Statement).await.unwrap(), pool.lease(Purpose::Statement).await.unwrap());
    drop(both);
    for _ in 0..5 {
        serve().await;
    }
    assert_eq!(server.open(), 2, "both are let for a term: {:?}", server.terms());
    // One of them was idle all the while.
    tokio::time::advance(IDLE_TIMEOUT - Duration::from_millis(50)).await;
    pool.upkeep(Duration::from_millis(500)).await;
    assert_eq!(server.open(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_session_of_a_refused_environment_leaves_nothing() {
    let rig = Rig::new(2);
    let (pool, server) = (&rig.pool, &rig.server);
    server.refuse::<2>();
    pool.opened();
    pool.opened();
    drop(pool.lease(Purpose::Statement).await.unwrap());
    pool.closed();
    assert_eq!(server.open(), 1, "the other session is at work");
    pool.closed();
    assert_eq!(server.open(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_sessions_of_an_invocation_leave_their_connection_to_its_end() {
    let rig = Rig::new(2);
    let (pool, server) = (&rig.pool, &rig.server);
    server.refuse::<1>();
    server.has(10, 100);
    let invocation = pool.invoked();
    pool.opened();
    drop(pool.lease(Purpose::Statement).await.unwrap());
    pool.closed();
    assert_eq!(server.open(), 1);
    drop(invocation);
    pool.rest(soon()).await;
    assert_eq!(server.open(), 1, "there is much room again");
}

#[tokio::test(start_paused = true)]
async fn a_question_that_is_not_answered_costs_the_connection() {
    let rig = Rig::new(2);
    let (pool, server) = (&rig.pool, &rig.server);
    server.has(90, 100);
    drop(pool.lease(Purpose::Statement).await.unwrap());
    server.silence_questions();
    pool.rest(soon()).await;
    assert_eq!((server.open(), pool.numbers().idle), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn upkeep_that_has_used_up_its_time_asks_nothing_and_costs_nothing() {
    let rig = Rig::new(2);
    let (pool, server) = (&rig.pool, &rig.server);
    server.has(90, 100);
    drop(pool.lease(Purpose::Statement).await.unwrap());
    pool.rest(Deadline::after(Duration::from_millis(10))).await;
    assert_eq!((server.asked(), server.open()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_forgotten_where_there_is_no_layer_either() {
    let rig = Rig::new(2);
    let (pool, server) = (&rig.pool, &rig.server);
    server.refuse::<1>();
    pool.opened();
    drop(pool.lease(Purpose::Statement).await.unwrap());
    pool.closed();
    assert_eq!(server.open(), 0);
    sleep(Duration::from_secs(30)).await;
    for _ in 0..2 {
        pool.opened();
        drop(pool.lease(Purpose::Statement).await.unwrap());
        pool.closed();
        assert_eq!(server.open(), 1);
    }
}
