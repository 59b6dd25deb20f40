//! Why `sidecar intercept` failed, in words that say how to mend it. Whatever the failure, the rules are then as they
//! were before.

use std::fmt;
use std::io;

/// Why `sidecar intercept` failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InterceptError {
    /// Names that this machine does not know, one sentence each.
    #[error("{}", .0.join("\nsidecar: "))]
    Names(Vec<String>),
    /// The process may not change the firewall.
    #[error(
        "changing the firewall needs root (CAP_NET_ADMIN), which this process has not: run it with sudo, or from a \
         systemd unit; `sidecar intercept print` needs no rights"
    )]
    NoRights,
    /// A command is not installed.
    #[error("{0}")]
    NoProgram(String),
    /// A command failed.
    #[error("{what} failed: {said}")]
    Program {
        /// What was run, and for what.
        what: String,
        /// What it printed, or why it could not be run.
        said: String,
    },
    /// A table of the same name that we did not make.
    #[error(
        "table inet {0} exists and was not made by `sidecar intercept`, so it is left alone: choose another --name, or \
         remove it with `nft delete table inet {0}`"
    )]
    ForeignTable(String),
    /// Other rules would get in the way, one sentence each.
    #[error("{}", .0.join("\nsidecar: "))]
    Conflicts(Vec<String>),
    /// Probe connections did not arrive, one sentence each.
    #[error("{}\nsidecar: {then}", .failed.join("\nsidecar: "))]
    Probes {
        /// What did not arrive.
        failed: Vec<String>,
        /// What was done then.
        then: Then,
    },
    /// The operating system refuses something a probe needs.
    #[error("cannot probe: {0}")]
    Probing(#[source] io::Error),
    /// The operating system refuses something the guard of `--fail-open` needs.
    #[error("cannot watch the sidecar: {0}")]
    Guarding(#[source] io::Error),
    /// The rules could not be put back after a failure.
    #[error("{failure}\nsidecar: and what was there before could not be put back ({rollback}); {mend}")]
    NotRestored {
        /// The first failure.
        failure: Box<Self>,
        /// The second.
        rollback: Box<Self>,
        /// How to get out of it.
        mend: String,
    },
    /// Standard output is closed.
    #[error("cannot print: {0}")]
    Output(#[from] io::Error),
}

/// What was done after probes had failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// `install` removed its rules.
    Removed,
    /// `install` put back the rules of an earlier one.
    Restored,
    /// `verify` changes nothing.
    Nothing,
}

impl fmt::Display for Then {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removed => "the rules were removed again; to install them all the same, give --no-verify",
            Self::Restored => {
                "the rules that were installed before are back; to install these all the same, give --no-verify"
            }
            Self::Nothing => {
                "if the rules are not installed, or with other flags, run `sidecar intercept install` with these flags"
            }
        })
    }
}
