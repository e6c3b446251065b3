//! What sessions say to MySQL to generate numbers and to read them, and to read the diagnostics of their statements.

use sqlx::MySqlConnection;

use super::stage::worded;
use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::servers::Servers;

/// Twice the same: for the sessions that share connections, and for those that have one each.
pub(super) const WORLDS: [&str; 2] = ["app", "alone"];

const SCHEMA: &str = "
    create table {world}.orders (id int auto_increment primary key, n int not null default 0);
    create table {world}.log (id int auto_increment primary key, n int not null default 0);
    create table {world}.archive (id int auto_increment primary key);
    create table {world}.plain (n bigint); insert into {world}.plain values (1);";

/// What only one of the two has: MariaDB sequences, and MySQL views for the series, which the stage has in `app` only.
const MARIADBS: &str = "create sequence {world}.s";
const MYSQLS: &str = "
    create or replace sql security invoker view {world}.seq_1_to_3 as select 1 as seq union all select 2 union all select 3;
    create or replace sql security invoker view {world}.seq_1_to_7 as
      with recursive numbers (seq) as (select 1 union all select seq + 1 from numbers where seq < 7) select seq from numbers";

pub(super) const INSERT: &str = "insert into orders () values ()";
/// Another table, with numbers of its own.
pub(super) const INSERT_ELSEWHERE: &str = "insert into log () values ()";
pub(super) const INSERT_WITHOUT: &str = "insert into plain values (1)";
pub(super) const INSERT_IN_VAIN: &str = "insert into orders (n) values (null)";
pub(super) const UPDATE: &str = "update plain set n = n + 1";
/// The number that the last statement has generated, and that of the table of [`INSERT`].
pub(super) const LAST: &str = "select cast(last_insert_id() as char)";
pub(super) const LAST_OF_TABLE: &str = "select cast(@@identity as char)";
pub(super) const INSERT_LAST: &str = "insert into plain values (last_insert_id())";
/// What was generated, as the table has it.
pub(super) const NEWEST: &str = "select cast(max(id) as char) from orders";
pub(super) const PIN: &str = "select cast(get_lock(concat('of ', connection_id()), 0) as char)";

/// Statements; several of them make a text.
pub(super) fn statements() -> Vec<&'static str> {
    let both = STATEMENTS.iter().filter(|text| worded(text).is_some()).copied();
    both.chain(Servers::family().either(MARIADBS_STATEMENTS, MYSQLS_STATEMENTS).iter().copied()).collect()
}

/// A text that is no number is one in an expression, with a warning.
const MARIADBS_STATEMENTS: &[&str] = &["select cast('a' as int) = 0"];
const MYSQLS_STATEMENTS: &[&str] = &["select cast('a' as signed) = 0"];

const STATEMENTS: &[&str] = &[
    INSERT,
    INSERT,
    INSERT_ELSEWHERE,
    "insert into log () values (), ()",
    INSERT_WITHOUT,
    INSERT_IN_VAIN,
    UPDATE,
    // A number that is brought along is told as if it were generated.
    "replace into archive values (1)",
    "replace into archive values (2)",
    "replace into archive values (3)",
    "insert into log (id) values (null), (1)",
    "select cast(last_insert_id(5) as char)",
    "select cast(nextval(s) > 0 as char)",
    "insert ignore into orders (n) values ('a')",
    "select sql_calc_found_rows 'found' from seq_1_to_7 limit 2",
    "do 0",
    LAST,
    LAST,
    LAST_OF_TABLE,
    INSERT_LAST,
    "select cast(lastval(s) as char)",
    "select cast(row_count() as char)",
    "select cast(found_rows() as char)",
    "select cast(@@warning_count as char)",
    "select concat(last_insert_id(), ' ', row_count())",
];

pub(super) fn parameters() -> &'static str {
    "?ssl-mode=REQUIRED"
}

/// The session's world is the second one.
pub(super) const MOVE: &str = "use alone";

/// How many rows were found before any were asked for is what the server has left over from other connections.
pub(super) const HELLO: Option<&str> = Some("select 'hello' from seq_1_to_3");

/// No statement makes a connection as good as new.
pub(super) const RENEW: Option<&str> = None;

/// What is refused was not sent.
pub(super) async fn reached(_: &mut MySqlConnection, _: &str) -> bool {
    false
}

pub(super) async fn align(_: &mut MySqlConnection) {}

pub(super) async fn start() -> MariaDb {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    server.execute("create database alone; grant all on alone.* to app").await;
    for world in WORLDS {
        let schema = format!("{SCHEMA}{}", server.family().either(MARIADBS, MYSQLS));
        server.execute(&schema.replace("{world}", world)).await;
    }
    server
}
