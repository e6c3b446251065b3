use super::*;

#[test]
fn a_pooler_is_what_was_called_one_or_has_a_name_of_rds_proxys() {
    let proxy = "shop.proxy-abc123.eu-central-1.rds.amazonaws.com";
    let further = "reports.endpoint.proxy-abc123.eu-central-1.rds.amazonaws.com";
    let cluster = "shop.cluster-abc123.eu-central-1.rds.amazonaws.com";
    for (host, said, is) in [
        (Some(proxy), None, true),
        (Some(further), None, true),
        (Some(cluster), None, false),
        (Some("shop.proxy-abc123.example.com"), None, false),
        (Some("localhost"), None, false),
        (None, None, false),
        (Some(proxy), Some(false), false),
        (Some("localhost"), Some(true), true),
    ] {
        let config = Config { host: host.map(str::to_owned), via_proxy: said, ..Config::default() };
        assert_eq!(is_pooler(&config), is, "{host:?} {said:?}");
    }
    let instances = vec![("a".to_owned(), "db".to_owned(), 5432)];
    let members = Config { host: Some(proxy.to_owned()), instances, ..Config::default() };
    assert!(!is_pooler(&members), "whose members are named");
}

#[cfg(feature = "postgres")]
#[test]
fn a_variable_that_the_driver_obeys_unseen_is_named_with_what_to_do() {
    for (name, cure) in [("PGOPTIONS", "init_query"), ("PGSSLCERT", "password"), ("PGSSLKEY", "password")] {
        let error =
            driver_variable(<sqlx::Postgres as crate::engine::Dialect>::RULES.driver_variables, |set| set == name);
        let text = error.expect("it is one").to_string();
        assert!(text.starts_with(name) && text.contains("remove it") && text.contains(cure), "{text}");
    }
    // These are set over.
    for name in ["PGHOST", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT", "PGAPPNAME"] {
        let variables = <sqlx::Postgres as crate::engine::Dialect>::RULES.driver_variables;
        assert!(driver_variable(variables, |set| set == name).is_none(), "{name}");
    }
}

#[cfg(feature = "mysql")]
#[test]
fn mysqls_driver_reads_no_variables() {
    assert!(driver_variable(<sqlx::MySql as crate::engine::Dialect>::RULES.driver_variables, |_| true).is_none());
}
