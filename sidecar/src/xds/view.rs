//! From what is held to what requests read. Pure, and incremental: a change to one service builds one view anew and
//! shares everything else with the snapshot before.

use crate::snapshot::{ServiceState, ServiceView, Snapshot};
use crate::xds::held::{Changed, Held};
use mesh_names::ServiceName;
use mesh_protocol::endpoint::Endpoint;
use std::sync::Arc;

/// The snapshot that follows `previous` after `changed`.
pub(crate) fn next(previous: &Snapshot, held: &Held, changed: &Changed) -> Snapshot {
    let mut services = previous.services.clone();
    for name in &changed.services {
        match state(previous.services.get(name), held, name) {
            Some(state) => services.insert(name.clone(), state),
            None => services.remove(name),
        };
    }
    Snapshot {
        revision: held.revision.clone(),
        services,
        workload: held.workload.as_ref().map(|held| held.value.clone()),
        received: true,
    }
}

fn state(previous: Option<&ServiceState>, held: &Held, name: &ServiceName) -> Option<ServiceState> {
    let Some(service) = held.services.get(name) else {
        return held.missing.get(name).cloned().map(ServiceState::Missing);
    };
    let previous = match previous {
        Some(ServiceState::Known(view)) => Some(view),
        Some(ServiceState::Missing(_)) | None => None,
    };
    let collection = held.endpoints.get(name);
    let endpoints: Vec<Arc<Endpoint>> = collection
        .map(|collection| collection.members.values().map(|member| member.value.clone()).collect())
        .unwrap_or_default();
    let kept = previous.filter(|view| same(&view.endpoints, &endpoints));
    Some(ServiceState::Known(Arc::new(ServiceView {
        service: service.compiled.clone(),
        endpoints: kept.map_or_else(|| endpoints.into(), |view| view.endpoints.clone()),
        endpoints_known: collection.is_some_and(|collection| collection.known),
        last_used: previous.map(|view| view.last_used.clone()).unwrap_or_default(),
    })))
}

fn same(before: &[Arc<Endpoint>], after: &[Arc<Endpoint>]) -> bool {
    before.len() == after.len() && before.iter().zip(after).all(|(before, after)| Arc::ptr_eq(before, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::decode::Checked;
    use mesh_names::Port;
    use mesh_protocol::endpoint::{EndpointHealth, Transport};
    use mesh_protocol::service::Service;

    fn put_service(held: &mut Held, name: &str, changed: &mut Changed) {
        let service = Service { name: name.parse().unwrap(), ports: vec![], virtual_addresses: vec![] };
        let compiled = crate::snapshot::compile(&service).unwrap();
        held.put("v", Checked::Service(service, compiled), changed);
    }

    fn put_endpoint(held: &mut Held, service: &str, member: &str, changed: &mut Changed) {
        let endpoint = Endpoint {
            service: service.parse().unwrap(),
            name: member.parse().unwrap(),
            address: "127.0.0.1".parse().unwrap(),
            ports: vec![],
            transport: Transport::MutualTls {
                inbound_port: Port::new(15008).unwrap(),
                identity: "spiffe://mesh.internal/ns/shop/sa/orders".parse().unwrap(),
            },
            zone: None,
            health: EndpointHealth::Ready,
        };
        held.put("v", Checked::Endpoint(endpoint), changed);
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
        let first = next(&Snapshot::default(), &held, &changed);
        known(&first, "shop/orders").last_used.touch(7);
        let mut changed = Changed::default();
        put_service(&mut held, "shop/orders", &mut changed);
        let second = next(&first, &held, &changed);
        let (before, after) = (known(&first, "shop/orders"), known(&second, "shop/orders"));
        assert!(Arc::ptr_eq(&before.endpoints, &after.endpoints), "endpoints did not change");
        assert_eq!(after.last_used.second(), 7);
        assert!(Arc::ptr_eq(&known(&first, "shop/cart"), &known(&second, "shop/cart")));
        let mut changed = Changed::default();
        put_endpoint(&mut held, "shop/orders", "b", &mut changed);
        let third = next(&second, &held, &changed);
        assert_eq!(known(&third, "shop/orders").endpoints.len(), 2);
    }

    #[test]
    fn endpoints_are_unknown_until_they_were_answered() {
        let (mut held, mut changed) = (Held::default(), Changed::default());
        put_service(&mut held, "shop/orders", &mut changed);
        let first = next(&Snapshot::default(), &held, &changed);
        assert!(!known(&first, "shop/orders").endpoints_known);
        held.collection_is_empty(&"shop/orders".parse().unwrap(), &mut changed);
        let second = next(&first, &held, &changed);
        assert!(known(&second, "shop/orders").endpoints_known);
    }

    #[test]
    fn a_service_gone_from_what_is_held_is_gone_for_requests() {
        let (mut held, mut changed) = (Held::default(), Changed::default());
        put_service(&mut held, "shop/orders", &mut changed);
        let first = next(&Snapshot::default(), &held, &changed);
        let orders = "shop/orders".parse().unwrap();
        held.service_is_missing(&orders, "no service".into(), &mut changed);
        let second = next(&first, &held, &changed);
        assert!(
            matches!(second.service(&orders), Some(ServiceState::Missing(text)) if &**text == "no service")
        );
        held.forget(&orders, &mut changed);
        assert!(next(&second, &held, &changed).service(&orders).is_none());
    }
}
