//! When an HTTP/1 connection is closed, or one that has said nothing yet, though nothing is wrong with it. Enters: the
//! drain of its side, and whether another process has taken over. Leaves: the moment from which it may be closed. Never
//! here: the closing.
//!
//! ```text
//! drain ─┬─ this process ends: nobody will take requests here any more ──────> at once
//!        └─ another has taken over: the client should not notice anything ──> once the connection is quiet
//! ```
//! HTTP/2 needs none of this: its GOAWAY names the last request that is served.

use crate::listen::activity::Activity;
use mesh_process::DrainSignal;

/// The drain of one side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closing<'a> {
    drain: &'a DrainSignal,
    handed_over: &'a DrainSignal,
}

impl<'a> Closing<'a> {
    pub(super) fn new(drain: &'a DrainSignal, handed_over: &'a DrainSignal) -> Self {
        Self { drain, handed_over }
    }

    /// Whether connections are being closed.
    pub(crate) fn has_begun(self) -> bool {
        self.drain.is_draining()
    }

    /// Waits until the connection with this activity may be closed, if nothing runs on it.
    ///
    /// # Cancel safety
    /// Safe; the wait for quiet begins anew.
    pub(crate) async fn idle(self, activity: &Activity) {
        self.drain.draining().await;
        if self.handed_over.is_draining() {
            activity.quiet().await;
        }
    }
}
