//! Which endpoints come first for a caller, and which are left out, by where both are. Pure: what enters is a
//! TrafficPolicy's rules and two places; what leaves is an endpoint's priority and distance, which the balancer makes
//! levels of.
//!
//! | mode | levels |
//! | --- | --- |
//! | `PreferSameZone` | the caller's zone; all others |
//! | `Failover` | the caller's subzone; its zone; its region; the regions named for it, one by one; all others |
//! | `SameZoneOnly`, `SameRegionOnly` | one, and nobody else |

use mesh_balance::{Distance, LocalityPreference, OutOfRange, Priority, TransferCost};
use mesh_protocol::Locality;
use mesh_protocol::policy::{LocalityMode, LocalityRules, RegionFailover};

/// Where an endpoint stands among its peers, seen from a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    /// Those of a lower one first.
    pub(crate) priority: Priority,
    /// Of one priority, the nearer ones first.
    pub(crate) distance: Distance,
}

/// Where an endpoint `there` stands for a caller `here`; nothing if it is left out. Without rules all stand alike.
pub(crate) fn standing(mode: Option<&LocalityMode>, here: &Locality, there: &Locality) -> Option<Standing> {
    let distance = distance(here, there);
    let (is_in_zone, is_in_region) = (distance <= Distance::SameZone, distance <= Distance::SameRegion);
    let first = Standing { priority: Priority::DEFAULT, distance: Distance::Here };
    match mode {
        None => Some(first),
        Some(LocalityMode::PreferSameZone) if is_in_zone => Some(first),
        Some(LocalityMode::PreferSameZone) => Some(Standing { distance: Distance::Elsewhere, ..first }),
        Some(LocalityMode::Failover(_)) if is_in_region => Some(Standing { distance, ..first }),
        Some(LocalityMode::Failover(order)) => {
            Some(Standing { priority: turn(order, here, there), distance })
        }
        Some(LocalityMode::SameZoneOnly) => is_in_zone.then_some(first),
        Some(LocalityMode::SameRegionOnly) => is_in_region.then_some(first),
    }
}

/// How the balancer treats the levels that a policy makes.
///
/// # Errors
/// [`OutOfRange`]: the transfer cost is.
pub(super) fn preference(locality: &LocalityRules) -> Result<LocalityPreference, OutOfRange> {
    let nearest = || {
        let cost = locality.transfer_cost.map(|it| TransferCost::new(it.get())).transpose()?;
        Ok(cost.map_or(LocalityPreference::Nearest, LocalityPreference::Balanced))
    };
    match locality.mode {
        LocalityMode::PreferSameZone | LocalityMode::Failover(_) => nearest(),
        // Who is left out decides; the others stand alike.
        LocalityMode::SameZoneOnly | LocalityMode::SameRegionOnly => Ok(LocalityPreference::None),
    }
}

fn distance(here: &Locality, there: &Locality) -> Distance {
    fn place(of: &Locality) -> mesh_balance::Locality<'_> {
        let Locality { region, zone, subzone } = of;
        mesh_balance::Locality {
            region: region.as_deref(),
            zone: zone.as_deref(),
            subzone: subzone.as_deref(),
        }
    }
    place(here).distance(&place(there))
}

/// When the turn of another region is: after the caller's own, in the order for that one; what is not named comes last.
fn turn(order: &[RegionFailover], here: &Locality, there: &Locality) -> Priority {
    let Some(order) = order.iter().find(|order| here.region.as_deref() == Some(order.from.as_str())) else {
        return Priority::DEFAULT;
    };
    let place = order.to.iter().position(|to| there.region.as_deref() == Some(to.as_str()));
    let turn = u32::try_from(place.unwrap_or(order.to.len())).unwrap_or(u32::MAX).saturating_add(1);
    Priority::new(turn).unwrap_or(Priority::MOST)
}

