//! Rules of an ExternalService.

use super::{metadata, value};
use crate::diagnostic::{Code, Report};
use crate::kind::Kind;
use crate::kind::external_service::{
    CA_KEY, CaBundle, CaBundleSpec, ExternalPort, ExternalPortSpec, ExternalProtocol, ExternalService,
    ExternalServiceManifest, ExternalServiceSpec, ExternalTlsSpec, KeyRef, KeyRefSpec, Originate, Resolution,
};
use crate::path::FieldPath;
use mesh_names::{ExternalServiceName, HostPattern, Subdomain};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// More than one place is called by; whoever needs more writes `*.` or a second object.
const HOSTS_MAX: usize = 64;
const PORTS_MAX: usize = 64;
const ADDRESSES_MAX: usize = 64;

/// Reads an ExternalService.
pub(crate) fn read(given: &ExternalServiceManifest, report: &mut Report) -> Option<ExternalService> {
    let metadata = metadata::read(Kind::ExternalService, &given.metadata, report);
    let (path, spec) = (FieldPath::of("spec"), &given.spec);
    let hosts = hosts(spec, &path.field("hosts"), report);
    let resolution = resolution(spec, &path, report);
    let ports = ports(&spec.ports, &path.field("ports"), report);
    let metadata = metadata?;
    let name = ExternalServiceName::new(metadata.namespace.clone()?, metadata.name.parse().ok()?);
    Some(ExternalService { metadata, name, hosts, ports, resolution })
}

fn hosts(spec: &ExternalServiceSpec, path: &FieldPath, report: &mut Report) -> Vec<HostPattern> {
    value::at_most(HOSTS_MAX, spec.hosts.len(), path, report);
    if spec.hosts.is_empty() && spec.addresses.is_empty() {
        let message = "nothing says what it is: it has neither a host nor an address";
        report.error(Code::MissingField, path.clone(), message, "add for example `- api.example.com`");
    }
    let (mut read, mut seen) = (Vec::new(), BTreeSet::new());
    for (place, text) in spec.hosts.iter().enumerate() {
        let path = path.index(place);
        if !seen.insert(text) {
            report.error(
                Code::DuplicateEntry,
                path,
                format!("`{text}` stands there already"),
                "take one away",
            );
        } else if let Some(host) = host(text, path, report) {
            read.push(host);
        }
    }
    read
}

fn host(text: &str, path: FieldPath, report: &mut Report) -> Option<HostPattern> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        let message = format!("`{text}` is an address, not a host");
        report.error(Code::BadName, path, message, "write it under `addresses`");
        return None;
    }
    if let Some((_, rest)) = text.split_once("://") {
        let bare = rest.split(['/', ':']).next().unwrap_or_default();
        let message = format!("`{text}` is a URL, not a host");
        report.error(Code::BadName, path, message, format!("write `{bare}`"));
        return None;
    }
    let host: HostPattern = value::name(text, path.clone(), report)?;
    if !text.contains('.') {
        let message = format!("`{text}` is a short name, and those are names of Services");
        report.error(Code::BadName, path, message, "write the host with its domain");
        return None;
    }
    Some(host)
}

/// A host that is not a pattern for many.
fn one_host(text: &str, path: FieldPath, report: &mut Report) -> Option<Subdomain> {
    let host: HostPattern = value::name(text, path.clone(), report)?;
    if host.domain().is_some() {
        let message = format!("`{text}` stands for many hosts, and one is needed");
        report.error(Code::BadName, path, message, "write the one that is meant");
        return None;
    }
    text.parse().ok()
}

