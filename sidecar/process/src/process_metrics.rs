//! The metrics every process has: which version it is, its CPU time, memory and open files.
//!
//! Enters: a registry. Leaves: `outrigger_build_info` and the `process_*` family by their standard names, which
//! existing dashboards know. Never here: anything about traffic.

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntGauge, Opts, Registry};

/// Registers `outrigger_build_info{component,version} 1` and `process_*`.
///
/// # Errors
/// When one of them is registered already.
pub fn register_process_metrics(
    registry: &Registry,
    component: &str,
    version: &str,
) -> Result<(), prometheus::Error> {
    let options = Opts::new("outrigger_build_info", "Always 1; the labels say what runs here")
        .const_label("component", component)
        .const_label("version", version);
    let info = IntGauge::with_opts(options)?;
    info.set(1);
    registry.register(Box::new(info))?;
    registry.register(Box::new(ProcessCollector::for_self()))
}
