//! `meshctl proxies`: who is connected, and is each up to date?

use crate::client::{Client, Form};
use crate::failure::Failure;
use crate::paths::Resource;
use crate::table::Table;
use clap::Args;
use manifests::Kind;
use serde_json::Value;
use std::io::Write;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only those of this namespace
    #[arg(long, short, value_name = "NAME")]
    namespace: Option<String>,
}

/// One connected sidecar as the API shows it.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) name: String,
    pub(crate) namespace: String,
    identity: String,
    connected: String,
    applied: Option<String>,
    pending: u64,
    rejected: u64,
    /// Why its workload is not registered.
    refusal: Option<String>,
    last_rejection: Option<String>,
}

impl Proxy {
    pub(crate) fn from_api(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
        Self {
            name: text("/metadata/name").unwrap_or_default(),
            namespace: text("/metadata/namespace").unwrap_or_default(),
            identity: text("/status/identity").unwrap_or_default(),
            connected: text("/metadata/creationTimestamp").unwrap_or_default(),
            applied: text("/status/appliedRevision"),
            pending: number("/status/pending"),
            rejected: number("/status/rejected"),
            refusal: text("/status/registrationRefused"),
            last_rejection: object
                .pointer("/status/rejections")
                .and_then(Value::as_array)
                .and_then(|all| rejection(all.last()?)),
        }
    }

    /// Whether it has all of this revision that concerns it.
    pub(crate) fn has(&self, revision: u64) -> bool {
        let applied = self.applied.as_deref().and_then(|it| it.parse().ok());
        self.pending == 0 && applied.is_some_and(|applied: u64| applied >= revision)
    }

    /// Whether it has refused something, and goes by what it had of it.
    pub(crate) fn has_refused(&self) -> bool {
        self.rejected > 0
    }

    /// Whether everything sent to it has been taken.
    fn is_in_sync(&self) -> bool {
        self.pending == 0 && self.rejected == 0
    }

    /// Why it is not.
    pub(crate) fn problem(&self) -> Option<String> {
        if let Some(refusal) = &self.refusal {
            return Some(format!("is not registered: {refusal}"));
        }
        let rejection = self.last_rejection.as_deref().unwrap_or("the sidecar's log says why");
        match (self.rejected, self.pending) {
            (0, 0) => None,
            (0, pending) => Some(format!("has not confirmed {pending} resources yet")),
            (rejected, _) => Some(format!("refused {rejected} resources: {rejection}")),
        }
    }

    fn row(&self, newest: &str) -> Vec<String> {
        let revisions = format!("{}/{newest}", self.applied.as_deref().unwrap_or("-"));
        vec![
            self.namespace.clone(),
            self.name.clone(),
            self.identity.clone(),
            self.connected.clone(),
            revisions,
            if self.is_in_sync() { "yes".to_owned() } else { "no".to_owned() },
            self.refusal.clone().or_else(|| self.last_rejection.clone()).unwrap_or_else(|| "-".to_owned()),
        ]
    }
}

/// What a sidecar refused and why, in a line.
fn rejection(rejection: &Value) -> Option<String> {
    let message = rejection.get("message").and_then(Value::as_str)?;
    let resources = rejection.get("resources").and_then(Value::as_array);
    let resources: Vec<&str> = resources.into_iter().flatten().filter_map(Value::as_str).collect();
    Some(if resources.is_empty() {
        message.to_owned()
    } else {
        format!("{}: {message}", resources.join(", "))
    })
}

/// The sidecars connected now, and the newest revision of the store.
pub(crate) async fn connected(
    client: &mut Client,
    namespace: Option<&str>,
) -> Result<(Vec<Proxy>, String), Failure> {
    let list = client.get(&Resource::Proxies.collection(namespace), Form::Objects).await?;
    let items = list.get("items").and_then(Value::as_array);
    // The list of sidecars is not stored and has no revision of its own; that of any stored kind is the store's.
    let stored = Resource::Stored(Kind::Namespace).collection(None);
    let stored = client.get(&format!("{stored}?limit=1"), Form::Objects).await?;
    let newest = stored.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or("-");
    Ok((items.into_iter().flatten().map(Proxy::from_api).collect(), newest.to_owned()))
}

pub(crate) async fn run(
    arguments: &Arguments,
    client: &mut Client,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let (proxies, newest) = connected(client, arguments.namespace.as_deref()).await?;
    if proxies.is_empty() {
        writeln!(out, "no sidecar is connected")?;
        return Ok(());
    }
    let headings =
        ["NAMESPACE", "NAME", "IDENTITY", "CONNECTED SINCE", "REVISION", "IN SYNC", "LAST REJECTION"];
    let mut table = Table::new(&headings);
    table.rows = proxies.iter().map(|proxy| proxy.row(&newest)).collect();
    out.write_all(table.render().as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sidecar_is_in_sync_when_nothing_is_pending_or_refused() {
        let proxy = |status: Value| Proxy::from_api(&json!({"metadata": {"name": "a"}, "status": status}));
        assert!(proxy(json!({"appliedRevision": "7"})).is_in_sync());
        assert_eq!(
            proxy(json!({"pending": 2})).problem().as_deref(),
            Some("has not confirmed 2 resources yet")
        );
        let rejections = json!([{"resources": ["shop/a"], "message": "port 0"}]);
        let refused = proxy(json!({"appliedRevision": "7", "rejected": 1, "rejections": rejections}));
        assert_eq!(refused.problem().as_deref(), Some("refused 1 resources: shop/a: port 0"));
        assert_eq!(refused.row("9")[4..], ["7/9", "no", "shop/a: port 0"]);
        let unregistered = proxy(json!({"registrationRefused": "the name is taken"}));
        assert_eq!(unregistered.problem().as_deref(), Some("is not registered: the name is taken"));
    }
}
