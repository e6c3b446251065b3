//! Functions that a text may call, and what they leave behind: one row each.

use crate::engine::Sequence;
use crate::engine::token::Token;
use crate::pin::PinCause;

/// Functions that leave something behind in the session that calls them, or run a text that may.
pub(super) const PINNING: [(&str, PinCause); 39] = [
    ("set_config", PinCause::Setting),
    ("setseed", PinCause::UnknownStatement),
    ("pg_advisory_lock", PinCause::AdvisoryLock),
    ("pg_advisory_lock_shared", PinCause::AdvisoryLock),
    ("pg_try_advisory_lock", PinCause::AdvisoryLock),
    ("pg_try_advisory_lock_shared", PinCause::AdvisoryLock),
    ("dblink_connect", PinCause::UnknownStatement),
    ("dblink_connect_u", PinCause::UnknownStatement),
    ("dblink_open", PinCause::UnknownStatement),
    ("pg_replication_origin_session_setup", PinCause::UnknownStatement),
    // A temporary slot belongs to the session.
    ("pg_create_physical_replication_slot", PinCause::UnknownStatement),
    ("pg_create_logical_replication_slot", PinCause::UnknownStatement),
    ("pg_copy_physical_replication_slot", PinCause::UnknownStatement),
    ("pg_copy_logical_replication_slot", PinCause::UnknownStatement),
    // A backup ends with the session that began it.
    ("pg_backup_start", PinCause::UnknownStatement),
    ("pg_start_backup", PinCause::UnknownStatement),
    // They run a text, which may be anything: [`RUNS_TEXT`].
    ("query_to_xml", PinCause::UnknownStatement),
    ("query_to_xmlschema", PinCause::UnknownStatement),
    ("query_to_xml_and_xmlschema", PinCause::UnknownStatement),
    ("ts_stat", PinCause::UnknownStatement),
    ("ts_rewrite", PinCause::UnknownStatement),
    // tablefunc.
    ("crosstab", PinCause::UnknownStatement),
    ("crosstab2", PinCause::UnknownStatement),
    ("crosstab3", PinCause::UnknownStatement),
    ("crosstab4", PinCause::UnknownStatement),
    // tablefunc, xml2, aws_s3: they put a text together of what they are given, and run that.
    ("connectby", PinCause::UnknownStatement),
    ("xpath_table", PinCause::UnknownStatement),
    ("query_export_to_s3", PinCause::UnknownStatement),
    // pg_trgm, smlar, isn, sepgsql, temporal_tables, spi, hll, hypopg.
    ("set_limit", PinCause::UnknownStatement),
    ("set_smlar_limit", PinCause::UnknownStatement),
    ("isn_weak", PinCause::UnknownStatement),
    ("sepgsql_setcon", PinCause::UnknownStatement),
    ("set_system_time", PinCause::UnknownStatement),
    ("set_timetravel", PinCause::UnknownStatement),
    ("hll_set_defaults", PinCause::UnknownStatement),
    ("hll_set_max_sparse", PinCause::UnknownStatement),
    ("hll_set_output_version", PinCause::UnknownStatement),
    ("hypopg_create_index", PinCause::UnknownStatement),
    ("hypopg_hide_index", PinCause::UnknownStatement),
];

/// Those of them that leave nothing by themselves, but run a text, as it is and as one statement.
pub(super) const RUNS_TEXT: [&str; 9] = [
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "ts_stat",
    "ts_rewrite",
    "crosstab",
    "crosstab2",
    "crosstab3",
    "crosstab4",
];

/// Functions that have to do with what the session remembers of sequences.
pub(super) const REMEMBERING: [(&str, Sequence); 4] = [
    ("setval", Sequence::GENERATES),
    ("nextval", Sequence::GENERATES),
    ("currval", Sequence::READS),
    ("lastval", Sequence::READS),
];

/// The letters with which all these names begin, a bit for each: most names begin with another one.
pub(super) const INITIALS: u32 = {
    let (mut letters, mut n) = (0, 0);
    while n < PINNING.len() {
        letters |= 1 << (PINNING[n].0.as_bytes()[0] - b'a');
        n += 1;
    }
    n = 0;
    while n < REMEMBERING.len() {
        letters |= 1 << (REMEMBERING[n].0.as_bytes()[0] - b'a');
        n += 1;
    }
    letters
};

/// Whether a name is that of a function that runs a text.
pub(super) fn runs_text(name: Token<'_>) -> bool {
    let (Token::Word(name) | Token::Identifier(name)) = name else { return false };
    RUNS_TEXT.iter().any(|known| name.eq_ignore_ascii_case(known))
}

pub(super) fn both(one: Option<PinCause>, other: PinCause) -> PinCause {
    one.filter(|one| *one != other).map_or(other, |_| PinCause::UnknownStatement)
}

/// What is known of the functions that a statement calls.
#[derive(Default)]
pub(super) struct Called {
    pub(super) cause: Option<PinCause>,
    pub(super) runs_text: bool,
    pub(super) sequence: Sequence,
}

impl Called {
    pub(super) fn add(&mut self, token: Token<'_>) {
        let (Token::Word(name) | Token::Identifier(name)) = token else { return };
        let same = |known: &str| name.len() == known.len() && name.eq_ignore_ascii_case(known);
        let initial = name.as_bytes().first().map_or(0, |byte| (byte | 0x20).wrapping_sub(b'a'));
        if initial >= 26 || INITIALS >> initial & 1 == 0 {
            return;
        }
        if let Some((_, sequence)) = REMEMBERING.iter().find(|(known, _)| same(known)) {
            self.sequence |= *sequence;
        }
        if runs_text(token) {
            self.runs_text = true;
        } else if let Some((_, cause)) = PINNING.iter().find(|(known, _)| same(known)) {
            self.cause = Some(both(self.cause, *cause));
        }
    }
}
