//! A process's life: signals, drain, supervised tasks, readiness, logging, metrics exposition, settings.
//!
//! Both binaries are governed by the same few parts, so that operators meet one set of habits:
//!
//! ```text
//! settings::parse ─> logging::init ─> signals() ─> Tasks + Drain + Readiness ─> exposition::serve
//!    flags, env, file    stderr        SIGTERM       who runs, who must stop      /metrics /readyz /livez
//! ```
//!
//! Enters: command line, environment, signals. Leaves: settings, a drain signal, answers to operators.
//! Never here: anything about a mesh, a request or a manifest.

mod drain;
pub mod exposition;
pub mod file;
pub mod logging;
mod process_metrics;
mod readiness;
pub mod settings;
mod signals;
mod supervisor;
mod tasks;

pub use drain::{Drain, DrainSignal, Phase};
pub use process_metrics::register_process_metrics;
pub use readiness::{Condition, Readiness};
pub use signals::{Signals, Stop, signals};
pub use supervisor::{Invitation, Supervisor, Word};
pub use tasks::Tasks;
