//! Weaker than verify-full by every door, in every order, and what stands for a certificate and is none.

use super::*;

#[test]
fn a_token_goes_nowhere_below_verify_full_whoever_says_it_and_when() {
    let start = || DbProxy::builder().user("app");
    let url = |mode: &str| format!("{FAMILY}://app@db.example/shop?{mode}");
    for (tls, parameter) in [(Tls::VerifyCa, TLS_MODES[1]), (Tls::Require, TLS_MODES[2]), (Tls::Disable, TLS_MODES[3])]
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
        let is_named =
            ["localhost", "127.0.0.1", "::1"].contains(&host.trim_end_matches('.').to_ascii_lowercase().as_str());
        assert!(had.is_err() || is_named, "{host}");
    }
}
