//! The certificate authority: who may be whom. What enters: a certificate request with a proof of who asks (a join
//! token, or the certificate to be renewed). What leaves: an X.509-SVID for exactly that identity, for 24 hours. Never
//! done here: believing what a request says about its sender.
//!
//! ```text
//! DATA-DIR/ca.key, ca.crt ──> Authority ──┬─ sign(CSR, identity) <── SigningService <── sidecars
//! DATA-DIR/join-token.key ──> Tokens ─────┘                             │
//!                               └─ mint <── API (kubectl create token, meshctl token create)
//! Authority ──> serving certificate of our own listeners, admin certificate in DATA-DIR/kubeconfig, trust bundle
//! ```

pub mod admin;
pub mod authority;
pub mod bundle;
pub(crate) mod random;
pub mod service;
pub mod serving;
pub mod sign;
pub mod token;

pub use authority::{Authority, AuthorityError};
pub use service::{SigningMetrics, SigningService};
pub use serving::ServingNames;
pub use sign::SignError;
pub use token::{TokenError, Tokens};
