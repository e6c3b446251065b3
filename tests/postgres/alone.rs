//! Cases that need what only PostgreSQL has: a login against a directory, which each member asks; a server that says that it
//! is starting or shutting down, where MySQL's port is closed; defaults that make it read-only, which MySQL has for all
//! sessions and not as their own (`failover::moved`). What MySQL says of TLS and of tokens is in `mysql::logins`.

use super::failover::*;
use super::refusals;
use super::stage::*;
use crate::support::aws::Aws;
use crate::support::directory::Directory;
use crate::support::until::until;
use crate::support::{Recorder, child};
use lambda_rds::credentials::{CredentialsFuture, CredentialsRequest};
use lambda_rds::error::TlsProblem;
use lambda_rds::{Credentials, CredentialsError, CredentialsProvider, Error, Outcome, Proxy, Tls};
use std::time::Duration;

/// Case 49: the old writer goes on to answer and is read-only by its settings, while another is promoted. What it refuses
/// was not executed, and runs on the new one.
#[tokio::test]
async fn a_writer_that_was_made_read_only_is_left_for_the_one_that_is_promoted() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let seen = Recorder::default();
    let proxy = proxy_for(&cluster).failover_timeout(30 * SECOND).observer(seen.observer()).build()?;
    write(&proxy, 1).await?;
    // What a session or a role wishes for itself says nothing about the server.
    let mut reading = proxy.get_connection().await?;
    sqlx::query("set default_transaction_read_only = on").execute(&mut reading).await?;
    assert!(matches!(insert(&mut reading, 2).await, Err(Error::ReadOnly { .. })));
    assert_eq!(suspicions(&seen), 0);
    drop(reading);
    cluster.node(0).execute("alter system set default_transaction_read_only = on").await;
    cluster.node(0).execute("select pg_reload_conf()").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (written_3, _) = tokio::join!(write(&proxy, 3), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cluster.promote(1).await
    });
    written_3?;
    assert_eq!(place(&proxy).await?, cluster.node(1).port());
    assert_eq!(written(&proxy).await?, [1, 3]);
    Ok(())
}

/// Cases 19 and 56: a token is signed for a host, so that the new writer needs another one.
#[tokio::test]
async fn an_iam_token_is_signed_for_the_new_writer() -> Result<(), Error> {
    const USER: &str = "iam@app";
    let (aws, directory) = (Aws::start().await, Directory::start().await);
    let options = ServerOptions { host_rules: vec![directory.host_rule(USER)], ..ServerOptions::default() };
    let cluster = Cluster::start_with(CLUSTERED, 1, options).await;
    table(&cluster).await;
    cluster.node(0).execute(&format!("create role \"{USER}\" login in role app")).await;
    cluster.wait_until_follows(1, 0).await;
    let server = cluster.node(0);
    let proxy = Proxy::<Db>::builder()
        .host(server.host())
        .port(server.port())
        .database("app")
        .user(USER)
        .iam()
        .ca_pem(server.ca_pem())
        .aws_config(aws.sdk_config())
        .instances(cluster.instances())
        .build()?;
    write(&proxy, 1).await?;
    cluster.fail_over(0, 1).await;
    write(&proxy, 2).await?;
    assert_eq!(place(&proxy).await?, cluster.node(1).port());
    let tokens = directory.passwords();
    for (node, token) in [(0, tokens.first()), (1, tokens.last())] {
        let host = format!("localhost:{}/?Action=connect", cluster.node(node).port());
        assert!(token.is_some_and(|token| token.starts_with(&host)), "{tokens:?}");
    }
    Ok(())
}

/// Case 58: the new writer lets nobody in (57P03), restarts, and is promoted only then.
#[tokio::test]
async fn a_new_writer_that_is_starting_is_waited_for() -> Result<(), Error> {
    let cluster = Cluster::start(CLUSTERED, 1).await;
    table(&cluster).await;
    let proxy = proxy_for(&cluster).build()?;
    write(&proxy, 1).await?;
    cluster.wait_until_follows(1, 0).await;
    let last = cluster.node(1).admin().await;
    cluster.node(1).begin_shutdown();
    cluster.node(0).kill().await;
    let (waited, ()) = tokio::join!(write(&proxy, 2), async {
        tokio::time::sleep(SECOND / 2).await;
        drop(last);
        until("the replica has shut down", async || !cluster.node(1).is_running()).await;
        cluster.node(1).start_again().await;
        tokio::time::sleep(SECOND / 5).await;
        cluster.promote(1).await;
    });
    waited?;
    assert_eq!(written(&proxy).await?, [1, 2]);
    assert_eq!(place(&proxy).await?, cluster.node(1).port());
    Ok(())
}

