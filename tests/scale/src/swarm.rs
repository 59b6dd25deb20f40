//! The simulated sidecars: each announces a workload, subscribes to the services it calls, acknowledges what comes, and comes
//! back with what it holds when its stream ends, as a sidecar does.

use crate::arrivals::Arrivals;
use crate::link::Link;
use crate::mesh::{NAMESPACE, hot, service};
use anyhow::{Context, Result, bail};
use mesh_names::ServiceName;
use mesh_protocol::announcement::{AnnouncedState, Announcement};
use mesh_protocol::resource::{MESH, ResourceType, endpoints_of};
use mesh_protocol::wire::discovery as wire;
use mesh_protocol::wire::discovery::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use mesh_protocol::{Locality, Weight};
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

/// Sidecars that connect at the same time: they start one after the other where they really run.
const CONNECTING: usize = 64;
/// The most a sidecar waits before it comes back.
const COME_BACK: Duration = Duration::from_secs(1);
/// Requests that may wait for the network.
const REQUESTS: usize = 32;

/// What all of them share.
#[derive(Debug)]
pub(crate) struct Shared {
    link: Link,
    /// Streams whose announcement is in force.
    pub(crate) registered: Arrivals,
    /// Changes of an endpoint of the service that all call.
    pub(crate) endpoints: Arrivals,
    /// Changes of that service itself.
    pub(crate) routes: Arrivals,
    /// Changes of the trusted roots.
    pub(crate) roots: Arrivals,
    /// Bytes of responses.
    pub(crate) bytes: AtomicU64,
    /// Why a stream ended last, for whoever waits in vain.
    failure: Mutex<String>,
    connecting: Semaphore,
}

impl Shared {
    /// Why a stream ended last.
    pub(crate) fn last_failure(&self) -> String {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Running sidecars; dropping them ends them.
#[derive(Debug)]
pub(crate) struct Swarm {
    pub(crate) shared: Arc<Shared>,
    _members: JoinSet<()>,
}

impl Swarm {
    /// Starts so many, each of which calls so many services. Returns once all are registered.
    ///
    /// # Errors
    /// They are not.
    pub(crate) async fn start(link: Link, sidecars: usize, called: usize, services: usize) -> Result<Self> {
        let shared = Arc::new(Shared {
            link,
            registered: Arrivals::default(),
            endpoints: Arrivals::default(),
            routes: Arrivals::default(),
            roots: Arrivals::default(),
            bytes: AtomicU64::new(0),
            failure: Mutex::default(),
            connecting: Semaphore::new(CONNECTING),
        });
        shared.registered.begin(sidecars);
        let mut members = JoinSet::new();
        for number in 0..sidecars {
            let mut calls = vec![hot()?];
            for next in 1..called {
                calls.push(service((number * (called - 1) + next - 1) % services.max(1))?);
            }
            let member = Member { shared: shared.clone(), number, calls, held: HashMap::new() };
            members.spawn(member.run());
        }
        let registered = shared.registered.all().await;
        registered.with_context(|| format!("registering the sidecars ({})", shared.last_failure()))?;
        Ok(Self { shared, _members: members })
    }
}

struct Member {
    shared: Arc<Shared>,
    number: usize,
    calls: Vec<ServiceName>,
    /// Versions by type and name.
    held: HashMap<String, BTreeMap<String, String>>,
}

impl Member {
    async fn run(mut self) {
        loop {
            if let Err(error) = self.stream().await {
                *self.shared.failure.lock().unwrap_or_else(PoisonError::into_inner) = format!("{error:#}");
            }
            // Spread by number: the same in every run.
            let share = (self.number.wrapping_mul(2_654_435_761) % 1000) as u32;
            tokio::time::sleep(COME_BACK * share / 1000).await;
        }
    }

    async fn stream(&mut self) -> Result<()> {
        let channel = {
            let _place = self.shared.connecting.acquire().await?;
            self.shared.link.channel().await?
        };
        let (requests, queued) = mpsc::channel(REQUESTS);
        let mut client = AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(1 << 26);
        for (place, (kind, names)) in self.wanted().into_iter().enumerate() {
            let type_url = kind.type_url().to_owned();
            let mut request = wire::DeltaDiscoveryRequest {
                initial_resource_versions: self
                    .held
                    .get(&type_url)
                    .cloned()
                    .unwrap_or_default()
                    .into_iter()
                    .collect(),
                type_url,
                resource_names_subscribe: names,
                ..wire::DeltaDiscoveryRequest::default()
            };
            if place == 0 {
                request.node = Some(wire::Node { id: self.name(), ..wire::Node::default() });
                request.announcement = Some(self.announcement()?.to_wire());
            }
            requests.send(request).await?;
        }
        let opened = client.delta_aggregated_resources(ReceiverStream::new(queued)).await?;
        let mut responses = opened.into_inner();
        while let Some(response) = responses.message().await? {
            self.take(response, &requests).await?;
        }
        bail!("the control plane ended the stream")
    }

    async fn take(
        &mut self,
        response: wire::DeltaDiscoveryResponse,
        requests: &mpsc::Sender<wire::DeltaDiscoveryRequest>,
    ) -> Result<()> {
        self.shared.bytes.fetch_add(response.encoded_len() as u64, Ordering::Relaxed);
        let (mut endpoint, mut route) = (false, false);
        let roots =
            response.type_url == ResourceType::TrustBundle.type_url() && !response.resources.is_empty();
        let held = self.held.entry(response.type_url.clone()).or_default();
        for resource in response.resources {
            endpoint |= resource.name.starts_with("scale/hot/");
            route |= resource.name == "scale/hot" && response.type_url == ResourceType::Service.type_url();
            held.insert(resource.name, resource.version);
        }
        for name in &response.removed_resources {
            held.remove(name);
        }
        if !response.nonce.is_empty() {
            let acknowledgement = wire::DeltaDiscoveryRequest {
                type_url: response.type_url,
                response_nonce: response.nonce,
                ..wire::DeltaDiscoveryRequest::default()
            };
            requests.send(acknowledgement).await?;
        }
        if endpoint {
            self.shared.endpoints.came(self.number);
        }
        if route {
            self.shared.routes.came(self.number);
        }
        if roots {
            self.shared.roots.came(self.number);
        }
        if response.announced > 0 {
            self.shared.registered.came(self.number);
        }
        Ok(())
    }

    fn name(&self) -> String {
        format!("{NAMESPACE}/caller-{}", self.number)
    }

    fn wanted(&self) -> Vec<(ResourceType, Vec<String>)> {
        let services = || self.calls.iter().map(ToString::to_string).collect();
        vec![
            (ResourceType::TrustBundle, vec!["mesh.internal".to_owned()]),
            (ResourceType::Mesh, vec![MESH.to_owned()]),
            (ResourceType::Workload, vec![self.name()]),
            (ResourceType::Service, services()),
            (ResourceType::Endpoint, self.calls.iter().map(endpoints_of).collect()),
        ]
    }

    fn announcement(&self) -> Result<Announcement> {
        let number = self.number;
        Ok(Announcement {
            sequence: 1,
            name: format!("caller-{number}").parse()?,
            labels: BTreeMap::from([("app".to_owned(), "caller".to_owned())]),
            address: std::net::Ipv4Addr::new(172, 16, (number / 250) as u8, (number % 250) as u8).into(),
            inbound_port: mesh_names::Port::new(15008).context("a port")?,
            ports: Vec::new(),
            locality: Locality::default(),
            weight: Weight::default(),
            state: AnnouncedState::Ready,
            reason: String::new(),
            certificate_expires: None,
        })
    }
}
