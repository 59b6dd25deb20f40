//! `meshctl diff`: what `apply` would change, as the server foresees it.
//!
//! Enters: manifests. Leaves: a unified diff of each object that would change, in YAML, and exit code 1 if there is any;
//! or the problems that `apply` would have. Never here: a change.

use crate::Place;
use crate::apply::{Change, foresee, placed};
use crate::client::{ApiError, Client};
use crate::failure::Failure;
use crate::sources;
use clap::Args;
use serde_json::Value;
use similar::TextDiff;
use std::io::Write;
use std::path::PathBuf;

/// Lines around a change that are shown.
const CONTEXT: usize = 3;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Manifests: a file, a directory with everything below it, or `-` for standard input; may be repeated
    #[arg(long, short = 'f', value_name = "FILE", required = true)]
    filename: Vec<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(crate) async fn run(
    arguments: &Arguments,
    client: &mut Client,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let set = sources::load(&arguments.filename, &arguments.place.namespace(client))?;
    let (mut is_different, mut problems) = (false, Vec::new());
    for source in &set.objects {
        match foresee(client, &set, source).await {
            Ok(change) => {
                let name = format!("{}/{}", source.kind.singular(), source.name);
                let text = unified(&name, &change);
                is_different |= !text.is_empty();
                out.write_all(text.as_bytes())?;
            }
            Err(ApiError::Refused(status)) => problems.extend(placed(source, &status)),
            Err(error) => return Err(error.into()),
        }
    }
    match (problems.is_empty(), is_different) {
        (false, _) => Err(Failure::Problems(problems)),
        (true, true) => Err(Failure::Found),
        (true, false) => Ok(()),
    }
}

/// The change in a form that people and `patch` read; empty if there is none.
fn unified(name: &str, change: &Change) -> String {
    let yaml = |object: &Value| serde_yaml::to_string(object).unwrap_or_default();
    let (before, after) = (change.before.as_ref().map(yaml).unwrap_or_default(), yaml(&change.after));
    let from = if change.before.is_some() { format!("{name} (live)") } else { "/dev/null".to_owned() };
    let diff = TextDiff::from_lines(&before, &after);
    diff.unified_diff().context_radius(CONTEXT).header(&from, &format!("{name} (applied)")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_change_is_shown_line_by_line_and_none_is_shown_by_nothing() {
        let (old, new) = (json!({"spec": {"a": 1, "b": 2}}), json!({"spec": {"a": 1, "b": 3}}));
        let change =
            |before: Option<&Value>, after: &Value| Change { before: before.cloned(), after: after.clone() };
        let text = unified("service/orders", &change(Some(&old), &new));
        let expected = "--- service/orders (live)\n+++ service/orders (applied)\n@@ -1,3 +1,3 @@\n spec:\n   a: 1\n-  b: 2\n+  b: 3\n";
        assert_eq!(text, expected);
        assert_eq!(unified("service/orders", &change(Some(&old), &old)), "");
        let text = unified("service/orders", &change(None, &old));
        assert!(
            text.starts_with("--- /dev/null\n") && text.ends_with("+spec:\n+  a: 1\n+  b: 2\n"),
            "{text}"
        );
    }
}
