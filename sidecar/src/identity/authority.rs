//! One call to the certificate authority: a key made here, a request for it, a certificate back. Who the certificate is
//! for is decided by how the call is authenticated, first by the join token, later by the certificate in force; that it
//! is for this workload is checked here.

use crate::control_plane::{Reach, ReachError, words_of};
use mesh_mtls::{Connector, Identity, KeyError, PrivateKey, Svid, SvidError, TrustBundle};
use mesh_names::SpiffeId;
use mesh_protocol::wire::v1::SignRequest;
use mesh_protocol::wire::v1::certificate_authority_client::CertificateAuthorityClient;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request};

/// From the request to the certificate.
const DEADLINE: Duration = Duration::from_secs(10);
/// A token is a few hundred bytes; a file larger than this is something else.
const TOKEN_MAX: u64 = 16 * 1024;

/// Why there is no new certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    /// The token file can't be used.
    #[error("--token-file {}: {source}", path.display())]
    Token {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: TokenError,
    },
    /// The control plane can't be reached.
    #[error(transparent)]
    Reach(Box<ReachError>),
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The control plane refuses this caller: trying the same again is of no use.
    #[error("the control plane refuses to sign: {words}")]
    Refused {
        /// Its words.
        words: String,
        /// What we showed.
        shown: Shown,
    },
    /// The call failed for now.
    #[error("the control plane could not sign: {0}")]
    Failed(String),
    /// What came back makes no SVID.
    #[error("the control plane sent a certificate that cannot be used: {0}")]
    Svid(#[from] SvidError),
    /// What came back is for somebody else.
    #[error(
        "the join token is for {signed}, but --namespace and --service-account say {wanted}; make a token for that one"
    )]
    Other {
        /// Whom the certificate names.
        signed: SpiffeId,
        /// Who we are.
        wanted: SpiffeId,
    },
}

impl SignError {
    /// Why there is no certificate, and how to mend it where that is known.
    pub(crate) fn for_people(&self) -> String {
        let mend = match self {
            Self::Reach(_) => {
                "; give the --trust-bundle (and --trust-domain) of the mesh that --control-plane belongs to"
            }
            Self::Token { .. }
            | Self::Key(_)
            | Self::Refused { .. }
            | Self::Failed(_)
            | Self::Svid(_)
            | Self::Other { .. } => "",
        };
        format!("no certificate: {self}{mend}")
    }
}

/// What a request was authenticated with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The join token.
    Token,
    /// The certificate in force.
    Certificate,
}

/// Why a token file can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    /// It can't be read.
    #[error("it cannot be read: {0}; make a token with `meshctl token create` and let this user read it")]
    Read(#[from] io::Error),
    /// There is nothing in it, or more than a token.
    #[error("it holds no join token; make one with `meshctl token create`")]
    Content,
}

impl SignError {
    /// Whether trying again with the same flags and files is of no use.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Token { .. } | Self::Other { .. } => true,
            Self::Refused { shown, .. } => *shown == Shown::Token,
            Self::Reach(error) => error.is_another_mesh(),
            Self::Key(_) | Self::Failed(_) | Self::Svid(_) => false,
        }
    }
}

/// What the authority gave.
#[derive(Debug)]
pub(crate) struct Signed {
    /// The certificate with its key.
    pub(crate) svid: Svid,
    /// Whom to trust, if it said so in a way that can be used.
    pub(crate) trust_bundle: Option<TrustBundle>,
}

/// Asks the certificate authority.
#[derive(Debug)]
pub(crate) struct Authority {
    reach: Reach,
    token_file: PathBuf,
    wanted: SpiffeId,
}

impl Authority {
    /// For certificates of `wanted`.
    pub(crate) fn new(reach: Reach, token_file: PathBuf, wanted: SpiffeId) -> Self {
        Self { reach, token_file, wanted }
    }

