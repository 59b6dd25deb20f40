//! What an instance's rules say of themselves, in one comment: later commands learn from it which routing to remove,
//! and which other instance they would get in the way of. Pure.

use super::capture::{Capture, InboundWay};
use super::grammar::{Instance, Mark};
use std::collections::BTreeSet;

/// What every comment of ours begins with. The number changes when its meaning does.
const BEGINNING: &str = "outrigger 1";

/// What the rules of an instance say of themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marker {
    /// The sidecar's ports.
    pub ports: BTreeSet<u16>,
    /// Whose outbound connections are captured, if any are.
    pub senders: Option<Scope>,
    /// Which inbound ports are captured, if any are.
    pub inbound: Option<Scope>,
    /// Mark and routing table of TPROXY.
    pub route: Option<Mark>,
}

/// How much of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All of it.
    All,
    /// What is named.
    Some,
}

impl Scope {
    fn word(scope: Option<Self>) -> &'static str {
        match scope {
            None => "none",
            Some(Self::Some) => "some",
            Some(Self::All) => "all",
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        match word {
            "all" => Some(Self::All),
            "some" => Some(Self::Some),
            _ => None,
        }
    }
}

/// The comment: at most 110 bytes of the 128 that nft takes.
pub(crate) fn about(capture: &Capture) -> String {
    let senders = (capture.outbound.is_some() || capture.dns.is_some())
        .then_some(if capture.include.is_empty() { Scope::All } else { Scope::Some });
    let inbound = capture.inbound.as_ref();
    let scope =
        inbound.map(|inbound| if inbound.include_ports.is_empty() { Scope::All } else { Scope::Some });
    let route = match inbound.map(|inbound| inbound.way) {
        Some(InboundWay::Tproxy(mark)) => mark.number(),
        Some(InboundWay::Redirect) | None => 0,
    };
    let ports: Vec<String> = capture.own_ports.iter().map(ToString::to_string).collect();
    format!(
        "{BEGINNING} ports={} senders={} inbound={} route={route}",
        ports.join(","),
        Scope::word(senders),
        Scope::word(scope)
    )
}

impl Marker {
    /// The marker in a listing of rules, if it is one of ours.
    pub(crate) fn find(listing: &str) -> Option<Self> {
        let (_, rest) = listing.split_once(BEGINNING)?;
        let (text, _) = rest.split_once('"')?;
        let mut marker = Self::default();
        for word in text.split_whitespace() {
            match word.split_once('=')? {
                ("ports", ports) => marker.ports = ports.split(',').filter_map(range).flatten().collect(),
                ("senders", scope) => marker.senders = Scope::of_word(scope),
                ("inbound", scope) => marker.inbound = Scope::of_word(scope),
                ("route", mark) => marker.route = mark.parse().ok().and_then(Mark::new),
                _ => return None,
            }
        }
        Some(marker)
    }

    /// Why this instance and that other can't be installed together.
    pub(crate) fn conflicts(&self, other_instance: &Instance, other: &Self) -> Vec<String> {
        let table = other_instance.table();
        let remove = format!("remove it with `sidecar intercept uninstall{}`", other_instance.flag());
        let mut conflicts = Vec::new();
        let shared: Vec<String> = self.ports.intersection(&other.ports).map(ToString::to_string).collect();
        if !shared.is_empty() {
            let ports = shared.join(", ");
            conflicts.push(format!(
                "the rules in table {table} are for a sidecar with the same ports ({ports}), and two can't share one: \
                 give this one others (--outbound-port, --inbound-port, --dns-port, …), or {remove}"
            ));
        }
        let both = |one: Option<Scope>, other: Option<Scope>| {
            one.zip(other).is_some_and(|pair| pair != (Scope::Some, Scope::Some))
        };
        if both(self.senders, other.senders) {
            conflicts.push(format!(
                "the rules in table {table} and these would both capture what the same users send: give each sidecar \
                 its service's user (--include-uid) or control group (--include-cgroup), or {remove}"
            ));
        }
        if both(self.inbound, other.inbound) {
            conflicts.push(format!(
                "the rules in table {table} and these would both capture the same inbound ports: give each sidecar its \
                 service's ports (--include-inbound-port), or {remove}"
            ));
        }
        conflicts
    }
}

fn range(text: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(text: &str) -> Marker {
        Marker::find(&format!("return comment \"{BEGINNING} {text}\"\n}}\n")).expect(text)
    }

    #[test]
    fn a_listing_without_a_marker_is_another_s() {
        assert_eq!(Marker::find("table inet outrigger {\n}\n"), None);
        assert_eq!(Marker::find("comment \"outrigger 1 colour=blue\""), None);
        let ours = marker("ports=15000-15001,15006 senders=all inbound=none route=15006");
        assert_eq!(ours.ports.into_iter().collect::<Vec<_>>(), [15000, 15001, 15006]);
        assert_eq!((ours.senders, ours.inbound), (Some(Scope::All), None));
        assert_eq!(ours.route, Mark::new(15006));
    }

    #[test]
    fn two_instances_share_a_machine_when_each_names_its_own() {
        let instance: Instance = "web".parse().unwrap();
        let one = marker("ports=15001 senders=some inbound=some route=0");
        let two = marker("ports=16001 senders=some inbound=some route=0");
        assert!(one.conflicts(&instance, &two).is_empty());
        let greedy = marker("ports=15001 senders=all inbound=all route=0");
        let conflicts = one.conflicts(&instance, &greedy);
        assert_eq!(conflicts.len(), 3);
        assert_eq!(
            conflicts[0],
            "the rules in table outrigger_web are for a sidecar with the same ports (15001), and two can't share one: \
             give this one others (--outbound-port, --inbound-port, --dns-port, …), or remove it with `sidecar \
             intercept uninstall --name web`"
        );
        let outbound_only = marker("ports=17001 senders=all inbound=none route=0");
        let inbound_only = marker("ports=18001 senders=none inbound=all route=0");
        assert!(outbound_only.conflicts(&instance, &inbound_only).is_empty());
    }
}