#[tokio::test]
async fn a_server_that_shuts_down_is_not_ready() {
    let server = Server::start(ServerOptions::default()).await;
    let _last_session = server.admin().await;
    server.begin_shutdown();
    // Until the signal has been handled logins succeed; afterwards none does.
    let mut refused = None;
    until("no login succeeds", async || {
        let proxy = proxy_to(&server).borrow_timeout(SECOND).build().unwrap();
        refused = proxy.get_connection().await.err();
        if refused.is_none() {
            proxy.close().await;
        }
        refused.is_some()
    })
    .await;
    let error = refused.expect("it was refused");
    assert!(matches!(&error, Error::NotReady { .. }), "{error:?}");
    assert_eq!((error.sqlstate().as_deref(), error.outcome()), (Some("57P03"), Outcome::NotExecuted));
    assert!(error.to_string().contains("it is starting, recovering or shutting down"), "{error}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn a_server_that_demands_tls_says_so() {
    let error = proxy_to(server().await).tls(Tls::Disable).build().unwrap().get_connection().await.unwrap_err();
    assert!(matches!(&error, Error::Tls { problem: TlsProblem::Demanded, .. }), "{error:?}");
    assert!(error.to_string().contains("leave `Tls::Disable` (sslmode=disable) out"), "{error}");
    assert!(!error.is_retryable());
}

/// The driver takes them in when its options are made, and they would be in force at each login.
#[tokio::test]
async fn variables_that_the_driver_obeys_unseen_are_refused_by_name() {
    let url = server().await.url();
    for (name, value) in [
        ("PGOPTIONS", "-c work_mem=123kB"),
        ("PGSSLCERT", "/client.pem"),
        ("PGSSLKEY", "/client.key"),
        ("PGSSLKEY", ""),
    ] {
        let said = child::run(refusals::ENVIRONMENT, &[("LAMBDA_RDS_URL", url.as_str()), (name, value)]).await;
        assert!(said.contains("NotExecuted Config: "), "{said}");
        assert!(said.contains(&format!("{name} is set")) && said.contains("remove it"), "{said}");
    }
}

/// One that asks for passwords in clear, and refuses each login with what `words` makes of its number and of all that it was told: the
/// fields of the refusal.
fn refuses_with(words: impl Fn(usize, &[String]) -> String + Send + 'static) -> u16 {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut told = Vec::new();
        for (n, socket) in listener.incoming().take(20).enumerate() {
            let Ok(mut socket) = socket else { return };
            let mut said = vec![0; 4096];
            let _ = socket.read(&mut said).and_then(|_| socket.write_all(b"R\0\0\0\x08\0\0\0\x03"));
            let length = socket.read(&mut said).unwrap_or_default();
            told.push(String::from_utf8_lossy(said.get(5..length.saturating_sub(1)).unwrap_or_default()).into_owned());
            let body = words(n, &told);
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            let _ = socket.write_all(&[b"E", &length[..], body.as_bytes()].concat());
        }
    });
    port
}

/// The next one of these that was not refused.
#[derive(Debug)]
struct Several(&'static [&'static str]);

impl CredentialsProvider for Several {
    fn credentials<'a>(&'a self, request: &'a CredentialsRequest) -> CredentialsFuture<'a> {
        let all = self.0.iter().map(|password| Credentials::new("app", *password));
        let next = all.into_iter().find(|one| !request.refused.contains(one));
        Box::pin(std::future::ready(next.ok_or(CredentialsError::Exhausted)))
    }
}

/// What is shown of a login with these, one after the other.
async fn shown_of(port: u16, passwords: &'static [&'static str]) -> (Error, String) {
    let recorder = Recorder::default();
    let builder = Proxy::<lambda_rds::Postgres>::builder().host("127.0.0.1").port(port).credentials(Several(passwords));
    let builder = builder.database("app").tls(Tls::Disable).borrow_timeout(Duration::from_secs(2));
    let proxy = builder.observer(recorder.observer()).build().unwrap();
    let error = proxy.get_connection().await.map(drop).unwrap_err();
    let shown = format!("{} {:?} {}", crate::support::chain(&error), recorder.events(), proxy.report(&error));
    (error, shown)
}

