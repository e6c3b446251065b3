//! A secret or a URL in the place of a name, in a URL that takes it apart, in a statement: none of it shows.

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
