//! A service of the wire contract becomes what a request reads: expressions compiled, splits summed, order kept.
//! Pure. Runs on the control thread, since compiling a regular expression may take long.

use super::{CompiledPort, CompiledService};
use crate::route::{RouteError, RouteTable};
use mesh_protocol::service::Service;

/// A service that can't be compiled; the previous one stays in force and the control plane is told.
#[derive(Debug, thiserror::Error)]
#[error("service `{service}` port {port}: {source}")]
pub struct CompileError {
    /// Which service.
    pub service: String,
    /// Which of its ports.
    pub port: u16,
    /// What is wrong with its routes.
    #[source]
    pub source: RouteError,
}

/// Compiles a service.
///
/// # Errors
/// [`CompileError`] with the first route that can't be compiled.
pub fn compile(service: &Service) -> Result<CompiledService, CompileError> {
    let ports = service.ports.iter().map(|port| {
        let routes = RouteTable::compile(port).map_err(|source| CompileError {
            service: service.name.to_string(),
            port: port.port.number(),
            source,
        })?;
        Ok(CompiledPort { port: port.port, name: port.name.clone(), app_protocol: port.app_protocol, routes })
    });
    Ok(CompiledService {
        name: service.name.clone(),
        ports: ports.collect::<Result<_, _>>()?,
        virtual_addresses: service.virtual_addresses.clone(),
    })
}
