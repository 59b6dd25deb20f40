//! From what is held to what requests read. Pure, and incremental: a change to one service builds one view anew and
//! shares everything else with the snapshot before.

use crate::health::Unwell;
use crate::snapshot::{
    AddressState, AddressView, ExternalHosts, Registered, ServiceState, ServiceView, Snapshot,
};
use crate::xds::held::{Changed, Held};
use mesh_names::ServiceName;
use mesh_protocol::address::Address;
use mesh_protocol::endpoint::{Endpoint, EndpointHealth};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The snapshot that follows `previous` after `changed`.
pub(crate) fn next(previous: &Snapshot, held: &Held, unwell: &Unwell, changed: &Changed) -> Snapshot {
    let mut services = previous.services.clone();
    for name in &changed.services {
        match state(previous.services.get(name), held, unwell, name) {
            Some(state) => services.insert(name.clone(), state),
            None => services.remove(name),
        };
    }
    Snapshot {
        revision: held.revision.clone(),
        owners: owners(previous, &services, changed),
        services,
        addresses: addresses(previous, held, changed),
        hosts: hosts(previous, held, changed),
        mesh: held.mesh.as_ref().map(|held| held.value.clone()),
        workload: held.workload.as_ref().map(|held| held.value.clone()),
        limits: held.limits.clone(),
        received: true,
    }
}

/// Whose the virtual addresses of services are: the same map as long as nothing in it changes.
fn owners(
    previous: &Snapshot,
    services: &HashMap<ServiceName, ServiceState>,
    changed: &Changed,
) -> Arc<HashMap<IpAddr, ServiceName>> {
    let mut owners = previous.owners.clone();
    for name in &changed.services {
        let (before, after) =
            (virtual_addresses(previous.services.get(name)), virtual_addresses(services.get(name)));
        if before == after {
            continue;
        }
        let owners = Arc::make_mut(&mut owners);
        for address in before {
            // Another one may have it by now.
            if owners.get(address) == Some(name) {
                owners.remove(address);
            }
        }
        owners.extend(after.iter().map(|address| (address.to_canonical(), name.clone())));
    }
    owners
}

fn virtual_addresses(state: Option<&ServiceState>) -> &[IpAddr] {
    match state {
        Some(ServiceState::Known(view)) => &view.service.virtual_addresses,
        Some(ServiceState::Missing(_)) | None => &[],
    }
}

/// What is known by address: the same map as long as nothing in it changes.
fn addresses(previous: &Snapshot, held: &Held, changed: &Changed) -> Arc<HashMap<IpAddr, AddressView>> {
    if changed.addresses.is_empty() {
        return previous.addresses.clone();
    }
    let mut addresses = HashMap::clone(&previous.addresses);
    for address in &changed.addresses {
        let Some(known) = held.addresses.get(address) else {
            addresses.remove(address);
            continue;
        };
        let state = known.as_ref().map_or(AddressState::Unknown, |known| address_state(&known.value));
        let last_used = addresses.get(address).map(|view| view.last_used.clone()).unwrap_or_default();
        addresses.insert(*address, AddressView { state, last_used });
    }
    Arc::new(addresses)
}

/// What is known by host: the same as long as nothing in it changes.
fn hosts(previous: &Snapshot, held: &Held, changed: &Changed) -> Arc<ExternalHosts> {
    if changed.hosts.is_empty() {
        return previous.hosts.clone();
    }
    let mut hosts = ExternalHosts::clone(&previous.hosts);
    for host in &changed.hosts {
        match held.hosts.get(host) {
            Some(known) => hosts.set(host, known.as_ref().map(|known| &*known.value)),
            None => hosts.forget(host),
        }
    }
    Arc::new(hosts)
}

fn address_state(address: &Address) -> AddressState {
    match &address.service {
        Some(service) => AddressState::Service(service.clone()),
        None => AddressState::Registered(Arc::new(Registered {
            endpoints: address.endpoints.iter().cloned().map(Arc::new).collect(),
            external_services: address.external_services.iter().cloned().map(Arc::new).collect(),
        })),
    }
}

