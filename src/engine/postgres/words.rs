//! The words by which a text does something to its session, one row each. What they do beside others is for
//! [`Statement`](super::statement::Statement) to see.

use super::settings::TEMPORARY;
use crate::engine::Sequence;
use crate::engine::token::Token;
use crate::engine::words::Word::{self, InContext, Leaves, Remembers, RunsText};
use crate::engine::words::Words;
use crate::pin::PinCause;

pub(super) static WORDS: Words<54> = Words::new([
    // Whom a session is: of set_user, pg_session_jwt; and what it restores, of TimescaleDB.
    ("set_user", Leaves(PinCause::UnknownStatement)),
    ("reset_user", Leaves(PinCause::UnknownStatement)),
    ("set_session_auth", Leaves(PinCause::UnknownStatement)),
    ("jwt_session_init", Leaves(PinCause::UnknownStatement)),
    ("timescaledb_pre_restore", Leaves(PinCause::UnknownStatement)),
    ("timescaledb_post_restore", Leaves(PinCause::UnknownStatement)),
    ("set_config", Leaves(PinCause::Setting)),
    ("setseed", Leaves(PinCause::UnknownStatement)),
    ("pg_advisory_lock", Leaves(PinCause::AdvisoryLock)),
    ("pg_advisory_lock_shared", Leaves(PinCause::AdvisoryLock)),
    ("pg_try_advisory_lock", Leaves(PinCause::AdvisoryLock)),
    ("pg_try_advisory_lock_shared", Leaves(PinCause::AdvisoryLock)),
    ("dblink_connect", Leaves(PinCause::UnknownStatement)),
    ("dblink_connect_u", Leaves(PinCause::UnknownStatement)),
    ("dblink_open", Leaves(PinCause::UnknownStatement)),
    ("pg_replication_origin_session_setup", Leaves(PinCause::UnknownStatement)),
    // A temporary slot belongs to the session.
    ("pg_create_physical_replication_slot", Leaves(PinCause::UnknownStatement)),
    ("pg_create_logical_replication_slot", Leaves(PinCause::UnknownStatement)),
    ("pg_copy_physical_replication_slot", Leaves(PinCause::UnknownStatement)),
    ("pg_copy_logical_replication_slot", Leaves(PinCause::UnknownStatement)),
    // A backup ends with the session that began it.
    ("pg_backup_start", Leaves(PinCause::UnknownStatement)),
    ("pg_start_backup", Leaves(PinCause::UnknownStatement)),
    // Of tablefunc, xml2, aws_s3: they put a text together of what they are given, and run that.
    ("connectby", Leaves(PinCause::UnknownStatement)),
    ("xpath_table", Leaves(PinCause::UnknownStatement)),
    ("query_export_to_s3", Leaves(PinCause::UnknownStatement)),
    // Of pg_trgm, smlar, isn, sepgsql, temporal_tables, spi, hll, hypopg.
    ("set_limit", Leaves(PinCause::UnknownStatement)),
    ("set_smlar_limit", Leaves(PinCause::UnknownStatement)),
    ("isn_weak", Leaves(PinCause::UnknownStatement)),
    ("sepgsql_setcon", Leaves(PinCause::UnknownStatement)),
    ("set_system_time", Leaves(PinCause::UnknownStatement)),
    ("set_timetravel", Leaves(PinCause::UnknownStatement)),
    ("hll_set_defaults", Leaves(PinCause::UnknownStatement)),
    ("hll_set_max_sparse", Leaves(PinCause::UnknownStatement)),
    ("hll_set_output_version", Leaves(PinCause::UnknownStatement)),
    ("hypopg_create_index", Leaves(PinCause::UnknownStatement)),
    ("hypopg_hide_index", Leaves(PinCause::UnknownStatement)),
    // The last four of tablefunc.
    ("query_to_xml", RunsText),
    ("query_to_xmlschema", RunsText),
    ("query_to_xml_and_xmlschema", RunsText),
    ("ts_stat", RunsText),
    ("ts_rewrite", RunsText),
    ("crosstab", RunsText),
    ("crosstab2", RunsText),
    ("crosstab3", RunsText),
    ("crosstab4", RunsText),
    ("setval", Remembers(Sequence::GENERATES)),
    ("nextval", Remembers(Sequence::GENERATES)),
    ("currval", Remembers(Sequence::READS)),
    ("lastval", Remembers(Sequence::READS)),
    // It takes locks away, where nothing else is in the statement.
    ("pg_advisory_unlock_all", InContext),
    // `CREATE TEMPORARY`, `WITH HOLD`, an update of that view, and the session's temporary schema.
    ("temp", InContext),
    ("hold", InContext),
    ("pg_settings", InContext),
    (TEMPORARY, InContext),
]);

/// What changes rows anywhere in a `WITH`.
pub(super) static CHANGES: Words<3> = Words::new([("insert", InContext), ("update", InContext), ("merge", InContext)]);

/// What a name stands for where it is called.
pub(super) fn function(name: Token<'_>) -> Option<Word> {
    let (Token::Word(name) | Token::Identifier(name)) = name else { return None };
    WORDS.find(name)
}

/// Whether a name is that of a function that runs a text.
pub(super) fn runs_text(name: Token<'_>) -> bool {
    function(name) == Some(RunsText)
}
