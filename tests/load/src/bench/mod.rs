//! A sidecar pair side by side with its peers: `client -> outbound proxy -> mutual TLS -> inbound proxy -> origin`. Names of
//! peers and workloads enter; tables and `report.json` leave.
//!
//! Both proxies of a pair share one CPU, load and origin the other. All pairs run at once and are measured in turns, so
//! that what the machine does besides hits all of them alike: ratios within a round count, absolute figures do not.
//! Every answer is checked, and a pair is measured only after it has proved that its hop is mutual TLS.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`workload`] | what is sent |
//! | [`peer`] | the pairs, and what each must prove |
//! | [`programs`] | where the peers' programs are |
//! | [`envoy`], [`haproxy`], [`nginx`], [`floor`], [`outrigger`] | how each is configured and started |
//! | [`knock`] | whether an inbound proxy lets in who shows no certificate |
//! | [`machine`] | CPU time, memory and affinity of processes |
//! | [`measure`] | one measurement |
//! | [`rounds`] | their order, and the whole run |
//! | [`tables`] | medians, ratios, print |

mod envoy;
mod floor;
mod haproxy;
mod knock;
pub mod machine;
pub mod measure;
mod nginx;
mod outrigger;
pub mod peer;
mod pki;
mod programs;
pub mod rounds;
mod tables;
pub mod workload;

pub use rounds::{Options, run};
