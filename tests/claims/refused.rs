//! A server that refuses a password says so of itself, and nobody is asked or tried without a pause.

use super::*;

fn with_secret(server: &Server, aws: &Aws) -> ProxyBuilder<Postgres> {
    PgProxy::builder()
        .host(server.host())
        .port(server.port())
        .database("app")
        .ca_pem(server.ca_pem())
        .secret(SECRET)
        .aws_config(aws.sdk_config())
}

async fn connect(proxy: &PgProxy) -> Result<Connection<Postgres>, Error> {
    let mut conn = proxy.get_connection().await?;
    conn.pin().await?;
    Ok(conn)
}

/// A member that says no to everybody: what it says is said of itself, and not of the writer.
async fn beside_one_that_refuses(aws: &Aws) -> (Server, Server, ProxyBuilder<Postgres>, Recorder) {
    let (writer, refuses) = (started().await, started().await);
    refuses.set_password("app", "of another world").await;
    aws.secret(SECRET).put(json!({"username": "app", "password": APP_PASSWORD}));
    let seen = Recorder::default();
    let builder = with_secret(&writer, aws)
        .add_ca_pem(refuses.ca_pem())
        .instances([("a", "localhost", writer.port()), ("b", "localhost", refuses.port())])
        .max_connections(40)
        .observer(seen.observer());
    (writer, refuses, builder, seen)
}

