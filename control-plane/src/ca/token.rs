//! Tokens: how a sidecar that has no certificate yet says which workload it is, and how somebody without one uses the API.
//! A signed statement (JWT, HS256) that names one namespace and service account, what it is good for, and expires; made by
//! an admin, checked by any replica that has the secret. A token is a bearer secret: it proves nothing after its expiry, and
//! a token for the one is refused by the other.

use super::authority::{fingerprint, timestamp};
use super::random::{self, NoRandomness};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use mesh_mtls::control_plane_id;
use mesh_names::{Namespace, ServiceAccount, SpiffeId, TrustDomain};
use mesh_process::file;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, fs, io};

/// The secret that signs tokens, in DATA-DIR.
pub const SECRET_FILE: &str = "join-token.key";
/// What a token is good for: its `aud` claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A sidecar joins the mesh with it.
    Join,
    /// Its bearer uses the API as the service account.
    Api,
}

impl Audience {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Join, Self::Api];

    /// As the claim says it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "outrigger-join",
            Self::Api => "outrigger-api",
        }
    }
}

/// Long enough to roll a sidecar out by hand.
pub const TTL_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Beyond a year a token is a password nobody remembers to revoke.
pub const TTL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

const SECRET_BYTES: usize = 32;
/// A token is about 300 bytes; beyond this it is refused unread.
const TOKEN_MAX_BYTES: usize = 4096;

/// Makes and checks tokens.
pub struct Tokens {
    fingerprint: String,
    trust_domain: TrustDomain,
    encoding: EncodingKey,
    decoding: DecodingKey,
    join: Validation,
    api: Validation,
}

/// A new token.
#[derive(Clone)]
pub struct Token {
    /// What the sidecar is given in `--token-file`. A secret.
    pub text: String,
    /// When it expires.
    pub expires: jiff::Timestamp,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    aud: String,
    sub: String,
    iat: u64,
    exp: u64,
    jti: String,
}

/// Why the secret could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It can't be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not 32 bytes long.
    #[error("{} has {found} bytes instead of {SECRET_BYTES}: restore it from a backup, or remove it to make a new one (tokens made before are then refused)", path.display())]
    Length {
        /// Which file.
        path: PathBuf,
        /// How many it has.
        found: usize,
    },
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// Why a token is not made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Nobody joins as the control plane.
    #[error("{0} is the control plane's own identity, no workload may have it: use another service account")]
    Reserved(SpiffeId),
    /// The lifetime asked for.
    #[error("a token can't live for {} s: choose between 1 s and 365 days", .0.as_secs())]
    Ttl(Duration),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// The signing failed.
    #[error("the token can't be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// Why a token is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token at all.
    #[error("it is not a token of this control plane")]
    Malformed,
    /// Signed with another secret, or altered.
    #[error("it was not made by this control plane, or was altered")]
    BadSignature,
    /// Its time is over.
    #[error("it expired at {0}")]
    Expired(jiff::Timestamp),
    /// Made by this control plane, for something else.
    #[error("it was made for another audience than `{}`", .0.as_str())]
    WrongAudience(Audience),
    /// It names the control plane, as which nobody joins.
    #[error("it names the control plane's own identity, which no workload may have")]
    Reserved,
}

