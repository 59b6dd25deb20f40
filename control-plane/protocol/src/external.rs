//! Places outside of the mesh: ExternalServices by the hosts they are called by.
//!
//! A sidecar that meets a host asks for every pattern that could stand for it
//! ([`mesh_names::HostPattern::candidates`]), and takes the narrowest that exists: the control plane needs no matching,
//! a session stays a map from names to bytes.

use crate::error::{DecodeError, address, field, port};
use crate::wire::v1 as wire;
use bytes::Bytes;
use mesh_names::{ExternalServiceName, HostPattern, Port, Subdomain};
use prost::Message;
use std::net::IpAddr;
use std::path::PathBuf;

/// The ExternalServices that name one host, or all below one domain; the oldest first, never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalHost {
    /// What they name.
    pub host: HostPattern,
    /// They themselves. A caller takes its own namespace's, else the first.
    pub services: Vec<ExternalService>,
}

/// A place outside of the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalService {
    /// Its namespace and name.
    pub name: ExternalServiceName,
    /// Its ports, each number once.
    pub ports: Vec<ExternalPort>,
    /// Where it is.
    pub resolution: Resolution,
}

/// A port of an ExternalService.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalPort {
    /// The number callers use.
    pub port: Port,
    /// What callers speak there.
    pub protocol: ExternalProtocol,
    /// The port of the place itself.
    pub target_port: Port,
    /// The sidecar speaks TLS with the place, the application does not.
    pub originate: Option<Originate>,
    /// Set: nothing may be sent, and this sentence says why.
    pub invalid: Option<String>,
}

/// TLS that the sidecar begins on behalf of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Originate {
    /// The name the place must prove to have; none: the host that was called.
    pub sni: Option<Subdomain>,
    /// Who may vouch for it.
    pub trust: ExternalTrust,
}

/// Who may vouch for a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExternalTrust {
    /// Whom the machine trusts.
    System,
    /// These CA certificates, in DER.
    Certificates(Vec<Bytes>),
    /// The CA certificates in this file on the sidecar's machine, in PEM.
    File(PathBuf),
}

/// Where a place is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// At the addresses of the host that was called.
    Host,
    /// At the addresses of this name.
    Name(Subdomain),
    /// At these addresses, at least one.
    Addresses(Vec<IpAddr>),
}

/// What callers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExternalProtocol {
    /// The first bytes of either side decide.
    Detect,
    /// HTTP/1.1.
    Http,
    /// HTTP/2 with prior knowledge.
    H2c,
    /// gRPC.
    Grpc,
    /// TLS, passed on as it is.
    Tls,
    /// Opaque bytes.
    Tcp,
}

impl ExternalHost {
    /// The wire form.
    pub fn encode(&self) -> Vec<u8> {
        let services = self.services.iter().map(ExternalService::to_wire).collect();
        wire::ExternalHost { host: self.host.to_string(), services }.encode_to_vec()
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`DecodeError`] with the first field that breaks a rule.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let message = wire::ExternalHost::decode(bytes)?;
        if message.services.is_empty() {
            return Err(DecodeError::value("services", "there is none"));
        }
        Ok(Self {
            host: field("host", &message.host)?,
            services: message.services.into_iter().map(ExternalService::of_wire).collect::<Result<_, _>>()?,
        })
    }
}

impl ExternalService {
    /// The port callers know by this number.
    pub fn port(&self, port: Port) -> Option<&ExternalPort> {
        self.ports.iter().find(|known| known.port == port)
    }

    pub(crate) fn to_wire(&self) -> wire::ExternalService {
        let (dns_name, addresses) = match &self.resolution {
            Resolution::Host => (String::new(), Vec::new()),
            Resolution::Name(name) => (name.to_string(), Vec::new()),
            Resolution::Addresses(addresses) => {
                (String::new(), addresses.iter().map(ToString::to_string).collect())
            }
        };
        let ports = self.ports.iter().map(ExternalPort::to_wire).collect();
        wire::ExternalService { name: self.name.to_string(), ports, dns_name, addresses }
    }

