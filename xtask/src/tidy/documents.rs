//! Rules on what users read and what leaves the machine: examples, the architecture page, paths, hosts.

use super::Finding;
use super::tree::Tree;
use std::collections::BTreeMap;

/// Longest architecture page: what a newcomer reads in one go.
const ARCHITECTURE_LINES: usize = 200;
/// Folders of single machines, written so that this file does not hold them.
const MACHINE_PATHS: [&str; 3] = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/Use", "rs/")];
/// Hosts of package registries: a build names them nowhere, so that mirrors work.
const REGISTRY_HOSTS: [&str; 5] = [
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("files.python", "hosted.org"),
    concat!("registry.npmjs", ".org"),
];
/// Where each locked crate comes from, as cargo writes it for the public registry whatever the mirror.
const PUBLIC_SOURCE: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(examples(tree));
    findings.extend(architecture(tree));
    for (path, text) in tree.texts() {
        findings.extend(places(path, text));
    }
    findings
}

/// Every folder of examples holds a manifest. Git keeps no empty folder: what is found is one with only other files.
fn examples(tree: &Tree) -> Vec<Finding> {
    let mut manifests: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, _) in tree.texts().filter(|(path, _)| path.starts_with("manifests/examples/")) {
        let Some((folder, file)) = path.rsplit_once('/') else { continue };
        *manifests.entry(folder).or_default() += usize::from(file.ends_with(".yaml"));
    }
    manifests
        .into_iter()
        .filter(|(_, count)| *count == 0)
        .map(|(folder, _)| {
            Finding::new(folder, 1, "an example without a manifest: add a .yaml file or remove it")
        })
        .collect()
}

fn architecture(tree: &Tree) -> Option<Finding> {
    let Some(text) = tree.files.get("ARCHITECTURE.md") else {
        return Some(Finding::new("ARCHITECTURE.md", 1, "missing: newcomers begin there"));
    };
    let lines = text.lines().count();
    (lines > ARCHITECTURE_LINES).then(|| {
        let message =
            format!("{lines} lines, at most {ARCHITECTURE_LINES}: leave details to the modules' own words");
        Finding::new("ARCHITECTURE.md", ARCHITECTURE_LINES + 1, message)
    })
}

fn places(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(folder) = MACHINE_PATHS.iter().find(|folder| line.contains(**folder)) {
            findings.push(Finding::new(
                path,
                number,
                format!("`{folder}` is a path of one machine: make it relative"),
            ));
        }
        let locked_elsewhere =
            path.ends_with("Cargo.lock") && line.starts_with("source = ") && line != PUBLIC_SOURCE;
        if locked_elsewhere || REGISTRY_HOSTS.iter().any(|host| line.contains(host)) {
            let message =
                "a registry's host: name packages only, and let each machine choose where they come from";
            findings.push(Finding::new(path, number, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        let mut files = files.to_vec();
        if !files.iter().any(|(path, _)| *path == "ARCHITECTURE.md") {
            files.push(("ARCHITECTURE.md", "# A\n"));
        }
        check(&Tree::of(&files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_example_without_a_manifest_is_found() {
        let found = messages(&[("manifests/examples/a/README.md", ""), ("manifests/examples/b/b.yaml", "")]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("manifests/examples/a:1:"), "{found:?}");
    }

    #[test]
    fn an_architecture_page_of_two_hundred_lines_passes_and_one_more_does_not() {
        assert!(messages(&[("ARCHITECTURE.md", &"a\n".repeat(200))]).is_empty());
        assert_eq!(messages(&[("ARCHITECTURE.md", &"a\n".repeat(201))]).len(), 1);
        assert_eq!(check(&Tree::default()).len(), 1);
    }

    #[test]
    fn machine_paths_and_registry_hosts_are_found() {
        for place in MACHINE_PATHS.iter().chain(&REGISTRY_HOSTS) {
            assert_eq!(messages(&[("a.toml", &format!("a\nb {place}c\n"))]).len(), 1, "{place}");
        }
        let mirrored = "source = \"registry+https://mirror.example/index\"\n";
        assert_eq!(messages(&[("Cargo.lock", mirrored)]).len(), 1);
        assert!(messages(&[("Cargo.lock", PUBLIC_SOURCE)]).is_empty());
    }
}