/// One that was given the password in clear, because it asked for that, and says it when it refuses.
#[tokio::test]
async fn a_server_that_repeats_the_password_is_not_quoted() {
    for code in ["28P01", "3D000", "53300", "57P03", "XX000"] {
        let port = refuses_with(move |n, told| format!("SFATAL\0VFATAL\0C{code}\0Mnot with {}\0\0", told[n]));
        let (error, shown) = shown_of(port, &["hunter2\"hunter2"]).await;
        assert!(!shown.contains("hunter2"), "{shown}");
        assert!(shown.contains("repeated the password"), "{shown}");
        // It means what it meant: a password may be a word that servers use.
        let is_told = match code {
            "28P01" => matches!(error, Error::Authentication { .. }),
            "3D000" => matches!(error, Error::UnknownDatabase { .. }),
            "53300" => matches!(error, Error::TooManyConnections { .. }),
            "57P03" => matches!(error, Error::NotReady { .. }),
            _ => matches!(error, Error::Connect { .. }),
        };
        assert!(is_told && error.sqlstate().as_deref() == Some(code), "{code}: {error:?}");
    }
}

/// Whichever it was, in whichever place, and however the driver writes what it does not understand.
#[tokio::test]
async fn a_server_that_repeats_an_earlier_password_or_another_field_is_not_quoted_either() {
    const PASSWORDS: [&[&str]; 3] = [
        &["plugh \"xyzzy\"\t\u{e9}", "another-password"],
        &["it's \"my\" a\u{301}b\u{301}", "another-password"],
        &["738201946512", "another-password"],
    ];
    let fields: [fn(&str) -> String; 6] = [
        |password| format!("SFATAL\0VFATAL\0C53300\0Mnot with {password}\0\0"),
        |password| format!("SFATAL\0VFATAL\0C28P01\0Mnot with {password}\0\0"),
        |password| format!("SFATAL\0VFATAL\0C{password}\0Mno\0\0"),
        |password| format!("SFATAL\0V{password}\0CXX000\0Mno\0\0"),
        |password| format!("SFATAL\0VFATAL\0CXX000\0Mno\0V{password}\0\0"),
        |password| format!("SFATAL\0VFATAL\0C28P01\0Mno\0Fauth.c\0L{password}\0Rauth\0\0"),
    ];
    for (passwords, field) in PASSWORDS.into_iter().flat_map(|passwords| fields.map(|field| (passwords, field))) {
        let is_shown = |shown: &str| {
            let debug = format!("{:?}", passwords[0]);
            shown.contains(passwords[0]) || shown.contains(debug.trim_matches('"'))
        };
        let own = refuses_with(move |n, told| field(&told[n]));
        let (_, shown) = shown_of(own, &passwords[..1]).await;
        assert!(!is_shown(&shown), "{shown}");
        let earlier = move |n: usize, told: &[String]| match n {
            0 => "SFATAL\0VFATAL\0C28P01\0Mno\0\0".to_owned(),
            _ => field(&told[0]),
        };
        let (_, shown) = shown_of(refuses_with(earlier), passwords).await;
        assert!(!is_shown(&shown), "{shown}");
    }
}

/// A password may be a word of the system's or of the driver's: what they say is no server's, and means what it meant.
#[tokio::test]
async fn a_password_that_is_a_word_of_the_systems_changes_no_error() {
    let port = crate::support::ports::free_port();
    for password in ["database", "Connection", "connection", "information", "communicating"] {
        let refusal = async |host| {
            let place = Proxy::<lambda_rds::Postgres>::builder().host(host).port(port).user("app").password(password);
            let proxy = place.database("app").tls(Tls::Disable).borrow_timeout(Duration::from_secs(2)).build().unwrap();
            proxy.get_connection().await.map(drop).unwrap_err()
        };
        let refused = refusal("127.0.0.1").await;
        assert!(matches!(refused, Error::Unreachable { .. }) && refused.is_retryable(), "{password}: {refused:?}");
        let unknown = refusal("nowhere.invalid").await;
        assert!(matches!(unknown, Error::Dns { .. }), "{password}: {unknown:?}");
    }
}
