//! The verbs of `sidecar intercept`, in order of what they do. Each either did it or left everything as it was.

use super::backend::Backend;
use super::failure::{InterceptError, Then};
use super::flags::{BackendChoice, UninstallFlags};
use super::installation::{Installation, Removal, all_arrived, check_cgroups, prepare, remove};
use super::iptables::{Lines, TABLES};
use super::probe::{self, Finding};
use super::programs::check_rights;
use super::ruleset::Family;
use super::{Request, Verification, Wanted, alone, conflicts, guard, nft, route};
use std::io::{self, Write};

/// Does what is asked, and says on standard output what was done.
///
/// # Errors
/// [`InterceptError`]: nothing has changed, and the text says how to mend it.
pub fn run(request: Request) -> Result<(), InterceptError> {
    match request {
        Request::Install(wanted, verification) => install(&wanted, verification),
        Request::Guard(wanted, verification) => guard::run(&wanted, verification),
        Request::Uninstall(flags) => uninstall(&flags),
        Request::Print(wanted) => print(&wanted),
        Request::Verify(wanted) => verify(&wanted),
        Request::Probe(flags) => probe::probe(&flags).map_err(InterceptError::Output),
    }
}

fn install(wanted: &Wanted, verification: Verification) -> Result<(), InterceptError> {
    let installation = Installation::prepare(wanted)?;
    tell(&installation.put(verification)?)?;
    say(&format!("installed: {}", installation.place()))
}

fn uninstall(flags: &UninstallFlags) -> Result<(), InterceptError> {
    let instance = flags.name.clone().unwrap_or_default();
    let first = Backend::choose(BackendChoice::Auto)?;
    check_rights()?;
    let _turn = alone::turn()?;
    let mut removal = Removal::Nothing;
    for backend in with_rules(first)? {
        if remove(&backend, &instance)? == Removal::Removed {
            removal = Removal::Removed;
        }
    }
    let what = match removal {
        Removal::Removed => "removed",
        Removal::Nothing => "nothing to remove",
    };
    say(&format!("{what}: {}", instance.table()))
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

/// Prints what each probe showed.
pub(super) fn tell(findings: &[Finding]) -> Result<(), InterceptError> {
    findings.iter().try_for_each(|finding| say(&finding.to_string()))
}

/// Prints a line.
pub(super) fn say(text: &str) -> Result<(), InterceptError> {
    writeln!(io::stdout(), "{text}").map_err(InterceptError::Output)
}
