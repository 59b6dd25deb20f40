//! `meshctl delete`: by kind and name, or everything the manifests name.

use crate::Place;
use crate::client::{Client, Form};
use crate::failure::Failure;
use crate::paths::Resource;
use crate::sources;
use clap::Args;
use http::Method;
use std::io::Write;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The kind: service, httproute, workload …
    #[arg(required_unless_present = "filename", requires = "name", conflicts_with = "filename")]
    kind: Option<String>,
    /// The objects' names
    #[arg(value_name = "NAME")]
    name: Vec<String>,
    /// Manifests: a file, a directory with everything below it, or `-` for standard input; may be repeated
    #[arg(long, short = 'f', value_name = "FILE")]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// An object that is not there is not an error
    #[arg(long)]
    ignore_not_found: bool,
}

pub(crate) async fn run(
    arguments: &Arguments,
    client: &mut Client,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let namespace = arguments.place.namespace(client);
    let mut targets: Vec<(Resource, String, String)> = Vec::new();
    if let Some(kind) = &arguments.kind {
        let kind = Resource::named(kind)?;
        targets.extend(arguments.name.iter().map(|name| (kind, namespace.clone(), name.clone())));
    } else {
        let mut set = sources::load(&arguments.filename, &namespace)?;
        // What refers to others goes first.
        set.objects.reverse();
        let place = |object: sources::Source| (Resource::Stored(object.kind), object.namespace, object.name);
        targets.extend(set.objects.into_iter().map(place));
    }
    let mut problems = Vec::new();
    for (kind, namespace, name) in targets {
        match client.ask(Method::DELETE, &kind.object(&namespace, &name), Form::Objects, None).await {
            Ok(_) => writeln!(out, "{}/{name} deleted", kind.plural())?,
            Err(error) if error.is_not_found() && arguments.ignore_not_found => {}
            Err(error) => problems.push(error.to_string()),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::Problems(problems)) }
}
