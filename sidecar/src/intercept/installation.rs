//! One instance's rules, ready to be put into the kernel and taken away: every name looked up, the command found, the
//! right to use it checked. Each change is made as a whole or not at all, one at a time on this machine.

use super::accounts::Machine;
use super::backend::{Backend, Installed};
use super::capture::Capture;
use super::failure::{InterceptError, Then};
use super::grammar::Instance;
use super::marker::Marker;
use super::plan::plan;
use super::probe::{self, Finding, Outcome};
use super::programs::{Program, check_rights};
use super::ruleset::{Route, Ruleset};
use super::{Verification, Wanted, alone, conflicts, route};
use std::path::Path;

/// Where control groups are.
pub(super) const CGROUPS: &str = "/sys/fs/cgroup";

/// Rules that are wanted, and the means to have them.
#[derive(Debug)]
pub(super) struct Installation {
    capture: Capture,
    ruleset: Ruleset,
    backend: Backend,
}

/// Looks every name up and plans.
///
/// # Errors
/// Names that this machine does not know.
pub(super) fn prepare(wanted: &Wanted) -> Result<(Capture, Ruleset), InterceptError> {
    let capture = Capture::resolve(wanted, &Machine).map_err(InterceptError::Names)?;
    let ruleset = plan(&capture);
    Ok((capture, ruleset))
}

impl Installation {
    /// Makes ready; nothing is changed yet.
    ///
    /// # Errors
    /// Names that this machine does not know, no command to change the rules, no right to.
    pub(super) fn prepare(wanted: &Wanted) -> Result<Self, InterceptError> {
        let (capture, ruleset) = prepare(wanted)?;
        let backend = Backend::choose(wanted.flags().backend)?;
        check_rights()?;
        Ok(Self { capture, ruleset, backend })
    }

    /// What is captured.
    pub(super) fn capture(&self) -> &Capture {
        &self.capture
    }

    /// Puts the rules there, in the place of those that are.
    ///
    /// # Errors
    /// Everything is as it was before.
    pub(super) fn put(&self, verification: Verification) -> Result<Vec<Finding>, InterceptError> {
        check_cgroups(&self.capture)?;
        let _turn = alone::turn()?;
        let before = self.backend.installed(&self.capture.instance)?;
        check_conflicts(&self.backend, &self.ruleset, &before)?;
        let change = Change { backend: &self.backend, ruleset: &self.ruleset, before: &before };
        change.make(|| match verification {
            Verification::On => probe::verify(&self.capture, &self.ruleset),
            Verification::Off => Ok(Vec::new()),
        })
    }

    /// Takes them away; fine if there are none.
    ///
    /// # Errors
    /// The command fails, or what is there is not ours.
    pub(super) fn take_away(&self) -> Result<Removal, InterceptError> {
        let _turn = alone::turn()?;
        remove(&self.backend, &self.capture.instance)
    }

    /// Whether rules of this instance are there, of these flags or others.
    ///
    /// # Errors
    /// The command fails.
    pub(super) fn is_there(&self) -> Result<bool, InterceptError> {
        let _turn = alone::turn()?;
        Ok(!self.backend.installed(&self.capture.instance)?.is_empty())
    }

    /// What the rules are in, in words.
    pub(super) fn place(&self) -> String {
        match self.backend {
            Backend::Nft(_) => format!("table inet {}", self.capture.instance.table()),
            Backend::Iptables(_) => format!("chains {}-*", self.capture.instance.chains()),
        }
    }
}

/// What came of taking rules away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// They are gone.
    Removed,
    /// There were none.
    Nothing,
}

/// Takes away what one command made of an instance; call it in one's turn.
///
/// # Errors
/// The command fails, or what is there is not ours.
pub(super) fn remove(backend: &Backend, instance: &Instance) -> Result<Removal, InterceptError> {
    let now = backend.installed(instance)?;
    if now.is_empty() {
        return Ok(Removal::Nothing);
    }
    let marker = now.marker();
    if marker.is_none() && matches!(backend, Backend::Nft(_)) {
        return Err(InterceptError::ForeignTable(instance.table()));
    }
    backend.remove(instance, &now)?;
    if let Some(mark) = marker.and_then(|marker| marker.route) {
        route::remove(Route { mark });
    }
    Ok(Removal::Removed)
}

