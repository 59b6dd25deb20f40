//! An open-loop load generator and the origin servers that tests, benchmarks and the demo run against.

pub mod mesh;
pub mod running;
pub mod scrape;
