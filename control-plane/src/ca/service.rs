//! The signing service sidecars call (`outrigger.v1.CertificateAuthority`). What enters: a certificate request, and a
//! join token in its metadata or a client certificate under it; what leaves: an SVID for exactly the identity that was
//! proved, or a status whose message says how to mend it.

use super::authority::Authority;
use super::sign::SignError;
use super::token::{Audience, TokenError, Tokens};
use crate::peer::PeerIdentity;
use mesh_mtls::control_plane_id;
use mesh_names::SpiffeId;
use mesh_protocol::wire::v1::certificate_authority_server::{
    CertificateAuthority, CertificateAuthorityServer,
};
use mesh_protocol::wire::v1::{SignRequest, SignResponse};
use prometheus::{IntCounterVec, Opts, Registry};
use std::sync::Arc;
use std::time::SystemTime;
use tonic::{Request, Response, Status};

/// Requests are a certificate request each.
const MESSAGE_MAX_BYTES: usize = 32 * 1024;

/// Counts what the CA does.
#[derive(Debug, Clone)]
pub struct SigningMetrics {
    certificates: IntCounterVec,
}

/// Signs certificates for sidecars. Clones share everything.
#[derive(Debug, Clone)]
pub struct SigningService {
    authority: Arc<Authority>,
    tokens: Arc<Tokens>,
    metrics: SigningMetrics,
}

/// Why a caller gets no certificate.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(
        "there is neither a join token nor a client certificate: make a token with `meshctl token create --namespace N --service-account S` and start the sidecar with --token-file"
    )]
    Nobody,
    #[error("the `authorization` metadata is not `Bearer <join token>`")]
    NotBearer,
    #[error(
        "the join token is not accepted: {0}; make a new one with `meshctl token create --namespace N --service-account S`"
    )]
    Token(#[from] TokenError),
    #[error("the control plane's own identity is not issued over the network")]
    Reserved,
    #[error("{0}")]
    Sign(#[from] SignError),
}

impl SigningMetrics {
    /// Registers `outrigger_control_certificates_signed_total`.
    ///
    /// # Errors
    /// When it is registered already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = Opts::new(
            "outrigger_control_certificates_signed_total",
            "Certificate requests answered, by result: ok, unauthenticated, invalid (the request), failed (ours).",
        );
        let certificates = IntCounterVec::new(opts, &["result"])?;
        registry.register(Box::new(certificates.clone()))?;
        Ok(Self { certificates })
    }

    fn count(&self, result: &str) {
        self.certificates.with_label_values(&[result]).inc();
    }
}

impl SigningService {
    /// A service that signs with `authority` for bearers of `tokens` and for workloads that renew.
    pub fn new(authority: Arc<Authority>, tokens: Arc<Tokens>, metrics: SigningMetrics) -> Self {
        Self { authority, tokens, metrics }
    }

    /// As tonic serves it, with its bounds.
    pub fn into_server(self) -> CertificateAuthorityServer<Self> {
        CertificateAuthorityServer::new(self).max_decoding_message_size(MESSAGE_MAX_BYTES)
    }

    /// Who asks. A token that is sent decides, so that a workload given a new account is not held to its old one.
    fn caller(&self, request: &Request<SignRequest>, now: SystemTime) -> Result<SpiffeId, Refused> {
        let identity = match request.metadata().get("authorization") {
            Some(value) => {
                let value = value.to_str().map_err(|_| Refused::NotBearer)?;
                let token = value.strip_prefix("Bearer ").ok_or(Refused::NotBearer)?;
                self.tokens.verify(token.trim(), Audience::Join, now)?
            }
            None => match request.extensions().get::<PeerIdentity>() {
                Some(PeerIdentity(Some(identity))) => identity.clone(),
                Some(PeerIdentity(None)) | None => return Err(Refused::Nobody),
            },
        };
        if identity == control_plane_id(self.authority.trust_domain()) {
            return Err(Refused::Reserved);
        }
        Ok(identity)
    }

    fn answer(&self, request: &Request<SignRequest>) -> Result<(SpiffeId, SignResponse), Refused> {
        let now = SystemTime::now();
        let identity = self.caller(request, now)?;
        let signed = self.authority.sign(&request.get_ref().csr, &identity, now)?;
        let response = SignResponse {
            certificate_chain: signed.chain.into_iter().map(Into::into).collect(),
            trust_bundle: self.authority.trust_bundle().iter().map(|der| der.clone().into()).collect(),
        };
        Ok((identity, response))
    }
}

#[tonic::async_trait]
impl CertificateAuthority for SigningService {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        match self.answer(&request) {
            Ok((identity, response)) => {
                self.metrics.count("ok");
                tracing::info!(%identity, "signed a certificate");
                Ok(Response::new(response))
            }
            Err(refused) => {
                let (result, status) = refused.status();
                self.metrics.count(result);
                tracing::debug!(%refused, "did not sign a certificate");
                Err(status)
            }
        }
    }
}

