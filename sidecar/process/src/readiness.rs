//! Is this process fit for work? A set of named conditions, all of which must hold.
//!
//! Enters: conditions set by the parts that own them. Leaves: the names of those that do not hold, for `/readyz` and
//! for whoever waits. Never here: liveness, which is answering at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// The process's conditions. Clones see the same set. Without conditions the process is ready.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<BTreeMap<&'static str, bool>>>);

/// One condition, owned by the part that can judge it. It starts as not holding.
#[derive(Debug, Clone)]
pub struct Condition {
    name: &'static str,
    all: Readiness,
}

impl Readiness {
    /// A process without conditions yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }

    /// Adds a condition that does not hold yet. The name is shown to operators: `certificate`, `configuration`.
    pub fn condition(&self, name: &'static str) -> Condition {
        self.0.send_modify(|conditions| {
            conditions.insert(name, false);
        });
        Condition { name, all: self.clone() }
    }

    /// The names of the conditions that do not hold, in order of name. Empty means ready.
    pub fn missing(&self) -> Vec<&'static str> {
        self.0.borrow().iter().filter(|(_, holds)| !**holds).map(|(name, _)| *name).collect()
    }

    /// Whether all conditions hold.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().values().all(|holds| *holds)
    }

    /// Waits until all conditions hold.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost when the future is dropped.
    pub async fn ready(&self) {
        let mut receiver = self.0.subscribe();
        if receiver.wait_for(|conditions| conditions.values().all(|holds| *holds)).await.is_err() {
            // The sender lives as long as `self`.
            std::future::pending::<()>().await;
        }
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Condition {
    /// Says whether the condition holds.
    pub fn set(&self, holds: bool) {
        self.all.0.send_if_modified(|conditions| conditions.insert(self.name, holds) != Some(holds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_every_condition_holds_and_not_before() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready(), "no conditions, nothing missing");
        let certificate = readiness.condition("certificate");
        let configuration = readiness.condition("configuration");
        assert_eq!(readiness.missing(), ["certificate", "configuration"]);
        certificate.set(true);
        assert_eq!(readiness.missing(), ["configuration"]);
        tokio::join!(readiness.ready(), async { configuration.set(true) });
        assert!(readiness.is_ready());
        certificate.set(false);
        assert_eq!(readiness.missing(), ["certificate"]);
    }
}
