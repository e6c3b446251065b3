//! Providers and observers that misbehave in every way a program can.

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
        let started = Instant::now();
        // In a task of its own: what gets out is seen.
        let outcome =
            tokio::spawn(async move { proxy.get_connection().await.map(drop).map_err(|error| error.outcome()) });
        let outcome = outcome.await.map_err(|error| error.is_panic());
        let (spent, asked) = (started.elapsed(), asked.load(Ordering::Relaxed));
        let line = format!("{ill:?}: {outcome:?} after {spent:?}, asked {asked} times");
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
                let _ = timeout(Duration::from_millis(20), sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn))
                    .await;
            }
            Ok::<_, Error>(())
        }));
        let done = done.await;
        let line = format!("{ill}: {done:?}, {} logins", door.connections() - before);
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
