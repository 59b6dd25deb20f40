//! A plain port that leads to a sidecar's inbound port over mutual TLS, as a peer of the mesh would open it. What a test
//! writes there is what the sidecar finds inside of TLS, byte for byte; what the sidecar answers comes back so.

use crate::pki::TestCa;
use crate::world::{NAMESPACE, World};
use mesh_mtls::{Alpn, Connector, Identity, TrustBundle};
use mesh_names::SpiffeId;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Opens a door to the application's `port` behind the sidecar of `member`, whose identity is that of the service account
/// `account`, for a peer called `caller`. It stands open until the process ends.
///
/// # Panics
/// There is no such member.
pub fn to_inbound(world: &mut World, member: &str, account: &str, port: u16, caller: &str) -> SocketAddr {
    let data_dir = world.dir().join("control-plane");
    let trust = TrustBundle::from_pem(&std::fs::read_to_string(data_dir.join("ca.crt")).unwrap()).unwrap();
    let identity = Identity::new(trust);
    let id = |account: &str| format!("spiffe://mesh.internal/ns/{NAMESPACE}/sa/{account}");
    identity.set_svid(TestCa::stolen(&data_dir).svid(&id(caller)));
    let expect: SpiffeId = id(account).parse().unwrap();
    let inbound = world.mesh.member(member).unwrap().sidecar_addr("inbound").unwrap().parse().unwrap();
    let way =
        Way { connector: Connector::new(identity), expect, inbound, sni: format!("p{port}.mesh.internal") };
    let (tell, told) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let mut carried = JoinSet::new();
            while let Ok((plain, _)) = listener.accept().await {
                carried.spawn(carry(way.clone(), plain));
            }
        });
    });
    told.recv().unwrap()
}

#[derive(Debug, Clone)]
struct Way {
    connector: Connector,
    expect: SpiffeId,
    inbound: SocketAddr,
    sni: String,
}

/// Whoever came sees a connection that ends when the sidecar's does.
async fn carry(way: Way, mut plain: TcpStream) {
    let Ok(stream) = TcpStream::connect(way.inbound).await else { return };
    stream.set_nodelay(true).ok();
    plain.set_nodelay(true).ok();
    match way.connector.connect(stream, &way.expect, &way.sni, Alpn::H2, None).await {
        Ok(mut tls) => {
            // How it ended is for the test to see in what came.
            tokio::io::copy_bidirectional(&mut plain, &mut tls).await.ok();
            plain.shutdown().await.ok();
        }
        Err(error) => eprintln!("the door stays shut: {error}"),
    }
}
