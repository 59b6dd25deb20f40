//! The kernel's tables through `nft` or iptables-nft: what of ours is there, putting it there, taking it away, putting
//! back what was there before. Enters: rulesets. Leaves: the kernel as they say, or as it was.

use super::failure::InterceptError;
use super::flags::BackendChoice;
use super::grammar::Instance;
use super::iptables::{self, Lines, TABLES, Table};
use super::marker::Marker;
use super::nft;
use super::programs::Program;
use super::ruleset::{Family, Ruleset};

/// A command that changes the kernel's tables.
#[derive(Debug, Clone)]
pub(super) enum Backend {
    /// `nft`.
    Nft(Program),
    /// iptables-nft, for each version of IP: how to save, how to restore.
    Iptables(Vec<(Family, Program, Program)>),
}

/// What is in the kernel of one instance.
#[derive(Debug, Clone)]
pub(super) enum Installed {
    /// As `nft list table` shows it; nothing if there is no table.
    Nft(Option<String>),
    /// As iptables-save shows it.
    Iptables(Vec<(Family, Table, Lines)>),
}

impl Installed {
    /// Whether nothing is there.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Nft(listing) => listing.is_none(),
            Self::Iptables(tables) => tables.iter().all(|(_, _, lines)| lines.is_empty()),
        }
    }

    /// What the rules say of themselves.
    pub(super) fn marker(&self) -> Option<Marker> {
        match self {
            Self::Nft(listing) => Marker::find(listing.as_deref()?),
            Self::Iptables(tables) => {
                tables.iter().flat_map(|(_, _, lines)| &lines.jumps).find_map(|jump| Marker::find(jump))
            }
        }
    }
}

const NONE_INSTALLED: &str = "neither `nft` nor iptables-nft is installed: install nftables (`apt-get install nftables`, \
                              `dnf install nftables`, `apk add nftables`)";

impl Backend {
    /// The one asked for.
    ///
    /// # Errors
    /// It is not installed: with how to install it.
    pub(super) fn choose(choice: BackendChoice) -> Result<Self, InterceptError> {
        let missing = |what: &str| InterceptError::NoProgram(what.to_owned());
        match choice {
            BackendChoice::Nft => Self::nft().ok_or_else(|| {
                missing(
                    "--backend nft: `nft` is not installed: install nftables (`apt-get install nftables`, `dnf install \
                     nftables`, `apk add nftables`)",
                )
            }),
            BackendChoice::Iptables => Self::iptables().ok_or_else(|| {
                missing(
                    "--backend iptables: iptables-restore and ip6tables-restore are not installed: install iptables \
                     (`apt-get install iptables`, `dnf install iptables-nft`)",
                )
            }),
            BackendChoice::Auto => {
                Self::nft().or_else(Self::iptables).ok_or_else(|| missing(NONE_INSTALLED))
            }
        }
    }

    fn nft() -> Option<Self> {
        Program::find("nft").map(Self::Nft)
    }

