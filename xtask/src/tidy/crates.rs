//! Rules on the workspace's crates, read from their Cargo.toml files: who may depend on whom, where a dependency is at
//! home, and that versions stand in one table.

use super::Finding;
use super::tree::Tree;

/// Each crate of ours and those of ours it may depend on. ARCHITECTURE.md says why.
const ARROWS: [(&str, &[&str]); 14] = [
    ("mesh-names", &[]),
    ("manifests", &["mesh-names"]),
    ("mesh-protocol", &["mesh-names"]),
    ("mesh-process", &[]),
    ("mesh-mtls", &["mesh-names"]),
    ("mesh-balance", &[]),
    ("mesh-http1", &[]),
    ("mesh-http2", &[]),
    (
        "control-plane",
        &["manifests", "mesh-http2", "mesh-mtls", "mesh-names", "mesh-process", "mesh-protocol"],
    ),
    (
        "sidecar",
        &[
            "mesh-balance",
            "mesh-http1",
            "mesh-http2",
            "mesh-mtls",
            "mesh-names",
            "mesh-process",
            "mesh-protocol",
        ],
    ),
    ("mesh-load", &["mesh-mtls", "mesh-names"]),
    ("mesh-scale", &["mesh-load", "mesh-mtls", "mesh-names", "mesh-protocol", "tests"]),
    ("tests", &["control-plane", "manifests", "mesh-load", "mesh-mtls", "mesh-names", "sidecar"]),
    ("xtask", &[]),
];

/// Dependencies that are at home in some crates only.
const HOMES: [(&str, &[&str]); 5] = [
    ("rustls", &["mesh-mtls", "tests"]),
    ("tokio-rustls", &["mesh-mtls", "tests"]),
    ("hickory-resolver", &["sidecar"]),
    ("redb", &["control-plane"]),
    ("k8s-openapi", &["manifests", "control-plane", "tests"]),
];

/// Crates that do no I/O, and what they therefore never depend on outside their tests.
const PURE: [&str; 3] = ["mesh-names", "manifests", "mesh-balance"];
const EFFECTS: [&str; 6] = ["tokio", "hyper", "hyper-util", "tonic", "h2", "socket2"];

/// A line of a Cargo.toml in a table of dependencies.
struct Dependency<'a> {
    line: usize,
    name: &'a str,
    declaration: &'a str,
    for_tests: bool,
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let root = tree.files.get("Cargo.toml").map(String::as_str).unwrap_or_default();
    for member in members(root) {
        let path = format!("{member}/Cargo.toml");
        let Some(text) = tree.files.get(&path) else { continue };
        let name = package_name(text);
        let dependencies: Vec<_> = dependencies(text).collect();
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_, _)| *crate_ == name) else {
            let message =
                format!("`{name}` has no row in xtask/src/tidy/crates.rs: say what it may depend on");
            findings.push(Finding::new(&path, 1, message));
            continue;
        };
        for dependency in &dependencies {
            findings.extend(
                judge(name, allowed, dependency).map(|what| Finding::new(&path, dependency.line, what)),
            );
        }
    }
    findings
}

fn judge(name: &str, allowed: &[&str], dependency: &Dependency<'_>) -> Option<String> {
    let other = dependency.name;
    if !dependency.declaration.contains("workspace = true") {
        return Some(format!(
            "`{other}`: versions stand only in the workspace's table: `{other}.workspace = true`"
        ));
    }
    let is_ours = ARROWS.iter().any(|(crate_, _)| *crate_ == other);
    // The harness may serve the tests of any crate.
    let is_harness = dependency.for_tests && other == "tests";
    if is_ours && !is_harness && !allowed.contains(&other) {
        return Some(format!("`{name}` may not depend on `{other}`: the arrows are in ARCHITECTURE.md"));
    }
    if let Some((_, homes)) = HOMES.iter().find(|(crate_, homes)| *crate_ == other && !homes.contains(&name))
    {
        return Some(format!("`{other}` is at home in {} only", homes.join(" and ")));
    }
    (!dependency.for_tests && PURE.contains(&name) && EFFECTS.contains(&other))
        .then(|| format!("`{name}` is pure: `{other}` does I/O"))
}

fn members(root: &str) -> impl Iterator<Item = &str> {
    let list =
        root.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).map(|(list, _)| list);
    list.unwrap_or_default()
        .split(',')
        .map(|member| member.trim().trim_matches('"'))
        .filter(|member| !member.is_empty())
}

fn package_name(text: &str) -> &str {
    let name = text.lines().find_map(|line| line.strip_prefix("name = "));
    name.unwrap_or_default().trim().trim_matches('"')
}

fn dependencies(text: &str) -> impl Iterator<Item = Dependency<'_>> {
    let mut table = "";
    (1..).zip(text.lines()).filter_map(move |(line, text)| {
        if let Some(header) = text.trim().strip_prefix('[') {
            table = header.trim_end_matches(']');
            return None;
        }
        let for_tests = table.ends_with("dev-dependencies");
        if !table.ends_with("dependencies") || text.starts_with('#') {
            return None;
        }
        let (key, _) = text.split_once('=')?;
        let name = key.trim().trim_end_matches(".workspace").trim_matches('"');
        let declaration = if key.trim().ends_with(".workspace") { "workspace = true" } else { text };
        Some(Dependency { line, name, declaration, for_tests })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(name: &str, dependencies: &str) -> Vec<String> {
        let member = format!("[package]\nname = \"{name}\"\n{dependencies}\n");
        let tree = Tree::of(&[("Cargo.toml", "members = [\n  \"a\",\n]\n"), ("a/Cargo.toml", &member)]);
        check(&tree).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_arrow_that_is_not_drawn_is_found() {
        let found =
            messages("sidecar", "[dependencies]\nmesh-mtls.workspace = true\nmanifests.workspace = true");
        assert_eq!(
            found,
            ["a/Cargo.toml:5: `sidecar` may not depend on `manifests`: the arrows are in ARCHITECTURE.md"]
        );
    }

    #[test]
    fn a_version_outside_the_workspace_table_is_found() {
        assert_eq!(messages("sidecar", "[dependencies]\nbytes = \"1\"").len(), 1);
        assert_eq!(messages("sidecar", "[dev-dependencies]\nbytes = { version = \"1\" }").len(), 1);
        assert!(
            messages("sidecar", "[dependencies]\nbytes = { workspace = true, features = [] }").is_empty()
        );
    }

    #[test]
    fn a_dependency_away_from_its_home_is_found() {
        assert!(
            messages("sidecar", "[dependencies]\nrustls.workspace = true")[0]
                .contains("at home in mesh-mtls")
        );
        assert!(messages("mesh-mtls", "[dependencies]\nrustls.workspace = true").is_empty());
    }

    #[test]
    fn a_pure_crate_does_no_input_or_output_outside_its_tests() {
        assert_eq!(messages("mesh-balance", "[dependencies]\ntokio.workspace = true").len(), 1);
        assert!(messages("mesh-balance", "[dev-dependencies]\ntokio.workspace = true").is_empty());
    }

    #[test]
    fn a_new_crate_needs_a_row() {
        assert!(messages("mesh-new", "")[0].contains("has no row"));
    }
}
