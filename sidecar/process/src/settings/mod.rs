//! One way to set a process up: flags over environment over a YAML file over defaults.
//!
//! Enters: a clap `Parser` whose (sub)command may have a `--config FILE` flag. Leaves: the parsed value, or every
//! problem of the file at once with its line. Never here: which settings there are; those are the fields of the parser.
//!
//! Nothing is declared twice. Each flag `--api-addr` is by itself also the environment variable `OUTRIGGER_API_ADDR`
//! and the key `apiAddr` in the file. The file's values are handed to clap as defaults, so the precedence and the
//! checking of values are clap's own. A flag that may be repeated takes a list in the file, and a comma-separated
//! list in the environment; a list given at a higher place replaces the lower one.

mod yaml;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, Parser};
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What every variable's name begins with.
const PREFIX: &str = "OUTRIGGER_";

/// The flag that names the file. The flag itself cannot stand in the file.
const CONFIG: &str = "config";

/// Why the settings cannot be used.
#[derive(Debug)]
pub enum SettingsError {
    /// The command line or the environment is wrong, or help was asked for.
    Usage(clap::Error),
    /// The file is wrong.
    File(FileProblems),
}

/// Everything that is wrong in a settings file, in the order of its lines.
#[derive(Debug, PartialEq, Eq)]
pub struct FileProblems(Vec<String>);

impl SettingsError {
    /// Tells the user and ends the process: 0 after help, 2 otherwise.
    pub fn exit(self) -> ! {
        match self {
            Self::Usage(error) => error.exit(),
            Self::File(problems) => {
                // When standard error is closed there is nobody left to tell.
                drop(writeln!(io::stderr(), "{problems}"));
                std::process::exit(2)
            }
        }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(error) => error.fmt(f),
            Self::File(problems) => problems.fmt(f),
        }
    }
}

impl std::error::Error for SettingsError {}

impl fmt::Display for FileProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

/// Reads the settings from `arguments` (with the program's name first), the environment, and the file they name.
///
/// # Errors
/// When any of them is wrong, or help was asked for: the caller usually calls [`SettingsError::exit`].
pub fn parse<P: Parser>(arguments: impl IntoIterator<Item = OsString>) -> Result<P, SettingsError> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let command = with_environment(P::command());
    // What is missing on the command line may stand in the file, so the first look only asks for the file's name.
    let glance = command.clone().ignore_errors(true).try_get_matches_from(&arguments);
    let glance = glance.map_err(SettingsError::Usage)?;
    let command = match config_path(&command, &glance) {
        None => command,
        Some((subcommands, path)) => with_file_at(command, &subcommands, &path)?,
    };
    let mut command = command;
    let mut matches = command.try_get_matches_from_mut(&arguments).map_err(SettingsError::Usage)?;
    P::from_arg_matches_mut(&mut matches).map_err(|error| SettingsError::Usage(error.format(&mut command)))
}

/// Where `--config` was given: on the command itself, or on the subcommand chosen by these words.
fn config_path(command: &Command, matches: &ArgMatches) -> Option<(Vec<String>, PathBuf)> {
    if command.get_arguments().any(|arg| arg.get_id() == CONFIG)
        && let Some(path) = matches.try_get_one::<PathBuf>(CONFIG).ok().flatten()
    {
        return Some((Vec::new(), path.clone()));
    }
    let (name, matches) = matches.subcommand()?;
    let (mut subcommands, path) = config_path(command.find_subcommand(name)?, matches)?;
    subcommands.insert(0, name.to_owned());
    Some((subcommands, path))
}

/// The command whose subcommand, chosen by these words, has the file's values as defaults.
fn with_file_at(command: Command, subcommands: &[String], path: &Path) -> Result<Command, SettingsError> {
    let Some((name, rest)) = subcommands.split_first() else { return with_file(command, path) };
    let inner = command.find_subcommand(name).cloned().unwrap_or_default();
    let inner = with_file_at(inner, rest, path)?;
    Ok(command.mut_subcommand(name, |_| inner))
}

fn with_environment(command: Command) -> Command {
    let command = command.mut_subcommands(with_environment);
    command.mut_args(|arg| {
        let Some(long) = arg.get_long().filter(|long| !matches!(*long, "help" | "version")) else {
            return arg;
        };
        let variable = format!("{PREFIX}{}", long.replace('-', "_").to_uppercase());
        let arg = if arg.get_env().is_none() { arg.env(variable) } else { arg };
        if is_list(&arg) { arg.value_delimiter(',') } else { arg }
    })
}

/// The command with the file's values as defaults.
fn with_file(command: Command, path: &Path) -> Result<Command, SettingsError> {
    let failed = |problem: String| SettingsError::File(FileProblems(vec![problem]));
    let text = std::fs::read_to_string(path)
        .map_err(|error| failed(format!("{}: cannot read the settings file: {error}", path.display())))?;
    let entries = yaml::entries(&text).map_err(|problem| failed(format!("{}:{problem}", path.display())))?;
    let mut command = command;
    let mut problems = Vec::new();
    for entry in entries {
        match accept(&command, &entry) {
            Ok(id) => {
                command = command.mut_arg(id, |arg| arg.default_values(entry.values).required(false));
            }
            Err(problem) => problems.push(format!("{}:{}: {problem}", path.display(), entry.line)),
        }
    }
    if problems.is_empty() { Ok(command) } else { Err(SettingsError::File(FileProblems(problems))) }
}

/// The flag this entry sets, if it may.
fn accept(command: &Command, entry: &yaml::Entry) -> Result<clap::Id, String> {
    let key = &entry.key;
    let settable =
        |arg: &&Arg| arg.get_long().is_some_and(|long| !matches!(long, "help" | "version" | CONFIG));
    let Some(arg) = command.get_arguments().filter(settable).find(|arg| key_of(arg) == *key) else {
        let mut known: Vec<String> = command.get_arguments().filter(settable).map(key_of).collect();
        known.sort_unstable();
        return Err(format!("`{key}` is not a setting; the settings are {}", known.join(", ")));
    };
    if entry.is_list && !is_list(arg) {
        return Err(format!("`{key}` takes one value, not a list"));
    }
    // Checked alone and by the flag's own parser, so that one wrong value does not hide the next.
    let alone = Arg::new(arg.get_id().clone())
        .long("value")
        .value_parser(arg.get_value_parser().clone())
        .action(arg.get_action().clone())
        .default_values(&entry.values);
    match Command::new("file").no_binary_name(true).arg(alone).try_get_matches_from([""; 0]) {
        Ok(_) => Ok(arg.get_id().clone()),
        Err(error) => Err(describe(key, &error)),
    }
}

fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// `api-addr` as it is written in the file: `apiAddr`.
fn key_of(arg: &Arg) -> String {
    let mut words = arg.get_long().unwrap_or_default().split('-');
    let mut key = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        key.extend(letters.next().into_iter().flat_map(char::to_uppercase));
        key.push_str(letters.as_str());
    }
    key
}

fn describe(key: &str, error: &clap::Error) -> String {
    use clap::error::{ContextKind, ContextValue};
    let found = error.get(ContextKind::InvalidValue).map(ToString::to_string).unwrap_or_default();
    match (error.kind(), std::error::Error::source(error), error.get(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, _, Some(ContextValue::Strings(valid))) => {
            format!("`{key}` cannot be `{found}`; it is one of {}", valid.join(", "))
        }
        (_, Some(source), _) => format!("`{key}` cannot be `{found}`: {source}"),
        (_, None, _) => format!("`{key}` cannot be `{found}`"),
    }
}

#[cfg(test)]
mod tests;
