//! What makes an SVID, and what does not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod peer;

use mesh_mtls::{PrivateKey, Svid, SvidError, TrustBundle};
use peer::*;
use proptest::prelude::*;
use std::time::SystemTime;
use tests::pki::TestCa;

#[test]
fn an_svid_knows_whom_it_names_and_until_when() {
    let ca = TestCa::new("mesh");
    let svid = ca.svid(SHOP);
    assert_eq!(svid.spiffe_id(), &id(SHOP));
    assert!(svid.not_before() < SystemTime::now() && svid.not_after() > SystemTime::now());
    assert_eq!(svid.chain().len(), 1);
}

#[test]
fn what_is_no_svid_is_refused_with_the_reason() {
    let ca = TestCa::new("mesh");
    let problem = |chain: Vec<Vec<u8>>, key| Svid::new(chain, key).unwrap_err();
    let key = || PrivateKey::generate().unwrap();
    assert!(matches!(problem(vec![], key()), SvidError::Empty));
    assert!(matches!(problem(vec![b"x".to_vec()], key()), SvidError::Certificate(_)));
    let unnamed = ca.leaf().issue();
    assert!(matches!(problem(unnamed.chain, unnamed.key), SvidError::Identity(_)));
    let other = problem(ca.leaf().uri(SHOP).issue().chain, key());
    assert_eq!(other.to_string(), "the private key does not belong to the certificate");
    let mut trailing = ca.leaf().uri(SHOP).issue();
    trailing.chain[0].push(0);
    assert!(matches!(problem(trailing.chain, trailing.key), SvidError::Certificate(_)));
}

#[test]
fn a_trust_bundle_survives_being_written_and_read() {
    let (old, new) = (TestCa::new("mesh"), TestCa::new("mesh"));
    let bundle = TestCa::trust_in(&[&old, &new]);
    assert_eq!(TrustBundle::from_pem(&bundle.to_pem()).unwrap(), bundle);
    assert_eq!(
        bundle.to_pem(),
        format!("{}{}", old.pem().replace("\r\n", "\n"), new.pem().replace("\r\n", "\n"))
    );
}

#[test]
fn a_csr_is_signed_and_names_nobody() {
    let key = PrivateKey::generate().unwrap();
    let csr =
        rcgen::CertificateSigningRequestParams::from_der(&key.csr().unwrap().into_der().into()).unwrap();
    assert!(csr.params.subject_alt_names.is_empty());
    assert_eq!(csr.params.distinguished_name.iter().count(), 0);
}

proptest! {
    /// The certificate of a peer comes from the network: any bytes are judged, none panics.
    #[test]
    fn a_mangled_certificate_is_judged_without_panic(edits in proptest::collection::vec((0usize..600, any::<u8>()), 1..6)) {
        let mut issued = TestCa::new("mesh").leaf().uri(SHOP).dns("shop").subject("a", "b").issue();
        for (at, byte) in edits {
            if let Some(slot) = issued.chain[0].get_mut(at) {
                *slot = byte;
            }
        }
        drop(Svid::new(issued.chain, issued.key));
    }
}
