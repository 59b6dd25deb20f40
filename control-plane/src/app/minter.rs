//! Join tokens for the API, made by the certificate authority.
//!
//! Enters: a token request the API has understood. Leaves: a token. Never here: who may ask.

use crate::api::{MintRefusal, MintedToken, TokenMinter};
use crate::ca::JoinTokens;
use crate::ca::token::MintError;
use mesh_names::{Namespace, ServiceAccount};
use std::time::{Duration, SystemTime};

/// For requests that name no lifetime: `kubectl create token` means an hour, too.
const LIFETIME: Duration = Duration::from_secs(3600);

impl TokenMinter for JoinTokens {
    fn mint(
        &self,
        namespace: &Namespace,
        account: &ServiceAccount,
        lifetime: Option<Duration>,
    ) -> Result<MintedToken, MintRefusal> {
        let lifetime = lifetime.unwrap_or(LIFETIME);
        match JoinTokens::mint(self, namespace, account, lifetime, SystemTime::now()) {
            Ok(token) => Ok(MintedToken { text: token.text, expires: token.expires }),
            Err(error @ MintError::Ttl(_)) => Err(MintRefusal::Lifetime(error.to_string())),
            Err(error @ (MintError::Reserved(_) | MintError::Random(_) | MintError::Sign(_))) => {
                Err(MintRefusal::Failed(error.to_string()))
            }
        }
    }
}
