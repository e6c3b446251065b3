//! What types a session binds its values as is its own affair, whatever others have prepared on the connection before it, and
//! whatever types of the same name the driver has met there: it finds what it has prepared by the text alone, and keeps the first
//! type of a name (sqlx 0.9.0).

use lambda_rds::{Connection, Error, Postgres, Proxy};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{AssertSqlSafe, Connection as _, Encode, Executor, PgConnection, SqlSafeStr, Statement, Type};

use crate::support::pgbouncer::{PgBouncer, PgBouncerOptions};
use crate::support::postgres::{APP_PASSWORD, Postgres as Server, PostgresOptions};
use crate::support::proxy_to;

/// Values whose bytes can be read as each other's types.
#[derive(Debug, Clone, Copy)]
enum Value {
    Int8(i64),
    Float8(f64),
    Text(&'static str),
    NoFloat8,
    NoText,
    Int4(i32),
    Int4s,
}

const VALUES: &[Value] = &[
    Value::Int8(4_702_111_234_474_983_745),
    Value::Float8(2_261_634.5),
    Value::Text("AAAAAAAA"),
    Value::NoFloat8,
    Value::NoText,
    Value::Int4(7),
    Value::Int4s,
];

/// What means something for values of any type.
const TEXTS: &[&str] = &[
    "select $1::text",
    "select to_jsonb($1)::text",
    "select pg_typeof($1)::text",
    "select set_config('app.n', $1::text, false)",
    "select $1::text /* with $2 in a comment */",
];

async fn said<'c>(conn: impl Executor<'c, Database = Postgres>, text: &str, value: Value) -> String {
    let query = sqlx::query_scalar::<_, Option<String>>(AssertSqlSafe(text.to_owned()));
    let query = match value {
        Value::Int8(value) => query.bind(value),
        Value::Float8(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::NoFloat8 => query.bind(None::<f64>),
        Value::NoText => query.bind(None::<String>),
        Value::Int4(value) => query.bind(value),
        Value::Int4s => query.bind(vec![1, 2]),
    };
    match query.fetch_one(conn).await {
        Ok(said) => format!("{said:?}"),
        Err(error) => error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned()),
    }
}

#[tokio::test]
async fn what_others_have_prepared_with_other_types_is_theirs() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let url = server.url_for("app", APP_PASSWORD, "app");
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for text in TEXTS {
        for second in VALUES {
            let mut bare = PgConnection::connect(&url).await?;
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

/// However it has come to be prepared.
#[tokio::test]
async fn what_others_have_only_prepared_is_theirs_too() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    const SQL: &str = "select $1::text";
    for way in 0..4 {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let mut one = proxy.get_connection().await?;
        match way {
            0 => drop(one.prepare(SQL.into_sql_str()).await?),
            1 => drop(one.prepare_with(SQL.into_sql_str(), &[<f64 as Type<Postgres>>::type_info()]).await?),
            2 => drop(one.describe(SQL.into_sql_str()).await?),
            _ => assert!(sqlx::query(SQL).bind(0.5).execute(one.pin().await?).await?.rows_affected() == 1),
        }
        drop(one);
        let mut other = proxy.get_connection().await?;
        let number = Value::Int8(4_702_111_234_474_983_745);
        assert_eq!(said(&mut other, SQL, number).await, "Some(\"4702111234474983745\")", "{way}");
        // And what is prepared now is prepared with what is said now.
        let prepared = other.prepare(SQL.into_sql_str()).await?;
        let Some(sqlx::Either::Left(types)) = prepared.parameters() else { panic!("{way}") };
        assert_eq!(types, [<str as Type<Postgres>>::type_info()], "{way}");
        let again: String = prepared.query_scalar().bind("AAAAAAAA").fetch_one(&mut other).await?;
        assert_eq!(again, "AAAAAAAA", "{way}");
    }
    Ok(())
}

/// A statement that is prepared, and then sent with values of the types that it has come to have, is prepared once.
#[tokio::test]
async fn what_is_prepared_for_the_same_types_is_prepared_once() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    const SQL: &str = "select $1::int4 + $2";
    for _ in 0..3 {
        let mut conn = proxy.get_connection().await?;
        let prepared = conn.prepare(SQL.into_sql_str()).await?;
        let sum: i32 = prepared.query_scalar().bind(1).bind(2).fetch_one(&mut conn).await?;
        let again: i32 = sqlx::query_scalar(SQL).bind(3).bind(4).fetch_one(&mut conn).await?;
        assert_eq!((sum, again), (3, 7));
    }
    let mut conn = proxy.get_connection().await?;
    let kept = "select count(*) from pg_prepared_statements where statement like 'select $1::int4 + $2%'";
    assert_eq!(sqlx::query_scalar::<_, i64>(kept).fetch_one(&mut conn).await?, 1);
    Ok(())
}

