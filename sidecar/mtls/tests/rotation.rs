//! Certificates and roots change under running traffic; sessions are resumed, but never across identities.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod peer;

use mesh_mtls::{Acceptor, Alpn, Connector, HandshakeFailure};
use peer::*;
use std::time::{Duration, SystemTime};
use tests::pki::TestCa;

/// The leaf in use, which tells SVIDs apart.
fn leaf_of(identity: &mesh_mtls::Identity) -> Vec<u8> {
    identity.svid().unwrap().chain().next().unwrap().to_vec()
}

async fn connect_twice(acceptor: &Acceptor, connector: &Connector) -> (bool, bool) {
    let (server, client) = meet(acceptor, connector, ORDERS).await;
    let first = (server.unwrap(), client.unwrap());
    let (server, client) = meet(acceptor, connector, ORDERS).await;
    let (server, client) = (server.unwrap(), client.unwrap());
    assert_eq!(server.is_resumed(), client.is_resumed());
    assert_eq!(server.peer(), &id(SHOP));
    assert_eq!(client.peer(), &id(ORDERS));
    (first.1.is_resumed(), client.is_resumed())
}

#[tokio::test]
async fn a_resumed_session_still_carries_the_identity_of_both() {
    let ca = TestCa::new("mesh");
    let (acceptor, connector) = (acceptor(&identity(&ca, ORDERS)), Connector::new(identity(&ca, SHOP)));
    assert_eq!(connect_twice(&acceptor, &connector).await, (false, true));
}

