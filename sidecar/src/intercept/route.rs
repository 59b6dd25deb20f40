//! The routing that TPROXY needs beside its rules: packets with the mark belong to this machine, whatever their address.

use super::failure::InterceptError;
use super::programs::Program;
use super::ruleset::{Families, Route, Ruleset};

/// One command line for each thing to set up, for `ip`.
pub(super) fn commands(ruleset: &Ruleset) -> Vec<String> {
    let Some(route) = ruleset.route else { return Vec::new() };
    versions(ruleset.families)
        .iter()
        .flat_map(|(version, everything)| {
            let (mark, table) = (route.mark, route.mark.number());
            [
                format!("{version} rule add fwmark {mark} lookup {table}"),
                format!("{version} route replace local {everything} dev lo table {table}"),
            ]
        })
        .collect()
}

/// Sets it up; nothing if the ruleset needs none. What an earlier installation set up is replaced.
///
/// # Errors
/// There is no `ip`, or it fails.
pub(super) fn add(ruleset: &Ruleset) -> Result<(), InterceptError> {
    let Some(route) = ruleset.route else { return Ok(()) };
    let ip = Program::find("ip").ok_or_else(|| {
        InterceptError::NoProgram(
            "--inbound-mode tproxy needs the command `ip`, which is not installed: install iproute2 (`apt-get install \
             iproute2`, `dnf install iproute`), or use --inbound-mode redirect"
                .to_owned(),
        )
    })?;
    // The kernel would take the same rule twice.
    remove(route);
    for line in commands(ruleset) {
        let words: Vec<&str> = line.split(' ').collect();
        ip.run(&words)?;
    }
    Ok(())
}

/// Removes it; fine if it is not there.
pub(super) fn remove(route: Route) {
    let Some(ip) = Program::find("ip") else { return };
    let (mark, table) = (route.mark.to_string(), route.mark.number().to_string());
    for (version, _) in versions(Families::Both) {
        // It fails when there is nothing to remove.
        drop(ip.run(&[version, "rule", "del", "fwmark", &mark, "lookup", &table]));
        drop(ip.run(&[version, "route", "flush", "table", &table]));
    }
}

fn versions(families: Families) -> &'static [(&'static str, &'static str)] {
    match families {
        Families::Both => &[("-4", "0.0.0.0/0"), ("-6", "::/0")],
        Families::Ipv4 => &[("-4", "0.0.0.0/0")],
    }
}