/// What a parameter sets is followed by what its own type makes of it, whatever type another parameter in the same place had.
#[tokio::test]
async fn what_a_parameter_has_set_is_set_again_as_it_was() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut one = proxy.get_connection().await?;
    sqlx::query("select set_config('app.n', $1::text, false)").bind(7_i64).execute(&mut one).await?;
    let mut other = proxy.get_connection().await?;
    for tenant in ["tenant_7", "acme7"] {
        sqlx::query("select set_config('app.tenant', $1::text, false)").bind(tenant).execute(&mut other).await?;
        // Another session in between, so that it is set again.
        sqlx::raw_sql("set app.other = 'c'").execute(&mut one).await?;
        let set: String = sqlx::query_scalar("select current_setting('app.tenant')").fetch_one(&mut other).await?;
        assert_eq!(set, tenant);
        let set: String = sqlx::query_scalar("select current_setting('app.n')").fetch_one(&mut one).await?;
        assert_eq!(set, "7");
    }
    Ok(())
}

macro_rules! named {
    ($type:ident, $name:literal) => {
        #[derive(Debug, Clone, Copy)]
        struct $type(&'static str);

        impl Type<Postgres> for $type {
            fn type_info() -> PgTypeInfo {
                PgTypeInfo::with_name($name)
            }
        }

        impl Encode<'_, Postgres> for $type {
            fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                <&str as Encode<Postgres>>::encode_by_ref(&self.0, buffer)
            }
        }

        impl PgHasArrayType for $type {
            fn array_type_info() -> PgTypeInfo {
                PgTypeInfo::array_of($name)
            }
        }
    };
}

named!(Mood, "mood");
named!(EvilMood, "evil.mood");
named!(Weather, "weather");

/// Another role's types of the same names, with casts by which that role decides what is stored.
const TWINS: &str = "create role r; create schema evil authorization r; grant usage on schema evil to public; \
    create type public.mood as enum ('sad', 'glad'); create type public.weather as enum ('sad', 'glad'); \
    create table public.moods (m public.mood, w public.weather, all_of_them public.mood[]); \
    grant all on public.moods to public; set role r; \
    create type evil.mood as enum ('sad', 'glad'); create type evil.weather as enum ('sad', 'glad'); \
    create function evil.c(evil.mood) returns public.mood language sql as $$ select 'sad'::public.mood $$; \
    create function evil.c(evil.weather) returns public.weather language sql as $$ select 'sad'::public.weather $$; \
    create cast (evil.mood as public.mood) with function evil.c(evil.mood) as assignment; \
    create cast (evil.weather as public.weather) with function evil.c(evil.weather) as assignment; \
    create view evil.v as select 'sad'::evil.mood as m, 'sad'::evil.weather as w, array['sad'::evil.mood] as a; \
    grant select on evil.v to public";

/// How the driver comes to know the others.
const MEETINGS: &[&str] = &[
    "select 1",
    "select m, w, a from evil.v",
    "bind evil.mood, after it was met",
    "set search_path = evil, public",
    "pin",
];

async fn meet(one: &mut Connection<Postgres>, meeting: &str) {
    match meeting {
        "pin" => {
            let Ok(driver) = one.pin().await else { return };
            driver.execute("select m, w, a from evil.v").await.ok();
            sqlx::query("select $1, $2").bind(EvilMood("sad")).bind(Mood("sad")).execute(driver).await.ok();
        }
        "bind evil.mood, after it was met" => {
            sqlx::query("select m, w, a from evil.v").execute(&mut *one).await.ok();
            sqlx::query("select $1").bind(EvilMood("sad")).execute(one).await.ok();
        }
        text => {
            sqlx::query(AssertSqlSafe(text.to_owned())).execute(&mut *one).await.ok();
            sqlx::query("select $1, $2").bind(Mood("sad")).bind(vec![Weather("sad")]).execute(one).await.ok();
        }
    }
}