#[tokio::test]
async fn sessions_are_resumed_again_and_again_and_never_without_being_asked_for() {
    let ca = TestCa::new("mesh");
    let (acceptor, connector) = (acceptor(&identity(&ca, ORDERS)), Connector::new(identity(&ca, SHOP)));
    meet(&acceptor, &connector, ORDERS).await.1.unwrap();
    for _ in 0..8 {
        assert!(meet(&acceptor, &connector, ORDERS).await.1.unwrap().is_resumed());
    }
    for _ in 0..2 {
        let (near, far) = pipe();
        let expect = id(ORDERS);
        let (_, client) =
            tokio::join!(serve(&acceptor, far), connector.connect(near, &expect, SNI, Alpn::Tcp, None));
        assert!(!client.unwrap().is_resumed());
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_for_another_expected_identity() {
    let ca = TestCa::new("mesh");
    let (acceptor, connector) = (acceptor(&identity(&ca, ORDERS)), Connector::new(identity(&ca, SHOP)));
    meet(&acceptor, &connector, ORDERS).await.1.unwrap();

    let other = "spiffe://mesh.internal/ns/shop/sa/billing";
    let (_, client) = meet(&acceptor, &connector, other).await;
    let expected = HandshakeFailure::WrongIdentity { expected: id(other), presented: id(ORDERS) };
    assert_eq!(client.unwrap_err(), expected);
    assert!(meet(&acceptor, &connector, ORDERS).await.1.unwrap().is_resumed());
}

#[tokio::test]
async fn an_impostor_at_the_same_address_can_not_resume() {
    let ca = TestCa::new("mesh");
    let connector = Connector::new(identity(&ca, SHOP));
    meet(&acceptor(&identity(&ca, ORDERS)), &connector, ORDERS).await.1.unwrap();

    let (_, client) = meet(&acceptor(&identity(&ca, SHOP)), &connector, ORDERS).await;
    assert_eq!(client.unwrap_err().label(), "wrong_identity");
}

#[tokio::test]
async fn a_new_svid_serves_new_connections_and_leaves_the_old_alone() {
    let ca = TestCa::new("mesh");
    let (shop, orders) = (identity(&ca, SHOP), identity(&ca, ORDERS));
    let (acceptor, connector) = (acceptor(&orders), Connector::new(shop.clone()));
    let (server, client) = meet(&acceptor, &connector, ORDERS).await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());
    let before = (leaf_of(&shop), leaf_of(&orders));

    shop.set_svid(ca.svid(SHOP));
    orders.set_svid(ca.svid(ORDERS));

    assert!(leaf_of(&shop) != before.0 && leaf_of(&orders) != before.1);
    exchange(&mut client, &mut server).await;
    assert_eq!(connect_twice(&acceptor, &connector).await, (false, true), "old sessions are forgotten");
    exchange(&mut client, &mut server).await;
}

#[tokio::test]
async fn roots_are_rotated_without_a_refused_connection() {
    let (old, new) = (TestCa::new("mesh"), TestCa::new("mesh"));
    let (shop, orders) = (identity(&old, SHOP), identity(&old, ORDERS));
    let (acceptor, connector) = (acceptor(&orders), Connector::new(shop.clone()));
    let (server, client) = meet(&acceptor, &connector, ORDERS).await;
    let (mut server, mut client) = (server.unwrap(), client.unwrap());

    let steps: [(&str, &dyn Fn()); 6] = [
        ("shop trusts both", &|| shop.set_trust_bundle(TestCa::trust_in(&[&old, &new]))),
        ("orders trusts both", &|| orders.set_trust_bundle(TestCa::trust_in(&[&old, &new]))),
        ("shop has a new certificate", &|| shop.set_svid(new.svid(SHOP))),
        ("orders has a new certificate", &|| orders.set_svid(new.svid(ORDERS))),
        ("shop trusts the new root only", &|| shop.set_trust_bundle(new.trust_bundle())),
        ("orders trusts the new root only", &|| orders.set_trust_bundle(new.trust_bundle())),
    ];
    for (what, step) in steps {
        step();
        let (accepted, connected) = meet(&acceptor, &connector, ORDERS).await;
        assert!(accepted.is_ok() && connected.is_ok(), "{what}: {accepted:?} {connected:?}");
        exchange(&mut client, &mut server).await;
    }
}

#[tokio::test]
async fn a_withdrawn_root_ends_resumption_too() {
    let (old, new) = (TestCa::new("mesh"), TestCa::new("mesh"));
    let (shop, orders) = (identity(&old, SHOP), identity(&old, ORDERS));
    let (acceptor, connector) = (acceptor(&orders), Connector::new(shop));
    meet(&acceptor, &connector, ORDERS).await.1.unwrap();

    orders.set_trust_bundle(new.trust_bundle());

    let (server, client) = meet(&acceptor, &connector, ORDERS).await;
    assert_eq!(server.unwrap_err(), HandshakeFailure::UntrustedCertificate);
    assert_eq!(client.unwrap_err().label(), "peer_refused");
}

#[tokio::test]
async fn a_session_does_not_outlive_the_certificate_it_was_made_with() {
    let ca = TestCa::new("mesh");
    let soon = SystemTime::now() + Duration::from_secs(1);
    let short = ca.leaf().uri(SHOP).valid(SystemTime::now() - Duration::from_secs(60), soon).issue();
    let shop = identity_of(ca.trust_bundle(), short);
    let (acceptor, connector) = (acceptor(&identity(&ca, ORDERS)), Connector::new(shop));
    meet(&acceptor, &connector, ORDERS).await.1.unwrap();

    // The event waited for is the clock's: certificates count whole seconds.
    let expiry = soon.duration_since(SystemTime::now()).unwrap() + Duration::from_secs(1);
    tokio::time::timeout(expiry, std::future::pending::<()>()).await.unwrap_err();

    let (server, _) = meet(&acceptor, &connector, ORDERS).await;
    assert_eq!(server.unwrap_err(), HandshakeFailure::ExpiredCertificate);
}

#[tokio::test]
async fn waiting_for_a_change_sees_each_of_them() {
    let ca = TestCa::new("mesh");
    let shop = identity(&ca, SHOP);
    let mut changes = shop.changed();
    shop.set_svid(ca.svid(SHOP));
    changes.changed().await;
    shop.set_trust_bundle(TestCa::new("new").trust_bundle());
    changes.changed().await;
}

#[tokio::test]
async fn tickets_of_one_endpoint_are_not_offered_to_another() {
    let ca = TestCa::new("mesh");
    let (acceptor, connector) = (acceptor(&identity(&ca, ORDERS)), Connector::new(identity(&ca, SHOP)));
    meet(&acceptor, &connector, ORDERS).await.1.unwrap();

    let (near, far) = pipe();
    let (expect, elsewhere) = (id(ORDERS), "127.0.0.2:15008".parse().unwrap());
    let (_, client) = tokio::join!(
        serve(&acceptor, far),
        connector.connect(near, &expect, SNI, Alpn::Tcp, Some(elsewhere)),
    );
    assert!(!client.unwrap().is_resumed());
}

#[tokio::test]
async fn debug_shows_no_private_key() {
    let ca = TestCa::new("mesh");
    let shop = identity(&ca, SHOP);
    let key = shop.svid().unwrap().key().to_pem();
    let secret = key.lines().nth(1).unwrap();
    let connector = Connector::new(shop.clone());
    let texts = [format!("{shop:?}"), format!("{:?}", shop.svid()), format!("{connector:?}")];
    for text in texts {
        assert!(!text.contains(secret) && !text.contains("key: ["), "{text}");
    }
}
