//! What is spoken on a connection, by its first bytes: HTTP/1, HTTP/2, the server name of a TLS hello, the host of a head.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| sidecar::fuzzing::protocol_detection(bytes));
