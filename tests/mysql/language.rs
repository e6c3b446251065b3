//! What the model's sessions say to MySQL.
//!
//! Each session has tables of its own: what one does to the gaps between rows would hold up the others.

use lambda_rds::{MySql, Proxy, ProxyBuilder};
use proptest::prelude::*;
use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AssertSqlSafe, Connection, MySqlConnection};

use super::model::{Account, Kind, Lost, MOST_SESSIONS, Step, Way};
use super::stage::{is_in_transaction, worded};
use crate::support::mariadb::{APP_PASSWORD, MariaDb, MariaDbOptions};
use crate::support::servers::{Family, Servers};

/// It needs no TLS: most connections here are made for one session only.
pub(super) const USER: &str = "plain";

/// A transaction goes on after an error.
pub(super) const ERRORS_ABORT: bool = false;
pub(super) const ABORTED: Option<&str> = None;
/// A rollback leaves settings as they are.
pub(super) const ROLLBACK_RESETS: bool = false;
/// What is dropped while the driver prepares it takes the connection with it.
pub(super) const PREPARES_AHEAD: bool = true;
/// In a guard, what commits is refused.
pub(super) const COMMITS: &str = "would commit the guard's transaction";

/// What a session sees of itself.
pub(super) fn look() -> String {
    let look = "select concat_ws(' ', @@sql_mode, @@time_zone, @@autocommit, @@tx_isolation, \
        @@tx_read_only, @@character_set_client, @@character_set_connection, @@character_set_results, \
        @@collation_connection, @@collation_database, database(), @@group_concat_max_len, @@lock_wait_timeout, \
        @@long_query_time, @@net_write_timeout, @@foreign_key_checks, @@unique_checks, @@sql_auto_is_null, \
        @@default_week_format, @@div_precision_increment, @@lc_time_names, crc32(@@optimizer_switch), \
        {in_transaction}, if(@@timestamp < 100, @@timestamp, 'now'), \
        coalesce(is_used_lock('lock{s}') = connection_id(), 0), \
        (select coalesce(group_concat(n order by n), 'none') from app.notes{s}))";
    worded(look).expect("both have that").replace("{in_transaction}", is_in_transaction())
}

pub(super) const MANY_ROWS: &str = "select cast(seq as char) from app.seq_1_to_300";

/// After a `SET` that may have happened.
pub(super) const SET_AGAIN: &str = "set group_concat_max_len = 1234";

/// They begin, or end, a transaction of texts.
const CONTROL: [&str; 4] = ["begin", "start transaction", "commit", "rollback"];

/// They commit what is open, whatever becomes of them.
const COMMITTING: [&str; 6] = [
    "create table app.made{s} (n int)",
    "drop table app.made{s}",
    "alter table app.own{s} comment = 'altered'",
    "truncate table app.own{s}",
    "lock tables app.own{s} write",
    "create table app.made{s} as select no_such_column",
];

const AUTOCOMMIT_OFF: [&str; 3] =
    ["set autocommit = 0", "set @@session.autocommit := OFF", "set group_concat_max_len = 4321, autocommit = 0"];
const AUTOCOMMIT_ON: [&str; 2] = ["set autocommit = 1", "set long_query_time = 3, session autocommit = 'on'"];

/// They ask what the server remembers of earlier statements.
const QUESTIONS: [&str; 8] = [
    "select cast(last_insert_id() as char)",
    "select cast(@@last_insert_id as char)",
    "select cast(row_count() as char)",
    "select cast(row_count() as char); select 'counted'",
    "select cast(found_rows() as char)",
    "select concat(last_insert_id(), ' ', row_count())",
    // In a guard this has to be marked first.
    "select cast(row_count() as char); set @counted = 1",
    "select cast(@@warning_count as char)",
];

