//! `meshctl apply`: make the mesh as the manifests say, or change nothing and say why not.
//!
//! ```text
//! files ─> load: every problem of every file ─> try all on the server (dry run) ─> apply in order of dependence
//!               any error: stop                      any refusal: stop
//! ```
//!
//! Enters: manifests. Leaves: one line per object, or problems with file, line and column, the server's included. Never
//! here: a half-applied set because of a mistake in it. (Only what cannot be foreseen can stop the last step midway: a
//! connection that breaks. Applying again then finishes it.)

use crate::Place;
use crate::client::{ApiError, Client, Form, Status};
use crate::failure::Failure;
use crate::paths::Resource;
use crate::sources::{self, Source, Sources};
use clap::Args;
use http::Method;
use manifests::{Code, Diagnostic, FieldPath, Kind};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;

/// How the server knows our fields from those of other tools.
const FIELD_MANAGER: &str = "meshctl";

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Manifests: a file, a directory with everything below it, or `-` for standard input; may be repeated
    #[arg(long, short = 'f', value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
    /// Only try: say what would happen
    #[arg(long)]
    dry_run: bool,
}

/// What applying an object does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Created,
    Configured,
    Unchanged,
}

impl Effect {
    fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

pub(crate) async fn run(
    arguments: &Arguments,
    client: &mut Client,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let set = sources::load(&arguments.filename, &arguments.place.namespace(client))?;
    let mut effects = Vec::new();
    let mut problems: Vec<String> = Vec::new();
    for source in &set.objects {
        match attempt(client, &set, source).await {
            Ok(effect) => effects.push((source, effect)),
            Err(ApiError::Refused(status)) => problems.extend(placed(source, &status)),
            Err(error) => return Err(error.into()),
        }
    }
    if !problems.is_empty() {
        problems.push("nothing was applied".to_owned());
        return Err(Failure::Problems(problems));
    }
    for (done, (source, effect)) in effects.iter().enumerate() {
        let suffix = if arguments.dry_run { " (dry run)" } else { "" };
        if !arguments.dry_run
            && let Err(error) = patch(client, source, Run::Real).await
        {
            let done = format!(
                "{done} of {} objects were applied before this; apply again to finish",
                effects.len()
            );
            let refused = match &error {
                ApiError::Refused(status) => placed(source, status),
                ApiError::Credentials { .. } | ApiError::Unreachable { .. } | ApiError::Broken { .. } => {
                    vec![format!("{source}: {error}")]
                }
            };
            return Err(Failure::Problems(refused.into_iter().chain([done]).collect()));
        }
        writeln!(out, "{}/{} {}{suffix}", source.kind.singular(), source.name, effect.word())?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Real,
    Dry,
}

/// Asks the server what applying the object would do.
async fn attempt(client: &mut Client, set: &Sources, source: &Source) -> Result<Effect, ApiError> {
    let path = Resource::Stored(source.kind).object(&source.namespace, &source.name);
    let live = match client.get(&path, Form::Objects).await {
        Ok(live) => Some(live),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let tried = match patch(client, source, Run::Dry).await {
        // Its namespace comes with this very set, before it: the server cannot know that yet.
        Err(ApiError::Refused(status)) if lacks_namespace(&status, set, source) => {
            return Ok(Effect::Created);
        }
        tried => tried?,
    };
    let tried = essence(tried);
    Ok(match live.map(essence) {
        None => Effect::Created,
        Some(live) if live == tried => Effect::Unchanged,
        Some(_) => Effect::Configured,
    })
}

/// Server-side apply: the fields in the manifest become ours, those we had and no longer name go away, and all others
/// stay. Forced, since a person who applies a manifest means it.
async fn patch(client: &mut Client, source: &Source, run: Run) -> Result<Value, ApiError> {
    let path = Resource::Stored(source.kind).object(&source.namespace, &source.name);
    let run = match run {
        Run::Real => "",
        Run::Dry => "&dryRun=All",
    };
    let path = format!("{path}?fieldManager={FIELD_MANAGER}&force=true{run}");
    let body = ("application/apply-patch+yaml", source.value.to_string());
    client.ask(Method::PATCH, &path, Form::Objects, Some(body)).await.map(|(_, object)| object)
}

fn lacks_namespace(status: &Status, set: &Sources, source: &Source) -> bool {
    let missing =
        status.code == 404 && status.details.kind == "namespaces" && status.details.name == source.namespace;
    missing && set.objects.iter().any(|other| other.kind == Kind::Namespace && other.name == source.namespace)
}

/// An object without what changes by itself.
fn essence(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"] {
            metadata.remove(field);
        }
    }
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
    object
}

/// The server's words with the place in the manifest they are about.
fn placed(source: &Source, status: &Status) -> Vec<String> {
    let line = |field: &str, message: &str| {
        source.place(Diagnostic::error(Code::BadValue, FieldPath::parse(field), message)).to_string()
    };
    if status.details.causes.is_empty() {
        return vec![line("", &status.message)];
    }
    status.details.causes.iter().map(|cause| line(&cause.field, &cause.message)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_changes_by_itself_is_no_difference() {
        let live = json!({
            "metadata": {"name": "a", "resourceVersion": "7", "generation": 1, "managedFields": [{}]},
            "spec": {"x": 1}, "status": {"conditions": []},
        });
        let tried = json!({"metadata": {"name": "a", "uid": "u"}, "spec": {"x": 1}});
        assert_eq!(essence(live.clone()), essence(tried));
        assert_ne!(essence(live), essence(json!({"metadata": {"name": "a"}, "spec": {"x": 2}})));
    }
}
