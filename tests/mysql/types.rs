//! What types a session binds its values as is its own affair, whatever others have prepared on the connection before it. The
//! types go with each execution; but a server that has prepared a text for a type may go on with that one.

use lambda_rds::{Error, MySql};
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::query::Query;
use sqlx::types::chrono::{DateTime, NaiveDate, NaiveTime};
use sqlx::{AssertSqlSafe, Connection as _, Executor, MySqlConnection, Row};

use crate::support::mariadb::{MariaDb, MariaDbOptions};
use crate::support::mysql_proxy_to;
use crate::support::postgres::APP_PASSWORD;

#[derive(Debug, Clone, Copy)]
enum Value {
    Int(i64),
    Unsigned(u64),
    Double(f64),
    Text(&'static str),
    NoText,
    NoDouble,
    NoInt,
    Bytes,
    Bool,
    Long,
    Date(i32),
    Moment(i64),
    Time(u32),
}

const VALUES: &[Value] = &[
    Value::Int(9_007_199_254_740_993),
    Value::Unsigned(u64::MAX),
    Value::Double(1.5),
    Value::Text("AAAAAAAA"),
    Value::Text("9007199254740993"),
    Value::Text("1.9"),
    Value::Text("7"),
    Value::NoText,
    Value::NoDouble,
    Value::NoInt,
    Value::Bytes,
    Value::Bool,
    Value::Long,
];

/// What means something for values of any type.
const TEXTS: &[&str] = &[
    "select ?",
    "select cast(? as char)",
    "select concat(?, '')",
    "select ? + 0",
    "select json_array(?)",
    "select coalesce(?, 1)",
    "select if(true, ?, 'x')",
    "select hex(?)",
    "select concat(? / 3, '')",
    "select 1 where 7 in (1, ?)",
    "select ? = 9007199254740993",
    "select ? union all select 1",
];

fn bound<'q>(query: Query<'q, MySql, MySqlArguments>, value: Value) -> Query<'q, MySql, MySqlArguments> {
    match value {
        Value::Int(value) => query.bind(value),
        Value::Unsigned(value) => query.bind(value),
        Value::Double(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::NoText => query.bind(None::<String>),
        Value::NoDouble => query.bind(None::<f64>),
        Value::NoInt => query.bind(None::<i64>),
        Value::Long => query.bind("7".repeat(9000)),
        Value::Bytes => query.bind(vec![0_u8, 255]),
        Value::Bool => query.bind(true),
        Value::Date(year) => query.bind(NaiveDate::from_ymd_opt(year, 1, 2)),
        Value::Moment(second) => query.bind(DateTime::from_timestamp(second, 0)),
        Value::Time(second) => query.bind(NaiveTime::from_num_seconds_from_midnight_opt(second, 0)),
    }
}

