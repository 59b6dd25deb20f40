//! What operators see of the names of places outside of the mesh: look-ups by result, how many names are held, and how
//! old the oldest answer is that is used although it has run out. No label is a name: some come from what clients send.

use super::requests::counter;
use crate::resolve::Answer;
use prometheus::{Gauge, IntCounterVec, IntGauge, Registry};
use std::time::Duration;

/// The families of names outside. Clones are handles of the same.
#[derive(Debug, Clone)]
pub struct ResolveMetrics {
    lookups: IntCounterVec,
    names: IntGauge,
    stale: Gauge,
}

impl ResolveMetrics {
    /// Registers the families.
    ///
    /// # Errors
    /// When one of the names is taken in `registry`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let names = IntGauge::new(
            "outrigger_external_names",
            "Names of ExternalServices held; moves when one is asked for or let go.",
        )?;
        let stale = Gauge::new(
            "outrigger_external_name_stale_seconds",
            "For how long the oldest addresses in use should have been renewed; 0 while DNS answers.",
        )?;
        registry.register(Box::new(names.clone()))?;
        registry.register(Box::new(stale.clone()))?;
        let lookups = counter(
            registry,
            "outrigger_external_name_lookups_total",
            "Names of ExternalServices looked up by DNS, by result: `ok`, `none` (no such name) or `failed`.",
            &["result"],
        )?;
        Ok(Self { lookups, names, stale })
    }

    pub(crate) fn looked_up(&self, answer: &Answer) {
        let result = match answer {
            Answer::Addresses(..) => "ok",
            Answer::None(_) => "none",
            Answer::Failed(_) => "failed",
        };
        self.lookups.with_label_values(&[result]).inc();
    }

    pub(crate) fn state(&self, names: usize, stalest: Duration) {
        self.names.set(i64::try_from(names).unwrap_or(i64::MAX));
        self.stale.set(stalest.as_secs_f64());
    }
}