async fn store<'c>(conn: impl Executor<'c, Database = Postgres>, array: bool) -> Result<String, sqlx::Error> {
    if array {
        let query = sqlx::query_scalar("insert into moods (all_of_them) values ($1) returning all_of_them::text");
        query.bind(vec![Mood("glad")]).fetch_one(conn).await
    } else {
        let query = sqlx::query_scalar("insert into moods (m, w) values ($1, $2) returning m || '+' || w");
        query.bind(Mood("glad")).bind(Weather("glad")).fetch_one(conn).await
    }
}

async fn stores_what_it_says(proxy: &Proxy<Postgres>, array: bool, guarded: bool, what: &str) -> Result<(), Error> {
    let mut other = proxy.get_connection().await?;
    for _ in 0..2 {
        let stored = if guarded {
            // Run again where the first connection's driver has learnt something else.
            let stored = proxy.transaction(|guard| Box::pin(async move { store(&mut **guard, array).await }));
            stored.await.map_err(|error| error.to_string())
        } else {
            store(&mut other, array).await.map_err(|error| error.to_string())
        };
        assert_eq!(stored, Ok(if array { "{glad}" } else { "glad+glad" }.to_owned()), "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn a_value_is_of_the_type_that_its_name_means_to_its_own_session() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(TWINS).await;
    let pooler = PgBouncer::start(&server, PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() }).await;
    for pooled in [false, true] {
        for meeting in MEETINGS {
            for (array, guarded) in [(false, false), (false, true), (true, false), (true, true)] {
                for knows_them in [false, true] {
                    let proxy = if pooled { pooler.proxy() } else { proxy_to(&server) }.max_connections(1).build()?;
                    if knows_them {
                        let _ = store(&mut proxy.get_connection().await?, array).await;
                    }
                    let mut one = proxy.get_connection().await?;
                    meet(&mut one, meeting).await;
                    drop(one);
                    let what = format!("{meeting}, pooled: {pooled}, known: {knows_them}, {array}, {guarded}");
                    stores_what_it_says(&proxy, array, guarded, &what).await?;
                }
            }
        }
    }
    Ok(())
}

/// A migration drops a type and makes another of its name: at most the statement that finds that out is refused.
#[tokio::test]
async fn a_type_that_was_made_anew_is_found() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    let made = "create type public.mood as enum ('sad', 'glad'); create table public.moods (m public.mood); \
                grant all on public.moods to public";
    server.execute(made).await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let store = async || {
        let mut conn = proxy.get_connection().await?;
        sqlx::query("insert into moods values ($1)").bind(Mood("glad")).execute(&mut conn).await
    };
    for _ in 0..3 {
        store().await?;
    }
    for _ in 0..2 {
        server.execute(&format!("drop table moods; drop type mood; {made}")).await;
        let _ = store().await;
        for _ in 0..3 {
            store().await?;
        }
    }
    Ok(())
}

/// What a check of a type does is done once, and only for the type that is meant: a question about it brings no value along.
#[tokio::test]
async fn no_question_about_a_type_runs_its_checks() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server
        .execute(
            "create role r; create schema evil authorization r; grant usage on schema evil to public; \
             create table public.seen (who text, what text); grant all on public.seen to public; set role r; \
             create function evil.f(text) returns bool language plpgsql as $$ begin \
             insert into public.seen values ('evil', $1); return true; end $$; \
             create domain evil.mood as text check (evil.f(value)); \
             create table evil.v (m evil.mood); grant select on evil.v to public; reset role; \
             create function public.f(text) returns bool language plpgsql as $$ begin \
             insert into public.seen values ('own', $1); return true; end $$; \
             create domain public.mood as text check (public.f(value)); \
             create table public.moods (m public.mood); grant all on public.moods to public",
        )
        .await;
    for guarded in [false, true] {
        for meets in [false, true] {
            server.execute("truncate public.seen, public.moods").await;
            let proxy = proxy_to(&server).max_connections(1).build()?;
            let first = if meets { "select m from evil.v" } else { "select 1" };
            sqlx::query(AssertSqlSafe(first)).execute(&mut proxy.get_connection().await?).await?;
            let store = "insert into public.moods values ($1)";
            if guarded {
                let stored = proxy.transaction(|guard| {
                    Box::pin(async move { sqlx::query(store).bind(Mood("glad")).execute(&mut **guard).await })
                });
                stored.await?;
            } else {
                sqlx::query(store).bind(Mood("glad")).execute(&mut proxy.get_connection().await?).await?;
            }
            let seen: Vec<(String, String)> =
                sqlx::query_as("select who, what from seen").fetch_all(&mut server.admin().await).await.unwrap();
            // The value's own check when it is read.
            let own = seen.iter().filter(|(who, _)| who == "own").count();
            assert!(own == seen.len() && own == 1, "guarded {guarded}, meets {meets}: {seen:?}");
        }
    }
    Ok(())
}

