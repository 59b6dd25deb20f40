//! Transparent capture: rules in the kernel that lead a service's traffic to its sidecar, without the service knowing.
//!
//! ```text
//! flags ─> wanted (do they go together?) ─> capture (who is that user?) ─> plan ─> ruleset ─> nft or iptables text
//!                                                                                    │
//!                                                                                    └─> fate: what it does to a packet
//! install:  conflicts ─> rules in, in one transaction ─> probe connections ─> or everything as it was
//! guard:    with --fail-open: rules in while the sidecar carries traffic, out while it can't
//! ```
//!
//! All up to the text is pure. Only [`backend`] and [`route`] change anything outside the process, and only what is this
//! instance's: a table of its own, and with TPROXY a routing rule of its own. Nothing here carries traffic: captured
//! connections are accepted by the workers, and ask [`crate::listen::original_dst`] where they were going.

mod accounts;
mod alone;
mod backend;
mod capture;
mod conflicts;
mod failure;
mod fate;
pub(crate) mod flags;
mod grammar;
mod guard;
mod install;
mod installation;
mod iptables;
mod marker;
mod nft;
mod plan;
mod probe;
mod programs;
mod route;
mod ruleset;
mod wanted;

pub(crate) use accounts::{further_groups, group, user};
pub use failure::InterceptError;
pub use flags::{CaptureFlags, InstallFlags, ProbeFlags, UninstallFlags, Verb};
pub use grammar::{Account, Mark};
pub use install::run;
pub(crate) use probe::is_probe;
pub use wanted::Wanted;

/// What `sidecar intercept` is to do, with flags that go together.
#[derive(Debug)]
pub enum Request {
    /// Put the rules there, and probe them unless told not to.
    Install(Box<Wanted>, Verification),
    /// The same, and then have them there only while the sidecar carries traffic.
    Guard(Box<Wanted>, Verification),
    /// Take them away.
    Uninstall(UninstallFlags),
    /// Show them.
    Print(Box<Wanted>),
    /// Probe them.
    Verify(Box<Wanted>),
    /// Be a probe.
    Probe(ProbeFlags),
}

/// Whether `install` opens probe connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verification {
    /// It does, and undoes what it did if one fails.
    On,
    /// It does not.
    Off,
}

impl Request {
    /// Checks the flags against each other.
    ///
    /// # Errors
    /// One sentence for each problem.
    pub fn of_verb(verb: Verb) -> Result<Self, Vec<String>> {
        let wanted = |flags: CaptureFlags| Wanted::of_flags(flags).map(Box::new);
        match verb {
            Verb::Install(flags) => {
                let verification = if flags.no_verify { Verification::Off } else { Verification::On };
                let request = if flags.fail_open { Self::Guard } else { Self::Install };
                Ok(request(wanted(flags.capture)?, verification))
            }
            Verb::Uninstall(flags) => Ok(Self::Uninstall(flags)),
            Verb::Print(flags) => wanted(*flags).map(Self::Print),
            Verb::Verify(flags) => wanted(*flags).map(Self::Verify),
            Verb::Probe(flags) => Ok(Self::Probe(flags)),
        }
    }
}

#[cfg(test)]
mod tests;
