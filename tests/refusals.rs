//! Whatever is wrong has an error of its own, which says in its text what to do about it.
//!
//! Every one of them comes before a statement was sent, and says so: [`Outcome::NotExecuted`].
//!
//! What only one engine's servers say is in `postgres::alone` (that they shut down, that they want TLS: MariaDB does not
//! say so) and in `mysql::logins`.

use std::time::Duration;

use lambda_rds::error::{EndpointProblem, Phase, Purpose, TlsProblem, Unreachable};
use lambda_rds::{ConfigError, CredentialsError, Error, Event, Outcome, Proxy, ProxyBuilder, Tls};
use serde_json::json;
use tokio::time::sleep;

use super::stage::*;
use crate::support::aws::{Aws, Cluster as ApiCluster, Fault, Instance, Service, sdk_config};
use crate::support::fault_proxy::FaultProxy;
use crate::support::site::ServerTls;
use crate::support::until::until;
use crate::support::{Recorder, chain, child, ports};

/// The bound of whatever is expected to run out of time. A connect that succeeds must fit in on a loaded machine.
const SHORT: Duration = Duration::from_secs(1);

/// How late a loaded machine may be.
const SLACK: Duration = Duration::from_secs(4);

fn builder() -> ProxyBuilder<Db> {
    Proxy::builder().user("app").password(APP_PASSWORD).database("app")
}

/// What there is instead of a connection.
async fn refusal(builder: ProxyBuilder<Db>) -> Error {
    let proxy = builder.build().expect("a valid configuration");
    let error = proxy.get_connection().await.expect_err("this connect must fail");
    assert_eq!(error.outcome(), Outcome::NotExecuted, "{error:?}");
    assert_eq!(proxy.status().connections, 0);
    error
}

/// The text tells what to do.
fn advises(error: &Error, advice: &str) {
    assert!(error.to_string().contains(advice), "no \"{advice}\" in: {error}");
}

fn is_about(bound: Duration, elapsed: Duration) -> bool {
    // Timers have a granularity of a millisecond.
    elapsed + Duration::from_millis(5) >= bound && elapsed < bound + SLACK
}

/// The test whose second part tells what the process-wide proxy makes of the environment.
pub(super) const ENVIRONMENT: &str =
    concat!(module_path!(), "::configuration::a_wrong_environment_is_named_with_the_form_expected");

mod configuration {
    use super::*;

    /// In a process of its own: prints what the process-wide proxy makes of the environment.
    async fn answer_for_the_environment() {
        match lambda_rds::get_connection::<Db>().await {
            Ok(_) => println!("connected"),
            Err(error) => println!("{:?} {error:?} {error}", error.outcome()),
        }
    }

