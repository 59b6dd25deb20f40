//! `meshctl get`: objects as a table, as YAML or as JSON.

use crate::Place;
use crate::client::{Client, Form};
use crate::failure::Failure;
use crate::paths::{Resource, escaped};
use crate::table::Table;
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::Write;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Kinds, separated by commas: services, svc, httproutes, workloads, proxies …
    kind: String,
    /// One object's name; all objects without it
    name: Option<String>,
    #[command(flatten)]
    place: Place,
    /// Of all namespaces
    #[arg(long, short = 'A', conflicts_with_all = ["namespace", "name"])]
    all_namespaces: bool,
    /// Only objects with these labels: `app=orders,version!=2`
    #[arg(long, short = 'l', conflicts_with = "name")]
    selector: Option<String>,
    /// How to show them
    #[arg(long, short, value_enum, default_value_t)]
    output: Output,
}

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Output {
    /// Columns
    #[default]
    Table,
    /// More columns
    Wide,
    /// YAML
    Yaml,
    /// JSON
    Json,
}

pub(crate) async fn run(
    arguments: &Arguments,
    client: &mut Client,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let kinds: Vec<Resource> = arguments.kind.split(',').map(Resource::named).collect::<Result<_, _>>()?;
    let namespace = arguments.place.namespace(client);
    let form = match arguments.output {
        Output::Table | Output::Wide => Form::Table,
        Output::Yaml | Output::Json => Form::Objects,
    };
    for (index, kind) in kinds.iter().enumerate() {
        let path = path(*kind, arguments, &namespace);
        let answer = client.get(&path, form).await?;
        if index > 0 {
            out.write_all(if arguments.output == Output::Yaml { b"---\n" } else { b"\n" })?;
        }
        match arguments.output {
            Output::Json => writeln!(out, "{}", serde_json::to_string_pretty(&answer).unwrap_or_default())?,
            Output::Yaml => out.write_all(yaml(&answer).as_bytes())?,
            Output::Table | Output::Wide => {
                let with_namespace = arguments.all_namespaces && kind.is_namespaced();
                let table = Table::from_server(&answer, arguments.output == Output::Wide, with_namespace);
                if table.rows.is_empty() {
                    let place = if arguments.all_namespaces || !kind.is_namespaced() {
                        String::new()
                    } else {
                        format!(" in namespace {namespace}")
                    };
                    writeln!(out, "no {}{place}", kind.plural())?;
                } else {
                    out.write_all(table.render().as_bytes())?;
                }
            }
        }
    }
    Ok(())
}

fn path(kind: Resource, arguments: &Arguments, namespace: &str) -> String {
    if let Some(name) = &arguments.name {
        return kind.object(namespace, name);
    }
    let path = kind.collection((!arguments.all_namespaces).then_some(namespace));
    match &arguments.selector {
        Some(selector) => format!("{path}?labelSelector={}", escaped(selector)),
        None => path,
    }
}

/// YAML without the server's book-keeping of who manages which field, as `kubectl` shows it.
pub(crate) fn yaml(object: &Value) -> String {
    let mut object = object.clone();
    let items = object.get_mut("items").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten() {
        drop_managed_fields(item);
    }
    drop_managed_fields(&mut object);
    serde_yaml::to_string(&object).unwrap_or_default()
}

fn drop_managed_fields(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}
