//! The verbs of `sidecar intercept`, in order of what they do. Each either did it or left everything as it was.

use super::accounts::Machine;
use super::backend::{Backend, Installed};
use super::capture::Capture;
use super::failure::{InterceptError, Then};
use super::flags::{BackendChoice, UninstallFlags};
use super::iptables::{Lines, TABLES};
use super::marker::Marker;
use super::plan::plan;
use super::probe::{self, Finding, Outcome};
use super::programs::{Program, check_rights};
use super::ruleset::{Family, Route, Ruleset};
use super::{Request, Verification, Wanted, alone, conflicts, nft, route};
use std::io::{self, Write};
use std::path::Path;

/// Where control groups are.
pub(super) const CGROUPS: &str = "/sys/fs/cgroup";

/// Does what is asked, and says on standard output what was done.
///
/// # Errors
/// [`InterceptError`]: nothing has changed, and the text says how to mend it.
pub fn run(request: Request) -> Result<(), InterceptError> {
    match request {
        Request::Install(wanted, verification) => install(&wanted, verification),
        Request::Uninstall(flags) => uninstall(&flags),
        Request::Print(wanted) => print(&wanted),
        Request::Verify(wanted) => verify(&wanted),
        Request::Probe(flags) => probe::probe(&flags).map_err(InterceptError::Output),
    }
}

fn prepare(wanted: &Wanted) -> Result<(Capture, Ruleset), InterceptError> {
    let capture = Capture::resolve(wanted, &Machine).map_err(InterceptError::Names)?;
    let ruleset = plan(&capture);
    Ok((capture, ruleset))
}

fn install(wanted: &Wanted, verification: Verification) -> Result<(), InterceptError> {
    let (capture, ruleset) = prepare(wanted)?;
    let backend = Backend::choose(wanted.flags().backend)?;
    check_rights()?;
    check_cgroups(&capture)?;
    let _turn = alone::turn()?;
    let before = backend.installed(&capture.instance)?;
    check_conflicts(&backend, &ruleset, &before)?;
    let change = Change { backend: &backend, ruleset: &ruleset, before: &before };
    let findings = change.make(|| match verification {
        Verification::On => probe::verify(&capture, &ruleset),
        Verification::Off => Ok(Vec::new()),
    })?;
    tell(&findings)?;
    let table = capture.instance.table();
    let what = match backend {
        Backend::Nft(_) => format!("table inet {table}"),
        Backend::Iptables(_) => format!("chains {}-*", capture.instance.chains()),
    };
    say(&format!("installed: {what}"))
}

/// The kernel knows a control group by a number that it has only while it exists.
fn check_cgroups(capture: &Capture) -> Result<(), InterceptError> {
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

fn uninstall(flags: &UninstallFlags) -> Result<(), InterceptError> {
    let instance = flags.name.clone().unwrap_or_default();
    let first = Backend::choose(BackendChoice::Auto)?;
    check_rights()?;
    let _turn = alone::turn()?;
    let mut removed = false;
    for backend in with_rules(first)? {
        let now = backend.installed(&instance)?;
        if now.is_empty() {
            continue;
        }
        let marker = now.marker();
        if marker.is_none() && matches!(backend, Backend::Nft(_)) {
            return Err(InterceptError::ForeignTable(instance.table()));
        }
        backend.remove(&instance, &now)?;
        if let Some(mark) = marker.and_then(|marker| marker.route) {
            route::remove(Route { mark });
        }
        removed = true;
    }
    say(&format!("{}: {}", if removed { "removed" } else { "nothing to remove" }, instance.table()))
}

/// The backends that may have made rules. iptables is asked only where `nft` shows chains of ours in its tables: it fails
/// over tables of the same names that it did not make.
fn with_rules(first: Backend) -> Result<Vec<Backend>, InterceptError> {
    let by_iptables = match &first {
        Backend::Nft(nft) => conflicts::made_by_iptables(&nft.run(&["list", "chains"])?),
        Backend::Iptables(_) => false,
    };
    let second = by_iptables.then(|| Backend::choose(BackendChoice::Iptables)).transpose()?;
    Ok([first].into_iter().chain(second).collect())
}

fn print(wanted: &Wanted) -> Result<(), InterceptError> {
    let (_, ruleset) = prepare(wanted)?;
    let mut text: Vec<String> = route::commands(&ruleset).iter().map(|line| format!("# ip {line}")).collect();
    match Backend::choose(wanted.flags().backend) {
        Ok(Backend::Iptables(_)) => {
            for (family, program) in [(Family::V4, "iptables-restore"), (Family::V6, "ip6tables-restore")] {
                text.push(format!("# {program} --noflush"));
                for table in TABLES {
                    let lines = Lines::of(&ruleset, table, family);
                    text.push(lines.replacing(&Lines::default(), table).trim_end().to_owned());
                }
            }
        }
        // Nothing is run here, so it does not matter that there is nothing to run.
        Ok(Backend::Nft(_)) | Err(_) => text.push(nft::install(&ruleset).trim_end().to_owned()),
    }
    say(&text.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n"))
}

fn verify(wanted: &Wanted) -> Result<(), InterceptError> {
    let (capture, ruleset) = prepare(wanted)?;
    check_rights()?;
    check_cgroups(&capture)?;
    let _turn = alone::turn()?;
    let findings = all_arrived(probe::verify(&capture, &ruleset)?, Then::Nothing)?;
    tell(&findings)
}

fn all_arrived(findings: Vec<Finding>, then: Then) -> Result<Vec<Finding>, InterceptError> {
    let failed: Vec<String> = findings
        .iter()
        .filter(|finding| matches!(finding.outcome, Outcome::Failed(_)))
        .map(ToString::to_string)
        .collect();
    if failed.is_empty() { Ok(findings) } else { Err(InterceptError::Probes { failed, then }) }
}

fn tell(findings: &[Finding]) -> Result<(), InterceptError> {
    findings.iter().try_for_each(|finding| say(&finding.to_string()))
}

fn say(text: &str) -> Result<(), InterceptError> {
    writeln!(io::stdout(), "{text}").map_err(InterceptError::Output)
}