impl Refused {
    fn status(&self) -> (&'static str, Status) {
        let message = self.to_string();
        match self {
            Self::Nobody | Self::NotBearer | Self::Token(_) => {
                ("unauthenticated", Status::unauthenticated(message))
            }
            Self::Reserved => ("unauthenticated", Status::permission_denied(message)),
            Self::Sign(
                SignError::TooLong(_)
                | SignError::Malformed
                | SignError::BadSignature
                | SignError::UnsupportedKey,
            ) => ("invalid", Status::invalid_argument(message)),
            Self::Sign(SignError::AuthorityExpired) => ("failed", Status::failed_precondition(message)),
            Self::Sign(SignError::Make(_) | SignError::Random(_)) => ("failed", Status::internal(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_mtls::PrivateKey;
    use mesh_names::TrustDomain;
    use std::time::Duration;
    use tonic::Code;

    struct Ca {
        _dir: tempfile::TempDir,
        service: SigningService,
        registry: Registry,
    }

    fn ca() -> Ca {
        let (dir, domain, registry) = (tempfile::tempdir().unwrap(), TrustDomain::default(), Registry::new());
        let authority = Arc::new(Authority::open(dir.path(), &domain, SystemTime::now()).unwrap());
        let tokens = Arc::new(Tokens::open(dir.path(), &domain).unwrap());
        let metrics = SigningMetrics::register(&registry).unwrap();
        Ca { _dir: dir, service: SigningService::new(authority, tokens, metrics), registry }
    }

    fn request(csr: Vec<u8>, authorization: Option<&str>, peer: Option<&str>) -> Request<SignRequest> {
        let mut request = Request::new(SignRequest { csr: csr.into() });
        if let Some(value) = authorization {
            request.metadata_mut().insert("authorization", value.parse().unwrap());
        }
        request.extensions_mut().insert(PeerIdentity(peer.map(|id| id.parse().unwrap())));
        request
    }

    fn csr() -> Vec<u8> {
        PrivateKey::generate().unwrap().csr().unwrap().into_der()
    }

    async fn refusal(ca: &Ca, request: Request<SignRequest>) -> (Code, String) {
        let status = ca.service.sign(request).await.unwrap_err();
        (status.code(), status.message().to_owned())
    }

    fn token(ca: &Ca, now: SystemTime) -> String {
        let (namespace, account) = ("shop".parse().unwrap(), "orders".parse().unwrap());
        let token = ca
            .service
            .tokens
            .mint(&namespace, &account, Audience::Join, Duration::from_secs(60), now)
            .unwrap();
        format!("Bearer {}", token.text)
    }

    fn names_in(response: &SignResponse) -> String {
        let (_, leaf) = x509_parser::parse_x509_certificate(&response.certificate_chain[0]).unwrap();
        format!("{:?}", leaf.subject_alternative_name().unwrap().unwrap().value.general_names)
    }

    #[tokio::test]
    async fn a_token_gives_its_identity_and_a_certificate_renews_its_own() {
        let ca = ca();
        let first = request(csr(), Some(&token(&ca, SystemTime::now())), None);
        let first = ca.service.sign(first).await.unwrap().into_inner();
        assert_eq!(names_in(&first), "[URI(\"spiffe://mesh.internal/ns/shop/sa/orders\")]");
        assert_eq!(first.trust_bundle.len(), 1);

        let renewal = request(csr(), None, Some("spiffe://mesh.internal/ns/shop/sa/web"));
        let renewed = ca.service.sign(renewal).await.unwrap().into_inner();
        assert_eq!(names_in(&renewed), "[URI(\"spiffe://mesh.internal/ns/shop/sa/web\")]");
    }

    #[tokio::test]
    async fn who_proves_nothing_is_told_how_to_get_a_token() {
        let ca = ca();
        let (code, message) = refusal(&ca, request(csr(), None, None)).await;
        assert_eq!(code, Code::Unauthenticated);
        assert!(message.contains("meshctl token create"), "{message}");

        let old = token(&ca, SystemTime::now() - Duration::from_secs(3600));
        let (code, message) = refusal(&ca, request(csr(), Some(&old), None)).await;
        assert_eq!(code, Code::Unauthenticated);
        assert!(message.starts_with("the join token is not accepted: it expired at "), "{message}");

        let (code, message) = refusal(&ca, request(csr(), Some("Basic x"), None)).await;
        assert_eq!(code, Code::Unauthenticated);
        assert!(message.contains("Bearer <join token>"), "{message}");
    }

    #[tokio::test]
    async fn a_bad_token_is_refused_though_a_certificate_is_there() {
        let ca = ca();
        let both = request(csr(), Some("Bearer x.y.z"), Some("spiffe://mesh.internal/ns/shop/sa/web"));
        assert_eq!(refusal(&ca, both).await.0, Code::Unauthenticated);
    }

    #[tokio::test]
    async fn the_control_planes_identity_is_not_given_away() {
        let ca = ca();
        let id = control_plane_id(&TrustDomain::default()).to_string();
        assert_eq!(refusal(&ca, request(csr(), None, Some(&id))).await.0, Code::PermissionDenied);
    }

    #[tokio::test]
    async fn every_answer_is_counted_by_its_result() {
        let ca = ca();
        let peer = Some("spiffe://mesh.internal/ns/shop/sa/web");
        ca.service.sign(request(csr(), None, peer)).await.unwrap();
        let (code, _) = refusal(&ca, request(b"x".to_vec(), None, peer)).await;
        assert_eq!(code, Code::InvalidArgument);
        refusal(&ca, request(csr(), None, None)).await;
        let text = prometheus::TextEncoder::new().encode_to_string(&ca.registry.gather()).unwrap();
        for result in ["ok", "invalid", "unauthenticated"] {
            let line = format!("outrigger_control_certificates_signed_total{{result=\"{result}\"}} 1");
            assert!(text.contains(&line), "{text}");
        }
    }
}
