//! The renewal's promises, with a clock that only moves when everybody waits.

use super::*;
use crate::bootstrap::State;
use crate::identity::stored::StoredError;
use mesh_mtls::{PrivateKey, TrustBundle};
use mesh_names::SpiffeId;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use std::cell::{Cell, RefCell};
use tokio::time::Instant;

const LIFE: Duration = Duration::from_secs(24 * 3600);

/// A certificate authority that can be told to be away or to refuse.
struct Fake {
    root: CertificateParams,
    key: KeyPair,
    start: SystemTime,
    began: Instant,
    set_back: Cell<Duration>,
    answers: RefCell<Vec<Answer>>,
    shown: RefCell<Vec<Shown>>,
    signed: Cell<u32>,
}

#[derive(Clone, Copy)]
enum Answer {
    Away,
    Refuse,
}

impl Fake {
    fn new(answers: &[Answer]) -> Self {
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            root,
            key: KeyPair::generate().unwrap(),
            start: SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000),
            began: Instant::now(),
            set_back: Cell::default(),
            answers: RefCell::new(answers.iter().rev().copied().collect()),
            shown: RefCell::default(),
            signed: Cell::new(0),
        }
    }

    fn now(&self) -> SystemTime {
        self.start + self.began.elapsed() - self.set_back.get()
    }

    fn bundle(&self) -> TrustBundle {
        TrustBundle::from_der([self.root.clone().self_signed(&self.key).unwrap().der().to_vec()]).unwrap()
    }

    fn issue(&self) -> Svid {
        let key = PrivateKey::generate().unwrap();
        let pair = KeyPair::from_pem(&key.to_pem()).unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![SanType::URI(identity().to_string().try_into().unwrap())];
        params.not_before = self.now().into();
        params.not_after = (self.now() + LIFE).into();
        let issuer = Issuer::new(self.root.clone(), &self.key);
        let leaf = params.signed_by(&pair, &issuer).unwrap();
        Svid::new([leaf.der().to_vec()], key).unwrap()
    }
}

impl Signer for &Fake {
    async fn sign(&self, _: &Identity, show: Shown, _: SystemTime) -> Result<Signed, SignError> {
        self.shown.borrow_mut().push(show);
        match self.answers.borrow_mut().pop() {
            Some(Answer::Away) => Err(SignError::Failed("away".into())),
            Some(Answer::Refuse) => Err(SignError::Refused { words: "no".into(), shown: show }),
            None => {
                self.signed.set(self.signed.get() + 1);
                Ok(Signed { svid: self.issue(), trust_bundle: Some(self.bundle()) })
            }
        }
    }
}

fn identity() -> SpiffeId {
    "spiffe://mesh.internal/ns/shop/sa/orders".parse().unwrap()
}

/// A renewal by `fake`, with a state directory that is removed with the returned guard.
fn renewal(
    fake: &Fake,
) -> (Renewal<&Fake, impl Fn() -> SystemTime>, tempfile::TempDir, prometheus::Registry) {
    let directory = tempfile::tempdir().unwrap();
    let state = State::open(&directory.path().join("state")).unwrap();
    let registry = prometheus::Registry::new();
    let renewal = Renewal {
        signer: fake,
        identity: Identity::new(fake.bundle()),
        store: Store::new(&state),
        metrics: IdentityMetrics::register(&registry).unwrap(),
        clock: || fake.now(),
    };
    (renewal, directory, registry)
}