    #[tokio::test]
    async fn a_wrong_environment_is_named_with_the_form_expected() {
        if child::is_one() {
            return answer_for_the_environment().await;
        }
        type Environment<'a> = &'a [(&'static str, &'a str)];
        let form = format!("expected {FAMILY}://user[:password]@host[:port]/database");
        let other_url = format!("{FAMILY}://app:pw@db/shop");
        let prefer = format!("{FAMILY}://app@db/shop?sslmode=prefer");
        let cases: [(Environment<'_>, &str); 15] = [
            (&[], "set LAMBDA_RDS_URL (or DATABASE_URL), or LAMBDA_RDS_HOST with"),
            (&[("LAMBDA_RDS_USER", "app")], "set LAMBDA_RDS_HOST"),
            (&[("LAMBDA_RDS_HOST", "db"), ("LAMBDA_RDS_IAM", "true")], "set LAMBDA_RDS_USER"),
            (&[("DATABASE_URL", "db.example/shop")], &form),
            (
                &[("LAMBDA_RDS_URL", &prefer)],
                "sslmode=prefer is not understood; expected verify-full, require or disable",
            ),
            (
                &[("LAMBDA_RDS_CONNECT_TIMEOUT", "5")],
                "LAMBDA_RDS_CONNECT_TIMEOUT=5 is not understood; expected a number with a unit",
            ),
            (&[("LAMBDA_RDS_SECERT", "x")], "did you mean LAMBDA_RDS_SECRET?"),
            (&[("LAMBDA_RDS_HOST", "db"), ("LAMBDA_RDS_CLUSTER", "shop")], "host and cluster are both configured"),
            (
                &[("LAMBDA_RDS_HOST", "db"), ("LAMBDA_RDS_PASSWORD", "x"), ("LAMBDA_RDS_SECRET", "y")],
                "password and secret are both configured",
            ),
            (&[("LAMBDA_RDS_HOST", "db"), ("LAMBDA_RDS_CA_PEM", "x")], "ca_pem holds no PEM certificate"),
            (&[("LAMBDA_RDS_HOST", "db"), ("LAMBDA_RDS_ADD_CA_PEM", "x")], "add_ca_pem holds no PEM"),
            (&[("LAMBDA_RDS_HOST", "db"), ("LAMBDA_RDS_TLS", "verify-ca")], "use verify-full, with a name"),
            (
                &[
                    ("LAMBDA_RDS_HOST", "db"),
                    ("LAMBDA_RDS_USER", "app"),
                    ("LAMBDA_RDS_IAM", "1"),
                    ("LAMBDA_RDS_TLS", "require"),
                ],
                "iam and Tls::Require are both configured",
            ),
            (
                &[("LAMBDA_RDS_HOST", "other"), ("LAMBDA_RDS_URL", &other_url)],
                "host and the password of a URL with another host are both configured",
            ),
            (&[("LAMBDA_RDS_HOST", "db"), ("LAMBDA_RDS_MAX_LIFETIME", "99999999999h")], "at most 365 days"),
        ];
        for (variables, advice) in cases {
            let said = child::run(ENVIRONMENT, variables).await;
            // Once as what `main` prints, and once as the text; each advice belongs to one variant.
            assert!(said.contains("NotExecuted Config: "), "{said}");
            assert_eq!(said.matches(advice).count(), 2, "\"{advice}\" in: {said}");
        }
    }

    #[test]
    fn a_malformed_url_is_refused_before_anything_is_done() {
        let build = |url: &str| DbProxy::builder().url(url).build().unwrap_err();
        let ours = |rest: &str| build(&format!("{FAMILY}://{rest}"));
        for url in ["", "db.example", "oracle://app@db/shop", &format!("{OTHER_FAMILY}://app@db/shop")] {
            assert!(matches!(build(url), ConfigError::Url { .. }), "{url}");
        }
        for rest in ["app@db:port/shop", "app:%ff@db/x"] {
            assert!(matches!(ours(rest), ConfigError::Url { .. }), "{rest}");
        }
        for name in ["sslcert", "sslkey", "ssl-cert", "ssl-key"] {
            let error = ours(&format!("app@db/x?{name}=/client.pem"));
            assert!(matches!(&error, ConfigError::ClientCertificate { name: given } if given == name), "{error:?}");
        }
        for rest in ["app@db/x?sslmode=maybe", "app@db/x?sslmod=require"] {
            assert!(matches!(ours(rest), ConfigError::UrlParameter { .. }), "{rest}");
        }
        assert!(matches!(ours(""), ConfigError::NothingConfigured));
        assert!(matches!(ours("app@/x"), ConfigError::Url { .. } | ConfigError::NoHost));
    }

    /// A session's account would know nothing of it.
    #[test]
    fn an_init_query_does_not_decide_about_transactions() {
        let build =
            |query: &str| Proxy::<Db>::builder().url(format!("{FAMILY}://app@db/shop")).init_query(query).build();
        for query in ["begin", "select 1; start transaction"] {
            let refused = build(query);
            assert!(matches!(refused, Err(ConfigError::Value { option: "init_query", .. })), "{query}: {refused:?}");
        }
        // A setting of MySQL's.
        assert_eq!(build("SET autocommit = 0").is_err(), FAMILY == "mysql");
        assert!(build("set time_zone = '+00:00'").is_ok());
    }

    #[test]
    fn settings_that_exclude_each_other_are_both_named() {
        let conflict = |builder: ProxyBuilder<Db>| match builder.build() {
            Err(ConfigError::Conflict { first, second }) => (first, second),
            other => panic!("{other:?}"),
        };
        assert_eq!(conflict(builder().host("db").secret("s")), ("password", "secret"));
        assert_eq!(conflict(Proxy::builder().host("db").user("app").secret("s")), ("user", "secret"));
        assert_eq!(conflict(builder().host("db").cluster("c")), ("host", "cluster"));
        assert_eq!(conflict(builder().cluster("c").instance("i")), ("cluster", "instance"));
        let iam = || Proxy::builder().host("db").user("app").iam();
        assert_eq!(conflict(iam().tls(Tls::Disable)), ("iam", "Tls::Disable"));
        assert_eq!(conflict(iam().tls(Tls::Require)), ("iam", "Tls::Require"));
    }
}

mod secrets {
    use super::*;

