//! What is known of an endpoint beside its load: health, weight, priority, place.
//!
//! Enters: what the control plane says. Leaves: a [`Member`], taken over by `Balancer::update`. Never here: what we
//! learn of the endpoint ourselves.

use crate::HashKey;
use crate::numbers::bounded;

/// What the control plane says of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// It takes new requests.
    Ready,
    /// It says that it is not ready, or its lease has ended.
    NotReady,
    /// It finishes what it has and takes nothing new.
    Draining,
}

bounded!(
    /// An endpoint's share of the requests, relative to its peers'. An endpoint of weight 2 counts as two of weight 1
    /// everywhere: in draws, in turns, on rings and in tables, and when the health of a level is computed. There is no
    /// weight 0: an endpoint that should get nothing is not ready, or left out of the list.
    Weight, "the weight", 1..=65_535, default 1
);

bounded!(
    /// Endpoints of a lower number are used first; the next number takes over the share that these cannot carry (see
    /// `Overprovisioning`). Numbers may have gaps.
    Priority, "the priority", 0..=127, default 0
);

/// How far away an endpoint is. A shorter distance is a lower number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Distance {
    /// In the same region, zone and subzone, as far as they are said.
    #[default]
    Here,
    /// In the same zone, in another subzone.
    SameZone,
    /// In the same region, in another zone.
    SameRegion,
    /// In another region, or somewhere unknown.
    Elsewhere,
}

/// Where something runs, from the widest to the narrowest. What is not said is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Locality<'a> {
    /// Where network costs and latencies change most: a cloud's region.
    pub region: Option<&'a str>,
    /// What fails together: an availability zone.
    pub zone: Option<&'a str>,
    /// A rack or a room.
    pub subzone: Option<&'a str>,
}

impl Locality<'_> {
    /// How far `other` is from here. A part neither says does not separate them; a part that only one says does: it may be
    /// anywhere. A zone counts only within its region, a subzone only within its zone, as their names repeat.
    pub fn distance(&self, other: &Locality<'_>) -> Distance {
        if self.region != other.region {
            Distance::Elsewhere
        } else if self.zone != other.zone {
            Distance::SameRegion
        } else if self.subzone != other.subzone {
            Distance::SameZone
        } else {
            Distance::Here
        }
    }
}

/// What the control plane says of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member {
    /// Whether it takes requests.
    pub health: Health,
    /// Where it stands on rings and in tables: of its address, usually. The same in every sidecar, and its own.
    pub key: HashKey,
    /// Its share.
    pub weight: Weight,
    /// Which endpoints are used before it.
    pub priority: Priority,
    /// How far it is from here.
    pub distance: Distance,
}

impl Member {
    /// An endpoint of weight 1 and priority 0, right here.
    pub fn new(health: Health, key: HashKey) -> Self {
        let (weight, priority, distance) = (Weight::DEFAULT, Priority::DEFAULT, Distance::Here);
        Self { health, key, weight, priority, distance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at<'a>(region: &'a str, zone: &'a str, subzone: &'a str) -> Locality<'a> {
        let said = |part: &'a str| Some(part).filter(|part| !part.is_empty());
        Locality { region: said(region), zone: said(zone), subzone: said(subzone) }
    }

    #[test]
    fn distance_grows_with_the_widest_part_that_differs() {
        let here = at("eu", "a", "1");
        let table = [
            (at("eu", "a", "1"), Distance::Here),
            (at("eu", "a", "2"), Distance::SameZone),
            (at("eu", "b", "1"), Distance::SameRegion),
            (at("us", "a", "1"), Distance::Elsewhere),
            (at("eu", "", ""), Distance::SameRegion),
            (at("", "", ""), Distance::Elsewhere),
        ];
        for (there, distance) in table {
            assert_eq!(here.distance(&there), distance, "{there:?}");
            assert_eq!(there.distance(&here), distance, "it is the same in both directions");
        }
        assert_eq!(Locality::default().distance(&Locality::default()), Distance::Here);
        assert_eq!(at("", "a", "").distance(&at("", "a", "")), Distance::Here, "zones are enough");
        assert!(Distance::Here < Distance::SameZone && Distance::SameRegion < Distance::Elsewhere);
    }
}
