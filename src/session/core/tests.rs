//! The account, step by step.

mod cancellation;
mod dedicated;
mod matrix;

use super::settings::{MOST_BYTES, MOST_KEPT, MOST_SETTINGS};
use super::*;
#[cfg(feature = "postgres")]
use crate::engine::PinEnd;
use crate::engine::{Control, Label};

fn in_transaction(depth: usize) -> State {
    let mut state = State::default();
    (0..depth).for_each(|_| state.begun());
    state
}

#[test]
fn an_error_aborts_its_savepoint_and_what_lies_inside_it() {
    let mut state = in_transaction(2);
    state.failed("22012");
    state.failed("25P02");
    assert_eq!(state.commit_plan(2), CommitPlan::Refuse("22012".into()), "the first error is the cause");
    state.rolled_back(2);
    assert_eq!(state.commit_plan(1), CommitPlan::Commit, "rolled back to the savepoint, the rest is healthy");
}

#[test]
fn an_error_outside_a_savepoint_aborts_everything() {
    let mut state = in_transaction(1);
    state.failed("23505");
    state.begun();
    assert!(matches!(state.commit_plan(1), CommitPlan::Refuse(_)));
}

#[test]
fn an_error_outside_a_transaction_leaves_nothing() {
    let mut state = State::default();
    state.failed("22012");
    state.begun();
    assert_eq!(state.commit_plan(1), CommitPlan::Commit);
}

#[test]
fn doubt_is_settled_by_the_server() {
    let mut state = in_transaction(1);
    state.pin(PinReason::new(PinCause::RawTransaction, "commit"), true);
    assert_eq!(state.commit_plan(1), CommitPlan::Probe);
    assert!(!state.is_free());
}

#[test]
fn a_rollback_takes_settings_back_and_a_commit_keeps_them() {
    let set = |value: &str| SettingChange::Set(vec![("x".into(), format!("set x = {value}"))]);
    let x = |state: &State| state.settings().get("x").map(str::to_owned);
    let mut state = State::default();
    state.changed(set("1"));
    state.begun();
    state.changed(set("2"));
    state.begun();
    state.changed(set("3"));
    state.rolled_back(2);
    assert_eq!(x(&state).as_deref(), Some("set x = 2"));
    state.begun();
    state.changed(SettingChange::Reset("x".into()));
    state.committed(2);
    assert_eq!(x(&state), None);
    state.rolled_back(1);
    assert_eq!(x(&state).as_deref(), Some("set x = 1"));
    state.begun();
    state.changed(set("4"));
    state.committed(1);
    assert_eq!(x(&state).as_deref(), Some("set x = 4"));
    state.changed(SettingChange::Set(vec![("role".into(), "set role r".into())]));
    state.changed(SettingChange::ResetAll);
    assert_eq!(state.settings().names().collect::<Vec<_>>(), ["role"]);
}

#[test]
fn a_session_carries_so_long_settings_and_no_longer() {
    let set = |n: usize, bytes: usize| SettingChange::Set(vec![(format!("app.n{n}"), "x".repeat(bytes))]);
    let mut state = State::default();
    assert!(state.has_no_room_for(&set(0, MOST_BYTES)), "with its name");
    state.changed(set(0, MOST_BYTES / 2));
    state.changed(set(1, MOST_BYTES / 4));
    assert!(state.has_no_room_for(&set(2, MOST_BYTES / 4)), "all together");
    assert!(!state.has_no_room_for(&set(2, MOST_BYTES / 5)));
    assert!(!state.has_no_room_for(&set(0, MOST_BYTES / 2)), "in the place of itself");
    assert!(state.has_no_room_for(&set(1, MOST_BYTES / 2)), "a known one that has become longer");
}

#[test]
fn a_session_carries_so_many_settings_and_no_more() {
    let set = |names: &[usize]| {
        let setting = |n: &usize| (format!("app.n{n}"), format!("set app.n{n} = 1"));
        SettingChange::Set(names.iter().map(setting).collect())
    };
    let mut state = State::default();
    for n in 1..MOST_SETTINGS {
        assert!(!state.has_no_room_for(&set(&[n])), "{n}");
        state.changed(set(&[n]));
    }
    assert!(!state.has_no_room_for(&set(&[1, MOST_SETTINGS, MOST_SETTINGS])), "one of them is new");
    assert!(state.has_no_room_for(&set(&[0, MOST_SETTINGS])), "one too many");
    state.changed(set(&[MOST_SETTINGS]));
    assert!(state.has_no_room_for(&set(&[0])));
    for known in [set(&[7]), set(&[7, 8]), SettingChange::Reset("app.n0".into()), SettingChange::ResetAll] {
        assert!(!state.has_no_room_for(&known), "{known:?}");
    }
    state.changed(SettingChange::Reset("app.n7".into()));
    assert!(!state.has_no_room_for(&set(&[0])), "there is room again");
}

#[test]
fn a_dropped_transaction_is_rolled_back_from_the_outermost() {
    let mut state = in_transaction(3);
    state.abandon(3);
    state.abandon(2);
    assert_eq!((state.abandoned(), state.depth()), (Some(2), 1));
    state.rolled_back_abandoned();
    assert_eq!(state.commit_plan(1), CommitPlan::Commit);

    let mut state = in_transaction(2);
    state.ending(2, true);
    state.abandon(2);
    assert_eq!((state.abandoned(), state.depth()), (None, 1), "its end is on its way");
    state.failed("3B001");
    assert!(matches!(state.commit_plan(1), CommitPlan::Refuse(_)), "and if it failed, that counts");
}