/// Where a caller's requests stay, in words; nothing if they may go anywhere.
pub(crate) fn kept_in(mode: Option<&LocalityMode>, here: &Locality) -> Option<String> {
    let named = |part: &Option<String>| part.clone().unwrap_or_else(|| "without a name".to_owned());
    match mode {
        None | Some(LocalityMode::PreferSameZone | LocalityMode::Failover(_)) => None,
        Some(LocalityMode::SameRegionOnly) => Some(format!("the region {}", named(&here.region))),
        Some(LocalityMode::SameZoneOnly) => {
            let region = here.region.as_ref().map(|region| format!(" of {region}")).unwrap_or_default();
            Some(format!("the zone {}{region}", named(&here.zone)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `eu/a/1`, where an empty part is not said.
    fn at(text: &str) -> Locality {
        let mut parts = text.split('/').map(|part| Some(part.to_owned()).filter(|part| !part.is_empty()));
        let mut next = || parts.next().flatten();
        Locality { region: next(), zone: next(), subzone: next() }
    }

    fn failover(order: &[(&str, &[&str])]) -> LocalityMode {
        let order = order.iter().map(|(from, to)| RegionFailover {
            from: (*from).to_owned(),
            to: to.iter().map(|to| (*to).to_owned()).collect(),
        });
        LocalityMode::Failover(order.collect())
    }

    /// The places in the order in which a caller in `eu/a/1` uses them; those of one level in one text.
    fn levels(mode: &LocalityMode) -> Vec<String> {
        let places = ["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1", "ap/a/1", "/a", ""];
        let mut found: Vec<(Standing, &str)> = places
            .iter()
            .filter_map(|place| Some((standing(Some(mode), &at("eu/a/1"), &at(place))?, *place)))
            .collect();
        found.sort_by_key(|(standing, _)| *standing);
        let levels = found.chunk_by(|(one, _), (other, _)| one == other);
        levels.map(|level| level.iter().map(|(_, place)| *place).collect::<Vec<_>>().join(" ")).collect()
    }

    #[test]
    fn each_mode_has_its_levels() {
        let table: [(LocalityMode, &[&str]); 6] = [
            (LocalityMode::PreferSameZone, &["eu/a/1 eu/a/2", "eu/b/1 us/a/1 ap/a/1 /a "]),
            (failover(&[]), &["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1 ap/a/1 /a "]),
            (failover(&[("us", &["eu"])]), &["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1 ap/a/1 /a "]),
            (failover(&[("eu", &["ap", "us"])]), &["eu/a/1", "eu/a/2", "eu/b/1", "ap/a/1", "us/a/1", "/a "]),
            (LocalityMode::SameZoneOnly, &["eu/a/1 eu/a/2"]),
            (LocalityMode::SameRegionOnly, &["eu/a/1 eu/a/2 eu/b/1"]),
        ];
        for (mode, expected) in table {
            assert_eq!(levels(&mode), expected, "{mode:?}");
        }
    }

    #[test]
    fn zones_are_enough_where_nobody_names_a_region() {
        let mode = Some(&LocalityMode::SameZoneOnly);
        assert!(standing(mode, &at("/a"), &at("/a")).is_some());
        assert!(standing(mode, &at("/a"), &at("/b")).is_none());
        assert!(standing(mode, &at(""), &at("")).is_some(), "what nobody says separates nobody");
        assert!(standing(mode, &at("eu/a"), &at("/a")).is_none(), "it may be in any region");
    }

    #[test]
    fn where_requests_stay_is_said_by_name() {
        let here = at("eu/a/1");
        let said = |mode| kept_in(Some(&mode), &here);
        assert_eq!(said(LocalityMode::SameZoneOnly).as_deref(), Some("the zone a of eu"));
        assert_eq!(said(LocalityMode::SameRegionOnly).as_deref(), Some("the region eu"));
        assert_eq!(said(LocalityMode::PreferSameZone), None);
        let nowhere = kept_in(Some(&LocalityMode::SameRegionOnly), &at(""));
        assert_eq!(nowhere.as_deref(), Some("the region without a name"));
    }

    fn place() -> impl Strategy<Value = Locality> {
        let part =
            || prop::option::of(prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned));
        (part(), part(), part()).prop_map(|(region, zone, subzone)| Locality { region, zone, subzone })
    }

    fn order() -> impl Strategy<Value = Vec<RegionFailover>> {
        let region = || prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(str::to_owned);
        let one = (region(), prop::collection::vec(region(), 0..200))
            .prop_map(|(from, to)| RegionFailover { from, to });
        prop::collection::vec(one, 0..4)
    }

    proptest! {
        #[test]
        fn nobody_comes_before_who_is_here_and_the_own_region_before_all_others(
            here in place(), one in place(), other in place(), order in order(),
        ) {
            for mode in [LocalityMode::PreferSameZone, LocalityMode::Failover(order)] {
                let seen = |there: &Locality| standing(Some(&mode), &here, there).expect("these modes leave nobody out");
                prop_assert!(seen(&here) <= seen(&one), "{:?}", mode);
                if mode != LocalityMode::PreferSameZone && one.region == here.region && other.region != here.region {
                    prop_assert!(seen(&one) < seen(&other), "{:?}", mode);
                }
            }
        }

        #[test]
        fn what_is_kept_in_a_zone_is_kept_in_its_region(here in place(), there in place()) {
            let is_in = |mode| standing(Some(&mode), &here, &there).is_some();
            let (zone, region) = (is_in(LocalityMode::SameZoneOnly), is_in(LocalityMode::SameRegionOnly));
            prop_assert!(region || !zone);
            prop_assert_eq!(region, here.region == there.region);
        }
    }
}
