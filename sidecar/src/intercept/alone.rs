//! One change of a network namespace's rules at a time: two installations that begin at once, as at boot, take turns.

use super::failure::InterceptError;
use std::fs::File;

/// The namespace itself is what is locked, so that no file is left behind and other namespaces are not kept waiting.
const NAMESPACE: &str = "/proc/self/ns/net";

/// Held while the rules are read, changed and probed; dropping it lets the next one in.
#[derive(Debug)]
pub(super) struct Turn {
    /// Locked until it is closed.
    _namespace: File,
}

/// Waits for this process's turn: until the one before has ended, which it does by its own timeouts.
///
/// # Errors
/// There is no `/proc`, or it can't be locked.
pub(super) fn turn() -> Result<Turn, InterceptError> {
    let failed = |error: std::io::Error| InterceptError::Program {
        what: format!("locking {NAMESPACE}, so that no other installation runs at the same time,"),
        said: error.to_string(),
    };
    let namespace = File::open(NAMESPACE).map_err(failed)?;
    namespace.lock().map_err(failed)?;
    Ok(Turn { _namespace: namespace })
}
