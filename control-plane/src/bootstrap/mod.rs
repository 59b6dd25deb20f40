//! How the process is set up: flags, environment and file, read once, and the data directory.
//!
//! Enters: the command line. Leaves: [`Settings`] and the locked [`DataDirectory`]. Never here: anything that runs; that
//! is `app`.

mod data_directory;
mod settings;

pub use data_directory::{DataDirectory, DataDirectoryError};
pub use settings::{Settings, StoreKind, settings};
