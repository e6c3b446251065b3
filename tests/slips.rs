//! Slips of whoever configures or extends: a secret or a URL in the place of a name, a general URL beside settings of this
//! crate's own, configurations that are none, callbacks that misbehave in every way a program can.

use std::error::Error as StdError;
use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use lambda_rds::credentials::{CredentialsFuture, CredentialsRequest};
use lambda_rds::{Credentials, CredentialsError, CredentialsProvider, Error, Event, Proxy, ProxyBuilder, Tls};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::stage::*;
use crate::support::aws::Aws;
use crate::support::http::lock;
use crate::support::{Recorder, chain};

/// Nothing else has these letters.
const PASSWORD: &str = "xyzzy-plugh-plover";
const MARK: &str = "xyzzy";

/// Notices how long nothing else could run on this thread.
struct Heartbeat {
    longest: Arc<Mutex<Duration>>,
    task: JoinHandle<()>,
}

impl Heartbeat {
    fn start() -> Self {
        let longest = Arc::<Mutex<Duration>>::default();
        let seen = Arc::clone(&longest);
        let task = tokio::spawn(async move {
            const PACE: Duration = Duration::from_millis(2);
            loop {
                let before = Instant::now();
                sleep(PACE).await;
                let late = before.elapsed().saturating_sub(PACE);
                let mut longest = lock(&seen);
                *longest = (*longest).max(late);
            }
        });
        Self { longest, task }
    }

    /// Waits for one beat more: a standstill that has only just ended would not be seen.
    async fn stop(self) -> Duration {
        sleep(Duration::from_millis(5)).await;
        self.task.abort();
        *lock(&self.longest)
    }
}

/// What a MySQL says first: one without TLS that wants to see the password itself.
fn greeting() -> Vec<u8> {
    // Protocol 4.1, a database, transactions, the secure connection, plugins, several statements and results.
    let (low, high): (u16, u16) = (0x1 | 0x2 | 0x4 | 0x8 | 0x0200 | 0x2000 | 0x8000, 0x1 | 0x2 | 0x8 | 0x20);
    let mut payload = b"\x0a8.4.0\0\x07\0\0\0abcdefgh\0".to_vec();
    payload.extend(low.to_le_bytes());
    payload.push(45);
    payload.extend(2_u16.to_le_bytes());
    payload.extend(high.to_le_bytes());
    payload.push(21);
    payload.extend([0; 10]);
    payload.extend(b"ijklmnopqrst\0mysql_clear_password\0");
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&length[..3], &[0], &payload].concat()
}

mod secrets {
    use super::*;

    /// Everything that a program could print of a configuration and of its failure.
    async fn everything(builder: ProxyBuilder<Db>) -> String {
        let recorder = Recorder::default();
        let builder = builder.observer(recorder.observer()).borrow_timeout(Duration::from_secs(2));
        let mut said = format!("{builder:?} {builder:#?}");
        match builder.build() {
            Err(error) => said.push_str(&chain(&error)),
            Ok(proxy) => {
                said.push_str(&format!("{proxy:?}"));
                if let Err(error) = proxy.get_connection().await {
                    said.push_str(&chain(&error));
                    said.push_str(&format!("{error:?}"));
                    // What the invoker is told, behind a function URL the public.
                    let told = lambda_runtime::Diagnostic::from(error);
                    let told = format!("{} {}", told.error_type, told.error_message);
                    assert!(!told.contains(MARK) && !told.contains("invalid"), "{told}");
                }
            }
        }
        said.push_str(&format!("{:?}", recorder.events()));
        said
    }

