//! Tokens for the API, made and known by the certificate authority.
//!
//! Enters: a token request the API has understood, or a token somebody bears. Leaves: a token, or whose it is. Never here:
//! who may ask.

use crate::api::{MintRefusal, MintedToken, TokenAuthority};
use crate::ca::Tokens;
use crate::ca::token::{Audience, MintError};
use mesh_names::{Namespace, ServiceAccount};
use std::time::{Duration, SystemTime};

/// For requests that name no lifetime: `kubectl create token` means an hour, too.
const LIFETIME: Duration = Duration::from_secs(3600);

impl TokenAuthority for Tokens {
    fn mint(
        &self,
        namespace: &Namespace,
        account: &ServiceAccount,
        audience: Audience,
        lifetime: Option<Duration>,
    ) -> Result<MintedToken, MintRefusal> {
        let lifetime = lifetime.unwrap_or(LIFETIME);
        match Tokens::mint(self, namespace, account, audience, lifetime, SystemTime::now()) {
            Ok(token) => Ok(MintedToken { text: token.text, expires: token.expires }),
            Err(error @ MintError::Ttl(_)) => Err(MintRefusal::Lifetime(error.to_string())),
            Err(error @ (MintError::Reserved(_) | MintError::Random(_) | MintError::Sign(_))) => {
                Err(MintRefusal::Failed(error.to_string()))
            }
        }
    }

    fn bearer(&self, token: &str) -> Result<(Namespace, ServiceAccount), String> {
        let identity =
            self.verify(token, Audience::Api, SystemTime::now()).map_err(|error| error.to_string())?;
        Ok((identity.namespace, identity.service_account))
    }
}
