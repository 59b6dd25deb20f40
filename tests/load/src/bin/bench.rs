//! `bench`: a proxy pair side by side with its peers.
fn main() {}
