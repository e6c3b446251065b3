//! Where a password goes is not what a server, a variable of the driver's or a URL's parameter says.

use super::*;

#[tokio::test]
async fn no_spelling_of_a_host_leads_the_password_to_a_stranger() -> Result<(), Error> {
    let cluster = Cluster::start(Imitation::MultiAz, 0).await;
    let server = cluster.node(0);
    let stranger = started().await;
    let door = FaultProxy::start(SocketAddr::from(([127, 0, 0, 1], stranger.port()))).await;
    server
        .execute(
            "create table stage.named (id text, endpoint text, port int); grant select on stage.named to public; \
             create or replace function rds_tools.show_topology(client text default '') \
               returns table (id text, endpoint text, port int) language sql volatile as \
               $$ select 'db-STAGE-1', 'localhost', inet_server_port() union all select * from stage.named $$",
        )
        .await;
    for (number, host) in HOSTS.into_iter().enumerate() {
        let member = format!("({}, {}, {})", quoted(&format!("m-{number}")), quoted(host), door.port());
        // One that calls itself as the target, as a given one and as nobody.
        let as_me = format!("('db-STAGE-1', {}, {})", quoted(host), door.port());
        let as_given = format!("('stage-1', {}, {})", quoted(host), door.port());
        server.execute(&format!("insert into stage.named values {member}, {as_me}, {as_given}")).await;
    }
    let authorities = [cluster.ca_pem(), stranger.ca_pem()].concat();
    for given in [None, Some(("stage-1", "localhost", server.port()))] {
        let seen = Recorder::default();
        let proxy = proxy_to(server)
            .ca_pem(&authorities)
            .instances(given)
            .watch_interval(Duration::from_millis(1))
            .validate_after(Duration::ZERO)
            .observer(seen.observer())
            .failover_timeout(Duration::from_secs(2))
            .build()?;
        for _ in 0..3 {
            let mut conn = proxy.get_connection().await?;
            run(&mut conn, "select 1").await?;
            drop(conn);
            assert!(proxy.get_reader().await.is_err());
        }
        // A search: whoever is known is asked.
        let mut conn = proxy.get_connection().await?;
        let _ = run(&mut conn, "select pg_terminate_backend(pg_backend_pid())").await;
        drop(conn);
        let mut conn = proxy.get_connection().await?;
        let long = sqlx::query("select pg_sleep(20)").execute(&mut conn);
        assert!(timeout(Duration::from_millis(50), long).await.is_err());
        drop(conn);
        proxy.upkeep().await;
        let claims: Vec<_> = seen
            .events()
            .into_iter()
            .filter_map(|event| if let Event::ClaimIgnored { claim, .. } = event { Some(claim) } else { None })
            .collect();
        assert!(!claims.is_empty());
        assert_eq!(door.connections(), 0, "{given:?} {claims:?}");
    }
    Ok(())
}

/// The driver reads more variables than those that are refused; all of them are set over.
#[tokio::test]
async fn no_variable_of_the_drivers_changes_where_a_login_goes() {
    const NAME: &str = concat!(module_path!(), "::no_variable_of_the_drivers_changes_where_a_login_goes");
    if crate::support::child::is_one() {
        let proxy = PgProxy::from_env().unwrap();
        let mut conn = proxy.get_connection().await.unwrap();
        let question = "select current_user || ' ' || current_database() || ' ' || (select ssl from pg_stat_ssl where pid = \
                        pg_backend_pid()) || ' ' || split_part(current_setting('application_name'), ' ', 1)";
        let shown: String = sqlx::query_scalar(question).fetch_one(&mut conn).await.unwrap();
        println!("shown: {shown}");
        return;
    }
    let server = started().await;
    let ca = std::env::temp_dir().join(format!("claims-{}.pem", std::process::id()));
    std::fs::write(&ca, server.ca_pem()).unwrap();
    let url = server.url();
    let ours = [("LAMBDA_RDS_URL", url.as_str()), ("LAMBDA_RDS_CA_FILE", ca.to_str().unwrap())];
    let theirs = [
        ("PGHOST", "/tmp"),
        ("PGHOSTADDR", "127.0.0.2"),
        ("PGPORT", "1"),
        ("PGUSER", "postgres"),
        ("PGPASSWORD", "x"),
        ("PGDATABASE", "template1"),
        ("PGSSLMODE", "disable"),
        ("PGSSLROOTCERT", "/nonexistent"),
        ("PGAPPNAME", "other"),
        ("PGPASSFILE", "/nonexistent"),
        ("PGSSLNEGOTIATION", "direct"),
        ("PGSERVICE", "evil"),
        ("PGTZ", "Asia/Tokyo"),
        ("PGCLIENTENCODING", "LATIN1"),
        ("PGSSLCRL", "/nonexistent"),
        ("PGTARGETSESSIONATTRS", "read-only"),
        ("PGCHANNELBINDING", "disable"),
    ];
    let all: Vec<_> = ours.into_iter().chain(theirs).collect();
    let printed = crate::support::child::run(NAME, &all).await;
    let _ = std::fs::remove_file(&ca);
    assert!(printed.contains("shown: app app true lambda-rds"), "{printed}");
}

/// What a URL could say to the driver beyond what is understood here.
#[test]
fn no_parameter_of_a_url_reaches_the_driver_unread() {
    for parameter in [
        "options=-c%20work_mem%3D123kB",
        "options[work_mem]=123kB",
        "sslcert=/x",
        "sslkey=/x",
        "ssl-client-cert=/x",
        "hostaddr=127.0.0.2",
        "passfile=/x",
        "service=x",
        "user=postgres&user=app",
        "host=evil.example",
        "HOST=evil.example",
        "sslmode=verify-ca",
        "sslmode=prefer",
        "SSLMODE=disable",
        "sslmode=DISABLE%00",
        "socket=/tmp",
    ] {
        let url = format!("postgres://app:hunter2@db.example/app?{parameter}");
        let built = PgProxy::builder().url(url).build();
        let error = built.err().map(|error| chain(&error));
        if let Some(error) = error {
            assert!(!error.contains("hunter2"), "{error}");
        } else {
            assert!(["user=", "host="].iter().any(|known| parameter.starts_with(known)), "{parameter}");
        }
    }
}
