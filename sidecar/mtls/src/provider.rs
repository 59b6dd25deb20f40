//! The one set of cryptographic algorithms in use, passed explicitly to every configuration, never installed globally.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::TLS13;
use rustls::{ConfigBuilder, ServerConfig, WantsVerifier, WantsVersions};
use std::sync::{Arc, LazyLock};

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        // AES-128-GCM is the cheapest with AES instructions; ChaCha20 serves peers without them.
        cipher_suites: vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::SECP256R1,
        ],
        ..aws_lc_rs::default_provider()
    })
});

pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    &PROVIDER
}

/// A server configuration's start: our algorithms, TLS 1.3 only.
pub(crate) fn server() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    tls13(ServerConfig::builder_with_provider(PROVIDER.clone()))
}

/// A client configuration's start: our algorithms, TLS 1.3 only.
pub(crate) fn client() -> ConfigBuilder<rustls::ClientConfig, WantsVerifier> {
    tls13(rustls::ClientConfig::builder_with_provider(PROVIDER.clone()))
}

static OUTWARD: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// The start of a client configuration for places outside of the mesh: TLS 1.2 and 1.3, as half of them need.
#[allow(clippy::expect_used, reason = "the provider is a constant of the library")]
pub(crate) fn outward() -> ConfigBuilder<rustls::ClientConfig, WantsVerifier> {
    rustls::ClientConfig::builder_with_provider(OUTWARD.clone())
        .with_safe_default_protocol_versions()
        .expect("the default provider has suites for both versions")
}

#[allow(clippy::expect_used, reason = "both lists are constants of this file")]
fn tls13<Side: rustls::ConfigSide>(
    builder: ConfigBuilder<Side, WantsVersions>,
) -> ConfigBuilder<Side, WantsVerifier> {
    builder.with_protocol_versions(&[&TLS13]).expect("every cipher suite above is of TLS 1.3")
}
