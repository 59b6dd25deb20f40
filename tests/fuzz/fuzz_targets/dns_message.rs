//! A DNS message is read, understood and answered.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidecar::fuzzing::dns_message(bytes));
