//! Who we are and whom we trust, swapped live. One writer (the room that renews certificates), any number of readers:
//! every handshake reads the current state, so nothing is rebuilt or reconnected by hand.

use crate::svid::Svid;
use crate::trust_bundle::TrustBundle;
use std::fmt;
use std::sync::Arc;
use tokio::sync::watch;

/// A handle on the current SVID and trust bundle. Clones share them.
#[derive(Clone)]
pub struct Identity {
    current: watch::Sender<Arc<Current>>,
}

/// One state of it. `generation` grows with every change; sessions made under an older one are forgotten, so that
/// nobody is resumed on a root that has been withdrawn or a certificate that has been replaced.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) svid: Option<Arc<Svid>>,
    pub(crate) trust_bundle: Arc<TrustBundle>,
    pub(crate) generation: u64,
}

impl Identity {
    /// Starts without an SVID: until [`Identity::set_svid`], handshakes that need one end with `NotReady`.
    pub fn new(trust_bundle: TrustBundle) -> Self {
        let current = Current { svid: None, trust_bundle: Arc::new(trust_bundle), generation: 0 };
        Self { current: watch::Sender::new(Arc::new(current)) }
    }

    /// Uses this SVID from the next handshake on. Running connections go on.
    pub fn set_svid(&self, svid: Svid) {
        self.change(|current| current.svid = Some(Arc::new(svid)));
    }

    /// Trusts this bundle, and nothing else, from the next handshake on. Running connections go on. Does nothing if it
    /// is the bundle in force.
    pub fn set_trust_bundle(&self, trust_bundle: TrustBundle) {
        if *self.now().trust_bundle != trust_bundle {
            self.change(|current| current.trust_bundle = Arc::new(trust_bundle));
        }
    }

    /// The SVID in use.
    pub fn svid(&self) -> Option<Arc<Svid>> {
        self.current.borrow().svid.clone()
    }

    /// The trust bundle in use.
    pub fn trust_bundle(&self) -> Arc<TrustBundle> {
        self.current.borrow().trust_bundle.clone()
    }

    /// Tells of changes: `changed().await` on the receiver returns after each; the value is how many there were.
    pub fn changed(&self) -> Changes {
        Changes(self.current.subscribe())
    }

    pub(crate) fn now(&self) -> Arc<Current> {
        self.current.borrow().clone()
    }

    fn change(&self, edit: impl FnOnce(&mut Current)) {
        self.current.send_modify(|current| {
            let mut next = Current::clone(current);
            edit(&mut next);
            next.generation += 1;
            *current = Arc::new(next);
        });
    }
}

/// Waits for changes of an [`Identity`].
#[derive(Debug)]
pub struct Changes(watch::Receiver<Arc<Current>>);

impl Changes {
    /// Returns at the next change since the last call, or never when the identity is gone.
    ///
    /// # Cancel safety
    /// Cancel safe: a change that was not seen is seen by the next call.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let current = self.now();
        f.debug_struct("Identity")
            .field("svid", &current.svid)
            .field("trust_bundle", &current.trust_bundle)
            .finish()
    }
}
