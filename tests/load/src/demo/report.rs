//! What the demo found: figures, and the claims it makes with what was seen for each.

use super::observe::{Conversation, Route};
use crate::generator::report::Report as LoadReport;
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;

/// The outcome of a demo run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether every claim held.
    pub held: bool,
    /// How long traffic ran.
    pub seconds: u64,
    /// Requests that were sent, HTTP and TCP lines together.
    pub requests: u64,
    /// Requests without the right answer.
    pub failures: u64,
    /// The first failures, in words.
    pub failure_examples: Vec<String>,
    /// Attempts that sidecars made again.
    pub retries: u64,
    /// Answers by version of the greeter, in each phase.
    pub split: Vec<Phase>,
    /// Answers by instance.
    pub endpoints: BTreeMap<String, u64>,
    /// Who talked to whom.
    pub identities: Vec<Conversation>,
    /// What callers saw on each route.
    pub routes: Vec<Route>,
    /// The claims.
    pub claims: Vec<Claim>,
}

/// One claim, and what was seen.
#[derive(Debug, Clone, Serialize)]
pub struct Claim {
    /// What should be so.
    pub claim: String,
    /// Whether it was.
    pub held: bool,
    /// What was seen.
    pub seen: String,
}

/// Answers while one manifest was in force.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Phase {
    /// The share of v2 that the manifest asks for, 0 to 1.
    pub asked: f64,
    /// Answers of v1.
    pub v1: u64,
    /// Answers of v2.
    pub v2: u64,
}

/// How far a share may be off, in standard deviations of the draw: one run in 15,000 is off by more by chance.
const TOLERANCE_DEVIATIONS: f64 = 4.0;

impl Phase {
    /// Counts the answers of an interval.
    pub fn add(&mut self, interval: &LoadReport) {
        for (greeter, count) in &interval.greeters {
            if greeter.contains("v2") {
                self.v2 += count;
            } else {
                self.v1 += count;
            }
        }
    }

    /// The share of v2 among the answers.
    #[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
    pub fn share(&self) -> f64 {
        self.v2 as f64 / ((self.v1 + self.v2).max(1)) as f64
    }

    /// Whether the share is what was asked for, as far as chance allows.
    #[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
    pub fn is_as_asked(&self) -> bool {
        let answers = (self.v1 + self.v2) as f64;
        let deviation = (self.asked * (1.0 - self.asked) / answers.max(1.0)).sqrt();
        answers > 0.0 && (self.share() - self.asked).abs() <= TOLERANCE_DEVIATIONS * deviation
    }
}

impl Report {
    /// Whether every claim held.
    pub fn held(&self) -> bool {
        self.held
    }

    /// Prints it on stdout, for people or as one JSON object.
    ///
    /// # Errors
    /// stdout is closed.
    pub fn print(&self, json: bool) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            serde_json::to_writer_pretty(&mut out, self)?;
            writeln!(out)?;
            return Ok(());
        }
        writeln!(out, "\nWho talked to whom (the callee's sidecar verified the caller's certificate)")?;
        for talk in &self.identities {
            writeln!(out, "  {} → {}  {} at {}", talk.from, talk.service, talk.requests, talk.to.join(", "))?;
        }
        writeln!(out, "\nRoutes, as their callers' sidecars saw them")?;
        writeln!(
            out,
            "  {:<22}{:<22}{:>9}{:>10}{:>10}{:>10}",
            "SERVICE", "ROUTE", "REQUESTS", "SUCCESS", "P50 MS", "P99 MS"
        )?;
        for route in &self.routes {
            let Route { service, route, requests, success, p50_ms, p99_ms } = route;
            writeln!(
                out,
                "  {service:<22}{route:<22}{requests:>9}{:>9.2}%{p50_ms:>10.2}{p99_ms:>10.2}",
                success * 100.0
            )?;
        }
        writeln!(out, "\nInstances")?;
        for (instance, count) in &self.endpoints {
            writeln!(out, "  {instance:<22}{count:>9}")?;
        }
        writeln!(
            out,
            "\n{} requests, {} failed, {} attempts retried\n",
            self.requests, self.failures, self.retries
        )?;
        for claim in &self.claims {
            writeln!(out, "  {} {}: {}", if claim.held { "✓" } else { "✗" }, claim.claim, claim.seen)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_judged_by_how_far_chance_could_take_it() {
        let phase = |v1, v2| Phase { asked: 0.1, v1, v2 };
        assert!(phase(900, 100).is_as_asked());
        assert!(phase(870, 130).is_as_asked());
        assert!(!phase(850, 150).is_as_asked());
        assert!(!phase(0, 0).is_as_asked());
    }
}
