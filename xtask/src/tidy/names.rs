//! Names that say nothing: a file, module or type that needs one has no purpose yet.

use super::Finding;
use super::text::code;
use super::tree::Tree;

/// Names no file, folder, module or type may have.
const DRAWERS: [&str; 14] = [
    "base", "common", "core", "data", "handler2", "helper", "helpers", "info", "manager", "misc", "stuff",
    "types", "util", "utils",
];
/// Endings no type's name may have.
const ENDINGS: [&str; 4] = ["Helper", "Manager", "Util", "Utils"];
/// Terms that others have coined, and that a reader will look for.
const TERMS_OF_ART: [&str; 1] = ["FieldManager"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.sources() {
        for part in path.trim_end_matches(".rs").split('/').filter(|part| DRAWERS.contains(part)) {
            let message =
                format!("`{part}` is a drawer, not a room: name the file or folder after its one purpose");
            findings.push(Finding::new(path, 1, message));
        }
        for (number, line) in (1..).zip(code(text).lines()) {
            if let Some(name) = declared(line).filter(|name| is_drawer(name)) {
                let message = format!("`{name}` says nothing: name it after its one purpose");
                findings.push(Finding::new(path, number, message));
            }
        }
    }
    findings
}

/// The module or type declared on a line.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace().skip_while(|word| word.starts_with("pub"));
    match words.next()? {
        "mod" | "struct" | "enum" | "trait" => {}
        // An associated type, which is indented, is named by its trait.
        "type" if !line.starts_with(' ') => {}
        _ => return None,
    }
    words.next()?.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
}

fn is_drawer(name: &str) -> bool {
    if TERMS_OF_ART.contains(&name) {
        return false;
    }
    DRAWERS.contains(&name.to_ascii_lowercase().as_str())
        || ENDINGS.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, text: &str) -> usize {
        check(&Tree::of(&[(path, text)])).len()
    }

    #[test]
    fn a_drawer_is_found_as_file_folder_module_and_type() {
        assert_eq!(count("a/src/utils.rs", ""), 1);
        assert_eq!(count("a/src/common/b.rs", ""), 1);
        assert_eq!(count("a/src/b.rs", "pub(crate) mod helpers {\n"), 1);
        assert_eq!(count("a/src/b.rs", "pub struct ConnectionManager<T> {\n"), 1);
        assert_eq!(count("a/src/b.rs", "enum Info {\n"), 1);
        assert_eq!(count("a/src/b.rs", "struct FieldManager;\n"), 0, "Kubernetes' own term");
    }

    #[test]
    fn names_that_contain_a_drawer_are_not_drawers() {
        assert_eq!(count("a/testdata/b.rs", "pub struct DataPlane;\nmod database {}\nlet manager = 1;\n"), 0);
        assert_eq!(count("a/src/b.rs", "impl Body for A {\n    type Data = Bytes;\n"), 0);
    }
}