/// What must not pin.
fn shared_statement() -> impl Strategy<Value = Step> {
    use Way::{All, Execute, First, Raw, Unnamed};
    let quiet = prop::sample::select(vec![Execute, All, First, Unnamed, Raw]);
    let settings = (1..9_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            format!("set group_concat_max_len = {n}000"),
            format!("set session lock_wait_timeout = {n}0"),
            format!("set @@long_query_time = {n}"),
            format!("set local net_write_timeout := 6{n}"),
            format!("set time_zone = '+0{n}:00'"),
            format!("set group_concat_max_len = {n}000, time_zone = '-0{n}:00', @@session.sql_mode = 'TRADITIONAL'"),
            format!("set default_week_format = {}", n % 8),
            format!("set names utf8mb4, long_query_time = {n}"),
            format!("set div_precision_increment = {n}"),
            "set lc_time_names = 'de_DE'".to_owned(),
            "set unique_checks = 0".to_owned(),
            "set foreign_key_checks = 1".to_owned(),
            "set sql_auto_is_null = 1".to_owned(),
            "set foreign_key_checks = @@global.foreign_key_checks".to_owned(),
            "set sql_mode = ''".to_owned(),
            "set sql_mode = 'STRICT_ALL_TABLES,PIPES_AS_CONCAT'".to_owned(),
            "set sql_mode = default".to_owned(),
            "set names latin1".to_owned(),
            "set names utf8mb4 collate utf8mb4_bin".to_owned(),
            "use other".to_owned(),
            "use `app`".to_owned(),
            "set session transaction isolation level read committed".to_owned(),
            "set session transaction read only, isolation level repeatable read".to_owned(),
            "set session transaction read write".to_owned(),
            "set group_concat_max_len = default, long_query_time = default".to_owned(),
            "set time_zone = default".to_owned(),
            "set foreign_key_checks = off".to_owned(),
            "set sql_mode = 'much'".to_owned(),
            "set no_such_setting = 1".to_owned(),
            "set long_query_time = 7, time_zone = 'nowhere'".to_owned(),
            "set names utf8mb4 collate latin1_bin".to_owned(),
            "use no_database_of_that_name".to_owned(),
        ])
    });
    let queries = (1..5_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            format!("select '{n} of {{s}}'"),
            "select cast(@@group_concat_max_len as char)".to_owned(),
            "select no_such_column".to_owned(),
            "select cast((select seq from app.seq_1_to_2) as char)".to_owned(),
            MANY_ROWS.to_owned(),
            // These depend on the database, on `sql_mode`, on the character set.
            "select n from place".to_owned(),
            format!("select cast('1' || '{n}' as char)"),
            "select concat(charset('x'), ' ', collation('x'))".to_owned(),
            "select cast(week('2008-02-20') as char)".to_owned(),
            // These on other settings.
            "select cast(unix_timestamp('2008-02-20 12:00:00') as char)".to_owned(),
            "select cast(from_unixtime(1203508800) as char)".to_owned(),
            "select dayname('2008-02-20')".to_owned(),
            "select cast(1 / 3 as char)".to_owned(),
            "select cast(1 / 0 as char)".to_owned(),
            format!("insert into app.child{{s}} values ({n}, 77)"),
            format!("insert into app.notes{{s}} values ({n})"),
            format!("insert into app.notes{{s}} values (9), ({n})"),
            format!("insert into app.notes{{s}} values ({n}) returning cast(n as char)"),
            format!("delete from app.notes{{s}} where n = {n}"),
            format!("update app.notes{{s}} set n = n + 4 where n = {n}"),
            format!("set statement group_concat_max_len = {n} for select cast(@@group_concat_max_len as char)"),
            "select cast(release_lock('lock{s}') as char)".to_owned(),
            "do 0".to_owned(),
        ])
    });
    let texts = (1..5_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            format!("insert into app.notes{{s}} values ({n}); select 'and {{s}}'"),
            format!("insert into app.notes{{s}} values ({n}); select no_such_column; select 'not reached'"),
            "select 'a'; select 'b'; select 'c'".to_owned(),
        ])
    });
    prop_oneof![
        4 => (quiet.clone(), settings).prop_map(|(way, sql)| Step::Run(way, sql)),
        4 => (quiet, queries).prop_map(|(way, sql)| Step::Run(way, sql)),
        2 => texts.prop_map(|sql| Step::Run(Raw, sql)),
        2 => remembering(),
    ]
}

/// What the server remembers, and questions for it.
fn remembering() -> impl Strategy<Value = Step> {
    let drawn = (1..5_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            "insert into app.drawn (session) values ({s})".to_owned(),
            "insert into app.drawn (session) values ({s}), ({s})".to_owned(),
            format!("insert into app.drawn values ({{s}}, {n}0)"),
            format!("select cast(last_insert_id({n}00 + {{s}}) as char)"),
            "select sql_calc_found_rows cast(seq as char) from app.seq_1_to_9 limit 2".to_owned(),
        ])
    });
    prop_oneof![
        drawn.prop_map(|sql| Step::Run(Way::Raw, sql)),
        prop::sample::select(&QUESTIONS[..7]).prop_map(|sql| Step::Run(Way::Raw, sql.to_owned())),
    ]
}