fn state(
    previous: Option<&ServiceState>,
    held: &Held,
    unwell: &Unwell,
    name: &ServiceName,
) -> Option<ServiceState> {
    let Some(service) = held.services.get(name) else {
        return held.missing.get(name).cloned().map(ServiceState::Missing);
    };
    let previous = match previous {
        Some(ServiceState::Known(view)) => Some(view),
        Some(ServiceState::Missing(_)) | None => None,
    };
    let collection = held.endpoints.get(name);
    let before = previous.map(|view| &*view.endpoints).unwrap_or_default();
    let members = collection.into_iter().flat_map(|collection| collection.members.values());
    let found = |endpoint: &Arc<Endpoint>| match unwell.has(&service.compiled, endpoint) {
        true => not_ready(before, endpoint),
        false => endpoint.clone(),
    };
    let endpoints: Vec<Arc<Endpoint>> = members.map(|member| found(&member.value)).collect();
    let kept = previous.filter(|view| same(&view.endpoints, &endpoints));
    Some(ServiceState::Known(Arc::new(ServiceView {
        service: service.compiled.clone(),
        endpoints: kept.map_or_else(|| endpoints.into(), |view| view.endpoints.clone()),
        endpoints_known: collection.is_some_and(|collection| collection.known),
        last_used: previous.map(|view| view.last_used.clone()).unwrap_or_default(),
    })))
}

/// An endpoint that takes no requests: the one there was before, if it is the same.
fn not_ready(before: &[Arc<Endpoint>], endpoint: &Endpoint) -> Arc<Endpoint> {
    let health = match endpoint.health {
        EndpointHealth::Ready => EndpointHealth::NotReady,
        other @ (EndpointHealth::NotReady | EndpointHealth::Draining) => other,
    };
    let endpoint = Endpoint { health, ..endpoint.clone() };
    before.iter().find(|it| ***it == endpoint).cloned().unwrap_or_else(|| Arc::new(endpoint))
}

