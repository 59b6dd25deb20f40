//! Rules of a Service.

use super::{metadata, value};
use crate::diagnostic::{Code, Report};
use crate::kind::Kind;
use crate::kind::service::{Service, ServicePort, TargetPort};
use crate::nearest::nearest;
use crate::path::FieldPath;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mesh_names::{Label, Port, ServiceName};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Most ports of one Service; Kubernetes has no such bound, sidecars build a table for each.
const PORTS_MAX: usize = 256;
const TYPES: [&str; 4] = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
const PROTOCOLS: [&str; 3] = ["TCP", "UDP", "SCTP"];

/// Reads a Service.
pub(crate) fn read(given: &core::Service, report: &mut Report) -> Option<Service> {
    let metadata = metadata::read(Kind::Service, &given.metadata, report);
    let (path, empty) = (FieldPath::of("spec"), core::ServiceSpec::default());
    let spec = given.spec.as_ref().unwrap_or(&empty);
    let needs_ports = check_type(spec, &path, report);
    let is_headless = is_headless(spec);
    let cluster_ips = cluster_ips(spec, &path, report);
    let selector = spec.selector.clone().unwrap_or_default();
    metadata::check_labels(&selector, &path.field("selector"), report);
    let given_ports = spec.ports.as_deref().unwrap_or_default();
    if needs_ports && given_ports.is_empty() {
        report.error(Code::MissingField, path.field("ports"), "a Service needs a port", "add `- port: 80`");
    }
    let ports = ports(given_ports, &path.field("ports"), report);
    let metadata = metadata?;
    let name = ServiceName::new(metadata.namespace.clone()?, metadata.name.parse::<Label>().ok()?);
    Some(Service { name, metadata, selector, ports, cluster_ips, is_headless })
}

/// Whether a Service of this type cannot be without ports.
fn check_type(spec: &core::ServiceSpec, path: &FieldPath, report: &mut Report) -> bool {
    let path = path.field("type");
    match spec.type_.as_deref() {
        None | Some("" | "ClusterIP") => spec.cluster_ip.as_deref() != Some("None"),
        Some("NodePort" | "LoadBalancer") => {
            let message = "the mesh does not open ports to the outside: this works as `ClusterIP`";
            report.warning(Code::Unsupported, path, message, "leave `type` out");
            true
        }
        Some("ExternalName") => {
            let message = "the mesh does not send requests to names outside of it by `ExternalName`";
            report.warning(Code::Unsupported, path, message, "write an EndpointSlice with the addresses");
            false
        }
        Some(other) => {
            report.error(
                Code::BadValue,
                path,
                format!("`{other}` is not a type of Service"),
                choice(other, &TYPES),
            );
            true
        }
    }
}

fn choice(given: &str, allowed: &[&'static str]) -> String {
    match nearest(given, allowed.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("choose one of {}", allowed.join(", ")),
    }
}

fn cluster_ips(spec: &core::ServiceSpec, path: &FieldPath, report: &mut Report) -> Vec<IpAddr> {
    let mut all = Vec::new();
    let single = spec.cluster_ip.iter().map(|text| (path.field("clusterIP"), text));
    let many = spec.cluster_ips.iter().flatten().enumerate();
    for (path, text) in single.chain(many.map(|(place, text)| (path.field("clusterIPs").index(place), text)))
    {
        if text.is_empty() || text == "None" {
            continue;
        }
        let Some(address) = value::address(text, path.clone(), report) else { continue };
        if all.iter().any(|known: &IpAddr| *known != address && known.is_ipv4() == address.is_ipv4()) {
            let message = "a Service has at most one virtual address of each family";
            report.error(Code::BadAddress, path, message, "keep one, or none: the mesh gives it both");
        } else if !all.contains(&address) {
            all.push(address);
        }
    }
    all
}

fn is_headless(spec: &core::ServiceSpec) -> bool {
    spec.type_.as_deref() == Some("ExternalName")
        || spec.cluster_ip.iter().chain(spec.cluster_ips.iter().flatten()).any(|text| text == "None")
}

fn ports(given: &[core::ServicePort], path: &FieldPath, report: &mut Report) -> Vec<ServicePort> {
    value::at_most(PORTS_MAX, given.len(), path, report);
    let (mut numbers, mut names) = (BTreeMap::new(), BTreeMap::new());
    let mut read = Vec::new();
    for (place, port) in given.iter().enumerate() {
        let path = path.index(place);
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if let Some(earlier) = numbers.insert((port.port, protocol), place) {
            let message = format!("port {} over {protocol} stands at place {earlier} already", port.port);
            report.error(Code::DuplicateEntry, path.field("port"), message, "take one of them away");
        }
        let name = port.name.as_deref().unwrap_or_default();
        check_name(name, given.len(), place, &mut names, &path.field("name"), report);
        let number = value::port(port.port, path.field("port"), report);
        let target = target(port, number, &path.field("targetPort"), report);
        let app_protocol =
            value::app_protocol(port.app_protocol.as_deref(), path.field("appProtocol"), report);
        if check_protocol(protocol, path.field("protocol"), report)
            && let (Some(port), Some(target)) = (number, target)
        {
            read.push(ServicePort { port, name: name.to_owned(), app_protocol, target });
        }
    }
    read
}

fn check_name<'a>(
    name: &'a str,
    ports: usize,
    place: usize,
    names: &mut BTreeMap<&'a str, usize>,
    path: &FieldPath,
    report: &mut Report,
) {
    if name.is_empty() {
        if ports > 1 {
            let message = "a Service with several ports must name them";
            report.error(Code::MissingField, path.clone(), message, "add for example `name: http`");
        }
        return;
    }
    let _valid: Option<Label> = value::name(name, path.clone(), report);
    if let Some(earlier) = names.insert(name, place) {
        let message = format!("the port at place {earlier} has the same name");
        report.error(Code::DuplicateEntry, path.clone(), message, "rename one of them");
    }
}

/// Whether the mesh carries a port of this protocol.
pub(crate) fn check_protocol(protocol: &str, path: FieldPath, report: &mut Report) -> bool {
    match protocol {
        "" | "TCP" => true,
        "UDP" | "SCTP" => {
            let message = format!("the mesh carries TCP only: this {protocol} port is left out");
            report.warning(Code::Unsupported, path, message, "reach it directly");
            false
        }
        _ => {
            let message = format!("`{protocol}` is not a protocol of a port");
            report.error(Code::BadValue, path, message, choice(protocol, &PROTOCOLS));
            false
        }
    }
}

fn target(
    port: &core::ServicePort,
    number: Option<Port>,
    path: &FieldPath,
    report: &mut Report,
) -> Option<TargetPort> {
    match &port.target_port {
        // Kubernetes: 0 and "" mean that it is not given.
        None | Some(IntOrString::Int(0)) => number.map(TargetPort::Number),
        Some(IntOrString::String(name)) if name.is_empty() => number.map(TargetPort::Number),
        Some(IntOrString::Int(target)) => value::port(*target, path.clone(), report).map(TargetPort::Number),
        Some(IntOrString::String(name)) if name.parse::<i64>().is_ok() => {
            let message = format!("\"{name}\" is the name of a port, not a number");
            report.error(Code::BadPort, path.clone(), message, "take the quotes away");
            None
        }
        Some(IntOrString::String(name)) => value::port_name(name, path.clone(), report).map(TargetPort::Name),
    }
}
