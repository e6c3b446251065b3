//! How a connection is protected, and what is set on its socket.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use lambda_rds::error::TlsProblem;
use lambda_rds::{ConfigError, Error, Proxy, ProxyBuilder, Tls};
use tokio::sync::OnceCell;

use super::refusals;
use super::stage::*;
use crate::support::certificates::{Authority, Validity};
use crate::support::site::ServerTls;
use crate::support::{chain, child};

/// A server whose certificate is for another name.
async fn misnamed() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    let options = ServerOptions { tls: ServerTls::WrongName, ..ServerOptions::default() };
    SERVER.get_or_init(|| Server::start(options)).await
}

/// A proxy's settings without any root of its own.
fn without_roots(server: &Server) -> ProxyBuilder<Db> {
    Proxy::builder().url(server.url())
}

/// The TLS version of a new session, as the server sees it; nothing is encrypted where there is none.
async fn version(builder: ProxyBuilder<Db>) -> Result<Option<String>, Error> {
    let mut conn = builder.build()?.get_connection().await?;
    Ok(sqlx::query_scalar(sqlx::AssertSqlSafe(encryption())).fetch_one(&mut conn).await?)
}

async fn is_encrypted(builder: ProxyBuilder<Db>) -> bool {
    version(builder).await.expect("this connect succeeds").is_some()
}