fn same(before: &[Arc<Endpoint>], after: &[Arc<Endpoint>]) -> bool {
    before.len() == after.len() && before.iter().zip(after).all(|(before, after)| Arc::ptr_eq(before, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Subject;
    use crate::xds::decode::Checked;
    use mesh_names::Port;
    use mesh_protocol::endpoint::{EndpointPort, Transport};
    use mesh_protocol::health::{Asks, HealthCheck};
    use mesh_protocol::policy::TrafficPolicy;
    use mesh_protocol::service::{Service, ServicePort};

    fn put_service(held: &mut Held, name: &str, changed: &mut Changed) {
        let service = Service { name: name.parse().unwrap(), ports: vec![], virtual_addresses: vec![] };
        let compiled = crate::snapshot::compile(&service).unwrap();
        held.put("v", Checked::Service(service, compiled), changed);
    }

    fn put_endpoint(held: &mut Held, service: &str, member: &str, changed: &mut Changed) {
        held.put("v", Checked::Endpoint(endpoint(service, member)), changed);
    }

    fn meshed() -> Transport {
        Transport::MutualTls {
            inbound_port: Port::new(15008).unwrap(),
            identity: "spiffe://mesh.internal/ns/shop/sa/orders".parse().unwrap(),
        }
    }

    fn endpoint(service: &str, member: &str) -> Endpoint {
        Endpoint {
            service: service.parse().unwrap(),
            name: member.parse().unwrap(),
            address: "127.0.0.1".parse().unwrap(),
            ports: vec![],
            transport: meshed(),
            locality: Default::default(),
            weight: Default::default(),
            health: EndpointHealth::Ready,
        }
    }

    fn known(snapshot: &Snapshot, name: &str) -> Arc<ServiceView> {
        match snapshot.service(&name.parse().unwrap()) {
            Some(ServiceState::Known(view)) => view.clone(),
            Some(ServiceState::Missing(_)) | None => panic!("{name} is not known"),
        }
    }

    #[test]
    fn what_did_not_change_is_shared_and_use_is_carried_over() {
        let (mut held, mut changed) = (Held::default(), Changed::default());
        put_service(&mut held, "shop/orders", &mut changed);
        put_endpoint(&mut held, "shop/orders", "a", &mut changed);
        put_service(&mut held, "shop/cart", &mut changed);
        let first = next(&Snapshot::default(), &held, &Unwell::default(), &changed);
        known(&first, "shop/orders").last_used.touch(7);
        let mut changed = Changed::default();
        put_service(&mut held, "shop/orders", &mut changed);
        let second = next(&first, &held, &Unwell::default(), &changed);
        let (before, after) = (known(&first, "shop/orders"), known(&second, "shop/orders"));
        assert!(Arc::ptr_eq(&before.endpoints, &after.endpoints), "endpoints did not change");
        assert_eq!(after.last_used.second(), 7);
        assert!(Arc::ptr_eq(&known(&first, "shop/cart"), &known(&second, "shop/cart")));
        let mut changed = Changed::default();
        put_endpoint(&mut held, "shop/orders", "b", &mut changed);
        let third = next(&second, &held, &Unwell::default(), &changed);
        assert_eq!(known(&third, "shop/orders").endpoints.len(), 2);
    }

    #[test]
    fn a_virtual_address_is_known_with_its_service() {
        let owner =
            |snapshot: &Snapshot| snapshot.owner("240.240.0.7".parse().unwrap()).map(ToString::to_string);
        let put = |held: &mut Held, name: &str, addresses: &[&str], changed: &mut Changed| {
            let virtual_addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            let service = Service { name: name.parse().unwrap(), ports: vec![], virtual_addresses };
            let compiled = crate::snapshot::compile(&service).unwrap();
            held.put("v", Checked::Service(service, compiled), changed);
        };
        let (mut held, mut changed) = (Held::default(), Changed::default());
        put(&mut held, "shop/orders", &["240.240.0.7", "fd00::7"], &mut changed);
        let first = next(&Snapshot::default(), &held, &Unwell::default(), &changed);
        assert_eq!(owner(&first).as_deref(), Some("shop/orders"));
        let mut changed = Changed::default();
        put_endpoint(&mut held, "shop/orders", "a", &mut changed);
        let second = next(&first, &held, &Unwell::default(), &changed);
        assert!(Arc::ptr_eq(&first.owners, &second.owners), "addresses did not change");
        let mut changed = Changed::default();
        put(&mut held, "shop/cart", &["240.240.0.7"], &mut changed);
        put(&mut held, "shop/orders", &[], &mut changed);
        let third = next(&second, &held, &Unwell::default(), &changed);
        assert_eq!(owner(&third).as_deref(), Some("shop/cart"), "it has moved");
    }

    #[test]
    fn endpoints_are_unknown_until_they_were_answered() {
        let (mut held, mut changed) = (Held::default(), Changed::default());
        put_service(&mut held, "shop/orders", &mut changed);
        let first = next(&Snapshot::default(), &held, &Unwell::default(), &changed);
        assert!(!known(&first, "shop/orders").endpoints_known);
        held.collection_is_empty(&"shop/orders".parse().unwrap(), &mut changed);
        let second = next(&first, &held, &Unwell::default(), &changed);
        assert!(known(&second, "shop/orders").endpoints_known);
    }

    #[test]
    fn an_address_is_a_service_a_place_or_unknown_and_its_use_is_carried_over() {
        let (mut held, mut changed) = (Held::default(), Changed::default());
        let at: IpAddr = "127.0.0.1".parse().unwrap();
        held.address_is_unknown(at, &mut changed);
        let first = next(&Snapshot::default(), &held, &Unwell::default(), &changed);
        assert!(matches!(first.address(at).unwrap().state, AddressState::Unknown));
        first.address(at).unwrap().last_used.touch(7);

        put_service(&mut held, "shop/orders", &mut Changed::default());
        put_endpoint(&mut held, "shop/orders", "a", &mut Changed::default());
        let mut endpoint = Endpoint::clone(
            &held.endpoints[&"shop/orders".parse().unwrap()].members[&"a".parse().unwrap()].value,
        );
        let port = |number| Port::new(number).unwrap();
        endpoint.ports.push(EndpointPort { service_port: port(80), target_port: port(8080) });
        let (service, endpoints) = (None, vec![endpoint]);
        let mut changed = Changed::default();
        held.put(
            "v",
            Checked::Address(Address { address: at, service, endpoints, external_services: vec![] }),
            &mut changed,
        );
        let second = next(&first, &held, &Unwell::default(), &changed);
        let view = second.address("::ffff:127.0.0.1".parse().unwrap()).unwrap();
        assert_eq!(view.last_used.second(), 7);
        let AddressState::Registered(there) = &view.state else { panic!("{view:?}") };
        let (endpoint, service_port) = there.endpoint(port(8080)).unwrap();
        assert_eq!((endpoint.name.as_str(), service_port), ("a", port(80)));
        assert!(there.endpoint(port(9090)).is_none());

        let mut changed = Changed::default();
        put_service(&mut held, "shop/cart", &mut changed);
        let third = next(&second, &held, &Unwell::default(), &changed);
        assert!(Arc::ptr_eq(&second.addresses, &third.addresses), "no address changed");
        let mut changed = Changed::default();
        held.forget_address(at, &mut changed);
        assert!(next(&third, &held, &Unwell::default(), &changed).address(at).is_none());
    }

    #[test]
    fn who_is_not_well_is_not_ready_and_stays_the_same_endpoint() {
        let port = |number| Port::new(number).unwrap();
        let check = HealthCheck {
            policy: "shop/orders".to_owned(),
            asks: Asks::Tcp,
            interval: None,
            timeout: None,
            healthy_threshold: None,
            unhealthy_threshold: None,
        };
        let policy = TrafficPolicy { health_check: Some(check.clone()), ..Default::default() };
        let ports = vec![ServicePort {
            port: port(80),
            name: String::new(),
            app_protocol: Default::default(),
            rules: vec![],
            matches: vec![],
            policy: Some(policy),
        }];
        let service = Service { name: "shop/orders".parse().unwrap(), ports, virtual_addresses: vec![] };
        let (mut held, mut changed) = (Held::default(), Changed::default());
        let compiled = crate::snapshot::compile(&service).unwrap();
        held.put("v", Checked::Service(service.clone(), compiled), &mut changed);
        for (name, address, transport) in [
            ("alone", "10.0.0.1", Transport::Plaintext),
            ("beside", "10.0.0.1", meshed()),
            ("elsewhere", "10.0.0.2", Transport::Plaintext),
        ] {
            let mut endpoint = endpoint("shop/orders", name);
            endpoint.address = address.parse().unwrap();
            endpoint.ports.push(EndpointPort { service_port: port(80), target_port: port(8080) });
            held.put("v", Checked::Endpoint(Endpoint { transport, ..endpoint }), &mut changed);
        }
        let at = (IpAddr::from([10, 0, 0, 1]), 8080).into();
        let unwell = Unwell::of([Subject { at, protocol: Default::default(), check }]);
        let ready = |snapshot: &Snapshot| {
            let view = known(snapshot, "shop/orders");
            let ready = view.endpoints.iter().filter(|it| it.health == EndpointHealth::Ready);
            ready.map(|it| it.name.to_string()).collect::<Vec<_>>()
        };
        let well = next(&Snapshot::default(), &held, &Unwell::default(), &changed);
        assert_eq!(ready(&well), ["alone", "beside", "elsewhere"]);
        let first = next(&well, &held, &unwell, &changed);
        assert_eq!(ready(&first), ["beside", "elsewhere"]);
        let second = next(&first, &held, &unwell, &changed);
        let [before, after] = [&first, &second].map(|it| known(it, "shop/orders").endpoints.clone());
        assert!(Arc::ptr_eq(&before, &after), "nothing in it has changed");
        assert_eq!(ready(&next(&second, &held, &Unwell::default(), &changed)).len(), 3);
        let turned: Vec<_> = unwell.difference(&Unwell::default()).collect();
        assert_eq!(turned, [at]);
    }

    #[test]
    fn a_service_gone_from_what_is_held_is_gone_for_requests() {
        let (mut held, mut changed) = (Held::default(), Changed::default());
        put_service(&mut held, "shop/orders", &mut changed);
        let first = next(&Snapshot::default(), &held, &Unwell::default(), &changed);
        let orders = "shop/orders".parse().unwrap();
        held.service_is_missing(&orders, "no service".into(), &mut changed);
        let second = next(&first, &held, &Unwell::default(), &changed);
        assert!(
            matches!(second.service(&orders), Some(ServiceState::Missing(text)) if &**text == "no service")
        );
        held.forget(&orders, &mut changed);
        assert!(next(&second, &held, &Unwell::default(), &changed).service(&orders).is_none());
    }
}
