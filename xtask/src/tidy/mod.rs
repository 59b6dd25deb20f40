//! The project's own rules, checked on the text of the tree: what compilers and linters do not know. The files of the
//! repository enter; findings leave, all at once, each with its place and how to mend it.
//!
//! | module | rules |
//! | --- | --- |
//! | [`sources`] | length, module docs, unsafe code, unbounded channels, sleeping tests, notes to self |
//! | [`names`] | drawer names of files, modules and types |
//! | [`crates`] | arrows between crates, homes of dependencies, versions |
//! | [`documents`] | examples, the architecture page, machine paths and registry hosts |

mod crates;
mod documents;
mod names;
mod sources;
mod text;
mod tree;

use anyhow::{Result, bail};
use std::fmt;
use std::path::Path;
use tree::Tree;

/// One broken rule in one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Checks every file that git tracks or would track.
///
/// # Errors
/// The tree cannot be read.
pub(crate) fn check(repository: &Path) -> Result<Vec<Finding>> {
    Ok(findings(&Tree::read(repository)?))
}

/// Prints the findings.
///
/// # Errors
/// There are any.
#[allow(clippy::print_stdout, reason = "the findings are this command's output")]
pub(crate) fn report(findings: &[Finding]) -> Result<()> {
    for finding in findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: nothing to mend");
            Ok(())
        }
        count => bail!("tidy: {count} to mend"),
    }
}

fn findings(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(sources::check(tree));
    findings.extend(names::check(tree));
    findings.extend(crates::check(tree));
    findings.extend(documents::check(tree));
    findings.sort();
    findings
}
