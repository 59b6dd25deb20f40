//! `meshctl backup` and `meshctl restore`: the whole desired state at one moment in a file, and back.
//!
//! Enters: the objects of the API, or such a file. Leaves: the file, private as it holds Secrets; or a line for each object that
//! is changed. Never here: keys of the certificate authority, which never leave the data directory.

use crate::client::{Client, Form};
use crate::failure::Failure;
use crate::paths::Resource;
use clap::Args;
use http::Method;
use manifests::envelope::kind_of;
use manifests::{Kind, PERMANENT_NAMESPACES};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Bytes of objects in one request; the server takes three times as many.
const BATCH_BYTES: usize = 1024 * 1024;

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The file to write (mode 0600, replaced as a whole), or `-` for standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The file that `meshctl backup` wrote, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Leave objects alone that are not in the backup; otherwise they are deleted
    #[arg(long)]
    keep_others: bool,
}

/// Writes the backup.
pub(crate) async fn backup(
    arguments: &Backup,
    client: &mut Client,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let backup = client.get("/backup", Form::Objects).await?;
    let text = format!("{backup}\n");
    if arguments.file == Path::new("-") {
        out.write_all(text.as_bytes())?;
        return Ok(());
    }
    let file = arguments.file.display();
    mesh_process::file::write_private(&arguments.file, text.as_bytes())
        .map_err(|error| format!("{file}: {error}"))?;
    let revision = backup.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
    writeln!(out, "{file}: {} objects at revision {revision}", items(&backup).len())?;
    Ok(())
}

/// Makes the mesh what the backup says.
pub(crate) async fn restore(
    arguments: &Restore,
    client: &mut Client,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let file = arguments.file.display();
    let backup = read(&arguments.file)?;
    let wanted = by_key(&backup).map_err(|problem| format!("{file}: {problem}"))?;
    let there = client.get("/backup", Form::Objects).await?;
    let there = by_key(&there)?;
    let different: Vec<_> = wanted.iter().filter(|(key, object)| there.get(*key) != Some(*object)).collect();
    let others = there.keys().rev().filter(|key| !arguments.keep_others && !wanted.contains_key(*key));
    let others: Vec<_> = others.filter(|key| !key.is_permanent()).collect();
    if arguments.dry_run {
        for (key, _) in &different {
            writeln!(out, "{key} restored (dry run)")?;
        }
        for key in &others {
            writeln!(out, "{key} deleted (dry run)")?;
        }
        return Ok(());
    }
    let mut batch = Vec::new();
    let mut bytes = 0;
    for (key, object) in &different {
        let size = object.to_string().len();
        if bytes + size > BATCH_BYTES {
            send(client, std::mem::take(&mut batch), out).await?;
            bytes = 0;
        }
        bytes += size;
        batch.push((*key, *object));
    }
    send(client, batch, out).await?;
    for key in others {
        let path = Resource::Stored(key.kind).object(&key.namespace, &key.name);
        match client.ask(Method::DELETE, &path, Form::Objects, None).await {
            Ok(_) => writeln!(out, "{key} deleted")?,
            // It went with its namespace.
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    writeln!(out, "{} objects are as in the backup", wanted.len())?;
    Ok(())
}

async fn send(client: &mut Client, batch: Vec<(&Key, &Value)>, out: &mut dyn Write) -> Result<(), Failure> {
    if batch.is_empty() {
        return Ok(());
    }
    let items: Vec<_> = batch.iter().map(|(_, object)| object).collect();
    let body = json!({"apiVersion": "outrigger.dev/v1alpha1", "kind": "Backup", "items": items}).to_string();
    client.ask(Method::POST, "/restore", Form::Objects, Some(("application/json", body))).await?;
    for (key, _) in batch {
        writeln!(out, "{key} restored")?;
    }
    Ok(())
}

/// What names an object, in the order in which objects are restored: what others refer to first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    order: usize,
    kind: Kind,
    namespace: String,
    name: String,
}

impl Key {
    fn of(object: &Value) -> Result<Self, String> {
        let kind = kind_of(object)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
        let text = |field: &str| {
            let text =
                object.get("metadata").and_then(|metadata| metadata.get(field)).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        Ok(Self { order: kind.order(), kind, namespace: text("namespace"), name: text("name") })
    }

    fn is_permanent(&self) -> bool {
        self.kind == Kind::Namespace && PERMANENT_NAMESPACES.contains(&self.name.as_str())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.kind.singular())?;
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}

fn read(file: &Path) -> Result<Value, String> {
    let shown = file.display();
    let mut text = Vec::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().lock().read_to_end(&mut text).map(|_| ()),
        false => std::fs::read(file).map(|bytes| text = bytes),
    };
    read.map_err(|error| format!("{shown}: {error}"))?;
    let backup: Value =
        serde_json::from_slice(&text).map_err(|error| format!("{shown}: this is no backup: {error}"))?;
    if backup.get("kind").and_then(Value::as_str) != Some("Backup")
        || !backup.get("items").is_some_and(Value::is_array)
    {
        return Err(format!("{shown}: this is no backup: `meshctl backup FILE` writes one"));
    }
    Ok(backup)
}

fn items(backup: &Value) -> &[Value] {
    backup.get("items").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The objects without the revisions they were at.
fn by_key(backup: &Value) -> Result<BTreeMap<Key, Value>, String> {
    let without_revision = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
        object
    };
    items(backup).iter().map(|object| Ok((Key::of(object)?, without_revision(object)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_come_in_the_order_of_dependence_and_without_revisions() {
        let object = |api: &str, kind: &str, metadata: Value| json!({"apiVersion": api, "kind": kind, "metadata": metadata});
        let route =
            object("gateway.networking.k8s.io/v1", "HTTPRoute", json!({"name": "a", "namespace": "b"}));
        let service = object("v1", "Service", json!({"name": "z", "namespace": "b", "resourceVersion": "7"}));
        let backup =
            json!({"items": [route, service, object("v1", "Namespace", json!({"name": "default"}))]});
        let objects = by_key(&backup).expect("known kinds");
        let keys: Vec<_> = objects.keys().map(ToString::to_string).collect();
        assert_eq!(keys, ["namespace/default", "service/b/z", "httproute/b/a"]);
        assert!(objects.values().all(|object| object.pointer("/metadata/resourceVersion").is_none()));
        assert!(objects.keys().next().is_some_and(Key::is_permanent));
        let problem = by_key(&json!({"items": [{"apiVersion": "v1", "kind": "Pod"}]})).expect_err("no pods");
        assert!(problem.contains("`Pod`"), "{problem}");
    }

    #[test]
    fn what_is_no_backup_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("file");
        for text in ["", "{", "[]", "{\"kind\": \"List\", \"items\": []}", "{\"kind\": \"Backup\"}"] {
            std::fs::write(&file, text).expect("writable");
            let problem = read(&file).expect_err(text);
            assert!(problem.contains("no backup"), "{problem}");
        }
    }
}