async fn problem(builder: ProxyBuilder<Db>) -> TlsProblem {
    match version(builder).await {
        Err(Error::Tls { problem, .. }) => problem,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn without_a_word_about_it_everything_is_verified() {
    assert!(is_encrypted(proxy_to(server().await)).await);
    assert_eq!(problem(without_roots(server().await)).await, TlsProblem::UnknownIssuer);
    assert_eq!(problem(proxy_to(misnamed().await)).await, TlsProblem::NameMismatch);
    // An address is a name as well: this certificate has it.
    let by_address = server().await.url().replace("localhost", "127.0.0.1");
    assert!(is_encrypted(proxy_to(server().await).url(by_address)).await);
}

/// With sqlx 0.9 no authority can be the only one, and then it would be no more than `Require`.
#[tokio::test]
async fn verify_ca_cannot_mean_what_it_says_and_is_refused() {
    let of_url = without_roots(misnamed().await).url(format!("{}?{}", misnamed().await.url(), TLS_MODES[1]));
    for builder in [proxy_to(misnamed().await).tls(Tls::VerifyCa), of_url] {
        let error = builder.build().unwrap_err();
        assert!(matches!(error, ConfigError::Value { option: "tls", .. }), "{error:?}");
        assert!(error.to_string().contains("use verify-full, with a name that the certificate is for"), "{error}");
    }
}

/// What the cure names is no weaker than what failed.
#[tokio::test]
async fn no_advice_is_to_verify_less() {
    for builder in [proxy_to(misnamed().await), without_roots(server().await)] {
        let text = builder.build().unwrap().get_connection().await.unwrap_err().to_string();
        for weaker in ["VerifyCa", "verify-ca", "Require", "require", "Disable", "disable"] {
            assert!(!text.contains(weaker), "{weaker} in: {text}");
        }
    }
}

#[tokio::test]
async fn nobody_elses_authority_is_trusted() {
    let stranger = Authority::new("somebody else").pem();
    for builder in [without_roots(server().await).ca_pem(&stranger), without_roots(server().await).add_ca_pem(stranger)]
    {
        assert_eq!(problem(builder).await, TlsProblem::UnknownIssuer);
    }
}

/// An own authority takes the place of the RDS roots; one that is added stands beside whatever there is.
#[tokio::test]
async fn an_authority_is_added_by_name() {
    let (server, other) = (server().await, Authority::new("somebody else").pem());
    assert!(is_encrypted(without_roots(server).add_ca_pem(server.ca_pem())).await);
    assert!(is_encrypted(without_roots(server).ca_pem(&other).add_ca_pem(server.ca_pem())).await);
    assert!(is_encrypted(without_roots(server).ca_pem(server.ca_pem()).add_ca_pem(&other)).await);
}

#[tokio::test]
async fn a_certificate_outside_its_term_is_refused() {
    let options = ServerOptions { tls: ServerTls::Expired, ..ServerOptions::default() };
    let expired = Server::start(options).await;
    assert_eq!(problem(proxy_to(&expired)).await, TlsProblem::Expired);
}

/// rustls looks at no date of a root.
#[tokio::test]
async fn a_root_whose_own_term_is_over_is_refused() {
    let folder = scratch("term");
    let file = folder.join("ca.pem");
    let server = server().await;
    let expired = Authority::with_term("the old one", Validity::Expired).pem();
    let over = "holds no root certificate whose own term is not over";
    for (option, builder) in
        [("ca_pem", without_roots(server).ca_pem(&expired)), ("add_ca_pem", without_roots(server).add_ca_pem(&expired))]
    {
        match builder.build() {
            Err(error @ ConfigError::Value { .. }) => {
                assert!(error.to_string().starts_with(&format!("{option} {over}")), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    let with_file = || DbProxy::builder().url(format!("{}?{TLS_ROOTS}={}", server.url(), file.display()));
    std::fs::write(&file, &expired).unwrap();
    match version(with_file()).await {
        Err(Error::Config(error @ ConfigError::CaFile { .. })) => assert!(chain(&error).contains(over), "{error:?}"),
        other => panic!("{other:?}"),
    }
    // A bundle may hold old ones: they count for nothing.
    let bundle = [expired.as_bytes(), server.ca_pem()].concat();
    std::fs::write(&file, &bundle).unwrap();
    assert!(is_encrypted(with_file()).await);
    assert!(is_encrypted(without_roots(server).ca_pem(bundle)).await);
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn require_encrypts_and_accepts_anybody() {
    assert!(is_encrypted(without_roots(misnamed().await).tls(Tls::Require)).await);
}

#[tokio::test]
async fn disable_speaks_plain_text() {
    let server = server().await;
    let builder = proxy_to(server).user("plain").password(APP_PASSWORD).tls(Tls::Disable);
    assert!(!is_encrypted(builder).await);
}

#[tokio::test]
async fn a_url_says_it_the_way_the_databases_own_clients_do() {
    let folder = scratch("url");
    let file = folder.join("ca.pem");
    std::fs::write(&file, server().await.ca_pem()).unwrap();
    let with = |server: &Server, parameters: &str| DbProxy::builder().url(format!("{}?{parameters}", server.url()));
    let [full, _, require, disable] = TLS_MODES;

    let roots = format!("{TLS_ROOTS}={}", file.display());
    assert!(is_encrypted(with(server().await, &format!("{full}&{roots}"))).await);
    assert!(is_encrypted(with(server().await, &roots)).await, "verify-full is the default");
    assert!(is_encrypted(with(misnamed().await, require)).await);
    assert_eq!(problem(with(misnamed().await, full)).await, TlsProblem::UnknownIssuer);
    let plain = server().await.url_for("plain", APP_PASSWORD, "app");
    assert!(!is_encrypted(Proxy::builder().url(format!("{plain}?{disable}"))).await);
    // A setter wins.
    assert!(is_encrypted(with(misnamed().await, full).tls(Tls::Require)).await);
    std::fs::remove_dir_all(folder).unwrap();
}

/// They would fall back to plain text, or to no check at all, without a word.
#[test]
fn prefer_and_allow_are_refused() {
    for mode in ["prefer", "allow", "PREFERRED"] {
        let url = format!("{FAMILY}://app@db.example/shop?sslmode={mode}");
        let error = DbProxy::builder().url(url).build().unwrap_err();
        assert!(matches!(&error, ConfigError::UrlParameter { value, .. } if value == mode), "{error:?}");
        assert!(error.to_string().contains("expected verify-full, require or disable"), "{error}");
    }
}

#[tokio::test]
async fn roots_that_cannot_be_read_are_an_error_and_not_silence() {
    let folder = scratch("roots");
    let at = |name: &str| {
        DbProxy::builder().url(format!("{FAMILY}://app@localhost?{TLS_ROOTS}={}", folder.join(name).display()))
    };
    std::fs::write(folder.join("empty.pem"), "").unwrap();
    std::fs::write(folder.join("damaged.pem"), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    for (name, why) in [
        ("missing.pem", "No such file"),
        ("empty.pem", "the file holds no PEM certificate"),
        ("damaged.pem", "the file holds PEM that is damaged"),
    ] {
        match version(at(name)).await {
            Err(Error::Config(error @ ConfigError::CaFile { .. })) => {
                assert!(error.to_string().contains(name), "{error}");
                assert!(chain(&error).contains(why), "{error:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    for pem in ["hello", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let built = DbProxy::builder().url(format!("{FAMILY}://app@localhost")).ca_pem(pem).build();
        assert!(matches!(built, Err(ConfigError::Value { option: "ca_pem", .. })), "{built:?}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn roots_of_a_variable_and_of_a_file_add_up() {
    let folder = scratch("both");
    let server = server().await;
    let (right, other) = (String::from_utf8(server.ca_pem().to_vec()).unwrap(), Authority::new("somebody else").pem());
    for (text, file) in [(&right, &other), (&other, &right)] {
        let path = folder.join("ca.pem");
        std::fs::write(&path, file.trim()).unwrap();
        let variables = [
            ("LAMBDA_RDS_URL", server.url()),
            ("LAMBDA_RDS_CA_PEM", text.trim().to_owned()),
            ("LAMBDA_RDS_CA_FILE", path.display().to_string()),
        ];
        let said = child::run(refusals::ENVIRONMENT, &variables).await;
        assert!(said.contains("connected"), "{said}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

/// A developer's line that stayed in the environment is about another database: its TLS mode and password are not for the
/// one that is named.
#[tokio::test]
async fn the_general_url_of_another_database_neither_disarms_tls_nor_gives_its_password() {
    let server = server().await;
    let mut variables = vec![
        ("DATABASE_URL", format!("{FAMILY}://plain:{APP_PASSWORD}@other/dev?{}", TLS_MODES[3])),
        ("LAMBDA_RDS_HOST", server.host().to_owned()),
        ("LAMBDA_RDS_PORT", server.port().to_string()),
        ("LAMBDA_RDS_DATABASE", "app".to_owned()),
        ("LAMBDA_RDS_USER", "plain".to_owned()),
        ("LAMBDA_RDS_PASSWORD", APP_PASSWORD.to_owned()),
    ];
    let said = child::run(refusals::ENVIRONMENT, &variables).await;
    assert!(said.contains("its issuer is not trusted"), "it was not plain text: {said}");
    variables.retain(|(name, _)| *name != "LAMBDA_RDS_PASSWORD");
    variables.push(("LAMBDA_RDS_TLS", "disable".to_owned()));
    let said = child::run(refusals::ENVIRONMENT, &variables).await;
    assert!(said.contains("NotExecuted Authentication: "), "no password was sent: {said}");
}

/// The file is read at each connect, so that an authority can be replaced while environments live.
#[tokio::test]
async fn a_replaced_root_file_is_noticed_at_the_next_connect() {
    let folder = scratch("replaced");
    let file = folder.join("ca.pem");
    std::fs::write(&file, Authority::new("the old one").pem()).unwrap();
    let server = server().await;
    let url = format!("{}?{TLS_ROOTS}={}", server.url(), file.display());
    let proxy = DbProxy::builder().url(url).build().unwrap();
    assert!(matches!(proxy.get_connection().await, Err(Error::Tls { problem: TlsProblem::UnknownIssuer, .. })));
    std::fs::write(&file, server.ca_pem()).unwrap();
    assert!(proxy.get_connection().await.is_ok());
    std::fs::remove_dir_all(folder).unwrap();
}

/// In a process of its own, where the driver's socket cannot be mistaken for another test's.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_drivers_socket_has_no_delay_and_notices_a_dead_peer() {
    if child::is_one() {
        return look_at_the_sockets().await;
    }
    let server = server().await;
    let roots = String::from_utf8(server.ca_pem().to_vec()).unwrap();
    let environment = [("LAMBDA_RDS_URL", server.url()), ("LAMBDA_RDS_CA_PEM", roots)];
    child::run(concat!(module_path!(), "::the_drivers_socket_has_no_delay_and_notices_a_dead_peer"), &environment)
        .await;
}

#[cfg(target_os = "linux")]
async fn look_at_the_sockets() {
    use rustix::net::sockopt;

    let proxy = lambda_rds::init::<Db>().await.unwrap();
    let sockets = connected_sockets();
    assert!(!sockets.is_empty(), "the driver's socket is there");
    for socket in &sockets {
        assert!(sockopt::tcp_nodelay(socket).unwrap());
        assert!(sockopt::socket_keepalive(socket).unwrap());
        assert!(sockopt::tcp_keepidle(socket).unwrap() <= Duration::from_secs(60));
        let unacknowledged = sockopt::tcp_user_timeout(socket).unwrap();
        assert!((1..=60_000).contains(&unacknowledged), "{unacknowledged} ms");
    }
    drop(sockets);
    proxy.close().await;
    assert!(connected_sockets().is_empty(), "no duplicate stays behind");
}

/// Duplicates of this process's sockets that are connected to some port.
#[cfg(target_os = "linux")]
fn connected_sockets() -> Vec<OwnedFd> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let me = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let names = std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name());
    // All of them before the first duplicate is made.
    let descriptors: Vec<i32> = names.map(|name| name.to_str().unwrap().parse().unwrap()).collect();
    let duplicates = descriptors.into_iter().filter_map(|n| pidfd_getfd(&me, n, PidfdGetfdFlags::empty()).ok());
    let is_connected = |socket: &OwnedFd| {
        let peer = rustix::net::getpeername(socket).ok().flatten();
        peer.is_some_and(|peer| SocketAddr::try_from(peer).is_ok())
    };
    duplicates.filter(is_connected).collect()
}

/// A new folder for one test's files.
fn scratch(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("lambda-rds-tls-{}-{FAMILY}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
