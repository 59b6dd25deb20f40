//! A sidecar's side of a discovery stream.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidecar::fuzzing::discovery_session(bytes));
