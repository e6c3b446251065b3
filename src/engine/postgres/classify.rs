//! What a text does to its session: one pass over its words, without allocating.
//!
//! Only what is known is plain; whatever is not understood pins. State that hides inside functions, procedures and `DO`
//! blocks is not seen: `CALL` and `DO` pin, a function called from a query does not.

use super::control;
use super::ends;
use super::lexer::Lexer;
use super::prefilter;
use super::settings::{self, Change, TEMPORARY};
use crate::engine::Cleanup;
use crate::engine::series::Series;
use crate::engine::token::{Token, is};
use crate::engine::{Class, Control, Dialect, Sequence, Staleness};
use crate::pin::PinCause;

/// Statements that leave nothing in the session by themselves: queries, changes of rows, definitions of lasting objects,
/// and what ends with its transaction. The functions they call and the temporary objects they make show in their words.
fn is_plain(first: &str) -> bool {
    let known: &[&str] = match first.len() {
        4 => &["with", "copy", "drop", "lock", "move", "show"],
        5 => &["alter", "close", "fetch", "grant", "merge", "table"],
        // What a foreign server says to `IMPORT FOREIGN SCHEMA` may be definitions of foreign tables only.
        6 => &["select", "insert", "update", "delete", "create", "values", "notify", "revoke", "vacuum", "import"],
        // What SQL has prepared pins by its `PREPARE`, with all that its words tell.
        7 => &["analyse", "analyze", "cluster", "comment", "declare", "execute", "explain", "refresh", "reindex"],
        8 => &["reassign", "security", "truncate", "unlisten"],
        10 => &["checkpoint"],
        _ => &[],
    };
    known.iter().any(|known| first.eq_ignore_ascii_case(known))
}

/// Functions that leave something behind in the session that calls them, or run a text that may.
pub(super) const PINNING: [(&str, PinCause); 36] = [
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
    // tablefunc, xml2.
    ("crosstab", PinCause::UnknownStatement),
    ("crosstab2", PinCause::UnknownStatement),
    ("crosstab3", PinCause::UnknownStatement),
    ("crosstab4", PinCause::UnknownStatement),
    ("connectby", PinCause::UnknownStatement),
    ("xpath_table", PinCause::UnknownStatement),
    // aws_s3.
    ("query_export_to_s3", PinCause::UnknownStatement),
    // pg_trgm, smlar, isn, sepgsql, temporal_tables, spi, hypopg.
    ("set_limit", PinCause::UnknownStatement),
    ("set_smlar_limit", PinCause::UnknownStatement),
    ("isn_weak", PinCause::UnknownStatement),
    ("sepgsql_setcon", PinCause::UnknownStatement),
    ("set_system_time", PinCause::UnknownStatement),
    ("set_timetravel", PinCause::UnknownStatement),
    ("hypopg_create_index", PinCause::UnknownStatement),
    ("hypopg_hide_index", PinCause::UnknownStatement),
];

/// Those of them that leave nothing by themselves, but run a text.
const RUNS_TEXT: [&str; 12] = [
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "ts_stat",
    "ts_rewrite",
    "crosstab",
    "crosstab2",
    "crosstab3",
    "crosstab4",
    "connectby",
    "xpath_table",
    "query_export_to_s3",
];

/// Functions that have to do with what the session remembers of sequences.
const REMEMBERING: [(&str, Sequence); 4] = [
    ("setval", Sequence::GENERATES),
    ("nextval", Sequence::GENERATES),
    ("currval", Sequence::READS),
    ("lastval", Sequence::READS),
];

/// The letters with which all these names begin, a bit for each: most names begin with another one.
const INITIALS: u32 = {
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

pub(super) fn classify(sql: &str) -> Class<'_> {
    prefilter::classify(sql).unwrap_or_else(|| read(sql))
}

/// As `classify`, word by word.
pub(super) fn read(sql: &str) -> Class<'_> {
    let mut lexer = Lexer::new(sql);
    let mut found: Option<Statement<'_>> = None;
    let mut all = Class::default();
    let mut series = Series::default();
    while let Some(statement) = Statement::scan(&mut lexer) {
        let control = statement.is_control().then(|| control::parse(&sql[statement.start..statement.end]));
        series.add(control, found.is_some(), false);
        all.sequence = if found.is_some() { all.sequence.then(statement.sequence) } else { statement.sequence };
        let pins = match statement.passes(sql) {
            Some(replans) => {
                all.replans = all.replans.max(replans);
                None
            }
            None => statement.pins(),
        };
        all.pins = match (all.pins, pins) {
            // What nothing takes away is not hidden by what stands beside it.
            (Some(one), Some(other)) => Some(if stays(other) { other } else { one }),
            (one, other) => one.or(other),
        };
        // The columns are those of the cursor, or of the statement that SQL prepared under the name.
        all.uncacheable |= is(statement.first, "fetch") || is(statement.first, "execute");
        all.copies |= statement.copies;
        found = Some(statement);
    }
    let Some(statement) = found else { return all };
    if series.several {
        // A setting among several statements is not taken apart from them.
        all.control = series.control();
        let pins = all.pins.is_some() || matches!(all.control, Some(Control::Unclear { .. }));
        let worst = all.pins.filter(|cause| stays(*cause)).unwrap_or(PinCause::SeveralStatements);
        return Class { pins: pins.then_some(worst), ..all };
    }
    let text = sql[statement.start..statement.end].trim_ascii_end();
    if let Some(control) = series.first {
        let pins = control.is_none().then_some(PinCause::RawTransaction);
        return Class { pins, control: control.or(Some(Control::Unclear { ends: true })), ..all };
    }
    if let Some(ends) = ends::pin_end(text) {
        return Class { pins: None, ends: Some(ends), ..all };
    }
    match settings::change(text) {
        Some(Change::Lasting(setting)) => Class { pins: None, setting: Some(setting), ..all },
        // Seen already.
        Some(Change::Passing(_)) => all,
        Some(Change::Pins(cause)) => Class { pins: Some(cause), ..all },
        None => all,
    }
}

