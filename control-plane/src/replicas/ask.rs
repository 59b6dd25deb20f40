//! The sidecars of all control planes: this one's own, and those that the others name.

use super::wire::replica_client::ReplicaClient;
use super::wire::{ListProxiesRequest, ListProxiesResponse};
use crate::api::{ProxyDirectory, ProxyListing};
use crate::channel;
use crate::store::{Replica, Store};
use crate::xds::Directory;
use futures_util::future::{BoxFuture, join_all};
use mesh_mtls::{Alpn, Connector, HandshakeError, Identity, control_plane_id};
use mesh_names::{SpiffeId, TrustDomain};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

/// From the question to its answer, a new connection included. Replicas are near each other; one that needs longer is
/// suspended or gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer: half a KiB a sidecar.
const ANSWER_MAX: usize = 256 * 1024 * 1024;

/// Lists the sidecars of every control plane that shares the store.
pub struct Everywhere {
    own: Directory,
    store: Arc<dyn Store>,
    connector: Connector,
    expect: SpiffeId,
    /// One connection to each replica asked before, by its address.
    channels: Mutex<HashMap<String, Channel>>,
}

/// Why a replica could not be asked.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("{0}")]
    Connect(#[from] io::Error),
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("{0}")]
    Http2(#[from] tonic::transport::Error),
    #[error("{}", .0.message())]
    Refused(#[from] tonic::Status),
}

impl Everywhere {
    /// `identity` is this control plane's own, by which the others know it.
    pub fn new(
        own: Directory,
        store: Arc<dyn Store>,
        identity: Identity,
        trust_domain: &TrustDomain,
    ) -> Self {
        let (connector, expect) = (Connector::new(identity), control_plane_id(trust_domain));
        Self { own, store, connector, expect, channels: Mutex::default() }
    }

    async fn all(&self, namespace: Option<&str>, name: Option<&str>) -> ProxyListing {
        let here = self.store.replica();
        let mut listing = ProxyListing::default();
        let others = if here.is_empty() {
            Vec::new()
        } else {
            match self.store.replicas().await {
                Ok(replicas) => replicas.into_iter().filter(|replica| replica.name != here).collect(),
                Err(error) => {
                    let warning = "only the sidecars of this control plane are shown";
                    listing.warnings.push(format!("{warning}: the others are not known ({error})"));
                    Vec::new()
                }
            }
        };
        let answers = join_all(others.iter().map(|other| self.ask(other, namespace, name))).await;
        let mut shown = BTreeMap::new();
        enter(&mut shown, self.own.connected(namespace, name), here);
        for (other, answer) in others.iter().zip(answers) {
            match answer {
                Ok(proxies) => enter(&mut shown, proxies, &other.name),
                Err(why) => listing.warnings.push(format!(
                    "the sidecars of control plane {} at {} are not shown: {why}",
                    other.name, other.discovery
                )),
            }
        }
        listing.proxies = shown.into_values().collect();
        listing
    }

    async fn ask(
        &self,
        other: &Replica,
        namespace: Option<&str>,
        name: Option<&str>,
    ) -> Result<Vec<Value>, String> {
        let request = ListProxiesRequest {
            namespace: namespace.unwrap_or_default().to_owned(),
            name: name.unwrap_or_default().to_owned(),
        };
        let asked = tokio::time::timeout(PATIENCE, self.exchange(other, request)).await;
        let problem = match asked {
            Ok(Ok(answer)) => {
                return Ok(answer.proxies.iter().filter_map(|it| serde_json::from_slice(it).ok()).collect());
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
        self.channels().remove(&other.discovery);
        Err(problem)
    }

    async fn exchange(
        &self,
        other: &Replica,
        request: ListProxiesRequest,
    ) -> Result<ListProxiesResponse, AskError> {
        let known = self.channels().get(&other.discovery).cloned();
        let channel = match known {
            Some(channel) => channel,
            None => {
                let channel = self.connect(&other.discovery).await?;
                self.channels().insert(other.discovery.clone(), channel.clone());
                channel
            }
        };
        let mut client = ReplicaClient::new(channel).max_decoding_message_size(ANSWER_MAX);
        Ok(client.list_proxies(request).await?.into_inner())
    }

    async fn connect(&self, address: &str) -> Result<Channel, AskError> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
        let stream = self.connector.connect(socket, &self.expect, host, Alpn::H2, None).await?;
        // TLS is done already: to tonic the scheme would mean that it has to do it.
        let target = Endpoint::from_shared(format!("http://{address}"))?;
        Ok(channel::over(Box::new(stream), target).await?)
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<String, Channel>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProxyDirectory for Everywhere {
    fn list<'a>(&'a self, namespace: Option<&'a str>, name: Option<&'a str>) -> BoxFuture<'a, ProxyListing> {
        Box::pin(self.all(namespace, name))
    }
}

type Place = (String, String);

/// Adds a control plane's sidecars. Of two streams of one workload, as there are while a sidecar goes from one to another,
/// the newer is shown.
fn enter(shown: &mut BTreeMap<Place, Value>, proxies: Vec<Value>, control_plane: &str) {
    for mut proxy in proxies {
        let text = |pointer: &str| proxy.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let (Some(namespace), Some(name)) = (text("/metadata/namespace"), text("/metadata/name")) else {
            continue;
        };
        let since = text("/metadata/creationTimestamp");
        if let Some(status) = proxy.get_mut("status").and_then(Value::as_object_mut)
            && !control_plane.is_empty()
        {
            status.insert("controlPlane".to_owned(), control_plane.into());
        }
        let place = (namespace, name);
        let is_newer = shown.get(&place).is_none_or(|there| {
            // RFC 3339 in UTC with whole seconds: the order of texts is that of time.
            there.pointer("/metadata/creationTimestamp").and_then(Value::as_str) <= since.as_deref()
        });
        if is_newer {
            shown.insert(place, proxy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_sidecar_that_moved_is_shown_once_where_it_is() {
        let proxy = |name: &str, since: &str| json!({"metadata": {"namespace": "shop", "name": name, "creationTimestamp": since}, "status": {}});
        let mut shown = BTreeMap::new();
        enter(&mut shown, vec![proxy("a", "2026-01-01T00:00:02Z"), proxy("b", "2026-01-01T00:00:00Z")], "x");
        enter(&mut shown, vec![proxy("a", "2026-01-01T00:00:01Z"), proxy("b", "2026-01-01T00:00:09Z")], "y");
        let at: Vec<_> = shown.values().map(|it| it["status"]["controlPlane"].as_str().unwrap()).collect();
        assert_eq!(at, ["x", "y"]);
    }
}