/// That every control group exists: the kernel knows one by a number that it has only then.
///
/// # Errors
/// One sentence for each that does not.
pub(super) fn check_cgroups(capture: &Capture) -> Result<(), InterceptError> {
    let included = capture.include.cgroups.iter().map(|cgroup| ("--include-cgroup", cgroup));
    let excluded = capture.exclude.cgroups.iter().map(|cgroup| ("--exclude-cgroup", cgroup));
    let missing: Vec<String> = included
        .chain(excluded)
        .filter(|(_, cgroup)| !Path::new(CGROUPS).join(cgroup.path()).join("cgroup.procs").exists())
        .map(|(flag, cgroup)| {
            format!(
                "{flag} {cgroup}: there is no control group (version 2) {CGROUPS}/{cgroup}; start it first, as with \
                 `systemctl start {}`",
                cgroup.path().rsplit('/').next().unwrap_or_default()
            )
        })
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(InterceptError::Names(missing)) }
}

/// A change of the kernel's tables that is made as a whole or not at all.
struct Change<'a> {
    backend: &'a Backend,
    ruleset: &'a Ruleset,
    before: &'a Installed,
}

impl Change<'_> {
    fn make(
        &self,
        verify: impl FnOnce() -> Result<Vec<Finding>, InterceptError>,
    ) -> Result<Vec<Finding>, InterceptError> {
        let done = route::add(self.ruleset)
            .and_then(|()| self.backend.install(self.ruleset, self.before))
            .and_then(|()| verify())
            .and_then(|findings| {
                let then = if self.before.is_empty() { Then::Removed } else { Then::Restored };
                all_arrived(findings, then)
            });
        match done {
            Ok(findings) => {
                self.forget_route(self.old_route(), self.ruleset.route);
                Ok(findings)
            }
            Err(failure) => match self.undo() {
                Ok(()) => Err(failure),
                Err(rollback) => Err(InterceptError::NotRestored {
                    failure: Box::new(failure),
                    rollback: Box::new(rollback),
                    mend: format!(
                        "`sidecar intercept uninstall{}` removes all of it",
                        self.ruleset.instance.flag()
                    ),
                }),
            },
        }
    }

    fn undo(&self) -> Result<(), InterceptError> {
        self.forget_route(self.ruleset.route, self.old_route());
        self.backend.restore(&self.ruleset.instance, self.before)
    }

    /// The routing that belonged to what was there before.
    fn old_route(&self) -> Option<Route> {
        self.before.marker().and_then(|marker| marker.route).map(|mark| Route { mark })
    }

    fn forget_route(&self, route: Option<Route>, kept: Option<Route>) {
        if let Some(route) = route.filter(|route| kept != Some(*route)) {
            route::remove(route);
        }
    }
}

fn check_conflicts(backend: &Backend, ruleset: &Ruleset, before: &Installed) -> Result<(), InterceptError> {
    if matches!(backend, Backend::Nft(_)) && !before.is_empty() && before.marker().is_none() {
        return Err(InterceptError::ForeignTable(ruleset.instance.table()));
    }
    let mut found = Vec::new();
    let own = Marker::find(&format!("{}\"", ruleset.about)).unwrap_or_default();
    for (instance, marker) in backend.others(&ruleset.instance)? {
        found.extend(own.conflicts(&instance, &marker));
    }
    match backend {
        Backend::Nft(nft) => {
            let chains = nft.run(&["list", "chains"])?;
            found.extend(conflicts::other_meshes(&chains));
            if conflicts::made_by_iptables(&chains) {
                found.push(other_backend("iptables"));
            }
        }
        Backend::Iptables(versions) => {
            for (_, save, _) in versions {
                found.extend(conflicts::other_meshes(&save.run(&[])?));
            }
            if let Some(nft) = Program::find("nft")
                && !Backend::Nft(nft).installed(&ruleset.instance)?.is_empty()
            {
                found.push(other_backend("nft"));
            }
        }
    }
    found.dedup();
    if found.is_empty() { Ok(()) } else { Err(InterceptError::Conflicts(found)) }
}

fn other_backend(name: &str) -> String {
    format!(
        "rules of `sidecar intercept` that were installed with {name} are there already: remove them first with \
         `sidecar intercept uninstall`, and --name NAME if they have one"
    )
}

/// That no probe failed.
///
/// # Errors
/// What failed, and what was done then.
pub(super) fn all_arrived(findings: Vec<Finding>, then: Then) -> Result<Vec<Finding>, InterceptError> {
    let failed: Vec<String> = findings
        .iter()
        .filter(|finding| matches!(finding.outcome, Outcome::Failed(_)))
        .map(ToString::to_string)
        .collect();
    if failed.is_empty() { Ok(findings) } else { Err(InterceptError::Probes { failed, then }) }
}