    async fn shows(cases: Vec<(&'static str, ProxyBuilder<Db>)>) -> Vec<String> {
        let mut shown = Vec::new();
        for (what, builder) in cases {
            let said = everything(builder).await;
            let times = said.matches(MARK).count();
            if let Some(at) = said.rfind(MARK) {
                let start = said.floor_char_boundary(at.saturating_sub(90));
                let end = said.floor_char_boundary((at + 60).min(said.len()));
                shown.push(format!("{what} ({times} times): …{}…", &said[start..end]));
            }
        }
        for line in &shown {
            println!("SHOWN {line}");
        }
        shown
    }

    fn builder() -> ProxyBuilder<Db> {
        Proxy::builder()
    }

    fn url() -> String {
        format!("{FAMILY}://app:{PASSWORD}@db.invalid/app")
    }

    fn secret_text() -> String {
        // As Secrets Manager itself writes it: without a blank.
        json!({"username": "app", "password": PASSWORD}).to_string()
    }

    #[tokio::test]
    async fn a_secrets_text_in_the_place_of_a_host_does_not_show() {
        let shown = shows(vec![
            ("secret's text as host", builder().host(secret_text())),
            ("secret's text as a member", builder().instances([("a", secret_text(), 5432)]).user("app")),
            ("query as host", builder().host(format!("db.invalid?password={PASSWORD}"))),
        ])
        .await;
        assert!(shown.is_empty(), "{shown:#?}");
    }

    #[tokio::test]
    async fn a_url_in_the_place_of_a_secrets_name_goes_nowhere_and_does_not_show() {
        let aws = Aws::start().await;
        let shown = shows(vec![
            ("url as secret", builder().host("db.invalid").secret(url()).aws_config(aws.sdk_config())),
            (
                "user and host as secret",
                builder().host("db.invalid").secret(format!("app:{PASSWORD}@db.invalid")).aws_config(aws.sdk_config()),
            ),
        ])
        .await;
        let asked = aws.secrets_read();
        assert!(shown.is_empty() && asked.is_empty(), "AWS was asked for {asked:?}; {shown:#?}");
    }

    #[tokio::test]
    async fn a_url_in_the_place_of_an_identifier_goes_nowhere_and_does_not_show() {
        let aws = Aws::start().await;
        let with = || builder().aws_config(aws.sdk_config()).user("app").password("x");
        let shown = shows(vec![
            ("url as cluster", with().cluster(url())),
            ("url as instance", with().instance(url())),
            ("secret's text as cluster", with().cluster(secret_text())),
        ])
        .await;
        assert!(shown.is_empty(), "{shown:#?}");
    }

    #[tokio::test]
    async fn a_secrets_text_or_a_url_in_the_place_of_a_user_does_not_show() {
        let server = server().await;
        let place = || proxy_to(server).url(server.url_for("nobody", "x", "app"));
        let shown = shows(vec![
            ("secret's text as user", place().user(secret_text())),
            ("url as user", place().user(url())),
            ("userinfo as user", place().user(format!("app:{PASSWORD}"))),
            ("secret's text as database", proxy_to(server).database(secret_text())),
            ("url as database", proxy_to(server).database(url())),
        ])
        .await;
        assert!(shown.is_empty(), "{shown:#?}");
    }

    #[tokio::test]
    async fn a_password_that_a_url_takes_apart_does_not_show() {
        let shown = shows(vec![
            ("as scheme", builder().url(format!("{PASSWORD}:5432"))),
            ("as parameter's name", builder().url(format!("{FAMILY}://app@db.invalid/app?password=a&{PASSWORD}"))),
            (
                "as parameter's name, with =",
                builder().url(format!("{FAMILY}://app@db.invalid/app?password=a&{PASSWORD}=b")),
            ),
            ("user and password as a URL", builder().url(format!("{PASSWORD}:x@db.invalid"))),
            ("in the host after an encoded at", builder().url(format!("{FAMILY}://app:a@{PASSWORD}%40db.invalid/app"))),
            ("whole userinfo encoded", builder().url(format!("{FAMILY}://app%3A{PASSWORD}@db.invalid/app"))),
            ("unicode host", builder().url(format!("{FAMILY}://app:{PASSWORD}%C3%A9@dé.invalid/app"))),
            ("half-encoded", builder().url(format!("{FAMILY}://app:{PASSWORD}%@db.invalid/app"))),
            ("bad UTF-8", builder().url(format!("{FAMILY}://app:{PASSWORD}%ff@db.invalid/app"))),
            ("NUL in it", builder().url(format!("{FAMILY}://app:{PASSWORD}%00@db.invalid/app"))),
            ("quotes", builder().url(format!("{FAMILY}://app:'\"{PASSWORD}\"'@db.invalid/app"))),
            ("ca file", builder().url(format!("{FAMILY}://app@localhost/app?sslrootcert={}", url()))),
        ])
        .await;
        assert!(shown.is_empty(), "{shown:#?}");
    }

    #[tokio::test]
    async fn a_secret_whose_own_fields_are_mixed_up_does_not_show_its_password() {
        let aws = Aws::start().await;
        let mut cases = Vec::new();
        for (name, value) in [
            ("url-as-host", json!({"username": "app", "password": PASSWORD, "host": url()})),
            ("text-as-host", json!({"username": "app", "password": PASSWORD, "host": secret_text()})),
            ("password-as-port", json!({"username": "app", "password": "x", "port": PASSWORD})),
            ("password-is-list", json!({"username": "app", "password": [PASSWORD]})),
        ] {
            aws.secret(name).put(value);
            cases.push((name, builder().secret(name).aws_config(aws.sdk_config())));
        }
        let shown = shows(cases).await;
        assert!(shown.is_empty(), "{shown:#?}");
    }

    /// The kinds of statements that pin, with a secret where a text has no quotes around it.
    #[tokio::test]
    async fn a_pin_shows_no_secret_of_its_text() {
        let server = server().await;
        let texts: &[&str] = if FAMILY == "postgres" {
            &[
                "set app.key to xyzzy_a",
                "set local app.key to xyzzy_b",
                "set session app.key = xyzzy_c",
                "alter role nobody password 'xyzzy_d'",
                "listen xyzzy_e",
                "do language plpgsql $xyzzy_f$ begin perform 1; end $xyzzy_f$",
                "select set_config('app.k', E'a\\'xyzzy_g', false), pg_advisory_lock(1)",
                "select pg_advisory_lock(2), U&'!0041xyzzy_h' uescape '!'",
                "select pg_advisory_lock(3) as \"xyzzy_i\"",
                "select pg_advisory_lock(4) /* xyzzy_j */ -- xyzzy_j",
                "set session characteristics as transaction read write; set app.key to xyzzy_k",
            ]
        } else {
            &[
                "set @key = xyzzy_a",
                "set @key := 0x78797a7a79, @b = 'xyzzy_b'",
                "set @k = N'xyzzy_c', @l = _utf8mb4'xyzzy_c'",
                "set @k = x'78', @l = b'1', @m = \"xyzzy_d\"",
                "prepare one from 'select \\'xyzzy_f\\''",
                "select get_lock('xyzzy_g', 1)",
                "do get_lock(concat('a',\"xyzzy_h\"), 1)",
                "set @a = 1 # xyzzy_i",
                "select @a, /*! 'xyzzy_j' */ 1",
            ]
        };
        let mut shown = Vec::<String>::new();
        for text in texts {
            let recorder = Recorder::default();
            let proxy = proxy_to(server).observer(recorder.observer()).build().unwrap();
            let mut conn = proxy.get_connection().await.unwrap();
            let result = sqlx::raw_sql(sqlx::AssertSqlSafe((*text).to_owned())).execute(&mut conn).await;
            let said = format!("{conn:?} {:?} {:?}", proxy.status(), recorder.events());
            if said.contains("xyzzy_") {
                shown.push(format!("{text:?}, {:?}", result.err().map(|error| error.to_string())));
            }
        }
        assert!(shown.is_empty(), "{shown:#?}");
    }
}

mod mixtures {
    use super::*;
    use crate::support::child;

