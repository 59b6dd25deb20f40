//! Doors for the fuzz targets in `tests/fuzz`: rooms that read what others send, each behind a function that takes any
//! bytes and panics where a promise of the room is broken. Enters: bytes. Leaves: nothing, or a panic. Built with
//! `--cfg fuzzing` and for unit tests, never into a sidecar; the seeds are run by every unit test, too.
//!
//! A request is written as text, so that seeds can be read: `VERSION METHOD TARGET`, then a field on each line.

use crate::detect::{self, Hello, Host, Verdict};
use crate::http::authority::{self, LastAuthority};
use crate::http::fields::{Field, Fields};
use crate::http::normalise::normalise;
use crate::http::{cookie, grpc, hop_by_hop};
use crate::refusal::Reason;
use crate::route::{Decision, RequestHead};
use crate::snapshot::compile;
use crate::xds::held::Held;
use crate::xds::session::{Own, Session, Wants};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use http::request::Parts;
use http::{Method, Request, Uri, Version};
use mesh_protocol::service::Service;
use mesh_protocol::wire::discovery::DeltaDiscoveryResponse;
use prost::Message as _;
use std::collections::HashSet;

pub use crate::dns::fuzzing::dns_message;

/// Prefixes of what came that are judged each.
const PREFIXES_MAX: usize = 256;

/// What is spoken on a connection, by its first bytes: more of them never change a verdict.
pub fn protocol_detection(bytes: &[u8]) {
    let (mut judged, mut judged_http, mut read) = (Verdict::More, Verdict::More, Hello::More);
    let ends = (0..=bytes.len().min(PREFIXES_MAX)).chain([bytes.len()]);
    for prefix in ends.map(|end| bytes.get(..end).unwrap_or_default()) {
        let (now, now_http, hello) =
            (detect::judge(prefix), detect::judge_http(prefix), detect::hello(prefix));
        assert!(judged == Verdict::More || judged == now, "{judged:?} became {now:?} at {prefix:?}");
        assert!(read == Hello::More || read == hello, "{read:?} became {hello:?} at {prefix:?}");
        assert!(
            judged_http == Verdict::More || judged_http == now_http,
            "{judged_http:?}, {now_http:?}: {prefix:?}"
        );
        (judged, judged_http, read) = (now, now_http, hello);
    }
    assert!(bytes.len() < detect::LOOK_MAX || judged != Verdict::More, "enough bytes decide");
    if let Host::Named(host) = detect::host(bytes) {
        assert_eq!(host.trim(), host, "a host has no blanks around it");
    }
}

/// A head as it would come, if it is one.
fn head(bytes: &[u8]) -> Option<Parts> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut words = lines.next()?.splitn(3, |byte| *byte == b' ');
    let version = match words.next()? {
        b"1.0" => Version::HTTP_10,
        b"1.1" => Version::HTTP_11,
        b"2" => Version::HTTP_2,
        _ => return None,
    };
    let mut request = Request::new(());
    *request.version_mut() = version;
    *request.method_mut() = Method::from_bytes(words.next()?).ok()?;
    *request.uri_mut() = Uri::try_from(words.next()?).ok()?;
    *request.headers_mut() = headers(lines);
    Some(request.into_parts().0)
}

/// Fields, one a line; what can be none is left out.
fn headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    lines
        .filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let name = HeaderName::from_bytes(line.get(..colon)?).ok()?;
            let value = HeaderValue::from_bytes(line.get(colon + 1..)?.trim_ascii()).ok()?;
            Some((name, value))
        })
        .collect()
}

/// Nothing of the connection is left, but that a request may say `TE: trailers`.
fn is_of_no_connection(headers: &HeaderMap, is_request: bool) {
    let left = hop_by_hop::OF_THE_CONNECTION.iter().filter(|name| headers.contains_key(*name));
    for name in left {
        let values: Vec<_> = headers.get_all(name).iter().collect();
        assert!(is_request && name == TE && values == ["trailers"], "{name} is left: {values:?}");
    }
}

/// A request becomes one that means the same to every reader, or is refused for a reason that is the client's.
pub fn request_normalisation(bytes: &[u8]) {
    let Some(mut head) = head(bytes) else { return };
    let last = LastAuthority::default();
    let fields = Fields::of(&head.headers);
    let normalised = match normalise(&mut head, fields, &last) {
        Ok(normalised) => normalised,
        Err(refusal) => {
            let reasons = [Reason::BadRequest, Reason::UriTooLong, Reason::HeadersTooLarge];
            assert!(reasons.contains(&refusal.reason), "{:?}", refusal.reason);
            return;
        }
    };
    is_of_no_connection(&head.headers, true);
    if let Some(authority) = &normalised.authority {
        let parts = authority::parse(authority.as_bytes());
        assert!(parts.is_ok_and(|parts| !parts.host.is_empty()), "{authority:?}");
    }
    assert!(head.headers.get_all(HOST).iter().count() <= 1, "one Host at most");
    let before = head.headers.clone();
    let again = normalise(&mut head, Fields::of(&before), &last);
    let again = again.unwrap_or_else(|refusal| panic!("refused the second time: {}", refusal.sentence));
    assert_eq!(again.authority, normalised.authority);
    assert_eq!(again.upgrade, None, "an upgrade is taken out");
    assert_eq!(head.headers, before, "nothing is left to do");
}