/// A value whose type the server is to find out is no obstacle, and a transaction survives every question.
#[tokio::test]
async fn a_question_about_a_type_aborts_no_transaction() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server
        .execute(
            "create type public.mood as enum ('sad', 'glad'); create table public.moods (m public.mood, n int); \
             grant all on public.moods to public; create schema app authorization app",
        )
        .await;
    struct Inferred;
    impl Type<Postgres> for Inferred {
        fn type_info() -> PgTypeInfo {
            PgTypeInfo::with_oid(sqlx::postgres::types::Oid(0))
        }
    }
    impl Encode<'_, Postgres> for Inferred {
        fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
            <&str as Encode<Postgres>>::encode_by_ref(&"four", buffer)
        }
    }
    let proxy = proxy_to(&server).max_connections(1).build()?;
    for _ in 0..3 {
        let mut conn = proxy.get_connection().await?;
        let mut guard = conn.begin().await?;
        let store = sqlx::query("insert into moods values ($1, length($2))").bind(Mood("glad")).bind(Inferred);
        store.execute(&mut *guard).await?;
        guard.commit().await?;
    }
    // A type that was made, bound and taken back with its transaction.
    let asks = "select pg_typeof($1)::text";
    let mut one = proxy.get_connection().await?;
    let mut guard = one.begin().await?;
    sqlx::query("create type app.mood as enum ('glad')").execute(&mut *guard).await?;
    let _ = sqlx::query(asks).bind(Mood("glad")).execute(&mut *guard).await;
    guard.rollback().await?;
    drop(one);
    for _ in 0..2 {
        let asked = proxy.transaction(|guard| {
            Box::pin(
                async move { sqlx::query_scalar::<_, String>(asks).bind(Mood("glad")).fetch_one(&mut **guard).await },
            )
        });
        assert_eq!(asked.await?, "mood");
    }
    // One that is made in between comes first in the path of those who come after it.
    sqlx::query("create type app.mood as enum ('glad')").execute(&mut proxy.get_connection().await?).await?;
    for _ in 0..2 {
        let mut conn = proxy.get_connection().await?;
        let asks = "select pg_typeof($1) = 'app.mood'::regtype";
        assert!(sqlx::query_scalar::<_, bool>(asks).bind(Mood("glad")).fetch_one(&mut conn).await?);
    }
    Ok(())
}

/// PostgreSQL takes a value for which a text has no place. Whoever sends it without one is not refused for that.
#[tokio::test]
async fn a_value_too_many_is_nobody_elses() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    for text in ["select 1", "set app.x = '1'", "begin", "values (1)"] {
        for prepares in [false, true] {
            let proxy = proxy_to(&server).max_connections(1).build()?;
            let mut one = proxy.get_connection().await?;
            if prepares {
                one.prepare_with(AssertSqlSafe(text).into_sql_str(), &[<i64 as Type<Postgres>>::type_info()]).await?;
            } else {
                sqlx::query(AssertSqlSafe(text)).bind(7_i64).execute(&mut one).await?;
            }
            drop(one);
            for values in [0, 1, 0] {
                let mut other = proxy.get_connection().await?;
                let query = sqlx::query(AssertSqlSafe(text));
                let query = if values == 1 { query.bind(7_i32) } else { query };
                query.execute(&mut other).await.map_err(|error| panic!("{text}, {prepares}, {values}: {error}")).ok();
            }
        }
    }
    Ok(())
}