#[test]
fn a_lost_transaction_is_never_continued_elsewhere() {
    let mut state = in_transaction(1);
    state.lost();
    assert!(state.is_lost());
    state.rolled_back(1);
    assert!(!state.is_lost() && state.is_free(), "after it has ended the session is free again");

    let mut state = State::default();
    state.lost();
    assert!(!state.is_lost(), "a free session loses nothing");

    let mut state = State::default();
    state.pin(PinReason::new(PinCause::HandedOut, ""), true);
    state.lost();
    state.begun();
    state.rolled_back(1);
    assert!(state.is_lost(), "a pinned session's state does not come back");
}

fn turn(state: &mut State, control: Control<'_>) {
    match state.read(control) {
        Reading::Turn(turn) => state.turned(turn),
        reading => panic!("{reading:?}"),
    }
}

fn label(name: &str) -> Label<'_> {
    Label { name, folds: true }
}

#[test]
fn a_transaction_as_text_is_followed_and_ends_as_it_says() {
    let set = |state: &mut State, value: &str| state.changed(SettingChange::Set(vec![("x".into(), value.into())]));
    let x = |state: &State| state.settings().get("x").map(str::to_owned);
    let mut state = State::default();
    turn(&mut state, Control::Begin);
    assert!(!state.is_free() && state.is_begun_by_text());
    assert_eq!(state.read(Control::Begin), Reading::Nothing, "the server only warns");
    set(&mut state, "1");
    turn(&mut state, Control::Savepoint(label("A")));
    set(&mut state, "2");
    state.failed("22012");
    turn(&mut state, Control::RollbackTo(label("a")));
    assert_eq!((x(&state).as_deref(), state.commit_plan(1)), (Some("1"), CommitPlan::Commit));
    turn(&mut state, Control::Release(label("a")));
    assert_eq!(state.read(Control::Release(label("a"))), Reading::Unclear { ends: false }, "it is gone");
    turn(&mut state, Control::Commit { chain: true });
    assert_eq!((state.depth(), x(&state).as_deref()), (1, Some("1")));
    set(&mut state, "3");
    turn(&mut state, Control::Rollback { chain: false });
    assert_eq!((state.is_free(), x(&state).as_deref()), (true, Some("1")));
    assert_eq!(state.read(Control::Commit { chain: false }), Reading::Nothing, "there is none to commit");
}

#[test]
fn a_text_that_takes_a_guards_transaction_is_never_followed() {
    let mut state = in_transaction(1);
    assert_eq!(state.read(Control::Commit { chain: false }), Reading::Unclear { ends: true });
    assert_eq!(state.read(Control::Whole), Reading::Unclear { ends: true });
    turn(&mut state, Control::Savepoint(label("a")));
    state.begun();
    assert_eq!(state.read(Control::RollbackTo(label("a"))), Reading::Unclear { ends: false }, "a guard's lies in it");
    state.taken_from_guards();
    assert_eq!(state.commit_plan(1), CommitPlan::Disown);
    state.rolled_back(1);
    assert_eq!(in_transaction(1).commit_plan(1), CommitPlan::Commit);
}

#[cfg(feature = "postgres")]
#[test]
fn pins_end_by_cause_outside_transactions_and_never_in_doubt() {
    let pinned = |causes: &[PinCause]| {
        let mut state = State::default();
        causes.iter().for_each(|cause| state.pin(PinReason::new(*cause, ""), sqlx::Postgres::may_control(*cause)));
        state
    };
    let mut both = pinned(&[PinCause::Listen, PinCause::TemporaryObject]);
    assert!(!both.pins_ended(PinEnd::Of(PinCause::Listen)));
    both.begun();
    assert!(!both.pins_ended(PinEnd::Of(PinCause::TemporaryObject)), "a rollback would bring it back");
    both.committed(1);
    assert!(both.pins_ended(PinEnd::Of(PinCause::TemporaryObject)) && both.is_free());
    assert!(pinned(&[PinCause::Listen, PinCause::AdvisoryLock]).pins_ended(PinEnd::Everything));
    assert!(!pinned(&[PinCause::Library]).pins_ended(PinEnd::Everything), "a library stays");
    assert!(!pinned(&[PinCause::HandedOut]).pins_ended(PinEnd::Everything), "nobody knows what was done");
}

#[test]
fn a_text_that_failed_half_way_leaves_what_the_server_says() {
    for (open, depth) in [(true, 1), (false, 0)] {
        let mut state = State::default();
        state.failed_half_way("22012");
        assert!(!state.is_free() && state.half_done.is_some());
        state.found_half_done(open);
        assert_eq!((state.depth(), state.half_done.is_some()), (depth, false));
    }
}

#[test]
fn savepoints_keep_no_more_settings_than_a_session_may() {
    let set = |n: usize| SettingChange::Set(vec![("x".into(), format!("{n:0>1000}"))]);
    let mut state = in_transaction(1);
    for n in 0.. {
        let change = set(n);
        if state.has_no_room_for(&change) {
            assert!((MOST_KEPT / 1002..=MOST_KEPT / 1000).contains(&n), "{n}");
            break;
        }
        state.changed(change);
        state.begun();
    }
    state.rolled_back(2);
    assert!(!state.has_no_room_for(&set(0)), "they are gone with their savepoints");
    for _ in 0..3 * MOST_KEPT / 1000 {
        state.begun();
    }
    assert!(!state.has_no_room_for(&set(0)), "what did not change is kept once");
}