/// Transactions that texts begin and end, or that begin by themselves, and what ends them unsaid.
fn transactions() -> impl Strategy<Value = Step> {
    let ways = prop::sample::select(vec![Way::Execute, Way::Raw]);
    let texts = prop_oneof![
        4 => prop::sample::select(CONTROL.as_slice()),
        1 => prop::sample::select(AUTOCOMMIT_OFF.as_slice()),
        2 => prop::sample::select(AUTOCOMMIT_ON.as_slice()),
        2 => prop::sample::select(COMMITTING.as_slice()),
    ];
    (ways, texts).prop_map(|(way, sql)| Step::Run(way, sql.to_owned()))
}

/// What pins, and is sure to leave the transaction as it is.
fn pinning_statement() -> impl Strategy<Value = Step> {
    let texts = (1..9_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            format!("set @a = '{n} of {{s}}'"),
            format!("select @a := '{n} by {{s}}'"),
            "select @a".to_owned(),
            "create temporary table mine (n varchar(9))".to_owned(),
            format!("insert into mine values ('{n}')"),
            "select n from mine order by n".to_owned(),
            "drop temporary table mine".to_owned(),
            "select cast(get_lock('lock{s}', 0) as char)".to_owned(),
            "select cast(release_lock('lock{s}') as char)".to_owned(),
            "select release_all_locks()".to_owned(),
            "do release_all_locks()".to_owned(),
            "unlock tables".to_owned(),
            format!("insert into app.own{{s}} values ('{n}')"),
            "select t from app.own{s} order by t".to_owned(),
            "handler app.own{s} open as h".to_owned(),
            "handler h read first".to_owned(),
            "handler h close".to_owned(),
            format!("set timestamp = {n}"),
            "set optimizer_switch = 'mrr=on'".to_owned(),
        ])
    });
    texts.prop_map(|sql| Step::Run(Way::Raw, sql))
}

/// What may begin or end a transaction unseen, and so leaves the session in doubt.
fn doubtful_statement() -> impl Strategy<Value = Step> {
    let texts = (1..9_u8).prop_flat_map(|n| {
        prop::sample::select(vec![
            format!("prepare p from 'select ''{n} of {{s}}'''"),
            "execute p".to_owned(),
            "deallocate prepare p".to_owned(),
            "prepare p from 'insert into app.own{s} values (''p'')'".to_owned(),
            "call app.sets()".to_owned(),
            "call app.tells()".to_owned(),
            QUESTIONS[7].to_owned(),
            "call app.commits()".to_owned(),
            format!("set group_concat_max_len = {n}000; select 'set by {{s}}'"),
            format!("set group_concat_max_len = {n}000; select no_such_column"),
            format!("set group_concat_max_len = {n}000 + 0"),
            "set transaction isolation level serializable".to_owned(),
            format!("begin; insert into app.notes{{s}} values (1{n}); commit"),
            format!("begin; insert into app.notes{{s}} values (1{n}); select no_such_column; commit"),
            "savepoint a".to_owned(),
            "rollback to savepoint a".to_owned(),
            "release savepoint a".to_owned(),
        ])
    });
    let bound = (1..9_u8)
        .prop_flat_map(|n| {
            let texts =
                vec!["set group_concat_max_len = ? * 1000", "set @a = ?", "select cast(last_insert_id(?) as char)"];
            (Just(n), prop::sample::select(texts))
        })
        .prop_map(|(n, sql)| Step::Run(Way::Bound(n), sql.to_owned()));
    prop_oneof![
        6 => texts.prop_map(|sql| Step::Run(Way::Raw, sql)),
        1 => bound,
    ]
}

