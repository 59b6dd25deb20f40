//! A CA of the user's own: an intermediate below their root, and roots that are rotated.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use control_plane::ca::Authority;
use mesh_mtls::{Acceptor, Alpn, Connector, Identity, PrivateKey, Svid, TrustBundle, pem};
use mesh_names::TrustDomain;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

const SHOP: &str = "spiffe://mesh.internal/ns/shop/sa/shop";
const ORDERS: &str = "spiffe://mesh.internal/ns/shop/sa/orders";

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn root(name: &str) -> Issuer {
    Issuer::self_signed(ca(name), KeyPair::generate().unwrap()).unwrap()
}

fn place(dir: &Path, issuing: &Issuer, above: &[&Issuer]) -> Authority {
    fs::write(dir.join("ca.key"), issuing.key().serialize_pem()).unwrap();
    let chain: String = [issuing].iter().chain(above).map(|issuer| issuer.pem()).collect();
    fs::write(dir.join("ca.crt"), chain).unwrap();
    Authority::open(dir, &TrustDomain::default(), SystemTime::now()).unwrap()
}

fn svid(authority: &Authority, id: &str) -> Svid {
    let key = PrivateKey::generate().unwrap();
    let csr = key.csr().unwrap();
    let signed = authority.sign(csr.der(), &id.parse().unwrap(), SystemTime::now()).unwrap();
    Svid::new(signed.chain, key).unwrap()
}

/// Whether a workload with `shop` that trusts `trust` and one of `authority` accept each other.
async fn accept_each_other(shop: Svid, trust: TrustBundle, authority: &Authority) -> bool {
    let (client, server) = (Identity::new(trust), Identity::new(bundle(authority)));
    client.set_svid(shop);
    server.set_svid(svid(authority, ORDERS));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (acceptor, connector) = (Acceptor::new(server, &[Alpn::H2]), Connector::new(client));
    let expect = ORDERS.parse().unwrap();
    let (server, client) =
        tokio::join!(acceptor.accept(far), connector.connect(near, &expect, "p1.mesh", Alpn::H2, None));
    server.is_ok() && client.is_ok()
}

fn bundle(authority: &Authority) -> TrustBundle {
    TrustBundle::from_der(authority.trust_bundle().iter().cloned()).unwrap()
}

#[tokio::test]
async fn an_intermediate_of_the_users_pki_signs_for_their_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = root("company root");
    let intermediate = Issuer::signed_by(ca("mesh"), KeyPair::generate().unwrap(), &root).unwrap();
    let authority = place(dir.path(), &intermediate, &[&root]);

    assert_eq!(*authority.trust_bundle(), [root.der().to_vec()]);
    assert_eq!(svid(&authority, SHOP).chain().len(), 2);
    let root_only = TrustBundle::from_pem(&root.pem()).unwrap();
    assert!(accept_each_other(svid(&authority, SHOP), root_only, &authority).await);
    // What a sidecar is started with is the file itself.
    let file = pem::read_trust_bundle(&dir.path().join("ca.crt")).unwrap();
    assert!(accept_each_other(svid(&authority, SHOP), file, &authority).await);
}

#[tokio::test]
async fn an_intermediate_without_its_root_is_trusted_itself() {
    let dir = tempfile::tempdir().unwrap();
    let intermediate =
        Issuer::signed_by(ca("mesh"), KeyPair::generate().unwrap(), &root("company root")).unwrap();
    let authority = place(dir.path(), &intermediate, &[]);
    assert!(accept_each_other(svid(&authority, SHOP), bundle(&authority), &authority).await);
}

#[tokio::test]
async fn roots_are_rotated_in_three_steps_without_a_refused_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (root("old"), root("new"));
    let authority = place(dir.path(), &old, &[]);
    let of_the_old = svid(&authority, SHOP);

    let announced = place(dir.path(), &old, &[&new]);
    assert_eq!(announced.trust_bundle().len(), 2);
    assert!(accept_each_other(svid(&announced, SHOP), bundle(&authority), &authority).await);

    let rotating = place(dir.path(), &new, &[&old]);
    assert_eq!(rotating.trust_bundle().len(), 2);
    assert!(accept_each_other(of_the_old, bundle(&announced), &rotating).await);

    let after = place(dir.path(), &new, &[]);
    assert!(accept_each_other(svid(&rotating, SHOP), bundle(&after), &after).await);
    assert!(!accept_each_other(svid(&authority, SHOP), bundle(&after), &after).await);
}
