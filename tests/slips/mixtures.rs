//! A general URL beside what this crate is told itself: nothing of the one goes to the other.

use futures_util::future::join_all;

use super::*;
use crate::support::child;

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
    // Each waits for what is not there: all at once.
    let tried = [
        ("secret", false),
        ("host", false),
        ("host", true),
        ("cluster", false),
        ("iam", false),
        ("instances", true),
        ("instances and password", false),
    ]
    .map(async |(case, url_has_password)| {
        let mut broken = Vec::new();
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
        assert!(said.contains("CHILD "), "{case} was tried: {said}");
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
        task.abort();
        other_task.abort();
        broken
    });
    let broken = join_all(tried).await.concat();
    assert!(broken.is_empty(), "{broken:#?}");
}

/// The same in variables only, in every combination of those that say where.
#[tokio::test]
async fn no_variable_that_says_where_lets_the_general_url_have_a_say() {
    let tried = [
        ("LAMBDA_RDS_HOST", "prod.invalid"),
        ("LAMBDA_RDS_HOST", " prod.invalid "),
        ("LAMBDA_RDS_CLUSTER", "prod"),
        ("LAMBDA_RDS_INSTANCE", "prod"),
        ("LAMBDA_RDS_INSTANCES", "a=127.0.0.1:1"),
        ("LAMBDA_RDS_URL", "postgres://app@prod.invalid/x"),
        ("LAMBDA_RDS_URL", "mysql://app@prod.invalid/x"),
    ]
    .map(async |(name, value)| {
        let (port, heard, task) = thief().await;
        let variables = [
            ("DATABASE_URL", format!("{FAMILY}://dev:devs-password@127.0.0.1:{port}/dev?{}", TLS_MODES[3])),
            (name, value.to_owned()),
            ("LAMBDA_RDS_PASSWORD", PASSWORD.to_owned()),
            ("LAMBDA_RDS_USER", "app".to_owned()),
            ("LAMBDA_RDS_BORROW_TIMEOUT", "1s".to_owned()),
            ("LAMBDA_RDS_FAILOVER_TIMEOUT", "2s".to_owned()),
            ("AWS_REGION", "eu-central-1".to_owned()),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:9".to_owned()),
            ("AWS_ACCESS_KEY_ID", "a".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "b".to_owned()),
        ];
        let said = child::run(super::super::refusals::ENVIRONMENT, &variables).await;
        task.abort();
        (!lock(&heard).is_empty()).then(|| format!("{name}={value}: {said}"))
    });
    let broken: Vec<_> = join_all(tried).await.into_iter().flatten().collect();
    assert!(broken.is_empty(), "{broken:#?}");
}
