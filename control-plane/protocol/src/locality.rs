//! Where something runs, from the widest to the narrowest. What is not said is `None`.

/// Longest name of a part, in bytes: a label's value.
pub const PART_BYTES_MAX: usize = 63;

/// Where an instance runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// Where network costs and latencies change most: a cloud's region.
    pub region: Option<String>,
    /// What fails together: an availability zone.
    pub zone: Option<String>,
    /// A rack or a room.
    pub subzone: Option<String>,
}

impl Locality {
    /// As the three texts that are on the wire, where the empty one is what is not said.
    pub(crate) fn to_wire(&self) -> [String; 3] {
        [&self.region, &self.zone, &self.subzone].map(|part| part.clone().unwrap_or_default())
    }

    /// Reads the three texts.
    pub(crate) fn of_wire(parts: [String; 3]) -> Self {
        let [region, zone, subzone] = parts.map(|part| Some(part).filter(|part| !part.is_empty()));
        Self { region, zone, subzone }
    }
}