pub(super) fn kinds() -> Vec<Kind> {
    let plain = [
        Lost::Text("select sleep(0.002)"),
        Lost::Text("select sleep(0.001), (select seq from app.seq_1_to_2)"),
        Lost::Text("insert into app.half values ({s})"),
        Lost::Begin,
        Lost::Rows,
    ];
    let set = [Lost::Set("set group_concat_max_len = 9999")];
    let pins = [
        Lost::Text("create temporary table half_made (n int)"),
        Lost::Text("prepare half from 'select 1'"),
        Lost::Text("execute half"),
    ];
    // Leaves its transaction open.
    let half = "begin; insert into app.notes{s} values (17); select no_such_column; commit";
    let half = Just(Step::Run(Way::Raw, half.to_owned()));
    let control = prop::sample::select(CONTROL.as_slice()).prop_map(|sql| Step::Run(Way::Raw, sql.to_owned()));
    let (transactions, doubtful) = (
        prop_oneof![6 => shared_statement(), 4 => transactions(), 3 => pinning_statement()],
        prop_oneof![5 => shared_statement(), 3 => pinning_statement(), 3 => doubtful_statement(), 2 => control],
    );
    vec![
        Kind {
            weight: 3,
            weight_of_statements: 8,
            statements: prop_oneof![20 => shared_statement(), 1 => half].boxed(),
            lost: [&plain[..], &set].concat(),
        },
        // A dropped `SET` would leave it in doubt whether a transaction begins by itself.
        Kind { weight: 2, weight_of_statements: 13, statements: transactions.boxed(), lost: plain.to_vec() },
        Kind {
            weight: 2,
            weight_of_statements: 13,
            statements: doubtful.boxed(),
            lost: [&plain[..], &set, &pins].concat(),
        },
    ]
}

/// A text as it is sent. In a guard, what would take the transaction from it without being refused is left out, and what
/// would take away the savepoint that shows that it is still there.
pub(super) fn spoken(sql: &str, depth: usize) -> String {
    match sql {
        "commit" | "rollback" | "call app.commits()" if depth > 0 => "do 0".to_owned(),
        "rollback to savepoint a" | "release savepoint a" if depth > 0 => "do 0".to_owned(),
        sql if depth > 0 => sql.replace("begin; ", "").replace("; commit", ""),
        sql => sql.to_owned(),
    }
}

/// It leaves nothing behind that the loss of its connection would take away.
pub(super) fn is_quiet(sql: &str) -> bool {
    let pins = [
        "@a",
        "@@global",
        "@counted",
        "mine",
        "get_lock",
        "release_all",
        "unlock",
        "handler",
        "timestamp",
        "auto_is_null",
        "switch",
        "prepare",
        "half_made",
    ];
    !(may_begin(sql) || pins.iter().any(|part| sql.contains(part)))
}

/// Whether a transaction may be open after it that no guard has begun, or over.
fn may_begin(sql: &str) -> bool {
    let doubtful = ["execute", "call", "+ 0", "savepoint", "set transaction", "begin; ", "000; select", "?"];
    let text = |known: &[&str]| known.contains(&sql);
    text(&CONTROL)
        || text(&COMMITTING)
        || text(&AUTOCOMMIT_OFF)
        || text(&AUTOCOMMIT_ON)
        || doubtful.iter().any(|part| sql.contains(part))
}

/// It asks what a statement that is dropped in one world only would change.
pub(super) fn is_about_all(sql: &str) -> bool {
    ["row_count", "found_rows", "warning_count"].iter().any(|asked| sql.contains(asked))
}

/// Every text: [`PREPARES_AHEAD`].
pub(super) fn is_read_early(_: &str) -> bool {
    true
}

pub(super) fn is_question(sql: &str) -> bool {
    QUESTIONS.contains(&sql)
}

/// In a guard.
pub(super) fn is_refused(account: Account, sql: &str) -> bool {
    COMMITTING.contains(&sql) || CONTROL[..2].contains(&sql) || account.autocommit_off && AUTOCOMMIT_ON.contains(&sql)
}

/// What becomes of a session by a text.
pub(super) fn account(account: &mut Account, sql: &str, depth: usize, agreed: bool) {
    let before = account.autocommit_off;
    account.spoken |= may_begin(sql);
    if agreed && AUTOCOMMIT_OFF.contains(&sql) {
        account.autocommit_off = true;
    }
    if agreed && AUTOCOMMIT_ON.contains(&sql) {
        account.autocommit_off = false;
    }
    if depth > 0 {
        return;
    }
    let moved =
        sql.starts_with("use ") || sql.starts_with("set ") && is_quiet(sql) && !sql.starts_with("set statement");
    match sql {
        "begin" | "start transaction" => account.open |= agreed,
        "commit" | "rollback" => account.open &= !agreed,
        sql if COMMITTING.contains(&sql) => account.open = false,
        sql if AUTOCOMMIT_ON.contains(&sql) => account.open &= !(agreed && before),
        sql if AUTOCOMMIT_OFF.contains(&sql) || moved => {}
        _ => account.open |= before,
    }
}

