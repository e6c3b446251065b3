//! What a session has set is what it meant, whatever others set, and says nothing of the server.

use super::*;

/// What a setting means is decided where it was set: a text search configuration is looked up by the path of that moment,
/// and kept with its schema.
#[tokio::test]
async fn a_setting_that_is_looked_up_by_the_path_stays_what_it_was() -> Result<(), Error> {
    let server = started().await;
    server
        .execute(
            "create schema tenant_a; create schema evil; grant usage on schema tenant_a, evil to public; \
             create text search configuration tenant_a.mine (copy = pg_catalog.english); \
             create text search configuration evil.mine (copy = pg_catalog.simple); \
             alter role app set search_path = evil",
        )
        .await;
    for texts in [
        &["set search_path = tenant_a; ", "set default_text_search_config = 'mine'"][..],
        &["begin; set local search_path = tenant_a; set default_text_search_config = 'mine'; commit"],
        &["begin", "set local search_path = tenant_a", "set default_text_search_config = 'mine'", "commit"],
        &[
            "begin",
            "set local search_path = tenant_a",
            "select set_config('default_text_search_config', 'mine', false)",
            "commit",
        ],
        &["set search_path = tenant_a", "set default_text_search_config = mine", "set search_path = evil"],
        &["set search_path = tenant_a", "set default_text_search_config = mine", "reset search_path"],
    ] {
        let proxy = proxy_to(&server).max_connections(2).build()?;
        let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
        for text in texts {
            run(&mut a, text).await?;
        }
        assert!(a.pin_reason().is_some(), "{texts:?}: it stays where it was set");
        run(&mut b, "set search_path = evil").await?;
        let question = "select current_setting('default_text_search_config')";
        let after: String = sqlx::query_scalar(question).fetch_one(&mut a).await?;
        assert_eq!(after, "tenant_a.mine", "{texts:?}");
    }
    Ok(())
}

/// Values that stand for something else at the moment at which they are set.
#[tokio::test]
async fn a_setting_that_depends_on_others_stays_what_it_was() -> Result<(), Error> {
    let server = started().await;
    let (mut bad, mut pinned) = (Vec::new(), Vec::new());
    for (texts, name) in [
        (&["begin", "set local datestyle = 'german'", "set datestyle = 'mdy'", "commit"][..], "DateStyle"),
        (
            &["begin", "set local datestyle = 'german'", "select set_config('datestyle', 'mdy', false)", "commit"],
            "DateStyle",
        ),
        (&["set datestyle = 'sql'", "set datestyle = 'dmy'"], "DateStyle"),
        (&["set datestyle = 'sql, dmy'", "set datestyle = default"], "DateStyle"),
        (&["set time zone interval '2' hour to minute"], "TimeZone"),
        (&["set time zone -7.5"], "TimeZone"),
        (&["begin", "set local time zone 'Asia/Tokyo'", "set time zone local", "commit"], "TimeZone"),
        (&["set search_path = \"$user\", 'a,b', \"x\"\"y\""], "search_path"),
        (&["select set_config('search_path', 'a, \"b c\"', false)"], "search_path"),
        (&["set work_mem = '1.5MB'"], "work_mem"),
        (&["set app.\"Mixed Case\" = 'x'"], "app.mixed case"),
        (
            &["begin", "set work_mem = '3MB'", "savepoint s", "set work_mem = '4MB'", "rollback to s", "commit"],
            "work_mem",
        ),
    ] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
        for text in texts {
            let _ = run(&mut a, text).await;
        }
        if a.pin_reason().is_some() {
            // It stays where it was set.
            pinned.push(texts.concat());
            continue;
        }
        let question = "select coalesce(current_setting($1, true), '')";
        let before: String = sqlx::query_scalar(question).bind(name).fetch_one(&mut a).await?;
        for text in
            ["set datestyle = 'postgres, ymd'", "set time zone 'UTC'", "set search_path = z", "set work_mem = '9MB'"]
        {
            run(&mut b, text).await?;
        }
        let after: String = sqlx::query_scalar(question).bind(name).fetch_one(&mut a).await?;
        if before != after {
            bad.push(format!("{texts:?}: {before} and then {after}"));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    assert_eq!(pinned, [""; 0], "their texts tell all");
    Ok(())
}

/// The same words are the same setting only where they mean the same.
#[tokio::test]
async fn what_another_session_means_by_the_same_words_is_not_taken_over() -> Result<(), Error> {
    let server = started().await;
    server
        .execute(
            "create schema tenant_a; create schema tenant_b; grant usage on schema tenant_a, tenant_b to public; \
             create text search configuration tenant_a.mine (copy = pg_catalog.english); \
             create text search configuration tenant_b.mine (copy = pg_catalog.simple)",
        )
        .await;
    let proxy = proxy_to(&server).max_connections(2).build()?;
    let (mut a, mut b) = (proxy.get_connection().await?, proxy.get_connection().await?);
    for (conn, tenant) in [(&mut a, "tenant_a"), (&mut b, "tenant_b")] {
        let mut tx = conn.begin().await?;
        sqlx::raw_sql(AssertSqlSafe(format!("set local search_path = {tenant}"))).execute(&mut *tx).await?;
        sqlx::raw_sql("set default_text_search_config = 'mine'").execute(&mut *tx).await?;
        tx.commit().await?;
        // Which is why it is not moved.
        assert!(conn.pin_reason().is_some(), "{tenant}");
    }
    let question = "select current_setting('default_text_search_config')";
    // Of whom the connection was last.
    let of_b: String = sqlx::query_scalar(question).fetch_one(&mut b).await?;
    let of_a: String = sqlx::query_scalar(question).fetch_one(&mut a).await?;
    assert_eq!((of_a.as_str(), of_b.as_str()), ("tenant_a.mine", "tenant_b.mine"));
    Ok(())
}

/// Numbers are shown with as many digits as a session wants; the one by which a cancel finds it is none of them.
#[tokio::test]
async fn a_session_is_found_by_its_number_however_it_shows_numbers() -> Result<(), Error> {
    let server = started().await;
    for set in [
        "set work_mem = '2MB'",
        "set extra_float_digits = 0",
        "set extra_float_digits = -15",
        "set extra_float_digits = 3",
    ] {
        // Addresses are translated in between, so that the way there does not tell.
        let way = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
        let seen = Recorder::default();
        let proxy = proxy_to(&server)
            .port(way.port())
            .max_connections(1)
            .validate_after(Duration::from_millis(20))
            .observer(seen.observer())
            .build()?;
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, set).await?;
        run(&mut conn, "set application_name = 'mine'").await?;
        sleep(Duration::from_millis(40)).await;
        run(&mut conn, "select 1").await?;
        let long = sqlx::query("select pg_sleep(20)").execute(&mut conn);
        assert!(timeout(Duration::from_millis(50), long).await.is_err());
        drop(conn);
        proxy.upkeep().await;
        let failed: Vec<_> =
            seen.events().into_iter().filter(|event| matches!(event, Event::CancelFailed { .. })).collect();
        assert!(failed.is_empty(), "{set}: {failed:?}");
        server.terminate_sessions("app").await;
    }
    Ok(())
}