/// What a text leaves beyond its transaction on a connection, as far as its words tell: where a pooler in between lends
/// connections, whoever gets this one next would find it. Procedures, and functions that run a text, are not in it: what they
/// do is seen no more than what any other function does.
pub(super) fn leaves(sql: &str) -> Vec<PinCause> {
    let mut lexer = Lexer::new(sql);
    std::iter::from_fn(|| Statement::scan(&mut lexer)).filter_map(|statement| statement.leaves(sql)).collect()
}

/// The statement, where there is only one.
pub(super) fn single(sql: &str) -> Option<&str> {
    let mut lexer = Lexer::new(sql);
    let statement = Statement::scan(&mut lexer)?;
    Statement::scan(&mut lexer).is_none().then(|| statement.text(sql))
}

/// Whether nothing takes away what a cause leaves behind.
fn stays(cause: PinCause) -> bool {
    <sqlx::Postgres as Dialect>::cleanup_after(cause) == Cleanup::Impossible
}

/// The statements of a text, the empty ones left out.
#[cfg(any(test, feature = "_bench"))]
pub(super) fn statements(sql: &str) -> impl Iterator<Item = &str> {
    let mut lexer = Lexer::new(sql);
    std::iter::from_fn(move || Statement::scan(&mut lexer)).map(|statement| &sql[statement.start..statement.end])
}

/// One statement, as far as its words tell.
struct Statement<'a> {
    start: usize,
    end: usize,
    first: Token<'a>,
    second: Option<Token<'a>>,
    /// What pins whatever the statement is: a function, a temporary object, a cursor that is held.
    cause: Option<PinCause>,
    /// It calls a function that runs a text.
    runs_text: bool,
    sequence: Sequence,
    /// `UPDATE` was among its words.
    updates: bool,
    /// `ON COMMIT DROP`
    drops: bool,
    /// `COPY` from or to the client.
    copies: bool,
}

impl<'a> Statement<'a> {
    /// The next statement that is not empty.
    fn scan(lexer: &mut Lexer<'a>) -> Option<Self> {
        let (start, first) = loop {
            let (start, token) = lexer.next_at()?;
            if !matches!(token, Token::End | Token::Symbol(b'(')) {
                break (start, token);
            }
        };
        let generates = ["insert", "merge", "update", "copy"].iter().any(|word| is(first, word));
        let sequence = if generates { Sequence::GENERATES } else { Sequence::NONE };
        let updates = is(first, "update");
        let mut statement = Self {
            start,
            end: start,
            first,
            second: None,
            cause: None,
            runs_text: false,
            sequence,
            updates,
            drops: false,
            copies: false,
        };
        let (creates, copies) = (is(first, "create"), is(first, "copy"));
        let mut body = Body::of(first);
        let mut execution = Execution::of(first);
        let mut definition = Definition::of(first);
        let mut mentioned = Called::default();
        let mut depth = 0_usize;
        let (mut last_but_one, mut last) = (first, first);
        while let Some(token) = lexer.next() {
            if matches!(token, Token::Word(_) | Token::Identifier(_)) {
                statement.named(last_but_one, last, token);
            } else if token == Token::Symbol(b'(') {
                depth += 1;
                if matches!(definition, Definition::None) {
                    statement.called(last);
                } else {
                    mentioned.add(last);
                }
            } else if token == Token::Symbol(b')') {
                depth = depth.saturating_sub(1);
            } else if token == Token::End && depth == 0 && !body.is_open() {
                // Semicolons inside a statement: a rule's commands, in parentheses, and the body of a routine.
                statement.end = lexer.at() - 1;
                return Some(statement);
            }
            if depth == 0 && body.matters() {
                body.see(last, token);
            }
            if depth == 0 && definition.matters() {
                definition.see(token);
                if matches!(definition, Definition::None) {
                    // It was none.
                    statement.calls(std::mem::take(&mut mentioned));
                }
            }
            if depth == 0 && execution.sees(token) && is_drivers(token) {
                // It may do anything.
                statement.pin(PinCause::UnknownStatement);
            }
            if depth == 0 && creates && is(token, "drop") {
                statement.drops |= is(last, "commit") && is(last_but_one, "on");
            }
            if depth == 0 && copies && (is(token, "stdin") || is(token, "stdout")) {
                // The server takes either word for either direction.
                statement.copies |= is(last, "from") || is(last, "to");
            }
            if statement.second.is_none() {
                statement.second = Some(token);
            }
            (last_but_one, last) = (last, token);
        }
        statement.end = lexer.at();
        Some(statement)
    }

