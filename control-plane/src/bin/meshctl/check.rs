//! `meshctl check`: is anything wrong, and what?
//!
//! Enters: what the API says. Leaves: one line per finding and exit code 1 when something is wrong. Never here: repairs.

use crate::client::{ApiError, Client, Form};
use crate::failure::Failure;
use crate::paths::Resource;
use crate::proxies;
use manifests::Kind;
use serde_json::Value;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Less time than this until the authority expires is worth a word: replacing it takes planning.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// What was looked at and how it is.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    Good(String),
    Wrong(String),
}

pub(crate) async fn run(mut client: Client, out: &mut dyn Write) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let server = client.server();
    match client.get("/version", Form::Objects).await {
        Ok(_) => findings.push(Finding::Good(format!("the control plane answers at {server}"))),
        Err(error @ (ApiError::Unreachable { .. } | ApiError::Broken { .. })) => return Err(error.into()),
        Err(error) => findings.push(Finding::Wrong(format!("the control plane at {server}: {error}"))),
    }
    findings.extend(authority(client.authorities(), SystemTime::now()));
    let (proxies, _newest) = proxies::connected(&mut client, None).await?;
    findings.push(Finding::Good(format!("{} sidecars are connected", proxies.len())));
    findings.extend(proxies.iter().filter_map(|proxy| {
        proxy
            .problem()
            .map(|problem| Finding::Wrong(format!("sidecar {}/{} {problem}", proxy.namespace, proxy.name)))
    }));
    for kind in [Kind::Service, Kind::Workload, Kind::HttpRoute, Kind::ExternalService, Kind::TrafficPolicy] {
        let list = client.get(&Resource::Stored(kind).collection(None), Form::Objects).await?;
        findings.extend(objects(kind, &list));
    }
    let mut is_wrong = false;
    for finding in &findings {
        match finding {
            Finding::Good(text) => writeln!(out, "ok     {text}")?,
            Finding::Wrong(text) => {
                is_wrong = true;
                writeln!(out, "WRONG  {text}")?;
            }
        }
    }
    if is_wrong { Err(Failure::Found) } else { Ok(()) }
}

/// When the certificates of the mesh's authority expire.
fn authority<'a>(certificates: impl Iterator<Item = &'a [u8]>, now: SystemTime) -> Vec<Finding> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let expiry = |der: &[u8]| -> Option<u64> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        u64::try_from(certificate.validity().not_after.timestamp()).ok()
    };
    let finding = |der: &[u8]| match expiry(der).map(|expiry| expiry.checked_sub(now)) {
        None => Finding::Wrong("a certificate of the authority cannot be read".to_owned()),
        Some(None) => Finding::Wrong("a certificate of the authority has expired".to_owned()),
        Some(Some(left)) => {
            let days = left / (24 * 3600);
            let text = format!("the authority's certificate expires in {days} days");
            if left < SOON.as_secs() { Finding::Wrong(text) } else { Finding::Good(text) }
        }
    };
    certificates.map(finding).collect()
}

/// The conditions of objects that say `False`, and how many objects have none of those.
fn objects(kind: Kind, list: &Value) -> Vec<Finding> {
    let items: Vec<&Value> = list.get("items").and_then(Value::as_array).into_iter().flatten().collect();
    let mut findings = Vec::new();
    let mut good = 0_usize;
    for item in &items {
        let text = |pointer: &str| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let mut failing = Vec::new();
        gather_failing(item.get("status").unwrap_or(&Value::Null), &mut failing);
        if failing.is_empty() {
            good += 1;
        }
        let place = format!("{} {}/{}", kind.singular(), text("/metadata/namespace"), text("/metadata/name"));
        findings.extend(failing.into_iter().map(|problem| Finding::Wrong(format!("{place}: {problem}"))));
    }
    if !items.is_empty() {
        findings.insert(
            0,
            Finding::Good(format!("{good} of {} {} have no failing condition", items.len(), kind.plural())),
        );
    }
    findings
}

fn gather_failing(status: &Value, failing: &mut Vec<String>) {
    match status {
        Value::Object(fields) => fields.values().for_each(|value| gather_failing(value, failing)),
        Value::Array(items) => items.iter().for_each(|item| {
            let text = |name: &str| item.get(name).and_then(Value::as_str);
            match (text("type"), text("status")) {
                (Some(condition), Some("False")) => {
                    let (reason, message) = (text("reason").unwrap_or("-"), text("message").unwrap_or("-"));
                    failing.push(format!("{condition} is False ({reason}): {message}"));
                }
                (Some(_) | None, _) => gather_failing(item, failing),
            }
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn failing_conditions_are_found_wherever_a_kind_keeps_them() {
        let list = json!({"items": [
            {"metadata": {"namespace": "shop", "name": "good"},
             "status": {"conditions": [{"type": "Ready", "status": "True"}]}},
            {"metadata": {"namespace": "shop", "name": "bad"},
             "status": {"parents": [{"conditions": [
                 {"type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound", "message": "no service x"}]}]}},
        ]});
        let findings = objects(Kind::HttpRoute, &list);
        assert_eq!(
            findings,
            [
                Finding::Good("1 of 2 httproutes have no failing condition".to_owned()),
                Finding::Wrong(
                    "httproute shop/bad: ResolvedRefs is False (BackendNotFound): no service x".to_owned()
                ),
            ]
        );
        assert!(objects(Kind::HttpRoute, &json!({"items": []})).is_empty());
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_wrong() {
        let findings = authority([b"junk".as_slice()].into_iter(), SystemTime::now());
        assert!(matches!(findings.as_slice(), [Finding::Wrong(_)]));
    }
}