/// How full the server is, is nothing that a session's own settings say.
#[tokio::test]
async fn a_session_does_not_make_the_server_look_full() -> Result<(), Error> {
    let server = started().await;
    let mut bad = Vec::new();
    for set in [
        "set rds.rds_superuser_reserved_connections = '1000000'",
        "set rds.rds_superuser_reserved_connections = 'x'",
        "set rds.rds_superuser_reserved_connections = '9223372036854775807'",
    ] {
        let seen = Recorder::default();
        let proxy = proxy_to(&server).max_connections(1).observer(seen.observer()).build()?;
        for _ in 0..3 {
            let mut conn = proxy.get_connection().await?;
            run(&mut conn, set).await?;
            drop(conn);
            proxy.upkeep().await;
            let mut other = proxy.get_connection().await?;
            run(&mut other, "select 1").await?;
            drop(other);
            proxy.upkeep().await;
        }
        let connected = seen.count(|event| matches!(event, Event::Connected { .. }));
        let failed = seen.count(|event| matches!(event, Event::LookFailed { .. }));
        if (connected, failed) != (1, 0) {
            bad.push(format!("{set}: {connected} logins, {failed} looks that failed"));
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
    Ok(())
}

/// A tenant's `deallocate` is a statement like another: strangers' transactions do not pay for it.
#[tokio::test]
async fn what_a_tenant_deallocates_breaks_no_strangers_transaction() -> Result<(), Error> {
    let server = started().await;
    for text in [
        "deallocate all",
        "deallocate sqlx_s_1",
        "deallocate prepare all",
        "discard all",
        "select 1; deallocate all",
        "begin; deallocate all; commit",
        "deallocate \"sqlx_s_1\"",
    ] {
        let proxy = proxy_to(&server).max_connections(1).build()?;
        let mut b = proxy.get_connection().await?;
        for n in 0..3_i32 {
            let _: i32 = sqlx::query_scalar("select $1::int4").bind(n).fetch_one(&mut b).await?;
        }
        let mut a = proxy.get_connection().await?;
        let _ = run(&mut a, text).await;
        drop(a);
        let mut tx = b.begin().await?;
        let same = sqlx::query_scalar::<_, i32>("select $1::int4").bind(7).fetch_one(&mut *tx).await;
        assert!(matches!(same, Ok(7)), "{text}: {same:?}");
        tx.commit().await?;
    }
    Ok(())
}
