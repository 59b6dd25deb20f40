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
use crate::wait;
use clap::Args;
use http::Method;
use manifests::{Code, Diagnostic, FieldPath, Kind};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

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
    /// Return once every connected sidecar has applied it; else name those that have not, and why
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// With --wait: seconds until those that have not applied it are named
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "wait")]
    timeout: u64,
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
        match foresee(client, &set, source).await {
            Ok(change) => effects.push((source, change.effect())),
            Err(ApiError::Refused(status)) => problems.extend(placed(source, &status)),
            Err(error) => return Err(error.into()),
        }
    }
    if !problems.is_empty() {
        problems.push("nothing was applied".to_owned());
        return Err(Failure::Problems(problems));
    }
    let mut revision = 0;
    for (done, (source, effect)) in effects.iter().enumerate() {
        if arguments.dry_run {
            writeln!(out, "{}/{} {} (dry run)", source.kind.singular(), source.name, effect.word())?;
            continue;
        }
        let written = patch(client, source, Run::Real).await;
        if let Ok(object) = &written {
            revision = revision.max(revision_of(object));
        }
        if let Err(error) = written {
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
        writeln!(out, "{}/{} {}", source.kind.singular(), source.name, effect.word())?;
    }
    if arguments.wait {
        wait::until_applied(client, revision, Duration::from_secs(arguments.timeout), out).await?;
    }
    Ok(())
}

/// The revision that wrote an object; a write that changes nothing has that of the write before.
fn revision_of(object: &Value) -> u64 {
    let revision = object.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    revision.and_then(|revision| revision.parse().ok()).unwrap_or(0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Run {
    Real,
    Dry,
}

/// An object before and after it is applied, without what changes by itself.
#[derive(Debug)]
pub(crate) struct Change {
    /// None: it is not there yet.
    pub(crate) before: Option<Value>,
    pub(crate) after: Value,
}

impl Change {
    fn effect(&self) -> Effect {
        match &self.before {
            None => Effect::Created,
            Some(before) if *before == self.after => Effect::Unchanged,
            Some(_) => Effect::Configured,
        }
    }
}

/// Asks the server what applying the object would do.
pub(crate) async fn foresee(client: &mut Client, set: &Sources, source: &Source) -> Result<Change, ApiError> {
    let path = Resource::Stored(source.kind).object(&source.namespace, &source.name);
    let live = match client.get(&path, Form::Objects).await {
        Ok(live) => Some(live),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(error),
    };
    let tried = match patch(client, source, Run::Dry).await {
        // Its namespace comes with this very set, before it: the server cannot know that yet.
        Err(ApiError::Refused(status)) if lacks_namespace(&status, set, source) => source.value.clone(),
        tried => tried?,
    };
    Ok(Change { before: live.map(essence), after: essence(tried) })
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
pub(crate) fn essence(mut object: Value) -> Value {
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
pub(crate) fn placed(source: &Source, status: &Status) -> Vec<String> {
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
