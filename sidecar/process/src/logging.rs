//! Logs on standard error, as text or as JSON lines, with a level that can change while the process runs.
//!
//! Enters: tracing events. Leaves: one line each on standard error; standard output stays free for what a program
//! prints for its caller. Never here: log files and rotation, which are the supervisor's work.

use std::fmt;
use std::str::FromStr;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt as lines, reload};

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people: `2026-01-02T03:04:05Z INFO target: message field=value`.
    #[default]
    Text,
    /// For log pipelines: one JSON object per line, fields at the top level.
    Json,
}

impl FromStr for Format {
    type Err = LoggingError;
    fn from_str(text: &str) -> Result<Self, LoggingError> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LoggingError::Format(other.to_owned())),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Why logging could not start or its level not change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoggingError {
    /// The format has another name.
    #[error("`{0}` is not a log format; it is `text` or `json`")]
    Format(String),
    /// The level does not parse.
    #[error(
        "`{text}` is not a log level: write error, warn, info, debug or trace, or per module `info,sidecar::pool=debug`"
    )]
    Level {
        /// What was given.
        text: String,
    },
    /// Another subscriber is installed already.
    #[error("logging was started twice")]
    Twice(#[from] TryInitError),
    /// The subscriber is gone: the process is ending.
    #[error("logging has ended")]
    Gone(#[from] reload::Error),
}

/// The right to change the level while the process runs.
#[derive(Clone)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// Changes the level: `debug`, or per module `info,sidecar::pool=debug`.
    ///
    /// # Errors
    /// When the text is not a level; the level in force stays.
    pub fn set(&self, level: &str) -> Result<(), LoggingError> {
        let targets = parse(level)?;
        self.0.reload(targets).map_err(LoggingError::from)
    }

    /// The level in force, as it would be written.
    pub fn level(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }
}

impl fmt::Debug for LevelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LevelHandle").field(&self.level()).finish()
    }
}

/// Starts logging for the whole process.
///
/// # Errors
/// When the level does not parse, or logging was started before.
pub fn init(format: Format, level: &str) -> Result<LevelHandle, LoggingError> {
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let writer = std::io::stderr;
    let layer = match format {
        Format::Text => lines::layer().with_writer(writer).with_ansi(false).boxed(),
        Format::Json => {
            lines::layer().json().flatten_event(true).with_span_list(false).with_writer(writer).boxed()
        }
    };
    tracing_subscriber::registry().with(filter).with(layer).try_init()?;
    Ok(LevelHandle(handle))
}

/// The text itself if [`init`] will take it as a level, so that a wrong one is found with the other flags.
///
/// # Errors
/// When it is not a level.
pub fn checked_level(text: &str) -> Result<String, LoggingError> {
    parse(text).map(|_| text.to_owned())
}

fn parse(level: &str) -> Result<Targets, LoggingError> {
    let wrong = || LoggingError::Level { text: level.to_owned() };
    // A word alone would be taken for a module, all of which is to be logged: a level with a typo floods the log.
    let is_whole = |part: &str| part.contains('=') || !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    if !level.split(',').all(is_whole) {
        return Err(wrong());
    }
    level.parse().map_err(|_unclear| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_name_or_a_list_by_module() {
        assert_eq!(parse("info").map(|targets| targets.to_string()).ok().as_deref(), Some("info"));
        assert!(parse("warn,sidecar::pool=trace").is_ok());
        for wrong in ["loud", "warn,pool=loud", "warn,pool", ""] {
            let problem = parse(wrong).expect_err(wrong).to_string();
            assert!(problem.starts_with(&format!("`{wrong}` is not a log level")), "{problem}");
        }
    }

    #[test]
    fn the_level_changes_while_running_and_a_bad_one_changes_nothing() {
        let handle = init(Format::Json, "warn").expect("the only test that starts logging");
        assert!(!tracing::enabled!(tracing::Level::INFO));
        handle.set("debug").expect("debug is a level");
        assert!(tracing::enabled!(tracing::Level::DEBUG));
        assert!(handle.set("a=b=c").is_err());
        assert_eq!(handle.level(), "debug");
    }
}
