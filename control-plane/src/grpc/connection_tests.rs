//! Connections by a clock that is told the time, and calls of a real client.

use super::*;
use crate::channel;
use crate::index::Feed;
use crate::registry::Registry;
use crate::xds::{Directory, Discovery, DiscoveryMetrics};
use mesh_process::Drain;
use mesh_protocol::wire::v1::SignRequest;
use mesh_protocol::wire::v1::certificate_authority_client::CertificateAuthorityClient;
use std::sync::Arc;
use tokio::io::{AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tonic::Code;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};

/// Services without a store behind them.
fn services(drain: &Drain) -> Services {
    let feed = Feed {
        snapshots: watch::channel(None).1,
        reflected: watch::channel(Default::default()).1,
        changed: watch::channel(Default::default()).1,
    };
    let metrics = DiscoveryMetrics::register(&prometheus::Registry::new()).unwrap();
    let directory = Directory::new(feed.clone());
    let discovery = Discovery::new(feed, Registry::default(), directory, metrics, drain.signal());
    Services { discovery: Arc::new(discovery), unary: Routes::default() }
}

async fn served(io: DuplexStream) -> Result<(), Ended> {
    let drain = Drain::new();
    serve(io, PeerIdentity::default(), services(&drain), &Tasks::new(), drain.signal()).await
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_let_go_in_time() {
    let (_client, io) = duplex(1 << 16);
    let start = Instant::now();
    assert!(matches!(served(io).await, Err(Ended::Silent)));
    assert_eq!(start.elapsed(), BEGIN_WITHIN);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_vanished_is_asked_and_given_up() {
    let (mut client, io) = duplex(1 << 16);
    let start = Instant::now();
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    client.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.unwrap();
    assert!(matches!(served(io).await, Err(Ended::Lost)));
    // Its first words are heard in the first of these times.
    assert_eq!(start.elapsed(), PING_EVERY * 2 + PING_ANSWER);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_lives_is_not_given_up_while_it_has_nothing_to_say() {
    let (client, io) = duplex(1 << 16);
    let live = async {
        let mut client = client_of(client).await;
        for _ in 0..3 {
            tokio::time::sleep(PING_EVERY * 3).await;
            let refused = client.sign(SignRequest::default()).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unimplemented);
        }
    };
    meanwhile_served(io, live).await;
}

/// Runs `client` while its connection is served, which does not end before.
async fn meanwhile_served(io: DuplexStream, client: impl Future<Output = ()>) {
    let both = async {
        tokio::select! {
            ended = served(io) => panic!("{ended:?}"),
            () = client => {}
        }
    };
    LocalSet::new().run_until(Box::pin(both)).await;
}

async fn client_of(io: DuplexStream) -> CertificateAuthorityClient<Channel> {
    let channel = channel::over(Box::new(io), Endpoint::from_static("http://control-plane")).await;
    CertificateAuthorityClient::new(channel.unwrap())
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused_with_the_limit() {
    let (client, io) = duplex(1 << 16);
    let ask = async {
        let mut client = client_of(client).await;
        let long = SignRequest { csr: vec![0; 100_000].into() };
        let refused = client.sign(long).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        assert!(refused.message().contains("65536 bytes"), "{refused}");
        let refused = client.sign(SignRequest::default()).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unimplemented, "the connection goes on");
    };
    meanwhile_served(io, ask).await;
}