/// Whether a text has begun the transaction that the session is in. With autocommit off it is this crate's word that
/// counts: the server begins with the first table.
pub(super) async fn is_open(conn: &mut MySqlConnection, account: Account) -> bool {
    if account.autocommit_off {
        return account.open;
    }
    let asked = sqlx::raw_sql(AssertSqlSafe(format!("select cast({} as char)", is_in_transaction())));
    let asked = asked.fetch_one(conn).await.expect("an answer");
    sqlx::Row::get::<String, _>(&asked, 0) == "1"
}

/// The code that all errors of a kind share tells less.
pub(super) fn code(error: &(dyn DatabaseError + 'static)) -> String {
    error.downcast_ref::<MySqlDatabaseError>().number().to_string()
}

pub(super) async fn start() -> MariaDb {
    let mut settings = vec![("lock_wait_timeout", "10"), ("innodb_lock_wait_timeout", "10")];
    if Servers::family() == Family::MySql {
        // With GTIDs it refuses to write to a table of MyISAM after a savepoint (1785), and guards set some.
        settings.extend([("gtid_mode", "OFF"), ("enforce_gtid_consistency", "OFF")]);
    }
    let settings = settings.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
    let server = MariaDb::start(MariaDbOptions { settings, ..MariaDbOptions::default() }).await;
    let mut schema = "
        create database other; grant all on other.* to plain;
        create table app.place (n varchar(9)); insert into app.place values ('app');
        create table other.place (n varchar(9)); insert into other.place values ('other');
        create table app.half (session int);
        create table app.drawn (session int, id int auto_increment, primary key (session, id)) engine = MyISAM;
        create procedure app.sets() set @a = 'set', default_week_format = 6;
        create procedure app.tells() select 'told';
        create procedure app.commits() commit"
        .to_owned();
    for session in 0..MOST_SESSIONS {
        schema.push_str(&format!("; create table app.notes{session} (n int primary key)"));
        schema.push_str(&format!("; create table app.own{session} (t varchar(20) primary key)"));
        schema.push_str(&format!("; create table app.parent{session} (n int primary key)"));
        schema.push_str(&format!(
            "; create table app.child{session} (n int, parent int, foreign key (parent) references app.parent{session} (n))"
        ));
    }
    server.execute(&schema).await;
    server
}

fn url(server: &MariaDb) -> String {
    format!("{}?ssl-mode=disabled", server.url_for(USER, APP_PASSWORD, "app"))
}

pub(super) fn proxy(server: &MariaDb) -> ProxyBuilder<MySql> {
    Proxy::builder().url(url(server))
}

pub(super) async fn connect(server: &MariaDb) -> MySqlConnection {
    let mut conn = MySqlConnection::connect(&url(server)).await.expect("connects");
    // MariaDB tells a new session how many rows the last query of an older one had found; MySQL tells it none.
    if let Some(text) = server.family().either(Some("select 1 from dual where false"), None) {
        sqlx::raw_sql(text).execute(&mut conn).await.expect("finds nothing");
    }
    conn
}

/// Only a new one is as good as new.
pub(super) async fn refresh(conn: &mut MySqlConnection, server: &MariaDb) {
    let used = std::mem::replace(conn, connect(server).await);
    used.close().await.expect("closes");
}

/// All that is committed by so many sessions, taken away.
pub(super) async fn harvest(admin: &mut MySqlConnection, sessions: usize) -> Vec<String> {
    let mut all = "select concat('drawn', session, ' ', id) as found from app.drawn".to_owned();
    let mut gone = "delete from app.drawn; delete from app.half".to_owned();
    for session in 0..sessions {
        all.push_str(&format!(" union all select concat('notes{session} ', n) from app.notes{session}"));
        all.push_str(&format!(" union all select concat('own{session} ', t) from app.own{session}"));
        all.push_str(&format!(" union all select concat('child{session} ', n) from app.child{session}"));
        gone.push_str(&format!("; delete from app.notes{session}; delete from app.own{session}"));
        gone.push_str(&format!("; delete from app.child{session}"));
        gone.push_str(&format!("; drop table if exists app.made{session}"));
    }
    let found = sqlx::query_scalar(AssertSqlSafe(format!("{all} order by found"))).fetch_all(&mut *admin).await;
    sqlx::raw_sql(AssertSqlSafe(gone)).execute(admin).await.expect("an answer");
    found.expect("an answer")
}
