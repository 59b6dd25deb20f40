//! Keeps the certificate fresh: gets the first one, then a new one from half of each one's life, for as long as the
//! process runs. A failure is logged, counted and tried again with backoff; what is in force stays in force.
//!
//! ```text
//! none ──sign (token)──> in force ──half-life + jitter──> due ──sign (certificate)──> in force …
//!                                                          └─ failed ─ backoff 1 s … 60 s ─┘   refused: the token next
//! ```

use crate::backoff::{Backoff, random};
use crate::identity::authority::{Authority, Shown, SignError, Signed};
use crate::identity::schedule;
use crate::identity::stored::Store;
use crate::telemetry::IdentityMetrics;
use mesh_mtls::{Identity, Svid};
use std::future::Future;
use std::time::{Duration, SystemTime};

/// The first wait after a failure.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// The longest: the half of a certificate's life that is left has room for hundreds of tries.
const RETRY_MOST: Duration = Duration::from_secs(60);
/// A certificate that is valid from so much later than now, or more, is one of a clock that was set back. Less is how far
/// two machines' clocks may be apart.
const SET_BACK: Duration = Duration::from_secs(5 * 60);
/// Longest sleep before the clock on the wall is looked at again: it may be set, and machines are suspended.
const LOOK: Duration = Duration::from_secs(60);

/// Whoever signs: the certificate authority, or a test.
pub(crate) trait Signer {
    /// Gets a new certificate.
    fn sign(
        &self,
        identity: &Identity,
        show: Shown,
        now: SystemTime,
    ) -> impl Future<Output = Result<Signed, SignError>>;
}

impl Signer for Authority {
    async fn sign(&self, identity: &Identity, show: Shown, now: SystemTime) -> Result<Signed, SignError> {
        Self::sign(self, identity, show, now).await
    }
}

/// Owns the certificate's renewal.
#[derive(Debug)]
pub(crate) struct Renewal<S, C> {
    pub(crate) signer: S,
    pub(crate) identity: Identity,
    pub(crate) store: Store,
    pub(crate) metrics: IdentityMetrics,
    /// What the clock on the wall says.
    pub(crate) clock: C,
}

impl<S: Signer, C: Fn() -> SystemTime> Renewal<S, C> {
    /// Gets the first certificate. Waits for a control plane that is not there yet.
    ///
    /// # Errors
    /// [`SignError`] when waiting is of no use: a token that can't be read, or that the control plane refuses.
    pub(crate) async fn first(&self) -> Result<(), SignError> {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        loop {
            match self.attempt(Shown::Token).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => {
                    let wait = backoff.after_failure(random());
                    tracing::warn!(%error, retry_in_ms = wait.as_millis(), "no certificate yet");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    /// Renews for ever. Ends with the future.
    pub(crate) async fn run(&self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MOST);
        let mut show = Shown::Certificate;
        loop {
            if let Some(svid) = self.identity.svid() {
                let due = schedule::due(svid.not_before(), svid.not_after(), random());
                self.until(due, svid.not_before()).await;
            }
            while let Err(error) = self.attempt(show).await {
                let refused = matches!(error, SignError::Refused { shown: Shown::Certificate, .. });
                show = if refused { Shown::Token } else { Shown::Certificate };
                let wait = backoff.after_failure(random());
                tracing::warn!(%error, retry_in_ms = wait.as_millis(), "the certificate was not renewed");
                tokio::time::sleep(wait).await;
            }
            show = Shown::Certificate;
            backoff.reset();
        }
    }

    /// Puts an SVID in force that was kept on disk.
    pub(crate) fn resume(&self, svid: Svid) {
        self.metrics.in_force(svid.not_after());
        self.identity.set_svid(svid);
    }

    async fn attempt(&self, show: Shown) -> Result<(), SignError> {
        let signed = self.signer.sign(&self.identity, show, (self.clock)()).await;
        self.metrics.renewed(signed.is_ok());
        let Signed { svid, trust_bundle } = signed?;
        if let Err(error) = self.store.save(&svid) {
            // It is in force all the same; only a restart with the control plane away would miss it.
            tracing::error!(%error, "the certificate cannot be kept in the state directory");
        }
        if let Some(bundle) = trust_bundle {
            self.identity.set_trust_bundle(bundle);
        }
        let life = svid.not_after().duration_since((self.clock)()).unwrap_or_default();
        tracing::info!(identity = %svid.spiffe_id(), valid_for_s = life.as_secs(), "certificate in force");
        self.metrics.in_force(svid.not_after());
        self.identity.set_svid(svid);
        Ok(())
    }

    /// Waits until a certificate that is valid from then is due, or the clock was set back to before it: nobody takes it
    /// for valid then.
    async fn until(&self, due: SystemTime, valid_from: SystemTime) {
        while let Ok(left) = due.duration_since((self.clock)()) {
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(LOOK)).await;
            if valid_from.duration_since((self.clock)()).is_ok_and(|early| early > SET_BACK) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