    /// `name (`
    fn called(&mut self, name: Token<'a>) {
        let mut called = Called::default();
        called.add(name);
        self.calls(called);
    }

    fn calls(&mut self, called: Called) {
        self.sequence |= called.sequence;
        self.runs_text |= called.runs_text;
        if let Some(cause) = called.cause {
            self.pin(cause);
        }
    }

    /// A statement that leaves two different things behind is not understood: what ends the one leaves the other, and what
    /// cleans up after the one may not clean up after the other.
    fn pin(&mut self, cause: PinCause) {
        self.cause = Some(both(self.cause, cause));
    }

    /// A word or identifier anywhere in the statement, and the two tokens before it.
    fn named(&mut self, last_but_one: Token<'a>, last: Token<'a>, token: Token<'a>) {
        let (name, quoted) = match token {
            Token::Word(name) => (name.as_bytes(), false),
            Token::Identifier(name) => (name.as_bytes(), true),
            _ => return,
        };
        if quoted && last == Token::Symbol(b'&') && is(last_but_one, "u") {
            // U&"…" spells any name by escapes.
            self.pin(PinCause::UnknownStatement);
        }
        let Some(initial) = name.first().map(|byte| byte | 0x20) else { return };
        let same = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let cause = match (initial, name.len()) {
            // A column may be called so; an object is temporary only after these.
            (b't', 4 | 9) if !quoted && (same("temp") || same("temporary")) => {
                let made = ["create", "into", "replace", "global", "local"].iter().any(|word| is(last, word));
                made.then_some(PinCause::TemporaryObject)
            }
            (b'h', 4) if !quoted && same("hold") && is(last, "with") && is(self.first, "declare") => {
                Some(PinCause::HoldableCursor)
            }
            (b'i' | b'u', 6) | (b'm', 5) if !quoted && (same("insert") || same("update") || same("merge")) => {
                self.changes_rows(last, token);
                None
            }
            // An update of that view is a `SET`.
            (b'p', 11) if self.updates && same("pg_settings") => Some(PinCause::UnknownStatement),
            (b'p', 7..) if name[..7].eq_ignore_ascii_case(TEMPORARY.as_bytes()) => Some(PinCause::TemporaryObject),
            _ => return,
        };
        if let Some(cause) = cause {
            self.pin(cause);
        }
    }

    /// `INSERT`, `UPDATE` or `MERGE` somewhere in the statement.
    fn changes_rows(&mut self, last: Token<'a>, token: Token<'a>) {
        self.updates |= is(token, "update");
        // `FOR UPDATE` and `FOR NO KEY UPDATE` lock.
        if (is(self.first, "with") || is(self.first, "explain")) && !is(last, "for") && !is(last, "key") {
            self.sequence |= Sequence::GENERATES;
        }
    }

    fn is_control(&self) -> bool {
        control::is_control(self.first, self.second)
    }

    fn text<'t>(&self, sql: &'t str) -> &'t str {
        sql[self.start..self.end].trim_ascii_end()
    }

    /// What a statement that ends with its transaction makes of what is prepared: `SET LOCAL`, or a table that is dropped at
    /// the commit. `None` where it lasts, or is another one.
    fn passes(&self, sql: &str) -> Option<Staleness> {
        if self.drops && self.cause == Some(PinCause::TemporaryObject) && !self.runs_text {
            return is_dropped_at_commit(self.text(sql)).then_some(Staleness::Names);
        }
        if !["set", "reset", "select"].iter().any(|word| is(self.first, word))
            || is(self.first, "select") && self.cause.is_none()
        {
            return None;
        }
        match settings::change(self.text(sql)) {
            Some(Change::Passing(replans)) => Some(replans),
            _ => None,
        }
    }

    fn pins(&self) -> Option<PinCause> {
        let cause = if self.runs_text { Some(PinCause::UnknownStatement) } else { self.cause };
        let Token::Word(first) = self.first else { return Some(PinCause::UnknownStatement) };
        let among = |words: &[&str]| words.iter().any(|word| first.eq_ignore_ascii_case(word));
        let second = |word| self.second.is_some_and(|token| is(token, word));
        if among(&["execute"]) && self.second.is_none_or(is_drivers) {
            // It may do anything.
            return Some(PinCause::UnknownStatement);
        }
        if is_plain(first) {
            return cause;
        }
        if self.is_control() || among(&["commit", "rollback"]) && second("prepared") {
            return cause;
        }
        if let Some(cause) = cause.filter(|cause| *cause == PinCause::UnknownStatement) {
            return Some(cause);
        }
        Some(if among(&["listen"]) {
            PinCause::Listen
        } else if among(&["prepare"]) {
            // What it does each time that it is executed is to be said here.
            cause.map_or(PinCause::PreparedStatement, |_| PinCause::UnknownStatement)
        } else if among(&["load"]) {
            PinCause::Library
        } else if among(&["call", "do"]) {
            PinCause::Procedure
        } else if among(&["set", "reset"]) {
            PinCause::Setting
        } else {
            PinCause::UnknownStatement
        })
    }

    fn leaves(&self, sql: &str) -> Option<PinCause> {
        if self.is_control() || self.passes(sql).is_some() || ends::pin_end(self.text(sql)).is_some() {
            return None;
        }
        if settings::change(self.text(sql)).is_some() {
            return Some(PinCause::Setting);
        }
        if is(self.first, "execute") {
            return Some(PinCause::PreparedStatement);
        }
        let runs = self.runs_text || is(self.first, "call") || is(self.first, "do");
        if runs { self.cause } else { self.pins() }
    }
}