    /// Logs whatever is sent to it, and answers what makes a client send its password in clear.
    async fn thief() -> (u16, Arc<Mutex<Vec<u8>>>, JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let log = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    if FAMILY == "mysql" {
                        let _ = client.write_all(&greeting()).await;
                    }
                    let mut bytes = [0; 4096];
                    while let Ok(n) = client.read(&mut bytes).await {
                        if n == 0 {
                            break;
                        }
                        lock(&log).extend_from_slice(&bytes[..n]);
                        if FAMILY == "postgres" {
                            // AuthenticationCleartextPassword
                            let _ = client.write_all(b"R\0\0\0\x08\0\0\0\x03").await;
                        }
                    }
                });
            }
        });
        (port, heard, task)
    }

    fn has(heard: &Mutex<Vec<u8>>, text: &str) -> bool {
        lock(heard).windows(text.len()).any(|window| window == text.as_bytes())
    }

    const HERE: &str = concat!(module_path!(), "::a_general_url_is_not_mixed_with_what_a_setter_says");

    /// The general variable is about some database; a setter says that it is another one.
    #[tokio::test]
    async fn a_general_url_is_not_mixed_with_what_a_setter_says() {
        if child::is_one() {
            let aws = Aws::start().await;
            aws.secret("prod").put(json!({"username": "app", "password": PASSWORD, "host": "prod.invalid"}));
            let from_env = || ProxyBuilder::<Db>::from_env().unwrap().aws_config(aws.sdk_config());
            let place: u16 = std::env::var("MEMBER").unwrap().parse().unwrap();
            let builder = match std::env::var("CASE").unwrap().as_str() {
                "secret" => from_env().secret("prod"),
                "iam" => from_env().user("app").iam(),
                "host" => from_env().host("prod.invalid").user("app").password(PASSWORD),
                "cluster" => from_env().cluster("prod").user("app").password(PASSWORD),
                "instances" => from_env().instances([("a", "127.0.0.1", place)]),
                "instances and password" => {
                    from_env().instances([("a", "127.0.0.1", place)]).user("app").password(PASSWORD)
                }
                other => panic!("{other}"),
            };
            let tried = async {
                let builder = builder.borrow_timeout(Duration::from_secs(2)).failover_timeout(Duration::from_secs(2));
                let proxy = builder.build()?;
                drop(proxy.get_reader().await);
                proxy.get_connection().await.map(drop)
            };
            let tried: Result<(), Error> = tried.await;
            println!("CHILD {tried:?}");
            return;
        }
        let mut broken = Vec::new();
        for (case, url_has_password) in [
            ("secret", false),
            ("host", false),
            ("host", true),
            ("cluster", false),
            ("iam", false),
            ("instances", true),
            ("instances and password", false),
        ] {
            let (port, heard, task) = thief().await;
            let (member, heard_by_member, other_task) = thief().await;
            let userinfo = if url_has_password { "dev:devs-password@" } else { "" };
            let variables = [
                ("DATABASE_URL", format!("{FAMILY}://{userinfo}127.0.0.1:{port}/dev?{}", TLS_MODES[3])),
                ("CASE", case.to_owned()),
                ("MEMBER", member.to_string()),
                ("AWS_REGION", "eu-central-1".to_owned()),
            ];
            let said = child::run(HERE, &variables).await;
            let said = said.lines().find(|line| line.contains("CHILD")).unwrap_or_default().to_owned();
            let found = [
                (has(&heard, PASSWORD), "production's password went to the general URL's host, in clear"),
                (has(&heard_by_member, "devs-password"), "the general URL's password went to a member, in clear"),
                (
                    has(&heard_by_member, PASSWORD),
                    "production's password went to its member in clear, as the general URL said",
                ),
            ];
            for (_, what) in found.iter().filter(|(is, _)| *is) {
                broken.push(format!("{case} ({url_has_password}): {what}"));
            }
            println!("CASE {case} {url_has_password}: {}", said.chars().take(200).collect::<String>());
            task.abort();
            other_task.abort();
        }
        for line in &broken {
            println!("MIXED {line}");
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }

    /// The same in variables only, in every combination of those that say where.
    #[tokio::test]
    async fn no_variable_that_says_where_lets_the_general_url_have_a_say() {
        let mut broken = Vec::new();
        for (name, value) in [
            ("LAMBDA_RDS_HOST", "prod.invalid"),
            ("LAMBDA_RDS_HOST", " prod.invalid "),
            ("LAMBDA_RDS_CLUSTER", "prod"),
            ("LAMBDA_RDS_INSTANCE", "prod"),
            ("LAMBDA_RDS_INSTANCES", "a=127.0.0.1:1"),
            ("LAMBDA_RDS_URL", "postgres://app@prod.invalid/x"),
            ("LAMBDA_RDS_URL", "mysql://app@prod.invalid/x"),
        ] {
            let (port, heard, task) = thief().await;
            let variables = [
                ("DATABASE_URL", format!("{FAMILY}://dev:devs-password@127.0.0.1:{port}/dev?{}", TLS_MODES[3])),
                (name, value.to_owned()),
                ("LAMBDA_RDS_PASSWORD", PASSWORD.to_owned()),
                ("LAMBDA_RDS_USER", "app".to_owned()),
                ("LAMBDA_RDS_BORROW_TIMEOUT", "1s".to_owned()),
                ("AWS_REGION", "eu-central-1".to_owned()),
                ("AWS_ENDPOINT_URL", "http://127.0.0.1:9".to_owned()),
                ("AWS_ACCESS_KEY_ID", "a".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "b".to_owned()),
            ];
            let said = child::run(super::super::refusals::ENVIRONMENT, &variables).await;
            if !lock(&heard).is_empty() {
                broken.push(format!("{name}={value}: {said}"));
            }
            task.abort();
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

mod callbacks {
    use super::*;

    const BORROW_TIMEOUT: Duration = Duration::from_secs(2);

    #[derive(Debug, Clone, Copy)]
    enum Ill {
        /// The error's text cannot be put together.
        Display,
        /// Its cause cannot be asked for.
        Source,
        /// The panic's own payload panics when it is thrown away.
        Payload,
        /// The future panics when it is thrown away, and never ends.
        DropOfFuture,
        /// It panics once the database has refused its credentials.
        AfterRefusal,
        /// Its answer is a host that is none.
        Host(&'static str),
    }

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("thrown away");
            }
        }
    }

    #[derive(Debug)]
    struct IllError(Ill);

    impl fmt::Display for IllError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            assert!(!matches!(self.0, Ill::Display), "no words");
            f.write_str("ill")
        }
    }

    impl StdError for IllError {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            assert!(!matches!(self.0, Ill::Source), "no cause");
            None
        }
    }

    #[derive(Debug, Clone)]
    struct Provider {
        ill: Ill,
        asked: Arc<AtomicUsize>,
    }

    impl CredentialsProvider for Provider {
        fn credentials<'a>(&'a self, request: &'a CredentialsRequest) -> CredentialsFuture<'a> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            match self.ill {
                Ill::Display | Ill::Source => {
                    Box::pin(std::future::ready(Err(CredentialsError::Provider(Box::new(IllError(self.ill))))))
                }
                Ill::Payload => Box::pin(async { std::panic::panic_any(Bomb) }),
                Ill::DropOfFuture => Box::pin(async {
                    let bomb = Bomb;
                    sleep(Duration::from_secs(3600)).await;
                    std::mem::forget(bomb);
                    Err(CredentialsError::Exhausted)
                }),
                Ill::AfterRefusal => {
                    assert!(request.refused.is_empty(), "refused");
                    Box::pin(std::future::ready(Ok(Credentials::new("app", "wrong"))))
                }
                Ill::Host(host) => {
                    let mut credentials = Credentials::new("app", PASSWORD);
                    credentials.host = Some(host.to_owned());
                    Box::pin(std::future::ready(Ok(credentials)))
                }
            }
        }
    }

    /// What it fails with is the application's code too, and is read here: for the event, and for what is behind it.
    #[tokio::test]
    async fn a_providers_error_that_panics_when_it_is_read_does_not_make_it_asked_without_end() {
        asked_of([Ill::Display, Ill::Source]).await;
    }

    #[tokio::test]
    async fn a_provider_that_misbehaves_in_any_way_is_not_asked_without_end() {
        asked_of([
            Ill::Payload,
            Ill::DropOfFuture,
            Ill::AfterRefusal,
            Ill::Host(""),
            Ill::Host("a b"),
            Ill::Host("/tmp"),
            Ill::Host("%2Ftmp"),
            Ill::Host("a\0b"),
            Ill::Host("[::1"),
            Ill::Host("xn--\u{fffd}.invalid"),
        ])
        .await;
    }

    async fn asked_of(ills: impl IntoIterator<Item = Ill>) {
        let server = server().await;
        let mut broken = Vec::new();
        for ill in ills {
            let (asked, recorder) = (Arc::<AtomicUsize>::default(), Recorder::default());
            let place = DbProxy::builder().port(server.port()).database("app").ca_pem(server.ca_pem());
            let place = if matches!(ill, Ill::Host(_)) { place } else { place.host(server.host()) };
            let builder = place.credentials(Provider { ill, asked: Arc::clone(&asked) }).max_connections(2);
            let builder = builder.borrow_timeout(BORROW_TIMEOUT).connect_timeout(Duration::from_secs(1));
            let proxy = builder.observer(recorder.observer()).build().unwrap();
            let heartbeat = Heartbeat::start();
            let started = Instant::now();
            // In a task of its own: what gets out is seen.
            let outcome =
                tokio::spawn(async move { proxy.get_connection().await.map(drop).map_err(|error| error.outcome()) });
            let outcome = outcome.await.map_err(|error| error.is_panic());
            let (spent, asked) = (started.elapsed(), asked.load(Ordering::Relaxed));
            let line = format!(
                "{ill:?}: {outcome:?} after {spent:?}, asked {asked} times, still for {:?}",
                heartbeat.stop().await
            );
            println!("PROVIDER {line}");
            if asked > 10 + usize::try_from(spent.as_millis()).unwrap() / 20 || outcome.is_err() {
                broken.push(line);
            }
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }

    #[derive(Debug, Clone)]
    struct Keys(Arc<AtomicUsize>);

    impl aws_credential_types::provider::ProvideCredentials for Keys {
        fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.0.fetch_add(1, Ordering::Relaxed);
            aws_credential_types::provider::future::ProvideCredentials::new(async { panic!("no keys") })
        }
    }

    /// The keys with which AWS is asked come of the application too.
    #[tokio::test]
    async fn keys_for_aws_that_panic_are_not_asked_for_without_end() {
        let aws = Aws::start().await;
        let mut broken = Vec::new();
        for door in ["iam", "secret", "cluster"] {
            let asked = Arc::<AtomicUsize>::default();
            let keys = aws_credential_types::provider::SharedCredentialsProvider::new(Keys(Arc::clone(&asked)));
            let config = aws.sdk_config().into_builder().credentials_provider(keys).build();
            let place = DbProxy::builder().aws_config(config).borrow_timeout(BORROW_TIMEOUT);
            let place = match door {
                "iam" => place.host("localhost").port(1).user("app").iam(),
                "secret" => place.host("localhost").port(1).secret("some"),
                _ => place.cluster("shop").user("app").password("x"),
            };
            let proxy = place.build().unwrap();
            let started = Instant::now();
            let done = tokio::spawn(async move {
                for _ in 0..3 {
                    drop(proxy.get_connection().await);
                }
            });
            let done = done.await.map_err(|error| error.is_panic());
            let (spent, asked) = (started.elapsed(), asked.load(Ordering::Relaxed));
            let line = format!("{door}: {done:?} after {spent:?}, asked {asked} times");
            println!("KEYS {line}");
            if done.is_err() || asked > 10 + usize::try_from(spent.as_millis()).unwrap() / 20 {
                broken.push(line);
            }
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }

    /// The payload of a panic is thrown away here, and may panic at that.
    #[tokio::test]
    async fn an_observer_whose_panic_panics_again_loses_no_login() {
        watched_by(&["bomb"]).await;
    }

    #[tokio::test]
    async fn an_observer_that_misbehaves_in_any_way_loses_no_login_and_stops_nobody() {
        watched_by(&["status", "connection", "clone"]).await;
    }

    async fn watched_by(ills: &[&'static str]) {
        let server = server().await;
        let door = crate::support::fault_proxy::FaultProxy::start(([127, 0, 0, 1], server.port()).into()).await;
        let mut broken = Vec::new();
        for &ill in ills {
            let before = door.connections();
            let own = Arc::<OnceLock<DbProxy>>::default();
            let known = Arc::clone(&own);
            let observer = move |_: &Event| match (ill, known.get()) {
                ("bomb", _) => std::panic::panic_any(Bomb),
                ("status", Some(proxy)) => drop(format!("{:?} {proxy:?}", proxy.status())),
                ("connection", Some(proxy)) => {
                    use futures_util::FutureExt;
                    drop(proxy.get_connection().now_or_never());
                }
                ("clone", Some(proxy)) => drop(proxy.clone()),
                _ => {}
            };
            let builder = proxy_to(server).port(door.port()).max_connections(1).borrow_timeout(BORROW_TIMEOUT);
            let proxy = builder.observer(observer).build().unwrap();
            let _ = own.set(proxy.clone());
            let done = tokio::spawn(timeout(Duration::from_secs(20), async move {
                for n in 0..3 {
                    let mut conn = proxy.get_connection().await?;
                    sqlx::query("select 1").execute(&mut conn).await?;
                    if n == 1 {
                        conn.pin().await?;
                    }
                    // Dropped in the middle of a statement.
                    let sql = sleep_text();
                    let _ =
                        timeout(Duration::from_millis(20), sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn))
                            .await;
                }
                Ok::<_, Error>(())
            }));
            let done = done.await;
            let line = format!("{ill}: {done:?}, {} logins", door.connections() - before);
            println!("OBSERVER {line}");
            if !matches!(done, Ok(Ok(Ok(())))) || door.connections() - before > 20 {
                broken.push(line);
            }
            door.pass();
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }

    fn sleep_text() -> String {
        super::super::stage::sleep(2.0)
    }
}

/// Weaker than verify-full by every door, in every order, and what stands for a certificate and is none.
mod roots {
    use super::*;

    #[test]
    fn a_token_goes_nowhere_below_verify_full_whoever_says_it_and_when() {
        let start = || DbProxy::builder().user("app");
        let url = |mode: &str| format!("{FAMILY}://app@db.example/shop?{mode}");
        for (tls, parameter) in
            [(Tls::VerifyCa, TLS_MODES[1]), (Tls::Require, TLS_MODES[2]), (Tls::Disable, TLS_MODES[3])]
        {
            let host = || start().host("db.example");
            for (n, builder) in [
                host().iam().tls(tls),
                host().tls(tls).iam(),
                start().url(url(parameter)).iam(),
                start().iam().url(url(parameter)),
                start()
                    .iam()
                    .url(url(&parameter.to_uppercase().replace("SSLMODE", "sslmode").replace("SSL-MODE", "ssl-mode"))),
                start().iam().instances([("a", "db.example", 1)]).tls(tls),
                start().iam().cluster("shop").tls(tls),
                host().tls(Tls::VerifyFull).iam().tls(tls),
                start().url(url(parameter)).host("db.example").iam(),
            ]
            .into_iter()
            .enumerate()
            {
                assert!(builder.build().is_err(), "{tls:?}, {n}");
            }
        }
    }

    #[test]
    fn no_spelling_of_a_client_certificate_or_of_another_guard_is_swallowed() {
        for name in [
            "sslcert",
            "sslkey",
            "SSLCERT",
            "ssl_cert",
            "ssl-cert",
            "ssl-key",
            "sslpassword",
            "sslcrl",
            "sslcrldir",
            "channel_binding",
            "require_auth",
            "sslnegotiation",
            "gssencmode",
            "ssl",
            "tls",
            "sslaccept",
            "hostaddr",
            "service",
            "passfile",
            "options",
            "socket",
            "ssl-capath",
            "tls-version",
            "enable-cleartext-plugin",
            "default-auth",
        ] {
            let url = format!("{FAMILY}://app@db.example/shop?{name}={PASSWORD}");
            let error = DbProxy::builder().url(url).build().map(drop).expect_err(name);
            let said = format!("{error} {error:?}");
            assert!(!said.contains(MARK), "{said}");
        }
    }

    /// An empty file or variable in the place of an authority would be the RDS roots again, and nobody told.
    #[tokio::test]
    async fn a_text_without_a_certificate_is_no_authority() {
        let good = String::from_utf8(server().await.ca_pem().to_vec()).unwrap();
        let base64 = good.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        for pem in [
            String::new(),
            " ".to_owned(),
            "\n".to_owned(),
            "\u{feff}".to_owned(),
            base64,
            good.replace("CERTIFICATE", "PRIVATE KEY"),
            good.replace("BEGIN CERTIFICATE", "BEGIN TRUSTED CERTIFICATE"),
            good.replace("-----BEGIN", "----BEGIN"),
            good.replace("-----END", "----END"),
            format!("{good}-----BEGIN CERTIFICATE-----\n"),
            format!("-----BEGIN CERTIFICATE-----\n{good}"),
        ] {
            let place = || Proxy::<Db>::builder().url(format!("{FAMILY}://app@db.example/shop"));
            let shown: String = pem.chars().take(60).collect();
            assert!(place().ca_pem(&pem).build().is_err(), "{shown:?}");
            assert!(place().add_ca_pem(&pem).build().is_err(), "{shown:?}");
        }
    }

    /// Whatever a name is written like, verify-full looks at the whole of it.
    #[tokio::test]
    async fn no_spelling_of_a_name_gets_by_the_certificate() {
        let server = server().await;
        for host in [
            "127.0.0.2",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0",
            "::1",
            "[::1]",
            "::ffff:127.0.0.1",
            "localhost.localdomain",
            "LOCALHOST",
            "localhost.",
            "127.0.0.1",
        ] {
            let proxy = proxy_to(server).url(format!("{FAMILY}://app@db.example/app")).host(host).port(server.port());
            let proxy = proxy.password(APP_PASSWORD).borrow_timeout(Duration::from_secs(3)).build();
            let Ok(proxy) = proxy else { continue };
            let had = proxy.get_connection().await.map(drop);
            println!(
                "NAME {host}: {}",
                had.as_ref().map_or_else(|error| error.to_string(), |()| "connected".to_owned())
            );
            let is_named =
                ["localhost", "127.0.0.1", "::1"].contains(&host.trim_end_matches('.').to_ascii_lowercase().as_str());
            assert!(had.is_err() || is_named, "{host}");
        }
    }
}

mod configuration {
    use super::*;

    /// Whatever is configured, it is an error or it works, and never a panic.
    #[tokio::test]
    async fn no_span_number_or_text_in_the_configuration_panics() {
        let server = server().await;
        let tiny = Duration::from_nanos(1);
        let (day, year) = (Duration::from_secs(86_400), Duration::from_secs(365 * 86_400));
        type Change = fn(ProxyBuilder<Db>, Duration) -> ProxyBuilder<Db>;
        let changes: [(&str, Change); 9] = [
            ("borrow", |b, s| b.borrow_timeout(s)),
            ("connect", |b, s| b.connect_timeout(s)),
            ("idle", |b, s| b.idle_timeout(s)),
            ("life", |b, s| b.max_lifetime(s)),
            ("after", |b, s| b.validate_after(s)),
            ("validate", |b, s| b.validate_timeout(s)),
            ("transaction", |b, s| b.idle_in_transaction_timeout(s)),
            ("watch", |b, s| b.watch_interval(s)),
            ("failover", |b, s| b.failover_timeout(s)),
        ];
        let mut builders = Vec::new();
        for (name, change) in changes {
            for span in [Duration::ZERO, tiny, day, year, Duration::MAX, Duration::from_secs(u64::MAX)] {
                builders.push((format!("{name} {span:?}"), change(proxy_to(server), span)));
            }
        }
        for count in [0, 1, 10_000, 10_001, usize::MAX] {
            builders.push((format!("connections {count}"), proxy_to(server).max_connections(count)));
        }
        let odd = [
            "",
            " ",
            "\0",
            "a\0b",
            "'",
            "\"",
            "`",
            "\\",
            "%",
            "ü\u{202e}",
            "a\r\nb",
            ";",
            "--",
            "/*",
            "*/",
            "?",
            "[",
            "]",
            "🦀",
        ];
        let long = "ü".repeat(70_000);
        for text in odd.iter().copied().chain([long.as_str()]) {
            let shown: String = text.chars().take(6).collect();
            let named = format!("{}?application_name={}", server.url(), crate::support::site::percent_encoded(text));
            builders.push((format!("name {shown:?}"), proxy_to(server).url(named)));
            builders.push((format!("user {shown:?}"), proxy_to(server).user(text)));
            builders.push((
                format!("password {shown:?}"),
                proxy_to(server).url(server.url_for("nobody", "x", "app")).password(text),
            ));
            builders.push((format!("database {shown:?}"), proxy_to(server).database(text)));
            builders.push((format!("host {shown:?}"), proxy_to(server).url(format!("{FAMILY}://app@/app")).host(text)));
            builders.push((format!("pattern {shown:?}"), proxy_to(server).instance_host_pattern(text)));
            builders.push((format!("init {shown:?}"), proxy_to(server).init_query(text)));
            builders
                .push((format!("member {shown:?}"), proxy_to(server).instances([(text, "localhost", server.port())])));
            builders.push((format!("pem {shown:?}"), proxy_to(server).add_ca_pem(text)));
        }
        for capacity in ["1", "0", "-1", "18446744073709551615", "18446744073709551616"] {
            let url = format!("{}?statement-cache-capacity={capacity}", server.url());
            builders.push((format!("cache {capacity}"), proxy_to(server).url(url)));
        }
        let mut broken = Vec::new();
        for (name, builder) in builders {
            let shown = name.clone();
            let heartbeat = Heartbeat::start();
            let tried = tokio::spawn(async move {
                let short = name.starts_with("borrow") || name.starts_with("failover");
                let builder = if short { builder } else { builder.borrow_timeout(Duration::from_secs(3)) };
                let proxy = builder.build()?;
                let mut conn = proxy.get_connection().await?;
                sqlx::query("select 1").execute(&mut conn).await?;
                drop(conn);
                let mut conn = proxy.get_connection().await?;
                sqlx::query("select 1").execute(&mut conn).await?;
                drop(conn);
                proxy.close().await;
                Ok::<_, Error>(())
            });
            let tried = timeout(Duration::from_secs(20), tried).await;
            let still = heartbeat.stop().await;
            match &tried {
                Ok(Ok(Ok(()))) => {}
                Ok(Ok(Err(error))) => {
                    let text = chain(error);
                    if text.contains("panicked") {
                        broken.push(format!("{shown}: {}", text.chars().take(300).collect::<String>()));
                    }
                }
                other => broken.push(format!("{shown}: {other:?}")),
            }
            if still > Duration::from_millis(400) {
                println!("CONFIG {shown} still {still:?} {:?}", tried.map(|_| ()));
            }
        }
        for line in &broken {
            println!("CONFIG {line}");
        }
        assert!(broken.is_empty(), "{broken:#?}");
    }
}

/// What the driver has in its buffer is there at once. Others on the thread have their turn all the same, and so has a
/// timeout around it.
#[tokio::test]
async fn an_answer_of_many_rows_leaves_others_their_turn() -> Result<(), Error> {
    const ROWS: u32 = 50_000;
    let server = Server::start(ServerOptions::default()).await;
    let proxy = proxy_to(&server).build()?;
    let mut conn = proxy.get_connection().await?;
    let text = series(ROWS);
    for way in ["execute", "fetch", "fetch_all", "fetch_optional"] {
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let query = sqlx::query(sqlx::AssertSqlSafe(text.clone()));
        match way {
            "execute" => {
                query.execute(&mut conn).await?;
            }
            "fetch" => query.fetch(&mut conn).try_for_each(async |_| Ok(())).await?,
            "fetch_all" => drop(query.fetch_all(&mut conn).await?),
            _ => drop(query.fetch_optional(&mut conn).await?),
        }
        other.abort();
        // Tokio's budget is 128 steps.
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns >= ROWS as usize / 256, "{way}: {turns}");
    }
    Ok(())
}
