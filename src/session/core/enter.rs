//! Before a text is sent: what it does to the transaction, to pins and to settings. Pure.

use super::generated::Exchange;
use super::{CommitPlan, InFlight, Intent, Reading, SettingChange, State, Turn};
use crate::connector::Carried;
use crate::engine::{Cleanup, Control, Dialect, Effect, Settings, Staleness};
use crate::error::Phase;
use crate::pin::PinCause;

/// What is to be done before a text is sent, for what it does to transactions.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::session) enum Gate {
    /// Nothing.
    Open,
    /// It would commit the transaction of a guard: it is refused.
    Guarded,
    /// It is a commit that the account follows: behind a pooler the connection is tidied before. Then
    /// [`turn_to`](InFlight::turn_to).
    Commit(Turn),
    /// It is the commit of what an error has aborted, which the server would roll back and call a success: that is done in
    /// its place, and said. `chain`: the next transaction begins with it.
    RollBack { why: String, chain: bool },
    /// It begins with a commit, and whether an error has aborted what that would commit is not known: the server is asked. `turns`: it
    /// is nothing else, and the account can follow it then.
    Ask { chain: bool, turns: bool },
}

impl InFlight {
    /// Decides what has to be done about a text before it is sent, and notes in this exchange what the text will do to the transaction,
    /// to pins and to settings.
    pub(in crate::session) fn enter<D: Dialect>(
        &mut self,
        state: &mut State,
        carried: &mut Carried,
        intent: &mut Intent<'_>,
        login_defaults: &Settings,
    ) -> Gate {
        let commits = intent.class.commits || state.commits_by::<D>(intent.change.as_ref());
        // A statement that commits implicitly keeps what came before it, even when it then fails itself.
        self.partly = intent.class.partly || commits && state.depth() > 0;
        if commits && state.has_guards() {
            return Gate::Guarded;
        }
        if commits && intent.class.several && D::begins_by_itself(state.settings()) {
            // What comes after the one that commits begins the next transaction.
            intent.class.effect = Effect::Controls(Control::Unclear { ends: true });
        }
        let followed = !state.is_doubtful() && !matches!(intent.class.control(), Some(Control::Unclear { .. }));
        let reading = if commits && state.depth() > 0 && followed {
            Reading::Turn(Turn::Commit { chain: intent.class.control() == Some(Control::Begin) })
        } else {
            intent.class.control().map_or(Reading::Nothing, |control| state.read(control))
        };
        let gate = self.follow(reading, state, carried, intent);
        if let Gate::RollBack { .. } = gate {
            return gate;
        }
        self.unatomic = intent.class.several && (!D::RULES.texts_are_atomic || self.unclear)
            || intent.pin.as_ref().is_some_and(|reason| match reason.cause() {
                PinCause::Procedure => true,
                PinCause::PreparedStatement => !D::RULES.texts_are_atomic,
                _ => false,
            });
        // A setting that this connection could not take back is not moved: the session stays where it was made.
        let stays = |name: &str| D::RULES.resettable_only_from_login.contains(&name) && !login_defaults.contains(name);
        if intent.change.take_if(|change| change.sets(stays)).is_some() {
            intent.pin_for(PinCause::Setting);
        }
        self.reset =
            intent.change.as_ref().map(|change| change.leaves(D::after_reset(login_defaults))).unwrap_or_default();
        // With `autocommit` off whatever is sent outside a transaction begins one.
        let sent = self.phase == Phase::Statement && intent.class.control().is_none() && intent.change.is_none();
        if sent && !intent.class.commits && state.depth() == 0 && D::begins_by_itself(state.settings()) {
            carried.open();
            state.begun_by_text();
        }
        if self.phase == Phase::Statement && state.depth() > 0 {
            self.phase = Phase::InTransaction;
        }
        gate
    }

    /// What transaction control as text does to the account, or that nobody can say it.
    fn follow(&mut self, reading: Reading, state: &mut State, carried: &mut Carried, intent: &mut Intent<'_>) -> Gate {
        match reading {
            Reading::Nothing => {}
            Reading::Turn(Turn::Commit { chain }) => {
                if let CommitPlan::Refuse(why) = state.commit_plan(1) {
                    self.phase = Phase::Rollback;
                    return Gate::RollBack { why, chain };
                }
                self.phase = Phase::Commit;
                return Gate::Commit(Turn::Commit { chain });
            }
            Reading::Turn(turn) => {
                self.phase = turn.phase();
                self.turn_to(turn, carried);
            }
            Reading::Unclear { ends } => {
                (self.unclear, self.takes) = (true, ends);
                intent.pin_for(PinCause::RawTransaction);
                if intent.class.begins_with_commit && !state.errors_pass && (state.is_doubtful() || state.is_aborted())
                {
                    let chain = intent.class.control() == Some(Control::Commit { chain: true });
                    let turns = state.follows_commit(&intent.class) && state.depth() > 0;
                    (self.unclear, self.takes) = (!turns, !turns && ends);
                    return Gate::Ask { chain, turns };
                }
            }
        }
        Gate::Open
    }

    /// It is transaction control that the account follows.
    pub(in crate::session) fn turn_to(&mut self, turn: Turn, carried: &mut Carried) {
        if let Turn::Begin | Turn::Whole = turn {
            carried.open();
        }
        self.turn = Some(turn);
    }

    /// From here on the server may be working. `wire`: the connection's number.
    pub(in crate::session) fn begin<D: Dialect>(
        &mut self,
        state: &mut State,
        carried: &mut Carried,
        wire: u64,
        intent: &mut Intent<'_>,
    ) {
        let before = Exchange { wire, number: carried.exchanges() };
        carried.exchange();
        if self.unclear {
            state.spoken_in_doubt();
            carried.may_be_outside();
        }
        if self.takes {
            state.taken_from_guards();
        }
        state.generated.sent(before, Exchange { wire, number: carried.exchanges() });
        self.before = carried.cleanup();
        // Whether a dropped `SET` happened is not known: then the connection is cleaned.
        if let Some(change) = &intent.change {
            carried.soil(D::cleanup_after(PinCause::Setting));
            carried.outdate(D::staleness(state.settings(), &state.settings_after(change)));
        }
        if intent.class.defines {
            // A type of that name may come first from here on, or be gone.
            carried.prepared.doubt_names();
        }
        if intent.may_mislead_driver::<D>() {
            carried.mislead();
        }
        if intent.leaves_untracked {
            carried.soil(D::cleanup_after(PinCause::Setting));
            self.before = carried.cleanup();
        }
        if intent.class.stays {
            carried.soil(Cleanup::Impossible);
            self.before = carried.cleanup();
        }
        if intent.class.ends().is_some() {
            carried.outdate(Staleness::Statements);
        }
        carried.outdate_for_transaction(intent.class.replans);
        if intent.class.passing_table {
            state.made_passing_table();
        }
        (self.sent, self.change, self.ends) = (true, intent.change.take(), intent.class.ends());
    }
}

impl State {
    /// Whether a change of settings commits the open transaction, as turning `autocommit` on again does in MySQL.
    fn commits_by<D: Dialect>(&self, change: Option<&SettingChange>) -> bool {
        let before = self.settings();
        change.is_some_and(|change| D::begins_by_itself(before) && !D::begins_by_itself(&self.settings_after(change)))
    }
}