/// Whether a statement that was prepared may be one of the driver's, which anybody may have prepared.
fn is_drivers(name: Token<'_>) -> bool {
    const NAMES: &str = "sqlx_s_";
    match name {
        Token::Word(name) | Token::Identifier(name) => {
            name.get(..NAMES.len()).is_none_or(|start| start.eq_ignore_ascii_case(NAMES)) && name.len() >= NAMES.len()
        }
        _ => true,
    }
}

/// `CREATE [LOCAL | GLOBAL] TEMPORARY TABLE …`, with nothing in it of the session's temporary schema: its `ON COMMIT DROP` was
/// seen.
fn is_dropped_at_commit(statement: &str) -> bool {
    let mut tokens = Lexer::new(statement).skip(1);
    let mut next = tokens.next();
    if next.is_some_and(|token| is(token, "local") || is(token, "global")) {
        next = tokens.next();
    }
    let temporary = next.is_some_and(|token| is(token, "temp") || is(token, "temporary"));
    temporary && tokens.next().is_some_and(|token| is(token, "table"))
}

fn both(one: Option<PinCause>, other: PinCause) -> PinCause {
    one.filter(|one| *one != other).map_or(other, |_| PinCause::UnknownStatement)
}

/// What is known of the functions that a statement calls.
#[derive(Default)]
struct Called {
    cause: Option<PinCause>,
    runs_text: bool,
    sequence: Sequence,
}

impl Called {
    fn add(&mut self, name: Token<'_>) {
        let (Token::Word(name) | Token::Identifier(name)) = name else { return };
        let same = |known: &str| name.len() == known.len() && name.eq_ignore_ascii_case(known);
        let initial = name.as_bytes().first().map_or(0, |byte| (byte | 0x20).wrapping_sub(b'a'));
        if initial >= 26 || INITIALS >> initial & 1 == 0 {
            return;
        }
        if let Some((_, sequence)) = REMEMBERING.iter().find(|(known, _)| same(known)) {
            self.sequence |= *sequence;
        }
        if RUNS_TEXT.iter().any(|known| same(known)) {
            self.runs_text = true;
        } else if let Some((_, cause)) = PINNING.iter().find(|(known, _)| same(known)) {
            self.cause = Some(both(self.cause, *cause));
        }
    }
}

/// Statements in which a function is mentioned, and not called: privileges, comments, and definitions whose expressions the
/// server keeps for later. Where it computes one at once, as in `CREATE TABLE … AS` or for a partition's bound, it is none.
enum Definition {
    /// `CREATE`, and not yet what.
    Created,
    /// `CREATE TABLE`, as long as nothing is computed in it.
    Table,
    /// Whatever comes.
    Only,
    /// Another statement.
    None,
}

impl Definition {
    fn of(first: Token<'_>) -> Self {
        match first {
            _ if is(first, "create") => Self::Created,
            _ if ["grant", "revoke", "comment", "drop"].iter().any(|word| is(first, word)) => Self::Only,
            _ => Self::None,
        }
    }

    fn matters(&self) -> bool {
        matches!(self, Self::Created | Self::Table)
    }

    /// The next token outside parentheses.
    fn see(&mut self, token: Token<'_>) {
        let among = |words: &[&str]| words.iter().any(|word| is(token, word));
        *self = match self {
            Self::Created if among(&["or", "replace", "recursive", "constraint", "unlogged"]) => return,
            Self::Created if among(&["local", "global", "temp", "temporary"]) => return,
            Self::Created
                if among(&["view", "function", "procedure", "rule", "trigger", "policy", "domain", "aggregate"]) =>
            {
                Self::Only
            }
            Self::Created if among(&["table"]) => Self::Table,
            Self::Table if !among(&["as", "partition"]) => return,
            _ => Self::None,
        };
    }
}

/// `BEGIN ATOMIC … END`, the body of a routine, with its semicolons.
///
/// `begin atomic` is a body in a routine's definition only: elsewhere it may be a column and its alias. The `END` of a body
/// comes right after `ATOMIC` or a semicolon, and no other `end` does.
enum Body {
    /// So many words of `CREATE [OR REPLACE] FUNCTION | PROCEDURE` were seen.
    Heading(u8),
    Closed,
    Open,
    /// This statement has none, or had it.
    None,
}

