//! RDS Proxy's pinning table for MySQL, row by row: shared where this crate claims to share, pinned where it claims to pin,
//! and in both cases nothing of it is seen by the next session on the same physical connection, or on the one that takes
//! its place.
//!
//! The server itself is the witness: its settings, the database and locks before and after must be the same; what it does
//! not show (temporary tables, variables, handlers, statements prepared by SQL) is asked for by name.

use lambda_rds::{Connection, Error, MySql, PinCause};
use sqlx::AssertSqlSafe;

use super::stage::{is_in_transaction, settings, worded};
use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::mysql_proxy_to;
use crate::support::servers::Servers;

/// Every setting of the session, and what else the server shows of it. `timestamp` is the time, and the rest of those that
/// are left out are counted up by themselves.
fn question() -> String {
    format!(
        "select concat_ws(' | ', database(), current_role(), {}, coalesce(is_used_lock('it'), 'free'), @@timestamp > 1000, \
           (select group_concat(name, '=', value order by name separator ',') from {} \
             where name not in ('timestamp', 'pseudo_thread_id', 'rand_seed1', 'rand_seed2', 'error_count', \
               'warning_count', 'in_transaction', 'identity', 'last_insert_id') and name not like '%gtid%'))",
        is_in_transaction(),
        settings()
    )
}

/// Statements that fail where nothing is left, each with the error.
const ABSENT: [(&str, u16); 3] = [("select * from app.t", 1146), ("handler h read first", 1109), ("execute p", 1243)];

/// A variable is not missed; each family has its own way to fail for it.
fn no_variable() -> (&'static str, u16) {
    Servers::family().either(
        ("begin not atomic if @x is null then signal sqlstate '45000'; end if; end", 1644),
        ("select if(@x is null, (select 1 union select 2), 0)", 1242),
    )
}

async fn witness(conn: &mut Connection<MySql>) -> Result<String, Error> {
    sqlx::raw_sql("set group_concat_max_len = 1000000").execute(&mut *conn).await?;
    Ok(sqlx::query_scalar(AssertSqlSafe(question())).fetch_one(conn).await?)
}

/// What two witnesses tell differently.
fn difference<'a>(one: &'a str, other: &'a str) -> Vec<(&'a str, &'a str)> {
    one.split(',').zip(other.split(',')).filter(|(one, other)| one != other).collect()
}

/// To ask pins.
async fn expect_absent(conn: &mut Connection<MySql>) {
    for (sql, number) in ABSENT.into_iter().chain([no_variable()]) {
        let refused = sqlx::raw_sql(sql).execute(&mut *conn).await.unwrap_err();
        let refused = refused.as_database_error().and_then(|error| error.try_downcast_ref());
        assert_eq!(refused.map(sqlx::mysql::MySqlDatabaseError::number), Some(number), "{sql}");
    }
}

