//! What flags come to: golden rulesets, and the exact words for flags that do not go together.
//!
//! Each `testdata/intercept/NAME.flags` stands beside what it prints, `NAME.nft` and `NAME.iptables`. To take on a change
//! delete those: the test writes them anew and fails once, so that someone reads them.

use super::accounts::{Accounts, Registry};
use super::capture::Capture;
use super::flags::CaptureFlags;
use super::grammar::Account;
use super::iptables::{Lines, TABLES};
use super::plan::plan;
use super::ruleset::{Family, Ruleset};
use super::{Wanted, nft};
use clap::Parser;
use std::path::Path;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    capture: CaptureFlags,
}

/// The users of a machine that is not this one.
struct Village;

impl Accounts for Village {
    fn id(&self, _: Registry, account: &Account) -> Option<u32> {
        match account {
            Account::Id(id) => Some(*id),
            Account::Name(name) => {
                let known = [("root", 0), ("outrigger", 900), ("web", 1001), ("systemd-resolve", 992)];
                known.iter().find(|(known, _)| known == name).map(|(_, id)| *id)
            }
        }
    }
}

fn wanted(flags: &str) -> Result<Wanted, Vec<String>> {
    let line = Line::try_parse_from(["capture"].into_iter().chain(flags.split_whitespace()));
    Wanted::of_flags(line.unwrap_or_else(|error| panic!("{flags}: {error}")).capture)
}

fn capture(flags: &str) -> Result<Capture, Vec<String>> {
    Capture::resolve(&wanted(flags)?, &Village)
}

fn iptables(ruleset: &Ruleset) -> String {
    let mut text = String::new();
    for (family, program) in [(Family::V4, "iptables-restore"), (Family::V6, "ip6tables-restore")] {
        for table in TABLES {
            let part = Lines::of(ruleset, table, family).replacing(&Lines::default(), table);
            text.push_str(&format!("# {program} {}\n{part}", table.name()));
        }
    }
    text
}

#[test]
fn every_set_of_flags_comes_to_its_golden_rules() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/intercept");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "flags"));
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = Vec::new();
    for path in files {
        let ruleset = plan(&capture(&std::fs::read_to_string(&path).unwrap()).unwrap());
        for (golden, found) in [
            (path.with_extension("nft"), nft::install(&ruleset)),
            (path.with_extension("iptables"), iptables(&ruleset)),
        ] {
            match std::fs::read_to_string(&golden) {
                Ok(expected) if expected == found => {}
                Ok(expected) => {
                    wrong.push(format!("{}:\nexpected\n{expected}found\n{found}", golden.display()));
                }
                Err(_) => {
                    std::fs::write(&golden, &found).unwrap();
                    wrong
                        .push(format!("{} was not there and is written: read it\n{found}", golden.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn everything_that_does_not_go_together_is_told_at_once() {
    let problems = wanted(
        "--include-uid web --sidecar-uid web --metrics-port 15001 --outbound-mode off --include-outbound-port 80 \
         --exclude-outbound-port 1-65535 --ipv4-only --exclude-outbound-cidr fd00::/8",
    )
    .unwrap_err();
    assert_eq!(
        problems,
        [
            "--include-uid web is also given as --sidecar-uid: the service and its sidecar need different users",
            "--outbound-port and --metrics-port are both 15001; change one",
            "with --include-uid or --include-cgroup other services share this machine, and connections from outside \
             have no owner: say which ports are this service's with --include-inbound-port PORT, or give \
             --inbound-mode off",
            "--include-outbound-port has no effect with --outbound-mode off: leave one of them out",
            "--exclude-outbound-port has no effect with --outbound-mode off: leave one of them out",
            "--exclude-outbound-port holds every port: give --outbound-mode off",
            "--exclude-outbound-cidr fd00::/8 has no effect with --ipv4-only: leave one of them out",
        ]
    );
    assert_eq!(
        wanted("--outbound-mode off --inbound-mode off --dns-mode off").unwrap_err(),
        ["--outbound-mode, --inbound-mode and --dns-mode are all off: nothing would be captured"]
    );
    assert_eq!(
        wanted("--sidecar-mark 0x3a9e --inbound-mode tproxy").unwrap_err(),
        [
            "--sidecar-mark 0x3a9e is 15006, the --inbound-port, which with --inbound-mode tproxy marks what is led to \
             this machine: everything the sidecar sends would be; give another mark"
        ]
    );
    wanted("--sidecar-mark 0x3a9e").unwrap();
    assert_eq!(
        wanted("--include-inbound-port 15000-15010").unwrap_err(),
        [
            "nothing tells the sidecar's own connections from the service's, so they would come back to it for ever: \
             give --sidecar-uid USER, the user the sidecar runs as (or --sidecar-gid, --sidecar-mark), or name the \
             service's user by --include-uid",
            "--include-inbound-port 15000-15010 holds 15000, the sidecar's own (--admin-port), which is never captured",
            "--include-inbound-port 15000-15010 holds 15001, the sidecar's own (--outbound-port), which is never \
             captured",
            "--include-inbound-port 15000-15010 holds 15006, the sidecar's own (--inbound-port), which is never \
             captured",
            "--include-inbound-port 15000-15010 holds 15008, the sidecar's own (--inbound-mtls-port), which is never \
             captured",
        ]
    );
}

#[test]
fn every_unknown_name_is_told_at_once_with_the_remedy() {
    assert_eq!(
        capture("--sidecar-uid mesh --sidecar-gid staff").unwrap_err(),
        [
            "--sidecar-uid mesh: this machine has no such user; make one with `useradd --system --no-create-home mesh`, \
             or give another name or a number",
            "--sidecar-gid staff: this machine has no such group; make one with `groupadd --system staff`, or give \
             another name or a number",
        ]
    );
    assert_eq!(
        capture("--include-uid web --sidecar-uid 1001 --inbound-mode off").unwrap_err(),
        [
            "--include-uid and --sidecar-uid name the same user, 1001: the service and its sidecar need different users"
        ]
    );
}

#[test]
fn a_comment_fits_into_what_nft_takes() {
    let flags = "--sidecar-uid 900 --inbound-mode tproxy --outbound-port 60001 --inbound-port 60003 --inbound-mtls-port \
                 60005 --metrics-port 60007 --admin-port 60009 --dns-port 60011";
    let about = plan(&capture(flags).unwrap()).about;
    assert!(about.len() <= 128, "{}: {about}", about.len());
}