impl Tokens {
    /// Opens the secret in `data_dir`, or makes one if there is none yet. Blocks.
    ///
    /// # Errors
    /// [`SecretError`] names the file and the way out.
    pub fn open(data_dir: &Path, trust_domain: &TrustDomain) -> Result<Self, SecretError> {
        let path = data_dir.join(SECRET_FILE);
        let secret = match fs::read(&path) {
            Ok(secret) => secret,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = random::bytes::<SECRET_BYTES>()?;
                file::write_private(&path, &secret)?;
                secret.to_vec()
            }
            Err(error) => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())).into());
            }
        };
        if secret.len() != SECRET_BYTES {
            return Err(SecretError::Length { path, found: secret.len() });
        }
        Ok(Self {
            fingerprint: fingerprint(&secret),
            trust_domain: trust_domain.clone(),
            encoding: EncodingKey::from_secret(&secret),
            decoding: DecodingKey::from_secret(&secret),
            join: validation(Audience::Join),
            api: validation(Audience::Api),
        })
    }

    /// The SHA-256 of the secret, in hex: equal where tokens are good for each other. It tells nothing of the secret, which
    /// is random and of 32 bytes.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Makes a token for this service account, until `ttl` from now.
    ///
    /// # Errors
    /// [`MintError`]: a lifetime of nothing or more than [`TTL_MAX`], or the control plane's own account.
    pub fn mint(
        &self,
        namespace: &Namespace,
        service_account: &ServiceAccount,
        audience: Audience,
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Token, MintError> {
        let identity = SpiffeId::new(self.trust_domain.clone(), namespace.clone(), service_account.clone());
        if identity == control_plane_id(&self.trust_domain) {
            return Err(MintError::Reserved(identity));
        }
        if ttl < Duration::from_secs(1) || ttl > TTL_MAX {
            return Err(MintError::Ttl(ttl));
        }
        let iat = seconds(now);
        let exp = iat + ttl.as_secs();
        let jti = random::bytes::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let claims = Claims {
            aud: audience.as_str().to_owned(),
            sub: format!("{namespace}/{service_account}"),
            iat,
            exp,
            jti,
        };
        let text = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.encoding)
            .map_err(MintError::Sign)?;
        Ok(Token { text, expires: timestamp(UNIX_EPOCH + Duration::from_secs(exp)) })
    }

    /// Whom a token names that is good for `audience`.
    ///
    /// # Errors
    /// [`TokenError`]; which of them it is tells the bearer nothing about the secret.
    pub fn verify(&self, token: &str, audience: Audience, now: SystemTime) -> Result<SpiffeId, TokenError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenError::Malformed);
        }
        let validation = match audience {
            Audience::Join => &self.join,
            Audience::Api => &self.api,
        };
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.decoding, validation);
        let claims = decoded.map_err(|error| refusal(error.kind(), audience))?.claims;
        if seconds(now) >= claims.exp {
            // Our own signature: the number is one we wrote, so it is in range.
            return Err(TokenError::Expired(timestamp(UNIX_EPOCH + Duration::from_secs(claims.exp))));
        }
        let (namespace, service_account) = claims.sub.split_once('/').ok_or(TokenError::Malformed)?;
        let identity = SpiffeId::new(
            self.trust_domain.clone(),
            namespace.parse().map_err(|_| TokenError::Malformed)?,
            service_account.parse().map_err(|_| TokenError::Malformed)?,
        );
        if identity == control_plane_id(&self.trust_domain) {
            return Err(TokenError::Reserved);
        }
        Ok(identity)
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens(..)")
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires", &self.expires).finish_non_exhaustive()
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "another crate's open enum: the rest is one kind to us")]
fn refusal(kind: &ErrorKind, audience: Audience) -> TokenError {
    match kind {
        ErrorKind::InvalidSignature => TokenError::BadSignature,
        ErrorKind::InvalidAudience => TokenError::WrongAudience(audience),
        _ => TokenError::Malformed,
    }
}