    /// Gets a new certificate for a new key. The certificate in force authenticates the call; without one, or when it
    /// has expired at `now`, or with `Shown::Token`, the join token does.
    ///
    /// # Errors
    /// [`SignError`].
    pub(crate) async fn sign(
        &self,
        identity: &Identity,
        show: Shown,
        now: SystemTime,
    ) -> Result<Signed, SignError> {
        let in_force = identity.svid().filter(|svid| svid.not_after() > now);
        let shown = if in_force.is_some() { show } else { Shown::Token };
        let (connector, authorization) = match shown {
            Shown::Certificate => (Connector::new(identity.clone()), None),
            Shown::Token => {
                // Without the certificate: one that has expired would end the handshake.
                let nobody = Identity::new(identity.trust_bundle().as_ref().clone());
                (Connector::enrolling(nobody), Some(self.authorization()?))
            }
        };
        let key = PrivateKey::generate()?;
        let mut request = Request::new(SignRequest { csr: key.csr()?.into_der().into() });
        if let Some(authorization) = authorization {
            request.metadata_mut().insert("authorization", authorization);
        }
        let reached =
            self.reach.connect(&connector).await.map_err(|error| SignError::Reach(Box::new(error)))?;
        let mut client = CertificateAuthorityClient::new(reached.channel);
        let answer = tokio::time::timeout(DEADLINE, client.sign(request)).await;
        let answer = answer
            .map_err(|_elapsed| SignError::Failed(format!("no answer within {} s", DEADLINE.as_secs())))?
            .map_err(|status| of_status(&status, shown))?
            .into_inner();
        let svid = Svid::new(answer.certificate_chain.into_iter().map(Vec::from), key)?;
        if *svid.spiffe_id() != self.wanted {
            return Err(SignError::Other { signed: svid.spiffe_id().clone(), wanted: self.wanted.clone() });
        }
        let trust_bundle = TrustBundle::from_der(answer.trust_bundle.into_iter().map(Vec::from)).ok();
        Ok(Signed { svid, trust_bundle })
    }

    fn authorization(&self) -> Result<AsciiMetadataValue, SignError> {
        let wrong = |source| SignError::Token { path: self.token_file.clone(), source };
        let token = read_token(&self.token_file).map_err(wrong)?;
        let mut value: AsciiMetadataValue =
            format!("Bearer {token}").parse().map_err(|_| wrong(TokenError::Content))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The token in a file. Never logged.
///
/// # Errors
/// [`TokenError`].
pub(crate) fn read_token(path: &Path) -> Result<String, TokenError> {
    if std::fs::metadata(path)?.len() > TOKEN_MAX {
        return Err(TokenError::Content);
    }
    let text = std::fs::read_to_string(path)?;
    let token = text.trim();
    let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    if is_token { Ok(token.to_owned()) } else { Err(TokenError::Content) }
}

fn of_status(status: &tonic::Status, shown: Shown) -> SignError {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument => {
            SignError::Refused { words: status.message().to_owned(), shown }
        }
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => SignError::Failed(words_of(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_word_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        assert!(read_token(&path).unwrap_err().to_string().starts_with("it cannot be read: "));
        for (content, token) in [("abc.def-_\n", Some("abc.def-_")), ("  \n", None), ("two words", None)] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read_token(&path).ok().as_deref(), token);
        }
        std::fs::write(&path, "x".repeat(20_000)).unwrap();
        assert!(matches!(read_token(&path), Err(TokenError::Content)));
    }

    #[test]
    fn only_a_refused_token_ends_the_start() {
        let refused = |shown| of_status(&tonic::Status::unauthenticated("the token has expired"), shown);
        assert!(refused(Shown::Token).is_final());
        assert!(!refused(Shown::Certificate).is_final());
        assert!(!of_status(&tonic::Status::unavailable(""), Shown::Token).is_final());
        assert_eq!(
            refused(Shown::Token).to_string(),
            "the control plane refuses to sign: the token has expired"
        );
    }
}
