//! What the mesh knows of a name, read from what the control plane has told this sidecar; what it has not told yet is
//! asked for. The implementation of [`MeshNames`] that a running sidecar has.

use super::names::{Answer, MeshNames, NamedPort, ServiceFacts};
use crate::demand::Demand;
use crate::snapshot::{AddressState, ServiceState, ServiceView, Snapshot};
use mesh_names::ServiceName;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::time::Instant;

/// Names as the snapshot has them.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    demand: Demand,
    started: Instant,
}

impl Told {
    /// Reads `snapshots` and asks for more by `demand`. `started` is what the seconds of last use count from.
    pub(crate) fn new(snapshots: watch::Receiver<Arc<Snapshot>>, demand: Demand, started: Instant) -> Self {
        Self { snapshots, demand, started }
    }

    /// Waits until `read` finds an answer in a snapshot. Nothing if the control plane can't be asked.
    async fn wait<T>(
        &self,
        ask: impl Fn(&Demand) -> bool,
        read: impl Fn(&Snapshot) -> Option<T>,
    ) -> Option<T> {
        let mut snapshots = self.snapshots.clone();
        loop {
            let found = read(&snapshots.borrow_and_update());
            if found.is_some() {
                return found;
            }
            if !self.demand.is_heard() {
                return None;
            }
            // A full channel is asked again with the next snapshot; the server waits only so long anyway.
            ask(&self.demand);
            snapshots.changed().await.ok()?;
        }
    }

    fn second(&self) -> u64 {
        Instant::now().saturating_duration_since(self.started).as_secs()
    }
}

impl MeshNames for Told {
    async fn look_up(&self, service: &ServiceName) -> Answer {
        let answer = self.wait(
            |demand| demand.ask(service),
            |snapshot| {
                Some(match snapshot.service(service)? {
                    ServiceState::Missing(_) => Answer::NoSuchService,
                    ServiceState::Known(view) => {
                        view.last_used.touch(self.second());
                        Answer::Service(facts(view))
                    }
                })
            },
        );
        answer.await.unwrap_or(Answer::Unknown)
    }

    async fn owner(&self, address: IpAddr) -> Option<ServiceName> {
        let owner = self.wait(
            |demand| demand.ask_address(address),
            |snapshot| {
                if let Some(owner) = snapshot.owner(address) {
                    return Some(Some(owner.clone()));
                }
                let view = snapshot.address(address)?;
                view.last_used.touch(self.second());
                Some(match &view.state {
                    AddressState::Service(service) => Some(service.clone()),
                    AddressState::Registered(_) | AddressState::Unknown => None,
                })
            },
        );
        owner.await.flatten()
    }
}

fn facts(view: &ServiceView) -> ServiceFacts {
    let mut facts = ServiceFacts::default();
    for address in &view.service.virtual_addresses {
        match address {
            IpAddr::V4(v4) => facts.v4 = facts.v4.or(Some(*v4)),
            IpAddr::V6(v6) => facts.v6 = facts.v6.or(Some(*v6)),
        }
    }
    let ports = view.service.ports.iter();
    facts.ports = ports.map(|port| NamedPort { name: port.name.parse().ok(), port: port.port }).collect();
    facts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demand::{self, Wish};
    use crate::snapshot::{AddressView, compile};
    use mesh_protocol::service::{Service, ServicePort};
    use std::collections::HashMap;

    fn orders() -> ServiceName {
        "shop/orders".parse().unwrap()
    }

    fn known() -> ServiceState {
        let port = ServicePort {
            port: "80".parse().unwrap(),
            name: "web".to_owned(),
            app_protocol: Default::default(),
            rules: vec![],
            matches: vec![],
            policy: None,
        };
        let addresses = vec!["240.240.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let service = Service { name: orders(), ports: vec![port], virtual_addresses: addresses };
        ServiceState::Known(Arc::new(ServiceView {
            service: Arc::new(compile(&service).unwrap()),
            endpoints: Arc::default(),
            endpoints_known: false,
            last_used: Arc::default(),
        }))
    }

    #[tokio::test]
    async fn a_name_is_asked_for_once_and_answered_when_it_is_told() {
        let (sender, snapshots) = watch::channel(Arc::default());
        let (demand, mut demands) = demand::channel();
        demands.heard(true);
        let told = Told::new(snapshots, demand, Instant::now());
        let tells = async {
            assert_eq!(demands.next().await, Some(Wish::Service(orders())));
            let services = HashMap::from([(orders(), known())]);
            sender.send_replace(Arc::new(Snapshot { services, ..Snapshot::default() }));
        };
        let name = orders();
        let (answer, ()) = tokio::join!(told.look_up(&name), tells);
        let Answer::Service(facts) = answer else { panic!("{answer:?}") };
        assert_eq!(facts.v4, Some("240.240.0.7".parse().unwrap()));
        assert_eq!(facts.v6, Some("fd00::7".parse().unwrap()));
        assert_eq!(facts.ports[0].name.as_ref().unwrap().as_str(), "web");
    }

    #[tokio::test]
    async fn while_the_control_plane_is_away_only_what_is_known_is_answered_and_at_once() {
        let services = HashMap::from([(orders(), known())]);
        let held = Arc::new(Snapshot { services, received: true, ..Snapshot::default() });
        let (_sender, snapshots) = watch::channel(held);
        let (demand, _demands) = demand::channel();
        let told = Told::new(snapshots, demand, Instant::now());
        assert!(matches!(told.look_up(&orders()).await, Answer::Service(_)));
        assert_eq!(told.look_up(&"shop/other".parse().unwrap()).await, Answer::Unknown);
        assert_eq!(told.owner("240.240.0.9".parse().unwrap()).await, None);
    }

    #[tokio::test]
    async fn a_virtual_address_has_an_owner_and_no_other_address_has() {
        let view = |state| AddressView { state, last_used: Arc::default() };
        let addresses = HashMap::from([
            ("240.240.0.7".parse().unwrap(), view(AddressState::Service(orders()))),
            ("10.0.0.1".parse().unwrap(), view(AddressState::Unknown)),
        ]);
        let snapshot = Snapshot { addresses: Arc::new(addresses), ..Snapshot::default() };
        let (_sender, snapshots) = watch::channel(Arc::new(snapshot));
        let (demand, _demands) = demand::channel();
        let told = Told::new(snapshots, demand, Instant::now());
        assert_eq!(told.owner("240.240.0.7".parse().unwrap()).await, Some(orders()));
        assert_eq!(told.owner("10.0.0.1".parse().unwrap()).await, None);
    }
}
