//! What is let in at one port of the application. The numbers are compiled on the control thread and immutable; what is
//! counted under them is shared by all workers and carried over when the numbers change.

use super::concurrency::{ConcurrencyLimit, Turn};
use super::rate::{Caller, LimitError, RateLimit};
use crate::refusal::Refusal;
use crate::route::RequestHead;
use mesh_names::Port;
use mesh_protocol::limits::PortLimits;
use std::collections::HashMap;
use std::sync::Arc;

/// By the application's port.
pub type InboundLimitsByPort = HashMap<Port, Arc<InboundLimits>>;

/// The limits of one port.
#[derive(Debug)]
pub struct InboundLimits {
    /// How much at once.
    pub concurrency: Option<ConcurrencyLimit>,
    /// How often: a request needs a token of each that fits it.
    pub rates: Vec<RateLimit>,
}

impl InboundLimits {
    /// Compiles the limits of all ports; of a port that is named twice the first count.
    ///
    /// # Errors
    /// The port, and [`LimitError`] with the first part that can't be used.
    pub fn compile(told: &[PortLimits]) -> Result<HashMap<Port, Self>, (Port, LimitError)> {
        let mut compiled = HashMap::new();
        for told in told {
            let limits = Self::of_port(told).map_err(|error| (told.port, error))?;
            compiled.entry(told.port).or_insert(limits);
        }
        Ok(compiled)
    }

    fn of_port(told: &PortLimits) -> Result<Self, LimitError> {
        Ok(Self {
            concurrency: told.concurrency.as_ref().map(ConcurrencyLimit::compile).transpose()?,
            rates: told.rate_limits.iter().map(RateLimit::compile).collect::<Result<_, _>>()?,
        })
    }

    /// What was counted under `before` counts under these.
    pub fn carry_over(&mut self, before: &Self) {
        if let (Some(now), Some(before)) = (&mut self.concurrency, &before.concurrency) {
            now.carry_over(before);
        }
        self.rates.iter_mut().for_each(|limit| limit.carry_over(&before.rates));
    }

    /// Lets a request in: its turn, where there is a limit of how many have one. The rate is asked first, so that what is
    /// too often does not wait.
    ///
    /// # Errors
    /// `rate_limited`, `concurrency_limit`, `concurrency_timeout`.
    pub(crate) async fn admit(
        &self,
        head: RequestHead<'_>,
        caller: Caller<'_>,
    ) -> Result<Option<Turn>, Refusal> {
        for limit in &self.rates {
            limit.take(head, caller)?;
        }
        match &self.concurrency {
            Some(limit) => limit.enter(caller.key, caller.name).await.map(Some),
            None => Ok(None),
        }
    }
}
