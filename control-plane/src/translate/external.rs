//! ExternalServices, by what they are called by: hosts, addresses, and the objects their CA certificates come from.
//! What enters is their changes; what leaves is the ExternalHost resources, their part of Address resources, and a
//! verdict on what they refer to. A port whose certificates can't be had is sent as one to which nothing may be sent:
//! to trust anybody else instead would be worse than to fail.

use super::index::{Dirty, Index, Link, link, replace};
use super::route::Verdict;
use super::seniority::created;
use bytes::Bytes;
use manifests::kind::external_service::{
    CaBundle, ExternalProtocol as WrittenProtocol, ExternalService, KeyRef, Originate as Written,
    Resolution as WrittenResolution,
};
use manifests::kind::{ConfigMap, Secret};
use mesh_mtls::TrustBundle;
use mesh_names::{ExternalServiceName, HostPattern, Namespace};
use mesh_protocol::external as resource;
use mesh_protocol::external::{ExternalHost, ExternalProtocol, ExternalTrust, Originate, Resolution};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What an entry must hold to be kept: nothing else of a ConfigMap or Secret is.
const PEM_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";
/// Most entries named in a message.
const NAMED_MAX: usize = 5;

/// An object that CA certificates may come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceName {
    /// A ConfigMap.
    ConfigMap(Namespace, String),
    /// A Secret.
    Secret(Namespace, String),
}

/// The entries of a ConfigMap or Secret, with the contents of those that hold certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaSource(BTreeMap<String, Option<Arc<str>>>);

/// Of those that name the same the least has it.
type Rank = (jiff::Timestamp, ExternalServiceName);

/// All ExternalServices, and who names what.
#[derive(Debug, Default)]
pub struct Externals {
    services: BTreeMap<ExternalServiceName, Arc<ExternalService>>,
    by_host: BTreeMap<HostPattern, BTreeSet<Rank>>,
    by_address: BTreeMap<IpAddr, BTreeSet<Rank>>,
    by_source: BTreeMap<SourceName, BTreeSet<ExternalServiceName>>,
    sources: BTreeMap<SourceName, CaSource>,
}

impl CaSource {
    /// What a ConfigMap offers.
    pub fn of_config_map(object: &ConfigMap) -> Self {
        Self(object.data.iter().map(|(key, text)| (key.clone(), certificates_in(text))).collect())
    }

    /// What a Secret offers. Keys and passwords are not kept.
    pub fn of_secret(object: &Secret) -> Self {
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().and_then(certificates_in);
        Self(object.data.iter().map(|(key, bytes)| (key.clone(), text(bytes))).collect())
    }
}

/// The certificates of a text, and nothing that may stand beside them, such as their private key.
fn certificates_in(text: &str) -> Option<Arc<str>> {
    const END: &str = "-----END CERTIFICATE-----";
    let sections = text.split(PEM_CERTIFICATE).skip(1).map(|section| match section.split_once(END) {
        Some((body, _)) => format!("{PEM_CERTIFICATE}{body}{END}\n"),
        // Cut short: whoever reads it finds that out.
        None => format!("{PEM_CERTIFICATE}\n"),
    });
    let kept: String = sections.collect();
    (!kept.is_empty()).then(|| kept.into())
}

impl Externals {
    /// Takes in an ExternalService as it is now; nothing: it is deleted.
    pub(super) fn set_service(
        &mut self,
        name: &ExternalServiceName,
        service: Option<Arc<ExternalService>>,
        dirty: &mut BTreeSet<Dirty>,
    ) {
        let old = replace(&mut self.services, name, service.clone());
        for (service, links) in [(&old, Link::Cut), (&service, Link::Made)] {
            let Some(service) = service else { continue };
            let rank = (created(&service.metadata), name.clone());
            for host in &service.hosts {
                link(&mut self.by_host, host, &rank, links);
            }
            for address in addresses(service) {
                link(&mut self.by_address, &address, &rank, links);
            }
            for source in sources(service) {
                link(&mut self.by_source, &source, name, links);
            }
            depends(service, dirty);
        }
        dirty.insert(Dirty::External(name.clone()));
    }

    /// Takes in what a ConfigMap or Secret offers now; nothing: it is deleted.
    pub(super) fn set_source(
        &mut self,
        name: SourceName,
        source: Option<CaSource>,
        dirty: &mut BTreeSet<Dirty>,
    ) {
        let old = replace(&mut self.sources, &name, source.clone());
        if old == source {
            return;
        }
        let users = self.by_source.get(&name).into_iter().flatten();
        for service in users.filter_map(|user| self.services.get(user)) {
            depends(service, dirty);
        }
    }

    /// Everything there is to compile.
    pub(super) fn everything(&self) -> impl Iterator<Item = Dirty> {
        let hosts = self.by_host.keys().cloned().map(Dirty::ExternalHost);
        let addresses = self.by_address.keys().copied().map(Dirty::Address);
        hosts.chain(addresses).chain(self.services.keys().cloned().map(Dirty::External))
    }

    /// The ExternalServices that name an address, the oldest first.
    pub(super) fn at(&self, address: IpAddr) -> impl Iterator<Item = resource::ExternalService> {
        self.by_address.get(&address).into_iter().flatten().filter_map(|(_, name)| self.compile(name))
    }

