//! Rules of a Workload.

use super::{metadata, value};
use crate::diagnostic::{Code, Report};
use crate::kind::Kind;
use crate::kind::workload::{READY, Workload, WorkloadManifest, WorkloadPort, WorkloadPortSpec};
use crate::path::FieldPath;
use mesh_names::{AppProtocol, WorkloadName};
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::RangeInclusive;

/// As many as a sidecar may announce.
const PORTS_MAX: usize = 64;
const LABELS_MAX: usize = 64;
const ZONE_BYTES_MAX: usize = 63;
const WEIGHT: RangeInclusive<i64> = 1..=65_535;
/// What a workload runs as if nothing is said.
const DEFAULT_SERVICE_ACCOUNT: &str = "default";

/// Reads a Workload.
pub(crate) fn read(given: &WorkloadManifest, report: &mut Report) -> Option<Workload> {
    let metadata = metadata::read(Kind::Workload, &given.metadata, report);
    let (path, spec) = (FieldPath::of("spec"), &given.spec);
    if let Some(metadata) = &metadata {
        value::at_most(LABELS_MAX, metadata.labels.len(), &FieldPath::parse("metadata.labels"), report);
    }
    let address = value::address(&spec.address, path.field("address"), report);
    let inbound_port = spec.inbound_port.map(|port| value::port(port, path.field("inboundPort"), report));
    let account = spec.service_account.as_deref().unwrap_or(DEFAULT_SERVICE_ACCOUNT);
    let service_account = value::name(account, path.field("serviceAccount"), report);
    let mut place = |given: &Option<String>, field: &str| {
        let text = given.clone().filter(|text| !text.is_empty())?;
        if text.len() > ZONE_BYTES_MAX {
            let message = format!("the name of a {field} may have at most {ZONE_BYTES_MAX} bytes");
            report.error(Code::OutOfRange, path.field(field), message, "choose a shorter one");
        }
        Some(text)
    };
    let region = place(&spec.region, "region");
    let zone = place(&spec.zone, "zone");
    let subzone = place(&spec.subzone, "subzone");
    let weight = spec.weight.and_then(|it| value::within_range(&WEIGHT, it, path.field("weight"), report));
    let weight = weight.and_then(|it| u16::try_from(it).ok()).and_then(NonZeroU16::new);
    let weight = weight.unwrap_or(NonZeroU16::MIN);
    let ports = ports(&spec.ports, &path.field("ports"), report);
    let metadata = metadata?;
    let name = WorkloadName::new(metadata.namespace.clone()?, metadata.name.parse().ok()?);
    let conditions = given.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions
        .filter(|condition| condition.type_ == READY)
        .map(|ready| ready.status == "True")
        .next_back();
    Some(Workload {
        metadata,
        name,
        address: address?,
        inbound_port: match inbound_port {
            Some(port) => Some(port?),
            None => None,
        },
        service_account: service_account?,
        region,
        zone,
        subzone,
        weight,
        ports,
        is_ready: ready.unwrap_or(inbound_port.is_none()),
    })
}

fn ports(given: &[WorkloadPortSpec], path: &FieldPath, report: &mut Report) -> Vec<WorkloadPort> {
    value::at_most(PORTS_MAX, given.len(), path, report);
    let (mut numbers, mut names) = (BTreeMap::new(), BTreeMap::new());
    let mut read = Vec::new();
    for (place, given) in given.iter().enumerate() {
        let path = path.index(place);
        let port = value::port(given.port, path.field("port"), report);
        if let Some(earlier) = numbers.insert(given.port, place) {
            let message = format!("port {} stands at place {earlier} already", given.port);
            report.error(Code::DuplicateEntry, path.field("port"), message, "take one of them away");
        }
        let name = match given.name.as_deref() {
            None | Some("") => None,
            Some(name) => value::port_name(name, path.field("name"), report),
        };
        if let Some(earlier) = name.clone().and_then(|name| names.insert(name, place)) {
            let message = format!("the port at place {earlier} has the same name");
            report.error(Code::DuplicateEntry, path.field("name"), message, "rename one of them");
        }
        let protocol = given.app_protocol.as_deref().filter(|text| !text.is_empty());
        let app_protocol = match protocol.map(str::parse::<AppProtocol>) {
            None => AppProtocol::Detect,
            Some(Ok(protocol)) => protocol,
            Some(Err(error)) => {
                report.error(
                    Code::BadValue,
                    path.field("appProtocol"),
                    error.to_string(),
                    "choose one of them",
                );
                continue;
            }
        };
        if let Some(port) = port {
            read.push(WorkloadPort { port, name, app_protocol });
        }
    }
    read
}