    pub(crate) fn of_wire(message: wire::ExternalService) -> Result<Self, DecodeError> {
        let addresses = message.addresses.iter().map(|text| address("addresses", text));
        let addresses: Vec<IpAddr> = addresses.collect::<Result<_, _>>()?;
        let resolution = match (addresses.is_empty(), message.dns_name.as_str()) {
            (true, "") => Resolution::Host,
            (true, name) => Resolution::Name(field("dns_name", name)?),
            (false, "") => Resolution::Addresses(addresses),
            (false, _) => return Err(DecodeError::value("dns_name", "there are addresses already")),
        };
        Ok(Self {
            name: field("name", &message.name)?,
            ports: message.ports.into_iter().map(ExternalPort::of_wire).collect::<Result<_, _>>()?,
            resolution,
        })
    }
}

impl ExternalPort {
    fn to_wire(&self) -> wire::ExternalPort {
        use wire::ExternalProtocol as Wire;
        let protocol = match self.protocol {
            ExternalProtocol::Detect => Wire::Detect,
            ExternalProtocol::Http => Wire::Http,
            ExternalProtocol::H2c => Wire::H2c,
            ExternalProtocol::Grpc => Wire::Grpc,
            ExternalProtocol::Tls => Wire::Tls,
            ExternalProtocol::Tcp => Wire::Tcp,
        };
        wire::ExternalPort {
            port: self.port.number().into(),
            protocol: protocol.into(),
            target_port: self.target_port.number().into(),
            originate: self.originate.as_ref().map(Originate::to_wire),
            invalid: self.invalid.clone().unwrap_or_default(),
        }
    }

    fn of_wire(message: wire::ExternalPort) -> Result<Self, DecodeError> {
        use wire::ExternalProtocol as Wire;
        let protocol = match Wire::try_from(message.protocol) {
            Ok(Wire::Detect) => ExternalProtocol::Detect,
            Ok(Wire::Http) => ExternalProtocol::Http,
            Ok(Wire::H2c) => ExternalProtocol::H2c,
            Ok(Wire::Grpc) => ExternalProtocol::Grpc,
            Ok(Wire::Tls) => ExternalProtocol::Tls,
            Ok(Wire::Tcp) => ExternalProtocol::Tcp,
            Err(_) => {
                return Err(DecodeError::value("ports.protocol", "this version knows no such protocol"));
            }
        };
        Ok(Self {
            port: port("ports.port", message.port)?,
            protocol,
            target_port: port("ports.target_port", message.target_port)?,
            originate: message.originate.map(Originate::of_wire).transpose()?,
            invalid: Some(message.invalid).filter(|reason| !reason.is_empty()),
        })
    }
}

impl Originate {
    fn to_wire(&self) -> wire::Originate {
        let (certificates, ca_file) = match &self.trust {
            ExternalTrust::System => (Vec::new(), String::new()),
            ExternalTrust::Certificates(certificates) => (certificates.clone(), String::new()),
            ExternalTrust::File(path) => (Vec::new(), path.to_string_lossy().into_owned()),
        };
        let sni = self.sni.as_ref().map(ToString::to_string).unwrap_or_default();
        wire::Originate { sni, certificates, ca_file }
    }

    fn of_wire(message: wire::Originate) -> Result<Self, DecodeError> {
        let sni = Some(message.sni).filter(|sni| !sni.is_empty());
        let trust = match (message.certificates.is_empty(), message.ca_file.as_str()) {
            (true, "") => ExternalTrust::System,
            (true, path) => ExternalTrust::File(path.into()),
            (false, "") => ExternalTrust::Certificates(message.certificates),
            (false, _) => {
                return Err(DecodeError::value("ports.originate.ca_file", "there are certificates already"));
            }
        };
        Ok(Self { sni: sni.map(|sni| field("ports.originate.sni", &sni)).transpose()?, trust })
    }
}