fn renewals(registry: &prometheus::Registry, result: &str) -> u64 {
    let families = registry.gather();
    let family = families.iter().find(|f| f.name() == "outrigger_certificate_renewals_total").unwrap();
    let metric = family.get_metric().iter().find(|m| m.get_label()[0].value() == result);
    metric.map_or(0, |metric| metric.get_counter().get_value() as u64)
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_from_half_of_its_life_on() {
    let fake = Fake::new(&[]);
    let (renewal, _directory, registry) = renewal(&fake);
    renewal.first().await.unwrap();
    let before_half = LIFE / 2 - Duration::from_secs(1);
    assert!(tokio::time::timeout(before_half, renewal.run()).await.is_err());
    assert_eq!(fake.signed.get(), 1, "not before half of the life");
    let after_spread = LIFE * 6 / 10 - before_half + Duration::from_secs(61);
    assert!(tokio::time::timeout(after_spread, renewal.run()).await.is_err());
    assert_eq!(fake.signed.get(), 2, "within the spread after it");
    assert_eq!(*fake.shown.borrow(), [Shown::Token, Shown::Certificate]);
    assert_eq!(renewals(&registry, "ok"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_has_the_certificate_renewed_and_a_skew_has_not() {
    let fake = Fake::new(&[]);
    let (renewal, _directory, _registry) = renewal(&fake);
    renewal.first().await.unwrap();
    fake.set_back.set(SET_BACK);
    assert!(tokio::time::timeout(LOOK * 2, renewal.run()).await.is_err());
    assert_eq!(fake.signed.get(), 1, "clocks may be so far apart");
    fake.set_back.set(LIFE);
    assert!(tokio::time::timeout(LOOK * 2, renewal.run()).await.is_err());
    assert_eq!(fake.signed.get(), 2);
    let not_before = renewal.identity.svid().unwrap().not_before();
    assert!(not_before <= fake.now(), "it is valid now");
}

#[tokio::test(start_paused = true)]
async fn an_absent_authority_is_asked_again_and_what_is_in_force_stays() {
    let fake = Fake::new(&[Answer::Away, Answer::Away, Answer::Away]);
    let (renewal, _directory, registry) = renewal(&fake);
    renewal.first().await.unwrap();
    let waited = fake.began.elapsed();
    assert!(waited >= Duration::from_millis(3500) && waited <= Duration::from_secs(7), "{waited:?}");
    assert_eq!(renewals(&registry, "failed"), 3);
    let first = renewal.identity.svid().unwrap();
    *fake.answers.borrow_mut() = vec![Answer::Away; 1000];
    assert!(tokio::time::timeout(LIFE * 7 / 10, renewal.run()).await.is_err());
    assert!(std::sync::Arc::ptr_eq(&first, &renewal.identity.svid().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_ends_the_start_and_a_refused_certificate_falls_back_to_the_token() {
    let fake = Fake::new(&[Answer::Refuse]);
    let (renewal, _directory, _registry) = renewal(&fake);
    let error = renewal.first().await.unwrap_err().to_string();
    assert_eq!(error, "the control plane refuses to sign: no");
    renewal.first().await.unwrap();
    fake.shown.borrow_mut().clear();
    fake.answers.borrow_mut().push(Answer::Refuse);
    assert!(tokio::time::timeout(LIFE * 7 / 10, renewal.run()).await.is_err());
    assert_eq!(*fake.shown.borrow(), [Shown::Certificate, Shown::Token]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_goes_on_with_the_certificate_on_disk() {
    let fake = Fake::new(&[]);
    let (renewal, _directory, _registry) = renewal(&fake);
    assert!(renewal.store.load(&identity(), fake.now()).unwrap().is_none());
    renewal.first().await.unwrap();
    let kept = renewal.store.load(&identity(), fake.now()).unwrap().unwrap();
    assert_eq!(kept.chain_pem(), renewal.identity.svid().unwrap().chain_pem());
    let other = "spiffe://mesh.internal/ns/shop/sa/cart".parse().unwrap();
    assert!(matches!(renewal.store.load(&other, fake.now()), Err(StoredError::Other(_))));
    assert!(matches!(renewal.store.load(&identity(), fake.now() + LIFE), Err(StoredError::Expired)));
    std::fs::write(renewal.store.path(), "torn").unwrap();
    assert!(renewal.store.load(&identity(), fake.now()).is_err());
}