#[tokio::test]
async fn a_reader_that_refuses_the_password_does_not_lock_the_writer() -> Result<(), Error> {
    let aws = Aws::start().await;
    let (_writer, _refuses, builder, seen) = beside_one_that_refuses(&aws).await;
    let proxy = builder.build()?;
    let mut kept = vec![connect(&proxy).await?];
    // Somebody goes on asking for a reader, and somebody for the writer: for how much of the time is that one let in?
    let (begun, mut locked, mut longest, mut since) = (Instant::now(), 0, Duration::ZERO, Instant::now());
    let mut last = String::new();
    let mut tries = 0;
    while begun.elapsed() < Duration::from_secs(9) && kept.len() < 12 {
        assert!(proxy.get_reader().await.is_err());
        tries += 1;
        match connect(&proxy).await {
            Ok(conn) => {
                kept.push(conn);
                since = Instant::now();
            }
            Err(error) => {
                locked += 1;
                longest = longest.max(since.elapsed());
                last = chain(&error);
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    let refused = seen.count(|event| matches!(event, Event::CredentialsRefused { .. }));
    let calls = aws.requests().len();
    assert_eq!(locked, 0, "of {tries}, for {longest:?}, {calls} calls, {refused} refused logins: {last}");
    Ok(())
}

#[tokio::test]
async fn a_reader_that_refuses_the_password_costs_no_call_for_each_invocation() -> Result<(), Error> {
    let aws = Aws::start().await;
    let (_writer, refuses, builder, seen) = beside_one_that_refuses(&aws).await;
    let proxy = builder.build()?;
    let begun = Instant::now();
    let mut kept = Vec::new();
    for _ in 0..20 {
        // In between the writer lets somebody in.
        kept.extend(connect(&proxy).await.ok());
        assert!(proxy.get_reader().await.is_err());
    }
    let calls = aws.requests().len();
    let refused = seen.count(|event| matches!(event, Event::CredentialsRefused { .. }));
    let rounds = 2 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(calls <= 4 * rounds && refused <= 2 * rounds, "{calls} calls, {refused} refused, in {rounds} rounds");
    drop(refuses);
    Ok(())
}

/// The writer is away for a moment, which a search waits for; the same with a fixed password shows that.
#[tokio::test]
async fn a_member_that_refuses_the_password_does_not_end_a_search() -> Result<(), Error> {
    for with_secret in [false, true] {
        let aws = Aws::start().await;
        let (writer, refuses, mut builder, _) = beside_one_that_refuses(&aws).await;
        if !with_secret {
            let authorities = [writer.ca_pem(), refuses.ca_pem()].concat();
            builder = proxy_to(&writer)
                .ca_pem(authorities)
                .instances([("a", "localhost", writer.port()), ("b", "localhost", refuses.port())]);
        }
        let proxy = builder.build()?;
        let mut conn = proxy.get_connection().await?;
        run(&mut conn, "select 1").await?;
        drop(conn);
        writer.kill().await;
        let (waited, ()) = tokio::join!(proxy.get_connection(), async {
            sleep(Duration::from_millis(1500)).await;
            writer.start_again().await;
        });
        assert!(waited.is_ok(), "with a secret: {with_secret}: {}", chain(&waited.unwrap_err()));
    }
    Ok(())
}

/// An instance that is being created stays so for minutes; so does one whose creation has failed.
#[tokio::test]
async fn an_instance_without_an_address_is_not_looked_up_by_every_invocation() -> Result<(), Error> {
    let aws = Aws::start().await;
    aws.put_instance(Instance { endpoint: None, cluster: None, status: "creating".to_owned(), ..Instance::default() });
    let place = PgProxy::builder().instance("stage-1").user("app").password(APP_PASSWORD);
    let proxy = place.aws_config(aws.sdk_config()).build()?;
    let begun = Instant::now();
    for _ in 0..200 {
        let error = proxy.get_connection().await.unwrap_err();
        assert!(matches!(&error, Error::Endpoint { .. }), "{error:?}");
    }
    let (calls, seconds) = (aws.requests().len(), usize::try_from(begun.elapsed().as_secs()).unwrap());
    assert!(calls <= 2 + 5 * seconds, "{calls} calls in {:?}", begun.elapsed());
    Ok(())
}

/// What a secret may be instead of a good one.
#[tokio::test]
async fn a_secret_of_no_use_is_not_asked_for_by_every_invocation() -> Result<(), Error> {
    let server = started().await;
    for kind in 0..13 {
        let aws = Aws::start().await;
        let secret = aws.secret(SECRET);
        match kind {
            0 => {}
            1 => secret.put_binary(&[0xff, 0xfe]),
            2 => secret.put("no json"),
            3 => secret.put(json!({"username": "app"})),
            4 => secret.put(json!({"username": "app", "password": APP_PASSWORD, "engine": "mysql"})),
            5 => secret.put(json!({"username": "app", "password": APP_PASSWORD, "port": 99_999_999})),
            6 => secret.put("[".repeat(60_000)),
            7 => secret.put(json!({"username": "app", "password": ["x"]})),
            8 => {
                secret.put(json!({"username": "app", "password": "x"}));
                secret.delete();
            }
            9 => {
                secret.put(json!({"username": "app", "password": "x"}));
                secret.lose_key();
            }
            10 => aws.fault(Service::SecretsManager, Fault::Throttle),
            11 => aws.fault(Service::SecretsManager, Fault::InternalError),
            // Wrong, and the other stages may not be read.
            _ => {
                secret.put(json!({"username": "app", "password": "wrong"}));
                for _ in 0..50 {
                    aws.fault_next(Service::SecretsManager, Fault::None, 1);
                    aws.fault_next(Service::SecretsManager, Fault::AccessDenied, 1);
                }
            }
        }
        let seen = Recorder::default();
        let proxy = with_secret(&server, &aws).observer(seen.observer()).build()?;
        let begun = Instant::now();
        let mut last = String::new();
        for _ in 0..100 {
            last = match proxy.get_connection().await {
                Ok(_) => "it is good".to_owned(),
                Err(error) => chain(&error),
            };
        }
        let (calls, rounds) = (aws.requests().len(), 2 + usize::try_from(begun.elapsed().as_secs()).unwrap());
        let refused = seen.count(|event| matches!(event, Event::CredentialsRefused { .. }));
        assert!(calls <= 4 * rounds && refused <= 2 * rounds, "{kind}: {calls} calls, {refused} refused: {last}");
    }
    Ok(())
}

/// The password is another one meanwhile, and the secret is not: every dropped statement wants a cancel, and that a login.
#[tokio::test]
async fn cancels_do_not_try_a_refused_password_again_and_again() -> Result<(), Error> {
    let (aws, server) = (Aws::start().await, started().await);
    aws.secret(SECRET).put(json!({"username": "app", "password": APP_PASSWORD}));
    let patience = Duration::from_secs(5);
    let proxy = with_secret(&server, &aws).max_connections(1).validate_timeout(patience).build()?;
    let mut conn = proxy.get_connection().await?;
    run(&mut conn, "select 1").await?;
    server.set_password("app", "another one").await;
    aws.clear_requests();
    let begun = Instant::now();
    for _ in 0..12 {
        let slow = sqlx::query("select pg_sleep(0.9)").execute(&mut conn);
        assert!(timeout(Duration::from_millis(20), slow).await.is_err());
        run(&mut conn, "select 1").await?;
    }
    let refused = server.log().matches("password authentication failed").count();
    // As for everything else that a secret is asked for: after 1 s, 2 s, 4 s and so on.
    let (calls, rounds) = (aws.requests().len(), 1 + usize::try_from((begun.elapsed().as_secs() + 1).ilog2()).unwrap());
    assert!(calls <= 4 * rounds && refused <= 1 + rounds, "{calls} calls, {refused} refused logins in {rounds} rounds");
    Ok(())
}