    /// Where the alternative `iptables` is the legacy one, the names with `nft` are still iptables-nft.
    fn iptables() -> Option<Self> {
        let find = |names: [&'static str; 2]| names.into_iter().find_map(Program::find);
        let v4 = (
            Family::V4,
            find(["iptables-nft-save", "iptables-save"])?,
            find(["iptables-nft-restore", "iptables-restore"])?,
        );
        let v6 = (
            Family::V6,
            find(["ip6tables-nft-save", "ip6tables-save"])?,
            find(["ip6tables-nft-restore", "ip6tables-restore"])?,
        );
        Some(Self::Iptables(vec![v4, v6]))
    }

    /// What is there of an instance.
    ///
    /// # Errors
    /// The command fails.
    pub(super) fn installed(&self, instance: &Instance) -> Result<Installed, InterceptError> {
        match self {
            Self::Nft(nft) => {
                let table = instance.table();
                let tables = nft.run(&["list", "tables", "inet"])?;
                let is_there = tables.lines().any(|line| line.trim() == format!("table inet {table}"));
                let listing = is_there.then(|| nft.run(&["list", "table", "inet", &table])).transpose()?;
                Ok(Installed::Nft(listing))
            }
            Self::Iptables(versions) => {
                let mut tables = Vec::new();
                for (family, save, _) in versions {
                    for table in TABLES {
                        let saved = save.run(&["-t", table.name()])?;
                        tables.push((*family, table, Lines::find(instance, &saved)));
                    }
                }
                Ok(Installed::Iptables(tables))
            }
        }
    }

    /// The other instances, with what their rules say of themselves.
    ///
    /// # Errors
    /// The command fails.
    pub(super) fn others(&self, own: &Instance) -> Result<Vec<(Instance, Marker)>, InterceptError> {
        let mut instances: Vec<Instance> = match self {
            Self::Nft(nft) => {
                let tables = nft.run(&["list", "tables", "inet"])?;
                let names = tables.lines().filter_map(|line| line.trim().strip_prefix("table inet "));
                names.filter_map(Instance::of_table).collect()
            }
            Self::Iptables(versions) => {
                let mut instances = Vec::new();
                for (_, save, _) in versions {
                    let saved = save.run(&[])?;
                    let chains = saved.lines().filter_map(|line| line.strip_prefix(':')?.split(' ').next());
                    instances.extend(chains.filter_map(iptables::instance_of));
                }
                instances
            }
        };
        instances.sort();
        instances.dedup();
        let mut others = Vec::new();
        for instance in instances.into_iter().filter(|instance| instance != own) {
            if let Some(marker) = self.installed(&instance)?.marker() {
                others.push((instance, marker));
            }
        }
        Ok(others)
    }

    /// Puts a ruleset there in the place of what `before` found.
    ///
    /// # Errors
    /// The command fails. With `nft` nothing has changed then; with iptables, a table may have.
    pub(super) fn install(&self, ruleset: &Ruleset, before: &Installed) -> Result<(), InterceptError> {
        match self {
            Self::Nft(nft) => nft.feed(&["-f", "-"], &nft::install(ruleset)).map(drop),
            Self::Iptables(_) => self.replace(before, |table, family| Lines::of(ruleset, table, family)),
        }
    }

    /// Removes what `now` found.
    ///
    /// # Errors
    /// The command fails.
    pub(super) fn remove(&self, instance: &Instance, now: &Installed) -> Result<(), InterceptError> {
        match self {
            Self::Nft(nft) => nft.feed(&["-f", "-"], &nft::remove(instance)).map(drop),
            Self::Iptables(_) => self.replace(now, |_, _| Lines::default()),
        }
    }

    /// Puts back what was there `before`.
    ///
    /// # Errors
    /// The command fails.
    pub(super) fn restore(&self, instance: &Instance, before: &Installed) -> Result<(), InterceptError> {
        match (self, before) {
            (Self::Nft(nft), Installed::Nft(Some(listing))) => {
                nft.feed(&["-f", "-"], &(nft::remove(instance) + listing)).map(drop)
            }
            (Self::Nft(_), _) => self.remove(instance, before),
            (Self::Iptables(_), _) => {
                let now = self.installed(instance)?;
                self.replace(&now, |table, family| before_lines(before, table, family))
            }
        }
    }

    fn replace(
        &self,
        before: &Installed,
        lines: impl Fn(Table, Family) -> Lines,
    ) -> Result<(), InterceptError> {
        let Self::Iptables(versions) = self else { return Ok(()) };
        for (family, _, restore) in versions {
            for table in TABLES {
                let text = lines(table, *family).replacing(&before_lines(before, table, *family), table);
                if !text.is_empty() {
                    restore.feed(&["--noflush"], &text)?;
                }
            }
        }
        Ok(())
    }
}

fn before_lines(before: &Installed, table: Table, family: Family) -> Lines {
    match before {
        Installed::Nft(_) => Lines::default(),
        Installed::Iptables(tables) => tables
            .iter()
            .find(|(f, t, _)| (*f, *t) == (family, table))
            .map(|(_, _, lines)| lines.clone())
            .unwrap_or_default(),
    }
}