/// Dropped while it is prepared, a text is kept by the driver for types that nobody has noted.
#[tokio::test]
async fn what_was_dropped_while_it_was_prepared_is_nobodys() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    for way in 0..3 {
        for polls in 1..8 {
            let url =
                format!("{}?sslmode=require&statement-cache-capacity=2", server.url_for("app", APP_PASSWORD, "app"));
            let proxy = Proxy::<Postgres>::builder().url(url).max_connections(1).build()?;
            let mut one = proxy.get_connection().await?;
            for text in ["select 1", "select 2", "select 3"] {
                sqlx::query(text).execute(&mut one).await?;
            }
            let sql = "select $1::text".into_sql_str();
            let float = [<f64 as Type<Postgres>>::type_info()];
            match way {
                0 => drop(poll_some(polls, one.prepare(sql)).await),
                1 => drop(poll_some(polls, one.prepare_with(sql, &float)).await),
                _ => drop(poll_some(polls, one.describe(sql)).await),
            }
            drop(one);
            let mut other = proxy.get_connection().await?;
            let number = Value::Int8(4_702_111_234_474_983_745);
            let said = said(&mut other, "select $1::text", number).await;
            assert_eq!(said, "Some(\"4702111234474983745\")", "{way}, {polls} polls");
        }
    }
    Ok(())
}

/// Polls a future so often, and drops it.
async fn poll_some<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(move |context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

/// As many values as a statement can have, and types that are named with brackets, are no reason for another connection each time, nor
/// for turning in a circle.
#[tokio::test]
async fn however_many_values_there_are_the_connection_is_kept() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute("create table public.many (n int4); grant all on public.many to public").await;
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let mut sessions = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let mut conn = proxy.get_connection().await?;
        let mut many = sqlx::QueryBuilder::<Postgres>::new("insert into many ");
        many.push_values(0..65_000_i32, |mut row, n| {
            row.push_bind(n);
        });
        assert_eq!(many.build().execute(&mut conn).await?.rows_affected(), 65_000);
        sessions.insert(sqlx::query_scalar::<_, i32>("select pg_backend_pid()").fetch_one(&mut conn).await?);
    }
    assert_eq!(sessions.len(), 1);
    named!(Odd, "\"mood[\"");
    server.execute("create type public.\"mood[\" as enum ('glad')").await;
    for _ in 0..4 {
        let mut conn = proxy.get_connection().await?;
        let said = sqlx::query_scalar::<_, String>("select $1::text").bind(Odd("glad")).fetch_one(&mut conn).await?;
        assert_eq!(said, "glad");
    }
    Ok(())
}

/// The name of a type within a value is looked up by the driver as well, and changes what it takes others for.
#[tokio::test]
async fn a_name_within_a_value_changes_nobodys_name() -> Result<(), Error> {
    let server = Server::start(PostgresOptions::default()).await;
    server.execute(TWINS).await;
    server
        .execute(
            "create type evil.pair as (m evil.mood); create table evil.pairs (p evil.pair); \
             grant all on evil.pairs to public",
        )
        .await;
    named!(Field, "evil.\"mood\"");
    struct Pair;
    impl Type<Postgres> for Pair {
        fn type_info() -> PgTypeInfo {
            PgTypeInfo::with_name("evil.pair")
        }
    }
    impl Encode<'_, Postgres> for Pair {
        fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
            let mut record = sqlx::postgres::types::PgRecordEncoder::new(buffer);
            record.encode(Field("glad"))?;
            record.finish();
            Ok(IsNull::No)
        }
    }
    let proxy = proxy_to(&server).max_connections(1).build()?;
    let pair = async |pair: Option<Pair>| {
        let mut conn = proxy.get_connection().await?;
        sqlx::query("insert into evil.pairs values ($1)").bind(pair).execute(&mut conn).await
    };
    let mood = async |text: &'static str| {
        let mut conn = proxy.get_connection().await?;
        sqlx::query_scalar::<_, String>(text).bind(Mood("glad")).fetch_one(&mut conn).await
    };
    for _ in 0..2 {
        pair(None).await?;
        assert_eq!(mood("insert into moods (m) values ($1) returning m::text").await?, "glad");
    }
    pair(Some(Pair)).await?;
    for text in [
        "insert into public.moods (m) values ($1) returning m::text",
        "insert into moods (m) values ($1) returning m::text",
    ] {
        assert_eq!(mood(text).await?, "glad");
    }
    Ok(())
}
