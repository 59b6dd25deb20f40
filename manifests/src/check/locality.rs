//! Rules of which instances come first, and which at all, in a TrafficPolicy.

use super::value::{self, number};
use crate::diagnostic::{Code, Report};
use crate::kind::traffic_policy::{Locality, LocalityMode, LocalitySpec, RegionFailover, RegionFailoverSpec};
use crate::path::FieldPath;
use std::ops::RangeInclusive;

const OVERPROVISIONING: RangeInclusive<i64> = 100..=1_000;
const TRANSFER_COST: RangeInclusive<i64> = 100..=10_000;
/// The largest cloud has about as many regions.
const FAILOVER_MAX: usize = 32;
/// Each is a level of its own, looked at in turn while the ones before are not healthy enough.
const TO_MAX: usize = 16;
/// As the value of a label.
const REGION_BYTES_MAX: usize = 63;

/// Reads the rules. `measures`: the policy that chooses an instance knows what a request costs.
pub(super) fn read(given: &LocalitySpec, measures: bool, path: &FieldPath, report: &mut Report) -> Locality {
    let (is_failover, never_leaves) = match given.mode {
        LocalityMode::PreferSameZone => (false, false),
        LocalityMode::Failover => (true, false),
        LocalityMode::SameZoneOnly | LocalityMode::SameRegionOnly => (false, true),
    };
    if !given.failover.is_empty() && !is_failover {
        not_used(path.field("failover"), given.mode, "`mode: Failover`", report);
    }
    let fields = [
        ("overprovisioning", given.overprovisioning.is_some()),
        ("transferCost", given.transfer_cost.is_some()),
    ];
    for (field, _) in fields.into_iter().filter(|(_, is_given)| *is_given && never_leaves) {
        not_used(path.field(field), given.mode, "`mode: Failover`", report);
    }
    if given.transfer_cost.is_some() && !measures && !never_leaves {
        let message = "costs are compared by `PeakEwma` and `LeastRequest` alone";
        let mend = "take it away, or choose one of these as `loadBalancing.policy`";
        report.error(Code::BadValue, path.field("transferCost"), message, mend);
    }
    let mut percent = |given: Option<i32>, range, field: &str| {
        given.and_then(|it| number(range, it, path.field(field), report))
    };
    let overprovisioning = percent(given.overprovisioning, &OVERPROVISIONING, "overprovisioning");
    let transfer_cost = percent(given.transfer_cost, &TRANSFER_COST, "transferCost");
    let failover = failover(&given.failover, &path.field("failover"), report);
    Locality { mode: given.mode, failover, overprovisioning, transfer_cost }
}

fn failover(given: &[RegionFailoverSpec], path: &FieldPath, report: &mut Report) -> Vec<RegionFailover> {
    value::at_most(FAILOVER_MAX, given.len(), path, report);
    let mut read: Vec<RegionFailover> = Vec::new();
    for (place, given) in given.iter().enumerate() {
        let path = path.index(place);
        region(&given.from, path.field("from"), report);
        if read.iter().any(|it| it.from == given.from) {
            let message = format!("the order for region `{}` stands there already", given.from);
            report.error(Code::DuplicateEntry, path.field("from"), message, "take one of both away");
        }
        let list = path.field("to");
        value::at_most(TO_MAX, given.to.len(), &list, report);
        if given.to.is_empty() {
            report.error(Code::MissingField, list.clone(), "it names no region", "add one: `- us-east`");
        }
        for (place, to) in given.to.iter().enumerate() {
            region(to, list.index(place), report);
            if *to == given.from || given.to.iter().take(place).any(|earlier| earlier == to) {
                let message = format!("region `{to}` has its place already");
                report.error(Code::DuplicateEntry, list.index(place), message, "take it away");
            }
        }
        read.push(RegionFailover { from: given.from.clone(), to: given.to.clone() });
    }
    read
}

fn region(text: &str, path: FieldPath, report: &mut Report) {
    if text.is_empty() || text.len() > REGION_BYTES_MAX {
        let message = format!("the name of a region has 1 to {REGION_BYTES_MAX} bytes");
        report.error(Code::OutOfRange, path, message, "write the one that `sidecar run --locality` is given");
    }
}

fn not_used(path: FieldPath, mode: LocalityMode, other: &str, report: &mut Report) {
    let message = format!("`{}` has no use for it", mode.as_str());
    report.error(Code::BadValue, path, message, format!("take it away, or write {other}"));
}
