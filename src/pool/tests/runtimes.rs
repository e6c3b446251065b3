//! One pool under several runtimes, as a static one is in tests, or where threads have runtimes of their own.

use std::thread::scope;

use tokio::runtime::{Builder, Runtime};

use super::*;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn a_connection_is_lent_on_its_own_runtime_only() {
    let (first, second) = (runtime(), runtime());
    let rig = first.block_on(Rig::warm(1, 1));
    first.block_on(async { assert_eq!(rig.lend().await.conn().id, 0, "its own") });
    second.block_on(async { assert_eq!(rig.lend().await.conn().id, 1, "another one") });
    assert_eq!((rig.discards(), rig.server.open()), (vec![Discard::Foreign], 1));
    drop(second);
    first.block_on(async {
        rig.ready().await.unwrap();
        assert_eq!(rig.lend().await.conn().id, 2, "and the runtime that is gone has left nothing that is lent");
    });
    assert_eq!(rig.discards(), [Discard::Foreign; 2]);
    rig.assert_at_rest("in the end");
}

#[test]
fn what_another_runtime_left_in_the_middle_of_something_is_not_brought_to_rest_on_this_one() {
    let (first, second) = (runtime(), runtime());
    let rig = first.block_on(Rig::soiled(2));
    second.block_on(async {
        assert_eq!(rig.lend().await.conn().id, 1);
        rig.upkeep(ms(500)).await;
    });
    assert!(rig.server.restored().is_empty());
    assert_eq!(rig.discards(), [Discard::Foreign]);
}

#[test]
fn a_waiter_that_is_handed_another_runtimes_connection_gets_one_of_its_own() {
    let (first, second) = (runtime(), runtime());
    let rig = first.block_on(Rig::warm(1, 1));
    let held = first.block_on(rig.lend());
    scope(|threads| {
        let waiter = threads.spawn(|| second.block_on(async { rig.lend().await.conn().id }));
        while rig.numbers().waiting == 0 {
            std::thread::yield_now();
        }
        first.block_on(async { drop(held) });
        assert_eq!(waiter.join().unwrap(), 1);
    });
    assert_eq!(rig.discards(), [Discard::Foreign]);
    rig.assert_at_rest("in the end");
}