/// What is done to fields: those of the connection go, those they list too, and nothing else.
pub fn header_path(bytes: &[u8]) {
    let came = headers(bytes.split(|byte| *byte == b'\n'));
    let fields = Fields::of(&came);
    let size: usize = came.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
    assert_eq!(fields.list_size(), size);
    assert_eq!(fields.have(Field::Hosts), came.get_all(HOST).iter().count() > 1);
    let listed: HashSet<HeaderName> = came
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|item| HeaderName::from_bytes(item.trim_ascii()).ok())
        .collect();
    let keeps = |name: &HeaderName| {
        let is_kept = *name == HOST || *name == CONTENT_LENGTH || name.as_str().starts_with("x-forwarded-");
        let goes = listed.contains(name) && !matches!(name.as_str(), "close" | "keep-alive");
        !hop_by_hop::OF_THE_CONNECTION.contains(name) && (is_kept || !goes)
    };
    let kept: HeaderMap =
        came.iter().filter(|(name, _)| keeps(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    let mut response = came.clone();
    hop_by_hop::strip_response(&mut response, fields);
    is_of_no_connection(&response, false);
    assert_eq!(response, kept);
    let mut request = came.clone();
    hop_by_hop::strip_request(&mut request, fields);
    is_of_no_connection(&request, true);
    request.remove(TE);
    assert_eq!(request, kept);
    if let Some(token) = hop_by_hop::upgrade_token(Version::HTTP_11, &came) {
        hop_by_hop::restore_upgrade(&mut request, token.clone());
        assert_eq!(hop_by_hop::upgrade_token(Version::HTTP_11, &request), Some(token));
    }
    assert!(grpc::status(&came).is_none_or(|code| code <= 16));
    grpc::is_grpc(&came);
    if let Some(found) = cookie::value(&came, "home") {
        assert!(!found.contains(&b';'), "{found:?}");
    }
    if let Ok(parts) = authority::parse(bytes) {
        assert!(bytes.starts_with(parts.host.as_bytes()) && parts.port != Some(0));
    }
}

/// A service's routes as the control plane sends them, and a request: the two first bytes are the service's length.
pub fn route_match(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let Some((service, request)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
        return;
    };
    let Some(head) = head(request) else { return };
    let Ok(Ok(compiled)) = Service::decode(service).map(|service| compile(&service)) else { return };
    for port in &compiled.ports {
        let request = RequestHead {
            method: &head.method,
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
        };
        let decision = port.routes.decide(request);
        assert_eq!(port.routes.decide(request), decision, "the same request goes the same way");
        if let Decision::Rule(rule) = decision {
            assert!(port.routes.rule(rule).is_some(), "a rule there is");
        }
    }
}

/// What the control plane says on a stream, message by message; before each stand one byte, which may end the stream or
/// change what is wanted, and two of its length.
pub fn discovery_session(bytes: &[u8]) {
    let (Ok(trust_domain), Ok(workload)) = ("mesh.internal".parse(), "shop/web-a".parse()) else { return };
    let (Ok(service), Ok(address), Ok(host)) =
        ("shop/orders".parse(), "10.0.0.1".parse(), "api.example.com".parse())
    else {
        return;
    };
    let everything = Wants { services: [service].into(), addresses: [address].into(), hosts: [host].into() };
    let mut session = Session::new(Own { trust_domain, workload }, Held::default());
    let mut wanted = everything.clone();
    session.want(wanted.clone());
    let mut rest = bytes;
    while let Some(([order, high, low], more)) = rest.split_first_chunk::<3>() {
        let Some((message, more)) = more.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))
        else {
            return;
        };
        rest = more;
        match order & 3 {
            1 => session.close(),
            2 => {
                wanted = if wanted == everything { Wants::default() } else { everything.clone() };
                session.want(wanted.clone());
            }
            _ => {}
        }
        let Ok(response) = DeltaDiscoveryResponse::decode(message) else { continue };
        let (nonce, type_url) = (response.nonce.clone(), response.type_url.clone());
        let received = session.receive(response);
        match received.reply {
            Some(reply) => {
                assert_eq!((reply.response_nonce, reply.type_url), (nonce, type_url));
                assert_eq!(
                    reply.error_detail.is_some(),
                    !received.rejected.is_empty(),
                    "a NACK says what it refuses"
                );
            }
            None => assert!(nonce.is_empty() || type_url.is_empty(), "each response is answered"),
        }
        let held = session.held();
        assert!(held.services.keys().chain(held.missing.keys()).all(|name| wanted.services.contains(name)));
        assert!(
            held.endpoints.keys().all(|name| wanted.services.contains(name)),
            "what nobody wants is not held"
        );
        assert!(held.addresses.keys().all(|address| wanted.addresses.contains(address)));
        assert!(held.hosts.keys().all(|host| wanted.hosts.contains(host)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::Path;

    type Target = fn(&[u8]);

    const TARGETS: [(&str, Target); 6] = [
        ("protocol_detection", protocol_detection),
        ("request_normalisation", request_normalisation),
        ("header_path", header_path),
        ("route_match", route_match),
        ("discovery_session", discovery_session),
        ("dns_message", dns_message),
    ];

    #[test]
    fn every_seed_keeps_its_rooms_promises() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/seeds");
        for (name, target) in TARGETS {
            let files = std::fs::read_dir(seeds.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let mut run = 0;
            for file in files {
                target(&std::fs::read(file.unwrap().path()).unwrap());
                run += 1;
            }
            assert!(run > 0, "{name} has no seed");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_keep_them_too(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for (_, target) in TARGETS {
                target(&bytes);
            }
        }

        #[test]
        fn so_do_bytes_like_a_request(text in "(1\\.0|1\\.1|2) [A-Z]{1,7} (/|\\*|http://[a-z]{0,3})[a-z/%?=]{0,9}(\n(host|te|connection|upgrade|x-a|cookie|transfer-encoding): ?[a-z,;= @:0-9]{0,20}){0,5}") {
            for (_, target) in TARGETS {
                target(text.as_bytes());
            }
        }
    }
}
