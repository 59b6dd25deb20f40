//! What a workload's own sidecar serves: its ports, and which Services lead there.

use crate::error::{DecodeError, field, port};
use crate::health::HealthCheck;
use crate::limits::PortLimits;
use crate::mtls::InboundMtls;
use crate::service::{protocol_of_wire, protocol_to_wire};
use crate::wire::v1 as wire;
use mesh_names::{AppProtocol, Port, ServiceAccount, ServiceName, WorkloadName};
use prost::Message;

/// One Workload, as its own sidecar needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Which one.
    pub name: WorkloadName,
    /// What it is.
    pub service_account: ServiceAccount,
    /// The application's ports.
    pub ports: Vec<WorkloadPort>,
    /// How plain text is met there.
    pub mtls: InboundMtls,
    /// What is let in at ports where a TrafficPolicy says so, each port once.
    pub limits: Vec<PortLimits>,
}

/// A port the application listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadPort {
    /// Its number.
    pub port: Port,
    /// What a Service's `targetPort` may call it, as a container port's name in Kubernetes: instances on one machine
    /// need different numbers. Empty: only the number leads here.
    pub name: String,
    /// What is spoken there.
    pub app_protocol: AppProtocol,
    /// The Services that lead here.
    pub services: Vec<ServiceName>,
    /// By which its own sidecar finds out whether the application is well; empty where a workload is announced.
    pub health_checks: Vec<HealthCheck>,
}

impl Workload {
    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        wire::Workload {
            namespace: self.name.namespace.to_string(),
            name: self.name.name.to_string(),
            service_account: self.service_account.to_string(),
            ports: self.ports.iter().map(WorkloadPort::to_wire).collect(),
            mtls: Some(self.mtls.to_wire()),
            limits: self.limits.iter().map(PortLimits::to_wire).collect(),
        }
        .encode_to_vec()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`DecodeError`] with the first field that breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let message = wire::Workload::decode(bytes)?;
        Ok(Self {
            name: WorkloadName::new(field("namespace", &message.namespace)?, field("name", &message.name)?),
            service_account: field("service_account", &message.service_account)?,
            ports: message.ports.into_iter().map(WorkloadPort::of_wire).collect::<Result<_, _>>()?,
            mtls: InboundMtls::of_wire(&message.mtls.unwrap_or_default())?,
            limits: message.limits.into_iter().map(PortLimits::of_wire).collect::<Result<_, _>>()?,
        })
    }
}

impl WorkloadPort {
    pub(crate) fn to_wire(&self) -> wire::WorkloadPort {
        wire::WorkloadPort {
            port: self.port.number().into(),
            app_protocol: protocol_to_wire(self.app_protocol).into(),
            services: self.services.iter().map(ToString::to_string).collect(),
            name: self.name.clone(),
            health_checks: self.health_checks.iter().map(HealthCheck::to_wire).collect(),
        }
    }

    pub(crate) fn of_wire(mut message: wire::WorkloadPort) -> Result<Self, DecodeError> {
        let health_checks = std::mem::take(&mut message.health_checks).into_iter().map(HealthCheck::of_wire);
        let services = message.services.iter().map(|name| field("ports.services", name));
        Ok(Self {
            port: port("ports.port", message.port)?,
            app_protocol: protocol_of_wire(message.app_protocol()),
            services: services.collect::<Result<_, _>>()?,
            name: message.name,
            health_checks: health_checks.collect::<Result<_, _>>()?,
        })
    }
}
