//! A sidecar's word on the workload it runs beside, sent first on the discovery stream and whenever it changes. The
//! stream is the lease: while it lives the workload does. Namespace and service account are not part of it, they are
//! read from the certificate.

use crate::error::{DecodeError, address, field, port};
use crate::health::REASON_BYTES_MAX;
use crate::locality::PART_BYTES_MAX;
use crate::wire::v1 as wire;
use crate::workload::WorkloadPort;
use crate::{Locality, Weight};
use mesh_names::{Port, Subdomain};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// Most labels a workload may have; a Service selects by a handful.
pub const LABELS_MAX: usize = 64;
/// Most ports a workload may announce.
pub const PORTS_MAX: usize = 64;

/// A workload as its sidecar announces it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Grows with each change on a stream, from 1.
    pub sequence: u64,
    /// The Workload's name in its namespace.
    pub name: Subdomain,
    /// What Services select by.
    pub labels: BTreeMap<String, String>,
    /// Where other sidecars reach it.
    pub address: IpAddr,
    /// The inbound mutual-TLS port there.
    pub inbound_port: Port,
    /// The application's ports; [`WorkloadPort::services`] is empty.
    pub ports: Vec<WorkloadPort>,
    /// Where it runs, as far as that is said.
    pub locality: Locality,
    /// Its share among its Services' endpoints.
    pub weight: Weight,
    /// Whether it wants traffic.
    pub state: AnnouncedState,
    /// Why it is not ready, for people; empty: its application does not accept connections yet.
    pub reason: String,
    /// When its sidecar's certificate expires, to the second.
    pub certificate_expires: Option<SystemTime>,
}

/// Whether a workload wants traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnnouncedState {
    /// Yes.
    Ready,
    /// Not now: it stays registered.
    NotReady,
    /// Not any more: it is draining and will end its stream.
    Leaving,
}

impl Announcement {
    /// The wire form.
    pub fn to_wire(&self) -> wire::Announcement {
        let state = match self.state {
            AnnouncedState::Ready => wire::AnnouncedState::Ready,
            AnnouncedState::NotReady => wire::AnnouncedState::NotReady,
            AnnouncedState::Leaving => wire::AnnouncedState::Leaving,
        };
        let [region, zone, subzone] = self.locality.to_wire();
        wire::Announcement {
            sequence: self.sequence,
            name: self.name.to_string(),
            labels: self.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            address: self.address.to_string(),
            inbound_port: self.inbound_port.number().into(),
            ports: self.ports.iter().map(WorkloadPort::to_wire).collect(),
            zone,
            region,
            subzone,
            weight: self.weight.number().into(),
            state: state.into(),
            reason: self.reason.clone(),
            certificate_expires: self.certificate_expires.map_or(0, seconds),
        }
    }

    /// Reads the wire form.
    ///
    /// # Errors
    /// [`DecodeError`] with the first field that breaks a rule or a bound.
    pub fn of_wire(message: wire::Announcement) -> Result<Self, DecodeError> {
        let state = match message.state() {
            wire::AnnouncedState::Ready => AnnouncedState::Ready,
            wire::AnnouncedState::NotReady => AnnouncedState::NotReady,
            wire::AnnouncedState::Leaving => AnnouncedState::Leaving,
        };
        if message.labels.len() > LABELS_MAX {
            return Err(DecodeError::value("labels", "a workload may have at most 64 labels"));
        }
        if message.ports.len() > PORTS_MAX {
            return Err(DecodeError::value("ports", "a workload may have at most 64 ports"));
        }
        for (part, text) in
            [("region", &message.region), ("zone", &message.zone), ("subzone", &message.subzone)]
        {
            if text.len() > PART_BYTES_MAX {
                return Err(DecodeError::value(part, "it may have at most 63 bytes"));
            }
        }
        if message.reason.len() > REASON_BYTES_MAX {
            return Err(DecodeError::value("reason", "it may have at most 512 bytes"));
        }
        Ok(Self {
            sequence: message.sequence,
            name: field("name", &message.name)?,
            labels: message.labels.into_iter().collect(),
            address: address("address", &message.address)?,
            inbound_port: port("inbound_port", message.inbound_port)?,
            ports: message.ports.into_iter().map(WorkloadPort::of_wire).collect::<Result<_, _>>()?,
            locality: Locality::of_wire([message.region, message.zone, message.subzone]),
            weight: Weight::of_wire(message.weight)?,
            state,
            reason: message.reason,
            certificate_expires: moment(message.certificate_expires),
        })
    }
}

fn seconds(moment: SystemTime) -> u64 {
    moment.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// A time beyond what the clock can say is none.
fn moment(seconds: u64) -> Option<SystemTime> {
    let since = Duration::from_secs(seconds);
    (seconds > 0).then(|| SystemTime::UNIX_EPOCH.checked_add(since)).flatten()
}