async fn said<'c>(conn: impl Executor<'c, Database = MySql>, text: &str, value: Value) -> String {
    let query = bound(sqlx::query(AssertSqlSafe(text.to_owned())), value);
    match query.fetch_one(conn).await {
        Ok(row) => {
            use sqlx::{Column, TypeInfo, ValueRef};
            let raw = row.try_get_raw(0).unwrap();
            let bytes = (!raw.is_null()).then(|| <&[u8] as sqlx::Decode<MySql>>::decode(raw).map(<[u8]>::to_vec));
            format!("{} {bytes:?}", row.column(0).type_info().name())
        }
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_others_have_prepared_with_other_types_is_theirs() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    let url = server.url_for("app", APP_PASSWORD, "app");
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;

    for text in TEXTS {
        for second in VALUES {
            let mut bare = MySqlConnection::connect(&url).await?;
            let alone = said(&mut bare, text, *second).await;
            bare.close().await?;
            for first in VALUES {
                let _ = said(&mut proxy.get_connection().await?, text, *first).await;
                let shared = said(&mut proxy.get_connection().await?, text, *second).await;
                assert_eq!(shared, alone, "{text}: {first:?}, then {second:?}");
            }
        }
    }
    assert_eq!(proxy.status().connections, 1);
    Ok(())
}

/// As a session that binds it finds it in a column of each type, or leaves it there.
const IN_COLUMNS: &[&str] = &[
    "insert ignore into {t} (c) values (?)",
    "update ignore {t} set c = ? where k = 0",
    "select c from {t} where c = ?",
    "select c from {t} where c >= ?",
    "select c from {t} where c in (?, ?)",
    "select c from {t} where c not in (?, ?)",
    "select c from {t} where c in (1, ?) or c between ? and ?",
    "select c from {t} where c between ? and ?",
    "select c from {t} where c like ?",
    "select c from {t} where c like concat(?, '%')",
    "select c from {t} where coalesce(?, 1) = c",
    "select c from {t} where c = ? + 1",
    "select c from {t} where (k, c) in ((?, ?), (3, 4))",
    "update ignore {t} set c = c + ?, k = ? where k < 7",
    "insert ignore into {t} (k, c) values (7, ?) on duplicate key update c = ?",
    "select c, c + ?, c * ?, ? from {t}",
    "select c from {t} where date(c) >= ?",
    "select c from {t} where time(c) = ?",
    "select c from {t} where cast(c as datetime) < ?",
    "select c from {t} where year(c) = ?",
    "select c from {t} where cast(c as unsigned) >= ?",
    "select c from {t} where cast(c as decimal(20, 5)) = ?",
    "select c from {t} where coalesce(c, 1) = ?",
    "select c from {t} where hex(c) = ?",
    "select c from {t} where c <> ? or c < ?",
    "select c from {t} where date('2020-01-02') + interval ? day > c",
    "select max(c) m from {t} group by c having m in (?, ?)",
    "select c from {t} where c in (select ? union all select c from {t} where c = ?)",
];

const OF_COLUMNS: &[&str] = &[
    "bigint",
    "bigint unsigned",
    "decimal(30, 10)",
    "double",
    "varchar(99)",
    "bit(64)",
    "year",
    "date",
    "datetime(6)",
    "timestamp(6)",
    "time",
    "enum('1', '2', 'x')",
    "blob",
    "json",
];

/// Of each kind one that leaves something behind where anything does.
const FIRST: &[Value] = &[
    Value::Text("-1"),
    Value::Text("1e400"),
    Value::Text("2020-01-02"),
    Value::Int(20_200_102),
    Value::Double(20_200_102.0),
    Value::Unsigned(u64::MAX),
    Value::Date(2020),
    Value::Moment(1_577_923_200),
    Value::NoText,
];

/// And one that finds it there.
const SECOND: &[Value] = &[
    Value::Text("1.9"),
    Value::Text("x"),
    Value::Text("12"),
    Value::Int(99_999_999),
    Value::Int(-5),
    Value::Double(0.5),
    Value::Time(12),
    Value::NoInt,
];

/// The text with the value in all of its places, and what the column holds then. Nothing of it stays.
async fn found<C>(conn: &mut C, table: &str, text: &str, value: Value) -> Vec<String>
where
    for<'c> &'c mut C: Executor<'c, Database = MySql>,
{
    let query = sqlx::query(AssertSqlSafe(text.to_owned()));
    let query = text.matches('?').fold(query, |query, _| bound(query, value));
    let shown = |rows: Result<Vec<MySqlRow>, sqlx::Error>| match rows {
        Ok(rows) => rows.iter().map(|row| format!("{:?}", row.get_unchecked::<Option<&[u8]>, _>(0))).collect(),
        Err(error) => vec![error.to_string()],
    };
    if text.starts_with("select") {
        return shown(query.fetch_all(conn).await);
    }
    sqlx::raw_sql("begin").execute(&mut *conn).await.unwrap();
    let mut all = shown(query.fetch_all(&mut *conn).await);
    let left = format!("select hex(c) from {table} order by k, c");
    all.extend(shown(sqlx::raw_sql(AssertSqlSafe(left)).fetch_all(&mut *conn).await));
    sqlx::raw_sql("rollback").execute(&mut *conn).await.unwrap();
    all
}

/// MySQL keeps of a value what kind of number a text looked like, and the values of a list.
#[tokio::test]
async fn what_others_have_bound_is_found_by_nobody_else() {
    const VALUES: &str =
        "null, 1, 2, 12, -5, 9007199254740992, 9007199254740993, 'x', '1.9', '2020-01-02', '[1]', 20200102";
    let options = MariaDbOptions { max_connections: 90, ..MariaDbOptions::default() };
    let server = MariaDb::start(options).await;
    let mut admin = server.admin().await;
    for (number, kind) in OF_COLUMNS.iter().enumerate() {
        let create = format!("set sql_mode = ''; create table app.of_{number} (k int default 99, c {kind} null)");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
        for (k, value) in VALUES.split(", ").enumerate() {
            // Some are none of this type.
            let insert = format!("insert ignore into app.of_{number} values ({k}, {value})");
            let _ = sqlx::raw_sql(AssertSqlSafe(insert)).execute(&mut admin).await;
        }
    }
    let columns = OF_COLUMNS.iter().enumerate();
    futures_util::future::join_all(columns.map(|(number, kind)| in_a_column(&server, format!("of_{number}"), kind)))
        .await;
}

async fn in_a_column(server: &MariaDb, table: String, kind: &str) {
    let proxy = mysql_proxy_to(server).max_connections(1).build().unwrap();
    let mut bare = MySqlConnection::connect(&server.url_for("app", APP_PASSWORD, "app")).await.unwrap();
    let mut rows = 0;
    for text in IN_COLUMNS {
        let text = text.replace("{t}", &table);
        for (at, second) in SECOND.iter().enumerate() {
            // Prepared for nothing else.
            let alone = found(&mut bare, &table, &format!("{text} -- {at}"), *second).await;
            rows += alone.len();
            for first in FIRST {
                found(&mut proxy.get_connection().await.unwrap(), &table, &text, *first).await;
                let shared = found(&mut proxy.get_connection().await.unwrap(), &table, &text, *second).await;
                assert_eq!(shared, alone, "{kind}: {text}: {first:?}, then {second:?}");
            }
        }
    }
    assert!(rows > 100, "{kind}: {rows}");
    assert_eq!(proxy.status().connections, 1);
}

/// It would be one with a remark behind it.
#[tokio::test]
async fn a_text_that_is_none_is_not_made_one() -> Result<(), Error> {
    let server = MariaDb::start(MariaDbOptions::default()).await;
    let url = server.url_for("app", APP_PASSWORD, "app");
    let proxy = mysql_proxy_to(&server).max_connections(1).build()?;
    for text in [
        "select ? /* open",
        "select ? /*! , 7",
        "select ? -- */",
        "select ? '",
        "select ? `",
        "select ?\0",
        "select ?;",
    ] {
        for value in [Value::Double(1.5), Value::Int(7), Value::Bool, Value::Unsigned(7)] {
            let alone = said(&mut MySqlConnection::connect(&url).await?, text, value).await;
            let shared = said(&mut proxy.get_connection().await?, text, value).await;
            assert_eq!(shared, alone, "{text}: {value:?}");
        }
    }
    Ok(())
}