fn validation(audience: Audience) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[audience.as_str()]);
    validation.set_required_spec_claims(&["exp", "aud", "sub"]);
    // Expiry is checked here, against the caller's clock and without leeway: it is our own clock that set it.
    validation.validate_exp = false;
    validation
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const HOUR: Duration = Duration::from_secs(3600);

    fn tokens() -> (tempfile::TempDir, Tokens) {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path(), &TrustDomain::default()).unwrap();
        (dir, tokens)
    }

    fn mint(tokens: &Tokens, now: SystemTime) -> Token {
        tokens.mint(&"shop".parse().unwrap(), &"orders".parse().unwrap(), Audience::Join, HOUR, now).unwrap()
    }

    #[test]
    fn a_token_names_one_identity_until_it_expires() {
        let (_dir, tokens) = tokens();
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let token = mint(&tokens, now);
        let id = "spiffe://mesh.internal/ns/shop/sa/orders".parse().unwrap();
        assert_eq!(tokens.verify(&token.text, Audience::Join, now), Ok(id));
        assert!(tokens.verify(&token.text, Audience::Join, now + HOUR - Duration::from_secs(1)).is_ok());
        let expired = tokens.verify(&token.text, Audience::Join, now + HOUR).unwrap_err();
        assert_eq!(expired, TokenError::Expired(token.expires));
        assert_eq!(expired.to_string(), "it expired at 2027-01-15T09:00:00Z");
    }

    #[test]
    fn forged_and_altered_tokens_are_refused() {
        let ((_dir, tokens), (_dir2, other)) = (tokens(), tokens());
        let now = SystemTime::now();
        let text = mint(&other, now).text;
        assert_eq!(tokens.verify(&text, Audience::Join, now), Err(TokenError::BadSignature));

        let good = mint(&tokens, now).text;
        let parts: Vec<&str> = good.split('.').collect();
        let other_body = text.split('.').nth(1).unwrap();
        let altered = format!("{}.{other_body}.{}", parts[0], parts[2]);
        assert_eq!(tokens.verify(&altered, Audience::Join, now), Err(TokenError::BadSignature));

        // `{"alg":"none"}`, unsigned.
        let unsigned = format!("eyJhbGciOiJub25lIn0.{}.", parts[1]);
        assert_eq!(tokens.verify(&unsigned, Audience::Join, now), Err(TokenError::Malformed));
        for nonsense in ["", "a", "a.b", "a.b.c", "...", &"x".repeat(TOKEN_MAX_BYTES + 1)] {
            assert_eq!(
                tokens.verify(nonsense, Audience::Join, now),
                Err(TokenError::Malformed),
                "{nonsense}"
            );
        }
    }

    fn sign(tokens: &Tokens, aud: &str, sub: &str) -> String {
        let exp = seconds(SystemTime::now()) + 60;
        let claims = Claims { aud: aud.into(), sub: sub.into(), iat: 0, exp, jti: String::new() };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &tokens.encoding).unwrap()
    }

    #[test]
    fn a_token_for_something_else_is_no_token() {
        let (_dir, tokens) = tokens();
        let text = sign(&tokens, "kubernetes", "shop/orders");
        assert_eq!(
            tokens.verify(&text, Audience::Join, SystemTime::now()),
            Err(TokenError::WrongAudience(Audience::Join))
        );
        let [join, api] = Audience::ALL.map(|audience| {
            let (namespace, account) = ("shop".parse().unwrap(), "orders".parse().unwrap());
            tokens.mint(&namespace, &account, audience, HOUR, SystemTime::now()).unwrap().text
        });
        for (text, good, bad) in [(join, Audience::Join, Audience::Api), (api, Audience::Api, Audience::Join)]
        {
            assert!(tokens.verify(&text, good, SystemTime::now()).is_ok());
            let refusal = tokens.verify(&text, bad, SystemTime::now());
            assert_eq!(refusal, Err(TokenError::WrongAudience(bad)));
        }
        for sub in ["orders", "Shop/orders", "a/b/c", ""] {
            let text = sign(&tokens, Audience::Join.as_str(), sub);
            assert_eq!(
                tokens.verify(&text, Audience::Join, SystemTime::now()),
                Err(TokenError::Malformed),
                "{sub}"
            );
        }
    }

    #[test]
    fn nobody_joins_as_the_control_plane() {
        let (_dir, tokens) = tokens();
        let (namespace, account) = ("outrigger-system".parse().unwrap(), "control-plane".parse().unwrap());
        let minted = tokens.mint(&namespace, &account, Audience::Join, HOUR, SystemTime::now());
        assert!(matches!(minted, Err(MintError::Reserved(_))));
        let text = sign(&tokens, Audience::Join.as_str(), "outrigger-system/control-plane");
        assert_eq!(tokens.verify(&text, Audience::Join, SystemTime::now()), Err(TokenError::Reserved));
    }

    #[test]
    fn lifetimes_are_bounded() {
        let (_dir, tokens) = tokens();
        let (namespace, account) = ("shop".parse().unwrap(), "orders".parse().unwrap());
        let mint = |ttl| tokens.mint(&namespace, &account, Audience::Join, ttl, SystemTime::now());
        assert!(mint(Duration::from_secs(1)).is_ok() && mint(TTL_MAX).is_ok());
        for ttl in [Duration::ZERO, Duration::from_millis(999), TTL_MAX + Duration::from_secs(1)] {
            assert!(matches!(mint(ttl), Err(MintError::Ttl(_))), "{ttl:?}");
        }
    }

    #[test]
    fn the_secret_is_private_and_outlives_a_restart() {
        let (dir, tokens) = tokens();
        let path = dir.path().join(SECRET_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let token = mint(&tokens, SystemTime::now());
        let again = Tokens::open(dir.path(), &TrustDomain::default()).unwrap();
        assert!(again.verify(&token.text, Audience::Join, SystemTime::now()).is_ok());
        fs::write(&path, "short").unwrap();
        let error = Tokens::open(dir.path(), &TrustDomain::default()).unwrap_err().to_string();
        assert!(error.contains("has 5 bytes instead of 32"), "{error}");
    }

    #[test]
    fn debug_shows_no_token() {
        let (_dir, tokens) = tokens();
        let token = mint(&tokens, SystemTime::now());
        assert!(!format!("{token:?} {tokens:?}").contains(&token.text));
    }
}
