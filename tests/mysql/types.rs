//! What types a session binds its values as is its own affair, whatever others have prepared on the connection before it. The
//! types go with each execution; but a server that has prepared a text for a type may go on with that one.

use lambda_rds::{Error, MySql};
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

async fn said<'c>(conn: impl Executor<'c, Database = MySql>, text: &str, value: Value) -> String {
    let query = sqlx::query(AssertSqlSafe(text.to_owned()));
    let query = match value {
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
    };
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
