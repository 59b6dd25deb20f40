//! A request's head is made one that means the same to every reader, or refused.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidecar::fuzzing::request_normalisation(bytes));
