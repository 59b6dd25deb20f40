//! Mutual TLS by SPIFFE identity: keys, trust bundles, verification, handshakes.
