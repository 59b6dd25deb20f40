//! Promises of the route table.

use super::*;
use http::HeaderValue;
use mesh_protocol::service::{PathMatch, TextMatch};
use proptest::prelude::*;

fn rule(name: &str) -> RouteRule {
    RouteRule {
        route: format!("shop/{name}"),
        index: 0,
        backends: vec![],
        timeouts: Default::default(),
        retry: None,
        hedging: None,
    }
}

fn any(rule: usize, path: PathMatch) -> RouteMatch {
    RouteMatch { rule, path, method: None, headers: vec![], query_params: vec![] }
}

fn table(rules: usize, matches: Vec<RouteMatch>) -> RouteTable {
    let port = ServicePort {
        port: "80".parse().unwrap(),
        name: String::new(),
        app_protocol: mesh_names::AppProtocol::Http,
        rules: (0..rules).map(|i| rule(&i.to_string())).collect(),
        matches,
        policy: None,
    };
    RouteTable::compile(&port).unwrap()
}

fn decide(
    table: &RouteTable,
    method: &str,
    target: &str,
    headers: &[(&'static str, &'static str)],
) -> Decision {
    let (path, query) = target.split_once('?').map_or((target, None), |(p, q)| (p, Some(q)));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_static(value));
    }
    table.decide(RequestHead { method: &method.parse().unwrap(), path, query, headers: &map })
}

#[test]
fn without_matches_the_service_itself_is_meant() {
    assert_eq!(decide(&table(0, vec![]), "GET", "/", &[]), Decision::Itself);
}

#[test]
fn the_first_match_that_fits_decides() {
    let table = table(
        3,
        vec![
            any(2, PathMatch::Exact("/a".into())),
            RouteMatch { method: Some("POST".into()), ..any(1, PathMatch::Prefix("/a".into())) },
            any(0, PathMatch::Prefix("/a".into())),
        ],
    );
    assert_eq!(decide(&table, "POST", "/a", &[]), Decision::Rule(2));
    assert_eq!(decide(&table, "POST", "/a/b", &[]), Decision::Rule(1));
    assert_eq!(decide(&table, "GET", "/a/b?c=d", &[]), Decision::Rule(0));
    assert_eq!(decide(&table, "GET", "/b", &[]), Decision::None);
}

#[test]
fn all_headers_must_fit_and_repeated_ones_are_joined() {
    let header = |name: &str, value| ValueMatch { name: name.into(), value };
    let table = table(
        1,
        vec![RouteMatch {
            headers: vec![
                header("x-a", TextMatch::Exact("1".into())),
                header("x-b", TextMatch::Regex("[0-9]+,[0-9]+".into())),
            ],
            ..any(0, PathMatch::Prefix("/".into()))
        }],
    );
    assert_eq!(decide(&table, "GET", "/", &[("x-a", "1"), ("x-b", "2"), ("x-b", "3")]), Decision::Rule(0));
    assert_eq!(decide(&table, "GET", "/", &[("x-a", "1"), ("x-b", "2")]), Decision::None);
    assert_eq!(decide(&table, "GET", "/", &[("x-b", "2"), ("x-b", "3")]), Decision::None);
}

#[test]
fn query_parameters_are_decoded_and_the_first_counts() {
    let table = table(
        1,
        vec![RouteMatch {
            query_params: vec![ValueMatch { name: "na me".into(), value: TextMatch::Exact("a&b".into()) }],
            ..any(0, PathMatch::Prefix("/".into()))
        }],
    );
    for (target, expected) in [
        ("/?na%20me=a%26b", Decision::Rule(0)),
        ("/?x=1&na+me=a%26b&na+me=c", Decision::Rule(0)),
        ("/?na+me=c&na+me=a%26b", Decision::None),
        ("/?na+me", Decision::None),
        ("/", Decision::None),
    ] {
        assert_eq!(decide(&table, "GET", target, &[]), expected, "{target}");
    }
}

proptest! {
    #[test]
    fn a_match_is_never_overtaken_by_a_later_one(
        prefixes in proptest::collection::vec("(/[ab]){0,3}", 1..6), path in "(/[abc]){1,4}",
    ) {
        let matches = prefixes.iter().enumerate().map(|(i, p)| any(i, PathMatch::Prefix(format!("{p}/"))));
        let table = table(prefixes.len(), matches.collect());
        let fits = |p: &String| path == *p || path.starts_with(&format!("{p}/"));
        let expected = prefixes.iter().position(fits).map_or(Decision::None, Decision::Rule);
        prop_assert_eq!(decide(&table, "GET", &path, &[]), expected);
    }

    #[test]
    fn any_query_is_read_without_panic(query in ".*") {
        query_fits(Some(&query), "a", &TextCondition::Exact("b".into()));
    }
}