impl Body {
    fn of(first: Token<'_>) -> Self {
        if is(first, "create") { Self::Heading(1) } else { Self::None }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    fn matters(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The next token outside parentheses, and the one before it.
    fn see(&mut self, last: Token<'_>, token: Token<'_>) {
        *self = match self {
            Self::Heading(1 | 3) if is(token, "function") || is(token, "procedure") => Self::Closed,
            Self::Heading(1) if is(token, "or") => Self::Heading(2),
            Self::Heading(2) if is(token, "replace") => Self::Heading(3),
            Self::Closed if is(token, "atomic") && is(last, "begin") => Self::Open,
            Self::Open if is(token, "end") && (last == Token::End || is(last, "atomic")) => Self::None,
            Self::Heading(_) => Self::None,
            _ => return,
        };
    }
}

/// Where a statement runs another one that was prepared: `EXPLAIN … EXECUTE` and `CREATE TABLE … AS EXECUTE`. What the driver
/// has prepared under such a name may be anything, and anybody's.
///
/// Elsewhere `execute` is a privilege, a word of a trigger's, or somebody's name.
enum Execution {
    /// Up to here there was `EXPLAIN` and its options.
    Explained,
    /// `CREATE`, and not yet what.
    Created,
    /// `CREATE TABLE`, and no `AS` yet.
    Table,
    As,
    /// The next one is its name.
    Named,
    /// None can come any more.
    None,
}

impl Execution {
    fn of(first: Token<'_>) -> Self {
        if is(first, "explain") {
            Self::Explained
        } else if is(first, "create") {
            Self::Created
        } else {
            Self::None
        }
    }

    /// The next token outside parentheses: whether it is the name of that.
    fn sees(&mut self, token: Token<'_>) -> bool {
        let among = |words: &[&str]| words.iter().any(|word| is(token, word));
        let found = matches!(self, Self::Named);
        *self = match self {
            Self::Explained if token == Token::Symbol(b')') || among(&["analyze", "analyse", "verbose"]) => {
                return false;
            }
            Self::Explained | Self::As if among(&["execute"]) => Self::Named,
            Self::Explained if among(&["create"]) => Self::Created,
            Self::Created if among(&["table"]) => Self::Table,
            Self::Created if among(&["unlogged", "temporary", "temp", "local", "global"]) => return false,
            Self::Table if among(&["as"]) => Self::As,
            Self::Table => return false,
            _ => Self::None,
        };
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Name, PinEnd, Setting};

    fn pins(sql: &str) -> Option<PinCause> {
        classify(sql).pins
    }

    #[test]
    fn queries_changes_and_definitions_are_plain() {
        for sql in [
            "select 1",
            "  SELECT 1;",
            "/* a */ -- b\n(select 1) union (select 2)",
            "with x as (select 1) insert into t select * from x",
            "values (1)",
            "table t",
            "insert into t values (';')",
            "merge into t using s on true when matched then do nothing",
            "create table t (temp int, temporary text)",
            "select temp, hold from t where listen = 'begin'",
            "create or replace function f() returns int language sql set search_path = x as $$ select set_config('a', 'b', false) $$",
            "create rule r as on insert to t do also (delete from u; delete from v)",
            "alter role app set search_path = x",
            "select pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(2), pg_advisory_unlock(3)",
            "select 'pg_advisory_lock(1)', \"pg_advisory_lock\" from t",
            "declare c cursor for select 1",
            "select 1; update t set n = 1; create index on t (n)",
            "explain analyze select 1",
            "notify orders",
            "",
            " ; ; ",
        ] {
            assert_eq!(classify(sql).pins, None, "{sql}");
            assert_eq!(classify(sql).setting, None, "{sql}");
        }
    }

    #[test]
    fn what_leaves_something_behind_pins_and_says_why() {
        for (sql, cause) in [
            ("commit nonsense", PinCause::RawTransaction),
            ("commit; select 1", PinCause::SeveralStatements),
            ("select 1; set x = 1", PinCause::SeveralStatements),
            ("create temp table t ()", PinCause::TemporaryObject),
            ("CREATE OR REPLACE TEMPORARY VIEW v as select 1", PinCause::TemporaryObject),
            ("create global temp table t ()", PinCause::TemporaryObject),
            ("select 1 into temp t", PinCause::TemporaryObject),
            ("create table pg_temp.t ()", PinCause::TemporaryObject),
            ("insert into \"pg_temp\".t values (1)", PinCause::TemporaryObject),
            ("create function pg_temp_3.f() returns int language sql as ''", PinCause::TemporaryObject),
            ("select pg_advisory_lock(1)", PinCause::AdvisoryLock),
            ("select pg_catalog . pg_try_advisory_lock /* x */ (1)", PinCause::AdvisoryLock),
            ("select \"pg_advisory_lock\"(1)", PinCause::AdvisoryLock),
            ("select u&\"\\0070g_advisory_lock\"(1)", PinCause::UnknownStatement),
            ("insert into t select set_config('a', v, false) from s", PinCause::Setting),
            ("listen orders", PinCause::Listen),
            ("prepare p as select 1", PinCause::PreparedStatement),
            ("declare c cursor with hold for select 1", PinCause::HoldableCursor),
            ("load 'auto_explain'", PinCause::Library),
            ("do $$ begin end $$", PinCause::Procedure),
            ("call p()", PinCause::Procedure),
            ("execute sqlx_s_1", PinCause::UnknownStatement),
            ("execute \"SQLX_S_1\" (2)", PinCause::UnknownStatement),
            ("execute u&\"\\0073qlx_s_1\"", PinCause::UnknownStatement),
            ("execute", PinCause::UnknownStatement),
            ("execute p (setseed(1))", PinCause::UnknownStatement),
            ("discard nothing", PinCause::UnknownStatement),
            ("selectx", PinCause::UnknownStatement),
            ("\"select\"", PinCause::UnknownStatement),
            ("$$select$$", PinCause::UnknownStatement),
            ("set session characteristics as transaction snapshot 'x'", PinCause::Setting),
            ("set standard_conforming_strings = off", PinCause::UnknownStatement),
            ("set seed to 0.5", PinCause::UnknownStatement),
            ("begin; set x = 1; commit", PinCause::SeveralStatements),
            ("begin; select 1", PinCause::SeveralStatements),
            ("begin; commit; begin; commit", PinCause::SeveralStatements),
        ] {
            assert_eq!(pins(sql), Some(cause), "{sql}");
        }
    }

    #[test]
    fn what_leaves_two_things_behind_is_not_understood() {
        for sql in [
            "create temp table z as select dblink_connect('leaky', 'x')",
            "select pg_advisory_lock(1), setseed(0.5)",
            "create temp table zz as select pg_try_advisory_lock(99)",
            "select pg_advisory_lock(1); select dblink_connect('x')",
            "prepare p as select setseed(1)",
            "prepare p as select pg_advisory_lock(1)",
            "create temp table z on commit drop as select pg_advisory_lock(1)",
        ] {
            assert_eq!(pins(sql), Some(PinCause::UnknownStatement), "{sql}");
        }
    }

    #[test]
    fn what_runs_a_statement_of_the_drivers_pins_wherever_it_stands() {
        for text in [
            "create table copied as execute p",
            "create table if not exists a.copied (x, y) with (fillfactor = 70) tablespace z as execute p (1) with no data",
            "create global table copied as execute p",
            "CREATE UNLOGGED TABLE copied AS /* as */ EXECUTE p",
            "explain execute p",
            "explain analyze execute p(1)",
            "explain analyse verbose execute p",
            "explain (analyze, buffers (true)) execute p",
            "explain (analyze) create table copied as execute p",
            "explain create table copied as execute p",
            "execute p",
            "execute p (1, 'x')",
        ] {
            // What SQL has prepared has pinned already, or is not there.
            assert_eq!(pins(text), None, "{text}");
            for name in ["sqlx_s_1", "SQLX_S_20", "\"sqlx_s_3\""] {
                let sql =
                    text.replace("ecute p", &format!("ecute {name}")).replace("ECUTE p", &format!("ECUTE {name}"));
                assert_eq!(pins(&sql), Some(PinCause::UnknownStatement), "{sql}");
                assert_eq!(pins(&format!("select 1; {sql}")), Some(PinCause::UnknownStatement), "{sql}");
            }
        }
        for sql in [
            "grant execute on function f() to public",
            "revoke grant option for execute on all functions in schema s from r",
            "alter default privileges in schema s grant execute on functions to r",
            "create trigger t before insert on x for each row execute function f()",
            "create constraint trigger t after insert on x for each row when (new.a is null) execute procedure f()",
            "create event trigger t on ddl_command_end execute function f()",
            "create table execute (execute int, as_execute int)",
            "create table t as select execute from x as execute",
            "create table t as (select 1 as execute)",
            "create view v as table execute",
            "create function f() returns int language plpgsql as $$ begin execute 'select 1'; end $$",
            "create function f() returns int language sql begin atomic select 1 as execute; end",
            "explain select execute from t as execute",
            "explain (analyze) select 1 execute",
            "explain insert into execute values (1)",
            "select has_function_privilege('f()', 'execute') as execute",
            "insert into t (execute) select 1 as execute",
        ] {
            assert_eq!(pins(sql), None, "{sql}");
        }
    }

    #[test]
    fn what_a_definition_mentions_is_not_called() {
        let mentions = |call: &str| {
            [
                format!("create table t (n int default {call})"),
                format!("create unlogged table if not exists t (n int check ({call} > 1), m int)"),
                format!("create or replace view v as select {call}"),
                format!("create recursive view v (n) as select {call}"),
                format!("create function f() returns int language sql begin atomic select {call}; end"),
                format!("create or replace procedure p() language sql begin atomic select {call}; end"),
                format!("create rule r as on insert to t do also select {call}"),
                format!("create trigger t before insert on x for each row when ({call} > 1) execute function f()"),
                format!("create policy p on t using ({call} > 1)"),
                format!("create domain d as int default {call}"),
            ]
        };
        for call in ["pg_advisory_lock(1)", "setseed(1)", "set_config('a.b', 'c', false)", "ts_stat('x')"] {
            for sql in mentions(call) {
                assert_eq!(pins(&sql), None, "{sql}");
                assert!(pins(&format!("{sql}; select {call}")).is_some(), "{sql}");
            }
            for sql in [
                format!("create table t as select {call}"),
                format!("create table t (n, m) as select {call}"),
                format!("create table p partition of t for values in ({call})"),
                format!("create materialized view v as select {call}"),
                format!("create index on t ({call})"),
                format!("alter table t add column n int default {call}"),
                format!("explain create table t as select {call}"),
            ] {
                assert!(pins(&sql).is_some(), "{sql}");
            }
        }
        for sql in mentions("currval('s')") {
            assert_eq!(classify(&sql).sequence, Sequence::NONE, "{sql}");
        }
        for sql in [
            "grant execute on function pg_advisory_lock(bigint) to r",
            "revoke all on function setseed (double precision) from public",
            "comment on function set_config(text, text, boolean) is 'x'",
            "drop function if exists a.crosstab(text)",
            "import foreign schema x from server s into y",
        ] {
            assert_eq!(classify(sql), Class::default(), "{sql}");
        }
        assert!(classify("create table t as select currval('s')").sequence.reads());
    }

    #[test]
    fn a_table_that_is_dropped_at_the_commit_does_not_pin() {
        for sql in [
            "create temp table t (n int) on commit drop",
            "CREATE LOCAL TEMPORARY TABLE IF NOT EXISTS t (n int) WITH (fillfactor = 70) ON COMMIT DROP TABLESPACE x",
            "create temp table t on commit drop as select 1 as n",
        ] {
            assert_eq!(classify(sql), Class { replans: Staleness::Names, ..Class::default() }, "{sql}");
            let whole = format!("begin; {sql}; insert into t values (1); commit");
            assert_eq!((pins(&whole), classify(&whole).control), (None, Some(Control::Whole)), "{whole}");
        }
        for sql in [
            "create temp table t (n int) on commit delete rows",
            "create temp table t (n int) on commit preserve rows",
            "create temp table t (n int /* on commit drop */)",
            "create temp table t as select 'on commit drop'",
            "create table pg_temp.t (n int) on commit drop",
        ] {
            assert_eq!(pins(sql), Some(PinCause::TemporaryObject), "{sql}");
        }
    }

    #[test]
    fn what_is_left_is_told_statement_by_statement() {
        let nothing: &[PinCause] = &[];
        for (sql, left) in [
            ("select set_config('lock_timeout', '7s', false); select 1", &[PinCause::Setting][..]),
            ("begin; set lock_timeout = '7s'; commit", &[PinCause::Setting]),
            ("begin; set local lock_timeout = '7s'; select 1; commit", nothing),
            ("begin; create temp table t (n int) on commit drop; commit", nothing),
            ("create temp table t (n int); listen x", &[PinCause::TemporaryObject, PinCause::Listen]),
            ("prepare p as select 1", &[PinCause::PreparedStatement]),
            ("execute p", &[PinCause::PreparedStatement]),
            ("declare c cursor with hold for select 1", &[PinCause::HoldableCursor]),
            ("do $$ begin end $$; call p(); select crosstab('x')", nothing),
            ("select crosstab('x'), pg_advisory_lock(1)", &[PinCause::AdvisoryLock]),
            ("set standard_conforming_strings = off", &[PinCause::Setting]),
            ("commit; select 1; unlisten *", nothing),
        ] {
            assert_eq!(leaves(sql), left, "{sql}");
        }
    }

    #[test]
    fn a_copy_from_or_to_the_client_is_seen() {
        for sql in [
            "copy t from stdin",
            "COPY t (a, b) FROM /* x */ STDIN WITH (format csv)",
            "copy (select 1) to stdout",
            "copy binary t from stdout",
            "select 1; copy t to stdout",
        ] {
            assert!(classify(sql).copies, "{sql}");
        }
        for sql in [
            "copy t from '/tmp/stdin'",
            "copy stdin from program 'cat'",
            "copy t (stdin) to 'x'",
            "copy (select 1 from stdin) to 'x'",
            "select 1 from stdin",
            "copy t from \"stdin\"",
        ] {
            assert!(!classify(sql).copies, "{sql}");
        }
    }

    #[test]
    fn every_function_of_the_list_pins() {
        for (name, cause) in PINNING {
            assert_eq!(pins(&format!("select {}(a) from t", name.to_uppercase())), Some(cause), "{name}");
            assert_eq!(pins(&format!("select * from contrib.{name} ('select 1') as t(a int)")), Some(cause), "{name}");
            assert_eq!(pins(&format!("select {name}s(1), {name} from t")), None, "{name}");
        }
    }

    #[test]
    fn transaction_control_and_the_ends_of_pins_do_not_pin() {
        let end = |sql| (classify(sql).pins, classify(sql).ends);
        for (sql, ends) in [
            ("unlisten *", PinEnd::Of(PinCause::Listen)),
            ("close all", PinEnd::Of(PinCause::HoldableCursor)),
            ("deallocate prepare all", PinEnd::Of(PinCause::PreparedStatement)),
            ("deallocate p", PinEnd::Other),
            ("discard all;", PinEnd::Everything),
            ("DISCARD TEMPORARY", PinEnd::Of(PinCause::TemporaryObject)),
            ("select pg_catalog.pg_advisory_unlock_all()", PinEnd::Of(PinCause::AdvisoryLock)),
        ] {
            assert_eq!(end(sql), (None, Some(ends)), "{sql}");
        }
        for sql in ["unlisten orders", "close c", "select pg_advisory_unlock_all() where false"] {
            assert_eq!(end(sql), (None, None), "{sql}");
        }
        assert_eq!(classify("commit prepared 'x'"), Class::default());
        for (sql, control) in [
            ("begin", Some(Control::Begin)),
            ("begin; insert into t values (1); select 1; commit", Some(Control::Whole)),
            ("begin; rollback", Some(Control::Whole)),
            ("select 1; select 2", None),
        ] {
            assert_eq!((classify(sql).pins, classify(sql).control), (None, control), "{sql}");
        }
        for (sql, ends) in [("begin; select 1", false), ("select 1; commit", true), ("rollback; begin", true)] {
            assert_eq!(classify(sql).control, Some(Control::Unclear { ends }), "{sql}");
        }
    }

    #[test]
    fn settings_are_seen_with_their_names() {
        let set = |name, rest| Some(Name(name, rest));
        for (sql, name) in [
            ("set search_path = a, \"B\"", set("search_path", None)),
            ("SET SESSION statement_timeout TO '5s';", set("statement_timeout", None)),
            ("set time zone 'UTC'", set("timezone", None)),
            ("set role app", set("role", None)),
            ("set session authorization app", set("session_authorization", None)),
            ("set schema 'x'", set("search_path", None)),
            ("set app.tenant = '7'", set("app", Some("tenant"))),
            ("set \"Search_Path\" to x", set("Search_Path", None)),
            ("select set_config('search_path', 'x', false)", set("search_path", None)),
            ("select pg_catalog.set_config('app.tenant', '7''s', FALSE) -- x", set("app.tenant", None)),
        ] {
            match classify(sql) {
                Class { pins: None, setting: Some(Setting::Set { name: found, .. }), .. } => {
                    assert_eq!(Some(found), name, "{sql}");
                }
                class => panic!("{sql}: {class:?}"),
            }
        }
        for (sql, name) in [
            ("reset search_path", "search_path"),
            ("set search_path to default", "search_path"),
            ("set time zone local", "timezone"),
            ("reset time zone", "timezone"),
            ("reset role", "role"),
            ("set session authorization default", "session_authorization"),
            ("reset session authorization", "session_authorization"),
        ] {
            assert_eq!(classify(sql).setting, Some(Setting::Reset(Name(name, None))), "{sql}");
        }
        assert_eq!(classify("reset all").setting, Some(Setting::ResetAll));
    }

    #[test]
    fn what_ends_with_its_transaction_is_passing() {
        for sql in [
            "set local search_path = x",
            "set local role r",
            "set local session authorization r",
            "set transaction isolation level serializable",
            "set constraints all deferred",
            "select set_config('search_path', 'x', true)",
            "select set_config('app.tenant', $1, true)",
            "select set_config('app.tenant', $1::text, true), pg_catalog.set_config('role', 'x', true)",
            "begin; set local app.tenant = '7'; select 1; commit",
            "set local datestyle = iso",
            "select set_config('datestyle', 'iso', true)",
            "set local session characteristics as transaction read only",
        ] {
            if let Class { control: Some(Control::Whole), pins: None, .. } = classify(sql) {
                continue;
            }
            let replans = classify(sql).replans;
            assert_eq!(classify(sql), Class { replans, ..Class::default() }, "{sql}");
        }
        for (sql, replans) in [
            ("set local search_path = x", Staleness::Names),
            ("set local time zone 'UTC'", Staleness::Plans),
            ("set local lock_timeout = 1", Staleness::Fresh),
            ("select set_config('app.tenant', $1, true), set_config('datestyle', 'ISO, DMY', true)", Staleness::Plans),
            ("set transaction isolation level serializable", Staleness::Fresh),
        ] {
            assert_eq!(classify(sql).replans, replans, "{sql}");
        }
    }

    #[test]
    fn the_memory_of_sequences_is_seen() {
        for (sql, sequence) in [
            ("insert into t default values", Sequence::GENERATES),
            ("select nextval('s')", Sequence::GENERATES),
            ("select lastval()", Sequence::READS),
            ("insert into t values (currval('s'))", Sequence::GENERATES | Sequence::READS),
            ("insert into t default values; select lastval()", Sequence::GENERATES | Sequence::READS),
            ("with x as (insert into t default values) select currval('s')", Sequence::GENERATES | Sequence::READS),
            ("select lastval from t", Sequence::NONE),
        ] {
            assert_eq!(classify(sql).sequence, sequence, "{sql}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"(set|select|temp|set_config|é|[ ('"$;/*\\eE\n&.,=)u-]){0,30}"#) {
            let _ = classify(&text);
        }
    }
}
