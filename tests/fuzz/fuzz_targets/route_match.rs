//! A service's routes, as the control plane sends them, are compiled and asked about a request.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidecar::fuzzing::route_match(bytes));
