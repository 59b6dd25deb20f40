//! The process's settings: read once, before anything starts. Enters: command line, environment, the `--config` file,
//! and the machine around. Leaves: [`Settings`] that cannot be wrong, and [`State`], the directory this process alone uses;
//! or one clear message. Nowhere else are flags or environment looked at.

mod flags;
mod grammar;
mod settings;
mod state;

pub use flags::InboundMode;
pub use grammar::{
    ControlPlane, ControlPlanes, DnsAddress, DnsServer, GrammarError, Host, Inbound, Upstream, User,
};
pub use settings::{AccessLog, Problems, Settings, Start, Surroundings};
pub(crate) use state::narrow;
pub use state::{State, StateError};

use crate::command::{self, Command};
use crate::intercept;
use flags::{CommandLine, LaunchFlags, Verb};
use mesh_process::settings::SettingsError;
use std::ffi::OsString;
use std::fmt;
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Why there are no settings.
#[derive(Debug)]
pub enum UsageError {
    /// A flag, a variable or the file is wrong by itself, or help was asked for.
    Settings(SettingsError),
    /// The flags don't go together.
    Problems(Problems),
}

impl UsageError {
    /// Tells the user and ends the process: 0 after help, 2 otherwise.
    pub fn exit(self) -> ! {
        match self {
            Self::Settings(error) => error.exit(),
            Self::Problems(problems) => {
                // When standard error is closed there is nobody left to tell.
                drop(writeln!(std::io::stderr(), "{problems}"));
                std::process::exit(2)
            }
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Problems(problems) => problems.fmt(f),
        }
    }
}

impl std::error::Error for UsageError {}

/// What the process is asked to do.
#[derive(Debug)]
pub enum Order {
    /// `sidecar run`.
    Run(Box<Settings>),
    /// `sidecar intercept`.
    Intercept(intercept::Request),
    /// `sidecar launch`.
    Launch(command::Order),
}

/// Reads what is asked for, with its settings.
///
/// # Errors
/// [`UsageError`]: wrong usage, with everything that is wrong.
pub fn order(
    arguments: impl IntoIterator<Item = OsString>,
    around: &Surroundings,
) -> Result<Order, UsageError> {
    let line: CommandLine = mesh_process::settings::parse(arguments).map_err(UsageError::Settings)?;
    match line.verb {
        Verb::Run(flags) => Settings::of_flags(*flags, around).map(|settings| Order::Run(Box::new(settings))),
        Verb::Intercept(verb) => {
            intercept::Request::of_verb(verb).map(Order::Intercept).map_err(Problems::new)
        }
        Verb::Launch(flags) => launch_order(flags).map(Order::Launch),
    }
    .map_err(UsageError::Problems)
}

fn launch_order(flags: LaunchFlags) -> Result<command::Order, Problems> {
    let command = Command::of_words(flags.command)
        .ok_or_else(|| Problems::new(vec!["no COMMAND to start".to_owned()]))?;
    Ok(command::Order {
        uid: flags.user_id,
        gid: flags.group_id,
        further_groups: flags.further_group_id,
        when: if flags.at_once { command::When::AtOnce } else { command::When::Told },
        command,
    })
}

impl Surroundings {
    /// Looks around. Without `/proc` this process is taken not to be root's.
    pub fn look() -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            root: std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0),
            state_home: path("XDG_STATE_HOME"),
            home: path("HOME"),
            cores: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        }
    }
}

#[cfg(test)]
mod tests;
