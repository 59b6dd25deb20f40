//! Fields of the connection are taken out, cookies, gRPC statuses and authorities read.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidecar::fuzzing::header_path(bytes));
