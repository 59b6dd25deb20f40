//! Rules of an EndpointSlice.

use super::{metadata, value};
use crate::diagnostic::{Code, Report};
use crate::kind::slice::{EndpointSlice, SERVICE_NAME_LABEL, SliceEndpoint, SlicePort, TargetRef};
use crate::kind::{Kind, Metadata};
use crate::path::FieldPath;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::discovery::v1 as discovery;
use mesh_names::{Label, Namespace, ServiceName};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Kubernetes' bounds.
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 100;

/// What the addresses of a slice are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AddressType {
    Ipv4,
    Ipv6,
    Fqdn,
}

/// Reads an EndpointSlice.
pub(crate) fn read(given: &discovery::EndpointSlice, report: &mut Report) -> Option<EndpointSlice> {
    let metadata = metadata::read(Kind::EndpointSlice, &given.metadata, report);
    let address_type = address_type(&given.address_type, report);
    let service = metadata.as_ref().and_then(|metadata| service(metadata, report));
    let ports = ports(given.ports.as_deref().unwrap_or_default(), &FieldPath::of("ports"), report);
    let path = FieldPath::of("endpoints");
    value::at_most(ENDPOINTS_MAX, given.endpoints.len(), &path, report);
    let namespace = metadata.as_ref().and_then(|metadata| metadata.namespace.clone());
    let mut endpoints = Vec::new();
    for (place, given) in given.endpoints.iter().enumerate() {
        let (Some(address_type), Some(namespace)) = (address_type, &namespace) else { continue };
        endpoints.extend(endpoint(given, address_type, namespace, &path.index(place), report));
    }
    let metadata = metadata?;
    let (namespace, name) = (metadata.namespace.clone()?, metadata.name.parse().ok()?);
    Some(EndpointSlice { metadata, namespace, name, service, endpoints, ports })
}

fn address_type(given: &str, report: &mut Report) -> Option<AddressType> {
    let path = FieldPath::of("addressType");
    match given {
        "IPv4" => Some(AddressType::Ipv4),
        "IPv6" => Some(AddressType::Ipv6),
        "FQDN" => {
            let message = "the mesh does not resolve names of endpoints: they are left out";
            report.warning(Code::Unsupported, path, message, "write IP addresses");
            Some(AddressType::Fqdn)
        }
        _ => {
            let message = format!("`{given}` is not a type of address");
            report.error(Code::BadValue, path, message, "write IPv4 or IPv6");
            None
        }
    }
}

fn service(metadata: &Metadata, report: &mut Report) -> Option<ServiceName> {
    let path = FieldPath::of("metadata").field("labels");
    let Some(name) = metadata.labels.get(SERVICE_NAME_LABEL) else {
        let message = format!("without the label `{SERVICE_NAME_LABEL}` the slice belongs to no Service");
        report.warning(Code::MissingReference, path, message, format!("add `{SERVICE_NAME_LABEL}: NAME`"));
        return None;
    };
    let name: Label = value::name(name, path.field(SERVICE_NAME_LABEL), report)?;
    Some(ServiceName::new(metadata.namespace.clone()?, name))
}

fn endpoint(
    given: &discovery::Endpoint,
    address_type: AddressType,
    namespace: &Namespace,
    path: &FieldPath,
    report: &mut Report,
) -> Option<SliceEndpoint> {
    let addresses_path = path.field("addresses");
    value::at_most(ADDRESSES_MAX, given.addresses.len(), &addresses_path, report);
    if given.addresses.is_empty() {
        report.error(Code::MissingField, addresses_path.clone(), "an endpoint needs an address", "add one");
    }
    if address_type == AddressType::Fqdn {
        return None;
    }
    let addresses: Vec<IpAddr> = given
        .addresses
        .iter()
        .enumerate()
        .filter_map(|(place, text)| address(text, address_type, addresses_path.index(place), report))
        .collect();
    let conditions = given.conditions.clone().unwrap_or_default();
    let is_ready = conditions.ready.unwrap_or(true);
    Some(SliceEndpoint {
        addresses,
        is_ready,
        is_serving: conditions.serving.unwrap_or(is_ready),
        is_terminating: conditions.terminating.unwrap_or(false),
        zone: given.zone.clone().filter(|zone| !zone.is_empty()),
        target: given.target_ref.as_ref().and_then(|given| target(given, namespace, path, report)),
    })
}

fn address(text: &str, expected: AddressType, path: FieldPath, report: &mut Report) -> Option<IpAddr> {
    let address = value::address(text, path.clone(), report)?;
    let (is_expected, name) = match expected {
        AddressType::Ipv4 => (address.is_ipv4(), "IPv4"),
        AddressType::Ipv6 => (address.is_ipv6(), "IPv6"),
        AddressType::Fqdn => (false, "FQDN"),
    };
    if !is_expected {
        let message = format!("`{text}` is not an {name} address, as `addressType` promises");
        report.error(
            Code::BadAddress,
            path,
            message,
            "put addresses of the other family into a slice of their own",
        );
        return None;
    }
    Some(address)
}

fn target(
    given: &ObjectReference,
    namespace: &Namespace,
    path: &FieldPath,
    report: &mut Report,
) -> Option<TargetRef> {
    let path = path.field("targetRef");
    let (Some(kind), Some(name)) = (&given.kind, &given.name) else {
        let message = "a reference needs `kind` and `name`";
        report.error(Code::MissingField, path, message, "add them, or take the reference away");
        return None;
    };
    let namespace = match given.namespace.as_deref() {
        None | Some("") => namespace.clone(),
        Some(text) => value::name(text, path.field("namespace"), report)?,
    };
    Some(TargetRef { kind: kind.clone(), namespace, name: name.clone() })
}

fn ports(given: &[discovery::EndpointPort], path: &FieldPath, report: &mut Report) -> Vec<SlicePort> {
    value::at_most(PORTS_MAX, given.len(), path, report);
    let mut names = BTreeMap::new();
    let mut read = Vec::new();
    for (place, port) in given.iter().enumerate() {
        let path = path.index(place);
        let name = port.name.as_deref().unwrap_or_default();
        if !name.is_empty() {
            let _valid: Option<Label> = value::name(name, path.field("name"), report);
        }
        if let Some(earlier) = names.insert(name, place) {
            let message = format!("the port at place {earlier} has the same name");
            report.error(Code::DuplicateEntry, path.field("name"), message, "rename one of them");
        }
        let app_protocol =
            value::app_protocol(port.app_protocol.as_deref(), path.field("appProtocol"), report);
        let Some(number) = port.port else {
            let message =
                "a port without a number stands for all ports, which the mesh does not do: it is left out";
            report.warning(Code::Unsupported, path.field("port"), message, "write the number");
            continue;
        };
        let number = value::port(number, path.field("port"), report);
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if super::service::check_protocol(protocol, path.field("protocol"), report)
            && let Some(port) = number
        {
            read.push(SlicePort { name: name.to_owned(), port, app_protocol });
        }
    }
    read
}