fn resolution(spec: &ExternalServiceSpec, path: &FieldPath, report: &mut Report) -> Resolution {
    let (addresses, dns_name) = (path.field("addresses"), path.field("dnsName"));
    if !spec.addresses.is_empty() && spec.dns_name.is_some() {
        let message = "it is either at `addresses` or where DNS says";
        report.error(Code::BadValue, dns_name.clone(), message, "take one of both away");
    }
    value::at_most(ADDRESSES_MAX, spec.addresses.len(), &addresses, report);
    let mut read = Vec::new();
    for (place, text) in spec.addresses.iter().enumerate() {
        let path = addresses.index(place);
        let Some(address) = value::address(text, path.clone(), report) else { continue };
        if read.contains(&address) {
            report.error(Code::DuplicateEntry, path, format!("{text} stands there already"), "take one away");
        } else {
            read.push(address);
        }
    }
    match spec.dns_name.as_deref() {
        _ if !spec.addresses.is_empty() => Resolution::Addresses(read),
        Some(text) => one_host(text, dns_name, report).map_or(Resolution::Host, Resolution::Name),
        None => Resolution::Host,
    }
}

fn ports(given: &[ExternalPortSpec], path: &FieldPath, report: &mut Report) -> Vec<ExternalPort> {
    value::at_most(PORTS_MAX, given.len(), path, report);
    if given.is_empty() {
        let message = "an ExternalService needs a port";
        report.error(Code::MissingField, path.clone(), message, "add `- port: 443` and `protocol: tls`");
    }
    let (mut numbers, mut read) = (BTreeMap::new(), Vec::new());
    for (place, given) in given.iter().enumerate() {
        let path = path.index(place);
        if let Some(earlier) = numbers.insert(given.port, place) {
            let message = format!("port {} stands at place {earlier} already", given.port);
            report.error(Code::DuplicateEntry, path.field("port"), message, "take one of them away");
        }
        let port = value::port(given.port, path.field("port"), report);
        let target = match given.target_port {
            Some(target) => value::port(target, path.field("targetPort"), report),
            None => port,
        };
        let protocol = given.protocol.unwrap_or_default();
        let originate = given.tls.as_ref().map(|tls| originate(tls, protocol, &path.field("tls"), report));
        if let (Some(port), Some(target_port)) = (port, target) {
            read.push(ExternalPort { port, protocol, target_port, originate });
        }
    }
    read
}

fn originate(
    tls: &ExternalTlsSpec,
    protocol: ExternalProtocol,
    path: &FieldPath,
    report: &mut Report,
) -> Originate {
    if protocol == ExternalProtocol::Tls {
        let message = "the application speaks TLS there already: nothing is left to originate";
        report.error(Code::BadValue, path.clone(), message, "take `tls` away, or write `protocol: http`");
    }
    let path = path.field("originate");
    let sni = tls.originate.sni.as_deref();
    Originate {
        sni: sni.and_then(|text| one_host(text, path.field("sni"), report)),
        ca: tls.originate.ca_bundle.as_ref().and_then(|ca| ca_bundle(ca, &path.field("caBundle"), report)),
    }
}

fn ca_bundle(given: &CaBundleSpec, path: &FieldPath, report: &mut Report) -> Option<CaBundle> {
    match (&given.file, &given.config_map, &given.secret) {
        (Some(file), None, None) if Path::new(file).is_absolute() => Some(CaBundle::File(file.into())),
        (Some(file), None, None) => {
            let message = format!("`{file}` is not an absolute path, and sidecars run in different folders");
            report.error(Code::BadValue, path.field("file"), message, "begin it with `/`");
            None
        }
        (None, Some(given), None) => key(given, &path.field("configMap"), report).map(CaBundle::ConfigMap),
        (None, None, Some(given)) => key(given, &path.field("secret"), report).map(CaBundle::Secret),
        (None, None, None) => {
            let message = "it says nowhere to find certificates";
            let mend = "add `configMap: {name: NAME}`, `secret: {name: NAME}` or `file: PATH`; without `caBundle` whom \
                        the machine trusts is trusted";
            report.error(Code::MissingField, path.clone(), message, mend);
            None
        }
        _ => {
            let message = "certificates come from one place: a file, a ConfigMap or a Secret";
            report.error(Code::BadValue, path.clone(), message, "keep one of them");
            None
        }
    }
}

fn key(given: &KeyRefSpec, path: &FieldPath, report: &mut Report) -> Option<KeyRef> {
    let name = value::name(&given.name, path.field("name"), report)?;
    Some(KeyRef { name, key: given.key.clone().unwrap_or_else(|| CA_KEY.to_owned()) })
}
