//! A service of the wire contract becomes what a request reads: expressions compiled, splits summed, order kept.
//! Pure. Runs on the control thread, since compiling a regular expression may take long.

use super::{CompiledPort, CompiledService, PolicyError, TrafficPolicy};
use crate::route::{RouteError, RouteTable};
use mesh_protocol::service::{Service, ServicePort};
use std::sync::Arc;

/// A service that can't be compiled; the previous one stays in force and the control plane is told.
#[derive(Debug, thiserror::Error)]
#[error("service `{service}` port {port}: {source}")]
pub struct CompileError {
    /// Which service.
    pub service: String,
    /// Which of its ports.
    pub port: u16,
    /// What is wrong there.
    #[source]
    pub source: PortError,
}

/// What can't be compiled of a port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// One of its routes.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// Its TrafficPolicy.
    #[error("TrafficPolicy `{name}`: {source}")]
    Policy {
        /// Which one.
        name: String,
        /// What is wrong with it.
        #[source]
        source: PolicyError,
    },
}

/// Compiles a service.
///
/// # Errors
/// [`CompileError`] with the first route or policy that can't be compiled.
pub fn compile(service: &Service) -> Result<CompiledService, CompileError> {
    let ports = service.ports.iter().map(|port| {
        compile_port(port).map_err(|source| CompileError {
            service: service.name.to_string(),
            port: port.port.number(),
            source,
        })
    });
    Ok(CompiledService {
        name: service.name.clone(),
        ports: ports.collect::<Result<_, _>>()?,
        virtual_addresses: service.virtual_addresses.clone(),
    })
}

fn compile_port(port: &ServicePort) -> Result<CompiledPort, PortError> {
    let policy = port.policy.as_ref().map(|policy| {
        let compiled = TrafficPolicy::compile(policy);
        compiled.map(Arc::new).map_err(|source| PortError::Policy { name: policy.name.clone(), source })
    });
    Ok(CompiledPort {
        port: port.port,
        name: port.name.clone(),
        app_protocol: port.app_protocol,
        routes: RouteTable::compile(port)?,
        policy: policy.transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::policy::{Algorithm, LoadBalancing};
    use std::num::NonZeroU32;

    #[test]
    fn a_policy_that_cannot_be_used_is_refused_by_its_name_with_what_is_wrong() {
        let algorithm = Algorithm::Maglev { table_size: NonZeroU32::new(100) };
        let load_balancing = Some(LoadBalancing { algorithm, hash_on: vec![], load_bound: None });
        let policy = mesh_protocol::policy::TrafficPolicy {
            name: "shop/cache".to_owned(),
            load_balancing,
            ..Default::default()
        };
        let port = ServicePort {
            port: "80".parse().unwrap(),
            name: String::new(),
            app_protocol: Default::default(),
            rules: vec![],
            matches: vec![],
            policy: Some(policy),
        };
        let name = "shop/orders".parse().unwrap();
        let error = compile(&Service { name, ports: vec![port], virtual_addresses: vec![] }).unwrap_err();
        assert_eq!(
            error.to_string(),
            "service `shop/orders` port 80: TrafficPolicy `shop/cache`: the table's size is 100, which is not a prime \
             number: the next one is 101"
        );
    }
}
