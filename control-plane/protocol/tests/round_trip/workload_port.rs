//! A workload's ports: any of them, with what asks whether the application there is well.

use super::{LABEL, app_protocol, number, port, service_name, whole_millis};
use mesh_protocol::health::{Asks, HealthCheck};
use mesh_protocol::workload::WorkloadPort;
use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

pub(super) fn workload_port(services: bool) -> impl Strategy<Value = WorkloadPort> {
    let services = vec(service_name(), 0..if services { 3 } else { 1 });
    (port(), "[a-z]{0,8}", app_protocol(), services, vec(health_check(), 0..3)).prop_map(
        |(port, name, app_protocol, services, health_checks)| WorkloadPort {
            port,
            name,
            app_protocol,
            services,
            health_checks,
        },
    )
}

pub(crate) fn health_check() -> impl Strategy<Value = HealthCheck> {
    let http = ("/[a-z]{0,8}", of(LABEL), vec(100_u16..600, 0..3))
        .prop_map(|(path, host, statuses)| Asks::Http { path, host, statuses });
    let asks = prop_oneof![http, LABEL.prop_map(|service| Asks::Grpc { service }), Just(Asks::Tcp)];
    (LABEL, asks, whole_millis(), whole_millis(), number(), number()).prop_map(
        |(policy, asks, interval, timeout, healthy_threshold, unhealthy_threshold)| HealthCheck {
            policy,
            asks,
            interval,
            timeout,
            healthy_threshold,
            unhealthy_threshold,
        },
    )
}
