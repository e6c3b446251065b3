//! What is so on one engine and otherwise on another, as far as a value can say it.

/// The facts about an engine that others than its own files have to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// As secrets and messages call it.
    pub(crate) family: &'static str,
    /// Environment variables that the driver obeys, and none of its options clears; and what to do in their place.
    pub(crate) driver_variables: &'static [(&'static str, &'static str)],
    /// The schemes of its URLs, the usual one first.
    pub(crate) url_schemes: &'static [&'static str],
    /// The default port.
    pub(crate) default_port: u16,
    /// A statement that fails aborts its transaction. Otherwise the transaction goes on without it.
    pub(crate) errors_abort: bool,
    /// Statements make a session as good as new. Otherwise only another connection is.
    pub(crate) has_session_reset: bool,
    /// Settings that only go back where there is a [`login_defaults`](Self::login_defaults) for them.
    pub(crate) resettable_only_from_login: &'static [&'static str],
    /// A rollback takes back what the transaction had set, too.
    pub(crate) rollback_restores_settings: bool,
    /// Several statements in one text are executed all or none.
    pub(crate) texts_are_atomic: bool,
    /// What is in each text, in letters of either case, that asks the server what is set.
    pub(crate) asks_for_settings: &'static [&'static str],
    /// A pooler in between may give every transaction another session of the server, whatever was set in the last one.
    pub(crate) poolers_lose_state: bool,
    /// Makes the server forget the numbers that it has generated in a session.
    pub(crate) forget_generated: &'static str,
    /// Whether it refuses to tell one that was not generated; a number may be generated unseen then. Otherwise it says zero.
    pub(crate) refuses_ungenerated: bool,
    /// What is in each text that has a place for a value.
    pub(crate) parameter: char,
    /// A remark by which texts are told apart stands before a text: behind it, it would end a comment that nobody has ended.
    /// Otherwise it stands behind, where no place in the text is another one for it.
    pub(crate) remarks_first: bool,
    /// What the driver prepares is prepared in an exchange of its own: dropped in the middle of that, it is out of step.
    pub(crate) prepares_ahead: bool,
    /// A future that is dropped may leave the driver in the middle of a packet, and the driver then waits for what nobody
    /// will send.
    pub(crate) loses_its_place: bool,
    /// Whether a host is there is asked over a login: without one, too many questions would be held against the host
    /// that asks.
    pub(crate) probes_by_login: bool,
    /// A function can fail with any number and any text, those of the server's last word too (`SIGNAL`).
    pub(crate) functions_say_anything: bool,
    /// The setting that is the session's name for those who look for it; `None` where it cannot change.
    pub(crate) renamed_by: Option<&'static str>,
    /// Settings by which transactions begin or end.
    pub(crate) controlling_settings: &'static [&'static str],
    /// Settings that are read when a transaction begins: behind a pooler, before a session's settings are there.
    pub(crate) read_at_begin: &'static [&'static str],
    /// The SQLSTATE of a statement that a cancel has ended.
    pub(crate) cancelled: &'static str,
    /// The SQLSTATE of what is refused in a transaction that is aborted, whatever it is. `None` where none is.
    pub(crate) aborted: Option<&'static str>,
    /// The statement that makes the server read and plan anew what is prepared. `None` where it always does.
    pub(crate) replan: Option<&'static str>,
}