    fn compile(&self, name: &ExternalServiceName) -> Option<resource::ExternalService> {
        let service = self.services.get(name)?;
        let ports = service.ports.iter().map(|port| {
            let originate = port.originate.as_ref().map(|originate| self.originate(name, originate));
            let (originate, invalid) = match originate {
                None => (None, None),
                Some(Ok(originate)) => (Some(originate), None),
                Some(Err(sentence)) => (None, Some(format!("ExternalService {name}: {sentence}"))),
            };
            let (protocol, target_port) = (protocol(port.protocol), port.target_port);
            resource::ExternalPort { port: port.port, protocol, target_port, originate, invalid }
        });
        let resolution = match &service.resolution {
            WrittenResolution::Host => Resolution::Host,
            WrittenResolution::Name(name) => Resolution::Name(name.clone()),
            WrittenResolution::Addresses(addresses) => Resolution::Addresses(addresses.clone()),
        };
        Some(resource::ExternalService { name: name.clone(), ports: ports.collect(), resolution })
    }

    /// TLS with its certificates, or the sentence that says why they can't be had.
    fn originate(&self, service: &ExternalServiceName, written: &Written) -> Result<Originate, String> {
        let trust = match &written.ca {
            None => ExternalTrust::System,
            Some(CaBundle::File(path)) => ExternalTrust::File(path.clone()),
            Some(CaBundle::ConfigMap(at) | CaBundle::Secret(at)) => {
                let name = source(&service.namespace, written.ca.as_ref()).ok_or_else(String::new)?;
                ExternalTrust::Certificates(self.certificates(&name, at)?)
            }
        };
        Ok(Originate { sni: written.sni.clone(), trust })
    }

    fn certificates(&self, name: &SourceName, at: &KeyRef) -> Result<Vec<Bytes>, String> {
        let Some(CaSource(entries)) = self.sources.get(name) else {
            return Err(format!("there is no {name}; create it, or mend the name"));
        };
        let Some(entry) = entries.get(&at.key) else {
            let keys: Vec<_> = entries.keys().take(NAMED_MAX).map(|key| format!("`{key}`")).collect();
            let has = if keys.is_empty() { "no entries".to_owned() } else { keys.join(", ") };
            return Err(format!("{name} has no entry `{}`; it has {has}", at.key));
        };
        let mend = "write the CA certificates there in PEM";
        let Some(text) = entry else {
            return Err(format!("entry `{}` of {name} holds no certificate; {mend}", at.key));
        };
        match TrustBundle::from_pem(text) {
            Ok(bundle) => Ok(bundle.certificates().map(Bytes::copy_from_slice).collect()),
            Err(error) => Err(format!("entry `{}` of {name} can't be used: {error}; {mend}", at.key)),
        }
    }
}

/// Compiles what a host or domain is; nothing if no ExternalService names it.
pub fn compile_external_host(index: &Index, host: &HostPattern) -> Option<ExternalHost> {
    let named = index.externals.by_host.get(host)?;
    let services = named.iter().filter_map(|(_, name)| index.externals.compile(name));
    Some(ExternalHost { host: host.clone(), services: services.collect() })
}

/// Judges what an ExternalService refers to; nothing if there is no such ExternalService.
pub fn judge_external(index: &Index, name: &ExternalServiceName) -> Option<Verdict> {
    let service = index.externals.services.get(name)?;
    let originates = service.ports.iter().filter_map(|port| port.originate.as_ref());
    let mut problems: Vec<_> =
        originates.filter_map(|originate| index.externals.originate(name, originate).err()).collect();
    problems.dedup();
    if problems.is_empty() {
        let message = "every certificate is there".to_owned();
        return Some(Verdict { holds: true, reason: "ResolvedRefs", message });
    }
    Some(Verdict { holds: false, reason: "InvalidCACertificateRef", message: problems.join("; ") })
}

/// What is to be compiled again when an ExternalService changes.
fn depends(service: &ExternalService, dirty: &mut BTreeSet<Dirty>) {
    dirty.extend(service.hosts.iter().cloned().map(Dirty::ExternalHost));
    dirty.extend(addresses(service).map(Dirty::Address));
    dirty.insert(Dirty::External(service.name.clone()));
}

fn addresses(service: &ExternalService) -> impl Iterator<Item = IpAddr> {
    let addresses = match &service.resolution {
        WrittenResolution::Addresses(addresses) => addresses.as_slice(),
        WrittenResolution::Host | WrittenResolution::Name(_) => &[],
    };
    addresses.iter().map(IpAddr::to_canonical)
}

fn sources(service: &ExternalService) -> impl Iterator<Item = SourceName> {
    let originates = service.ports.iter().filter_map(|port| port.originate.as_ref());
    originates.filter_map(|originate| source(&service.name.namespace, originate.ca.as_ref()))
}

fn source(namespace: &Namespace, ca: Option<&CaBundle>) -> Option<SourceName> {
    match ca? {
        CaBundle::File(_) => None,
        CaBundle::ConfigMap(at) => Some(SourceName::ConfigMap(namespace.clone(), at.name.to_string())),
        CaBundle::Secret(at) => Some(SourceName::Secret(namespace.clone(), at.name.to_string())),
    }
}

fn protocol(written: WrittenProtocol) -> ExternalProtocol {
    match written {
        WrittenProtocol::Detect => ExternalProtocol::Detect,
        WrittenProtocol::Http => ExternalProtocol::Http,
        WrittenProtocol::H2c => ExternalProtocol::H2c,
        WrittenProtocol::Grpc => ExternalProtocol::Grpc,
        WrittenProtocol::Tls => ExternalProtocol::Tls,
        WrittenProtocol::Tcp => ExternalProtocol::Tcp,
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMap(namespace, name) => write!(f, "ConfigMap `{namespace}/{name}`"),
            Self::Secret(namespace, name) => write!(f, "Secret `{namespace}/{name}`"),
        }
    }
}