#[tokio::test]
async fn every_row_is_shared_or_pinned_as_claimed_and_leaks_nothing() -> Result<(), Error> {
    // RDS Proxy pins on most settings, on `DEFINITION`s and on executable comments; `SET LOCAL` it lets leak.
    let shared: &[&str] = &[
        "select 1",
        "insert into plain (n) values (1)",
        "create table made (n int)",
        "alter table made add column m int",
        "truncate made",
        "drop table made",
        "analyze table plain",
        "explain select 1",
        "select /*+ no_such_hint() */ 1",
        "select 1 /* plain */ -- and this",
        "set session sort_buffer_size = 77777",
        "set sort_buffer_size = 77777",
        "set local sort_buffer_size = 77777",
        "set @@session.sort_buffer_size = 77777",
        "set @@sort_buffer_size = default",
        "set group_concat_max_len = 77, foreign_key_checks = 0, unique_checks = 0",
        "set innodb_lock_wait_timeout = 7, lock_wait_timeout = 7, max_statement_time = 7, net_read_timeout = 7",
        "set auto_increment_increment = 7, auto_increment_offset = 3",
        "set sql_safe_updates = 1, wait_timeout = 77, interactive_timeout = 77, net_write_timeout = 77",
        "set sql_mode = 'TRADITIONAL'",
        "set time_zone = '+09:00'",
        "set names latin1",
        "set names utf8mb4 collate utf8mb4_bin",
        "set autocommit = 0",
        "set session transaction isolation level serializable",
        "set session transaction read only",
        "set tx_isolation = 'read-committed'",
        "use other",
        "unlock tables",
        "select release_lock('it')",
        "do release_all_locks()",
        "select is_free_lock('it'), is_used_lock('it')",
        "begin; select 1; commit",
        "begin; select 1; rollback",
        "commit",
        "rollback",
        "set statement max_statement_time = 1 for select 1",
        "select 1; select 2",
        "select last_insert_id(7)",
    ];
    let pinned: &[(&str, PinCause)] = &[
        ("lock tables plain read", PinCause::TableLock),
        ("lock table plain write", PinCause::TableLock),
        ("select get_lock('it', 0)", PinCause::AdvisoryLock),
        ("set @x = 1", PinCause::UserVariable),
        ("select 1 into @x", PinCause::UserVariable),
        ("select @x := 1", PinCause::UserVariable),
        ("set transaction isolation level serializable", PinCause::Setting),
        ("set @@tx_isolation = 'serializable'", PinCause::Setting),
        ("set role none", PinCause::Setting),
        ("set character set latin1", PinCause::Setting),
        ("set character_set_results = latin1", PinCause::Setting),
        ("set collation_connection = utf8mb4_bin", PinCause::Setting),
        ("set timestamp = 7", PinCause::Setting),
        ("set optimizer_switch = 'mrr=on'", PinCause::Setting),
        ("set sort_buffer_size = 70000 + 7", PinCause::Setting),
        ("set character_set_client = latin1", PinCause::UnknownStatement),
        ("set sql_mode = 'ANSI'", PinCause::UnknownStatement),
        ("create temporary table t (n int)", PinCause::TemporaryObject),
        ("create temporary table t as select 1 as n", PinCause::TemporaryObject),
        ("prepare p from 'select 1'", PinCause::PreparedStatement),
        ("handler plain open as h", PinCause::Handler),
        ("call sets()", PinCause::Procedure),
        ("begin not atomic set sort_buffer_size = 77777; end", PinCause::Procedure),
        ("xa start 'it'", PinCause::RawTransaction),
        ("select 1; set sort_buffer_size = 77777; create temporary table t (n int)", PinCause::SeveralStatements),
        ("/*M! set sort_buffer_size = 77777 */", PinCause::UnknownStatement),
    ];

    let server = MariaDb::start(MariaDbOptions::default()).await;
    server
        .execute(
            "create database other; grant all on other.* to app; \
             create table app.plain (id int auto_increment primary key, n int); \
             create procedure app.sets() set @x = 1, default_week_format = 3",
        )
        .await;
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    let clean = witness(&mut proxy.get_connection().await?).await?;
    for sql in shared.iter().filter_map(|text| worded(text)) {
        let mut one = proxy.get_connection().await?;
        sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut one).await?;
        assert_eq!(one.pin_reason(), None, "{sql}");
        // While the session that ran it is still there, and shares the connection.
        let mut other = proxy.get_connection().await?;
        let seen = witness(&mut other).await?;
        assert_eq!(difference(&seen, &clean), [], "{sql} is seen by another session");
    }
    for (sql, cause) in pinned.iter().filter_map(|(text, cause)| Some((worded(text)?, *cause))) {
        let mut one = proxy.get_connection().await?;
        sqlx::raw_sql(AssertSqlSafe(sql.clone())).execute(&mut one).await?;
        assert_eq!(one.pin_reason().map(lambda_rds::PinReason::cause), Some(cause), "{sql}");
        assert_eq!(proxy.status().pinned, 1, "{sql}");
        drop(one);
        let mut other = proxy.get_connection().await?;
        let seen = witness(&mut other).await?;
        assert_eq!(difference(&seen, &clean), [], "{sql} is seen by another session");
        assert_eq!(other.pin_reason(), None);
        expect_absent(&mut other).await;
    }
    Ok(())
}