    const SECRET: &str = "prod/shop/db";

    async fn refusal_by(aws: &Aws) -> CredentialsError {
        let builder = Proxy::builder().host("localhost").secret(SECRET).aws_config(aws.sdk_config());
        match refusal(builder).await {
            Error::Credentials(error) => error,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_secret_that_does_not_exist_is_named() {
        let error = refusal_by(&Aws::start().await).await;
        assert!(matches!(&error, CredentialsError::NotFound { secret, .. } if secret == SECRET), "{error:?}");
        let error = Error::from(error);
        advises(&error, "check its name or ARN, the region and the account");
        assert!(!error.is_retryable());
    }

    #[tokio::test]
    async fn a_secret_that_may_not_be_read_names_the_permission() {
        let aws = Aws::start().await;
        aws.fault(Service::SecretsManager, Fault::AccessDenied);
        let error = refusal_by(&aws).await;
        assert!(matches!(&error, CredentialsError::Denied { .. }), "{error:?}");
        let error = Error::from(error);
        advises(&error, "allow secretsmanager:GetSecretValue on it (and kms:Decrypt on its key)");
        assert!(!error.is_retryable());

        // The role may read the secret and not use its key.
        aws.fault(Service::SecretsManager, Fault::None);
        aws.secret(SECRET).put(json!({"username": "app", "password": APP_PASSWORD}));
        aws.secret(SECRET).lose_key();
        assert!(matches!(refusal_by(&aws).await, CredentialsError::Denied { .. }));
    }

    #[tokio::test]
    async fn a_secret_marked_for_deletion_will_not_come_back_by_itself() {
        let aws = Aws::start().await;
        aws.secret(SECRET).put("{}");
        aws.secret(SECRET).delete();
        let error = refusal_by(&aws).await;
        assert!(matches!(&error, CredentialsError::NotFound { .. }), "{error:?}");
        assert!(chain(&error).contains("marked for deletion"), "{error:?}");
        assert!(!Error::from(error).is_retryable());
    }

    #[tokio::test]
    async fn a_secret_of_another_shape_says_what_is_wrong_with_it() {
        let aws = Aws::start().await;
        for (value, wrong) in [
            ("hunter2", "it is not JSON"),
            (r#"{"username": "app"}"#, "\"password\" is missing"),
            (r#"{"password": "hunter2"}"#, "\"username\" is missing"),
            (
                &format!(r#"{{"username": "app", "password": "hunter2", "engine": "{OTHER_FAMILY}"}}"#),
                &format!("it is for the engine {OTHER_FAMILY}"),
            ),
        ] {
            aws.secret(SECRET).put(value);
            let error = refusal_by(&aws).await;
            assert!(
                matches!(&error, CredentialsError::Malformed { problem, .. } if problem.contains(wrong)),
                "{error:?}"
            );
            assert!(error.to_string().contains("expected JSON such as {\"username\": …, \"password\": …}"), "{error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
        aws.secret(SECRET).put_binary(&[0xff, 0xfe]);
        assert!(matches!(refusal_by(&aws).await, CredentialsError::Malformed { .. }));
    }

    #[tokio::test]
    async fn a_throttled_service_is_told_from_a_silent_one() {
        let aws = Aws::start().await;
        aws.fault(Service::SecretsManager, Fault::Throttle);
        let error = refusal_by(&aws).await;
        assert!(matches!(&error, CredentialsError::Throttled { .. }), "{error:?}");
        assert!(aws.secrets_read().len() > 1, "the SDK tries again by itself");
        let error = Error::from(error);
        advises(&error, "raise the quota");
        assert!(error.is_retryable());
    }

    #[tokio::test]
    async fn a_service_that_cannot_be_reached_names_the_endpoint_a_private_subnet_needs() {
        let silent = Aws::start().await;
        silent.fault(Service::SecretsManager, Fault::NoAnswer);
        let black_hole = ports::black_hole();
        let urls = [
            silent.url(),
            format!("http://{}", black_hole.address()),
            format!("http://127.0.0.1:{}", ports::refused_port()),
        ];
        // The second bound is the shorter one: the message must not depend on which of the two runs out.
        for (connect, borrow) in [(SHORT, 10 * SHORT), (10 * SHORT, SHORT)] {
            for url in &urls {
                let builder = Proxy::builder().host("localhost").secret(SECRET).aws_config(sdk_config(url));
                let error = refusal(builder.connect_timeout(connect).borrow_timeout(borrow)).await;
                let Error::Credentials(CredentialsError::Unreachable { service, elapsed, .. }) = &error else {
                    panic!("{url}: {error:?}");
                };
                assert_eq!(*service, "Secrets Manager");
                assert!(*elapsed < SHORT + SLACK, "{elapsed:?}");
                advises(&error, "needs a NAT gateway or the interface endpoint com.amazonaws.<region>.secretsmanager");
                assert!(error.is_retryable());
            }
        }
    }
}

mod logins {
    use super::*;

    #[tokio::test]
    async fn a_wrong_password_and_an_unknown_user_are_refused_logins() {
        let server = server().await;
        for (user, password) in [("app", "wrong"), ("nobody-of-that-name", APP_PASSWORD)] {
            let recorder = Recorder::default();
            let url = server.url_for(user, password, "app");
            let error = refusal(proxy_to(server).url(url).observer(recorder.observer())).await;
            let Error::Authentication { host, user: refused_user, refused: 1, .. } = &error else {
                panic!("{error:?}");
            };
            assert_eq!((host.as_str(), refused_user.as_str()), ("localhost", user));
            assert_eq!(error.sqlstate().as_deref(), Some(WRONG_PASSWORD));
            advises(&error, "check the secret or password");
            assert!(!error.is_retryable());
            assert_eq!(recorder.count(|event| matches!(event, Event::ConnectFailed { .. })), 1);
        }
    }

    #[tokio::test]
    async fn an_unknown_database_is_named() {
        let server = server().await;
        let error = refusal(proxy_to(server).database("shop")).await;
        let Error::UnknownDatabase { database, .. } = &error else { panic!("{error:?}") };
        assert_eq!((database.as_str(), error.sqlstate().as_deref()), ("shop", Some(NO_DATABASE)));
        advises(&error, "has no database \"shop\"");
        assert!(!error.is_retryable());
    }

    #[tokio::test]
    async fn a_full_server_is_waited_for_and_then_named() {
        let server = account("crowded", Some(1)).await;
        let url = server.url_for("crowded", APP_PASSWORD, "app");
        let first = proxy_to(server).url(&url).build().unwrap();
        let _held = first.get_connection().await.unwrap();

        let recorder = Recorder::default();
        // A login takes a good part of a second on a busy machine, and this is about the second one.
        let enough = 4 * SHORT;
        let error = refusal(proxy_to(server).url(&url).borrow_timeout(enough).observer(recorder.observer())).await;
        let Error::TooManyConnections { elapsed, .. } = &error else { panic!("{error:?}") };
        assert!(*elapsed > Duration::ZERO && *elapsed < enough + SLACK, "{elapsed:?}");
        assert_eq!(error.sqlstate().as_deref(), Some(ACCOUNT_FULL));
        advises(&error, "lower the function's concurrency or max_connections");
        assert!(error.is_retryable());
        assert!(recorder.count(|event| matches!(event, Event::Refused { .. })) > 0, "it was tried more than once");

        // Whoever waits gets the place that becomes free.
        let recorder = Recorder::default();
        let second = proxy_to(server).url(&url).observer(recorder.observer()).build().unwrap();
        let (conn, ()) = tokio::join!(second.get_connection(), async {
            let refusals = || recorder.count(|event| matches!(event, Event::Refused { .. }));
            until("a login was refused", async || refusals() > 0).await;
            first.close().await;
        });
        assert!(conn.is_ok(), "{conn:?}");
    }

    /// The last attempt is not begun when there is no time for it: it would be cut off, and the error would be about that.
    #[tokio::test]
    async fn a_server_that_is_full_and_far_away_is_full() {
        let server = account("crowded_afar", Some(1)).await;
        let url = server.url_for("crowded_afar", APP_PASSWORD, "app");
        let first = proxy_to(server).url(&url).build().unwrap();
        let _held = first.get_connection().await.unwrap();
        let relay = FaultProxy::start(std::net::SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
        // A login takes some five round trips of twice the delay, and more than one of them has its time.
        relay.delay(SHORT / 20);
        let error = refusal(proxy_to(server).url(&url).port(relay.port()).borrow_timeout(3 * SHORT)).await;
        assert!(matches!(&error, Error::TooManyConnections { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn the_limit_of_the_whole_server_is_one_as_well() {
        let server = Server::start(ServerOptions { max_connections: FEW, ..ServerOptions::default() }).await;
        // Long enough for a login on a busy machine; only the last one takes all of it.
        let full = proxy_to(&server).max_connections(20).borrow_timeout(4 * SHORT).build().unwrap();
        let another = async || {
            let mut conn = full.get_connection().await?;
            conn.pin().await.map(drop)?;
            Ok::<_, Error>(conn)
        };
        let mut held = Vec::new();
        let error = loop {
            match another().await {
                Ok(conn) => held.push(conn),
                Err(error) => break error,
            }
        };
        assert!(matches!(&error, Error::TooManyConnections { .. }), "{error:?}");
        assert_eq!(error.sqlstate().as_deref(), Some(SERVER_FULL));
        assert_eq!(held.len(), usize::from(FEW - RESERVED), "all but those kept for superusers");
    }
}

mod ways {
    use super::*;

    fn at(port: u16) -> ProxyBuilder<Db> {
        builder().host("127.0.0.1").port(port).connect_timeout(SHORT)
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_a_dns_error() {
        let error = refusal(builder().host("db.invalid")).await;
        let Error::Dns { host, .. } = &error else { panic!("{error:?}") };
        assert_eq!(host, "db.invalid");
        advises(&error, "check the spelling, and that the function's VPC resolves it");
        assert!(error.is_retryable());
    }

    #[tokio::test]
    async fn a_closed_port_is_a_refusal() {
        let port = ports::refused_port();
        let error = refusal(at(port)).await;
        let Error::Unreachable { reason: Unreachable::Refused, phase: Phase::Dialling, port: dialled, elapsed, .. } =
            &error
        else {
            panic!("{error:?}");
        };
        assert_eq!(*dialled, port);
        assert!(*elapsed < SLACK, "a refusal is not waited for: {elapsed:?}");
        advises(&error, "nothing listens on that port");
        assert!(error.is_retryable());
    }

    #[tokio::test]
    async fn a_host_that_does_not_answer_points_at_the_security_group() {
        let hole = ports::black_hole();
        let error = refusal(at(hole.port())).await;
        let Error::Unreachable { reason: Unreachable::NoRoute, phase: Phase::Dialling, elapsed, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(is_about(SHORT, *elapsed), "{elapsed:?}");
        advises(&error, "the database's security group lets it in");
    }

    #[tokio::test]
    async fn a_host_that_accepts_and_says_nothing_is_silent() {
        let silent = ports::silent();
        let error = refusal(at(silent.port())).await;
        let Error::Unreachable { reason: Unreachable::Silent, phase: Phase::Handshake, elapsed, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(is_about(SHORT, *elapsed), "{elapsed:?}");
        advises(&error, "accepts connections and then says nothing");
    }

    #[tokio::test]
    async fn a_peer_that_hangs_up_or_speaks_something_else_is_no_database() {
        let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], ports::refused_port()));
        let error = refusal(at(FaultProxy::start(nobody).await.port())).await;
        let Error::Unreachable { reason: Unreachable::HungUp, phase: Phase::Handshake, .. } = &error else {
            panic!("{error:?}");
        };
        advises(&error, "check that a database of the right kind listens there");

        let web = Aws::start().await;
        let port = web.url().rsplit(':').next().and_then(|port| port.parse().ok()).unwrap();
        let error = refusal(at(port)).await;
        if SERVER_GREETS {
            // Both wait for the other to begin.
            assert!(matches!(&error, Error::Unreachable { reason: Unreachable::Silent, .. }), "{error:?}");
        } else {
            assert!(matches!(&error, Error::Connect { phase: Phase::Handshake, .. }), "{error:?}");
        }
    }
}

mod certificates {
    use super::*;

    fn problem(error: &Error) -> TlsProblem {
        match error {
            Error::Tls { problem, host, .. } if host == "localhost" => *problem,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_server_without_tls_is_refused() {
        let plain = Server::start(ServerOptions { tls: ServerTls::Off, ..ServerOptions::default() }).await;
        let error = refusal(proxy_to(&plain)).await;
        assert_eq!(problem(&error), TlsProblem::NotOffered);
        advises(&error, "enable it there");
        assert!(!error.to_string().to_lowercase().contains("disable"), "no advice is to go without: {error}");
        assert!(!error.is_retryable());
    }

    #[tokio::test]
    async fn an_authority_that_is_not_trusted_is_told_how_to_be() {
        let server = server().await;
        let stranger = crate::support::certificates::Authority::new("somebody else");
        // Made anew under the old name, as private authorities are: same subject, another key.
        let namesake = crate::support::certificates::Authority::new("lambda-rds stage");
        for roots in [None, Some(stranger.pem()), Some(namesake.pem())] {
            let mut builder = Proxy::builder().url(server.url());
            if let Some(roots) = roots {
                builder = builder.ca_pem(roots);
            }
            let error = refusal(builder).await;
            assert_eq!(problem(&error), TlsProblem::UnknownIssuer, "{error:?}");
            advises(&error, "give the certificate authority with `ca_pem` (LAMBDA_RDS_CA_FILE, sslrootcert)");
            assert!(!error.is_retryable());
        }
    }

    #[tokio::test]
    async fn an_expired_certificate_and_one_for_another_name_are_told_apart() {
        for (tls, expected, advice) in [
            (ServerTls::Expired, TlsProblem::Expired, "renew it on the server (or check this machine's clock)"),
            (ServerTls::WrongName, TlsProblem::NameMismatch, "connect by a name the certificate has"),
        ] {
            let server = Server::start(ServerOptions { tls, ..ServerOptions::default() }).await;
            let error = refusal(proxy_to(&server)).await;
            assert_eq!(problem(&error), expected, "{error:?}");
            advises(&error, advice);
            assert!(!error.is_retryable());
        }
    }
}

mod pool {
    use super::*;

    #[tokio::test]
    async fn an_exhausted_pool_names_who_holds_the_connection_and_for_how_long() {
        let head_start = Duration::from_millis(100);
        let proxy = proxy_to(server().await).max_connections(1).borrow_timeout(SHORT).build().unwrap();
        let mut one = proxy.get_connection().await.unwrap();
        let mut other = proxy.get_connection().await.unwrap();
        let tx = one.begin().await.unwrap();
        sleep(head_start).await;
        let error = other.begin().await.unwrap_err();
        tx.rollback().await.unwrap();

        let Error::PoolExhausted { waited, phase: Phase::Waiting, numbers, last: None, .. } = &error else {
            panic!("{error:?}");
        };
        assert!(is_about(SHORT, *waited), "{waited:?}");
        assert_eq!((numbers.limit, numbers.idle, numbers.waiting), (1, 0, 1));
        let [holder] = numbers.holders[..] else { panic!("{numbers:?}") };
        assert_eq!(holder.purpose, Purpose::Transaction);
        assert!(is_about(SHORT + head_start, holder.held), "{:?}", holder.held);
        advises(&error, "1 of 1 leased: held by a session in a transaction for ");
        advises(&error, "never wait for a second session while holding one");
        assert_eq!((error.outcome(), error.is_retryable()), (Outcome::NotExecuted, true));
        // The one that had to wait can go on now.
        other.begin().await.unwrap().commit().await.unwrap();
    }

    #[tokio::test]
    async fn a_pinned_session_is_named_as_such() {
        let proxy = proxy_to(server().await).max_connections(1).borrow_timeout(SHORT).build().unwrap();
        let mut one = proxy.get_connection().await.unwrap();
        one.pin().await.unwrap();
        let mut other = proxy.get_connection().await.unwrap();
        let error = Error::from(sqlx::query("select 1").execute(&mut other).await.unwrap_err());
        let Error::PoolExhausted { numbers, .. } = &error else { panic!("{error:?}") };
        assert_eq!(numbers.holders[0].purpose, Purpose::Pin);
        advises(&error, "held by a pinned session for ");
    }

    #[tokio::test]
    async fn a_closed_proxy_says_so() {
        let proxy = proxy_to(server().await).build().unwrap();
        let mut conn = proxy.get_connection().await.unwrap();
        proxy.close().await;
        assert!(matches!(proxy.get_connection().await, Err(Error::Closed)));
        assert!(matches!(conn.begin().await, Err(Error::Closed)));
    }
}

/// The endpoint of a cluster or an instance, from the RDS API.
mod lookups {
    use super::*;

    fn asking(aws: &Aws) -> ProxyBuilder<Db> {
        builder().tls(Tls::Require).aws_config(aws.sdk_config())
    }

    fn problem(error: &Error) -> EndpointProblem {
        match error {
            Error::Endpoint { problem, .. } => *problem,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_identifier_is_looked_up_once() {
        let (aws, server) = (Aws::start().await, server().await);
        let endpoint = "127.0.0.1".to_owned();
        aws.put_cluster(ApiCluster { port: server.port(), endpoint: endpoint.clone(), ..ApiCluster::default() });
        aws.put_instance(Instance { endpoint: Some((endpoint, server.port())), ..Instance::default() });
        for (builder, action) in [
            (asking(&aws).cluster("stage"), "DescribeDBClusters"),
            (asking(&aws).instance("stage-1"), "DescribeDBInstances"),
        ] {
            aws.clear_requests();
            let proxy = builder.build().unwrap();
            let mut first = proxy.get_connection().await.unwrap();
            first.pin().await.unwrap();
            proxy.get_connection().await.unwrap().pin().await.unwrap();
            let asked: Vec<_> = aws.requests().into_iter().map(|request| request.action).collect();
            assert_eq!(asked, [action]);
            assert_eq!(proxy.status().writer, Some(format!("127.0.0.1:{}", server.port())));
        }
    }

    #[tokio::test]
    async fn an_identifier_nobody_has_is_named() {
        let aws = Aws::start().await;
        for (builder, who) in
            [(asking(&aws).cluster("shop"), "cluster shop"), (asking(&aws).instance("s1"), "instance s1")]
        {
            let error = refusal(builder).await;
            assert_eq!(problem(&error), EndpointProblem::NotFound, "{error:?}");
            advises(&error, who);
            advises(&error, "check the identifier, the region and the account");
            assert!(!error.is_retryable());
        }
        aws.put_instance(Instance { endpoint: None, status: "creating".to_owned(), ..Instance::default() });
        let error = refusal(asking(&aws).instance("stage-1")).await;
        assert_eq!(problem(&error), EndpointProblem::NoEndpointYet, "{error:?}");
        assert!(error.is_retryable());
    }

    /// What is found is kept for an environment's life: what cannot be dialled must not be.
    #[tokio::test]
    async fn an_answer_without_a_place_in_it_is_asked_for_again() {
        let server = server().await;
        for (host, port) in [("", server.port()), (" ", server.port()), ("/tmp", server.port()), ("127.0.0.1", 0)] {
            let aws = Aws::start().await;
            let tell = |host: &str, port| {
                aws.put_cluster(ApiCluster { port, endpoint: host.to_owned(), ..ApiCluster::default() });
                aws.put_instance(Instance { endpoint: Some((host.to_owned(), port)), ..Instance::default() });
            };
            tell(host, port);
            let proxies = [asking(&aws).cluster("stage"), asking(&aws).instance("stage-1")].map(|b| b.build().unwrap());
            for proxy in &proxies {
                let error = proxy.get_connection().await.unwrap_err();
                let is_told = [EndpointProblem::NoEndpointYet, EndpointProblem::Failed].contains(&problem(&error));
                assert!(is_told, "{host:?}:{port}: {error:?}");
            }
            tell("127.0.0.1", server.port());
            for proxy in &proxies {
                // It is remembered for a moment.
                let found = async {
                    while let Err(error) = proxy.get_connection().await {
                        problem(&error);
                        sleep(Duration::from_millis(50)).await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(60), found).await.expect("it is asked again");
            }
        }
    }

    #[tokio::test]
    async fn a_lookup_that_is_not_allowed_names_the_permission() {
        let aws = Aws::start().await;
        aws.fault(Service::Rds, Fault::AccessDenied);
        for (builder, action) in [
            (asking(&aws).cluster("stage"), "rds:DescribeDBClusters"),
            (asking(&aws).instance("stage-1"), "rds:DescribeDBInstances"),
        ] {
            let error = refusal(builder).await;
            assert_eq!(problem(&error), EndpointProblem::Denied, "{error:?}");
            advises(&error, action);
            advises(&error, "allow that action in the function's role");
            assert!(!error.is_retryable());
        }
    }

    #[tokio::test]
    async fn an_api_that_does_not_answer_is_not_waited_for_beyond_the_bound() {
        let aws = Aws::start().await;
        aws.fault(Service::Rds, Fault::NoAnswer);
        let error = refusal(asking(&aws).cluster("stage").connect_timeout(SHORT)).await;
        assert_eq!(problem(&error), EndpointProblem::NoAnswer, "{error:?}");
        let Error::Endpoint { elapsed, .. } = &error else { unreachable!() };
        assert!(is_about(SHORT, *elapsed), "{elapsed:?}");
        advises(&error, "interface endpoint com.amazonaws.<region>.rds");
        assert!(error.is_retryable());

        aws.fault(Service::Rds, Fault::Throttle);
        let error = refusal(asking(&aws).cluster("stage")).await;
        assert_eq!(problem(&error), EndpointProblem::Throttled, "{error:?}");
        assert!(error.is_retryable());

        // A failed lookup is not the last one.
        let proxy = asking(&aws).cluster("stage").build().unwrap();
        assert!(proxy.get_connection().await.is_err());
        aws.fault(Service::Rds, Fault::None);
        aws.put_cluster(ApiCluster { port: server().await.port(), ..ApiCluster::default() });
        // It is remembered for a moment.
        let found = async {
            while let Err(error) = proxy.get_connection().await {
                assert_eq!(problem(&error), EndpointProblem::Throttled, "{error:?}");
                sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), found).await.expect("it is asked again");
    }
}
