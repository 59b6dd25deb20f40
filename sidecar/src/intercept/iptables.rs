//! A ruleset as the text that `iptables-restore --noflush` and `ip6tables-restore --noflush` read, for machines without
//! `nft`. Each table is one transaction: chains of ours that were there are removed, the new ones made. Pure.
//!
//! iptables knows no lists, so a rule with one becomes several; and what marks a packet does not end its way, so a rule
//! that leads out follows it.

use super::grammar::{Instance, Interface, Ports};
use super::ruleset::{Chain, Condition, Families, Family, Hook, Protocol, Rule, Ruleset, Verdict};

/// The tables our chains are in.
pub(crate) const TABLES: [Table; 2] = [Table::Nat, Table::Mangle];

/// What `multiport` takes; a range counts twice.
const MULTIPORT_MAX: usize = 15;

/// A table of iptables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// Translates addresses.
    Nat,
    /// Changes packets.
    Mangle,
}

impl Table {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Mangle => "mangle",
        }
    }

    fn of(hook: Hook) -> Self {
        if hook.is_nat() { Self::Nat } else { Self::Mangle }
    }
}

/// What of a table is an instance's, as lines for iptables-restore.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    /// The names of its chains.
    pub chains: Vec<String>,
    /// The rules that lead to them from the kernel's own chains, beginning with `-A`.
    pub jumps: Vec<String>,
    /// The rules in them, likewise.
    pub rules: Vec<String>,
}

impl Lines {
    /// Whether there is nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.jumps.is_empty()
    }

    /// What is an instance's in the output of iptables-save.
    pub(crate) fn find(instance: &Instance, saved: &str) -> Self {
        let mut lines = Self::default();
        let is_ours = |chain: &str| is_chain_of(instance, chain);
        for line in saved.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [first, ..] if first.strip_prefix(':').is_some_and(is_ours) => {
                    lines.chains.push(first.trim_start_matches(':').to_owned());
                }
                ["-A", chain, ..] if is_ours(chain) => lines.rules.push(line.to_owned()),
                ["-A", .., "-j", target] if is_ours(target) => lines.jumps.push(line.to_owned()),
                _ => {}
            }
        }
        lines
    }

    /// What a ruleset puts into a table for one version of IP.
    pub(crate) fn of(ruleset: &Ruleset, table: Table, family: Family) -> Self {
        let mut lines = Self::default();
        if family == Family::V6 && ruleset.families == Families::Ipv4 {
            return lines;
        }
        let names = Names::of(ruleset);
        for chain in &ruleset.chains {
            if ruleset.hook_of(chain.name).map(Table::of) != Some(table) {
                continue;
            }
            let name = names.of_chain(chain.name);
            if let Some(hook) = chain.hook {
                let from = kernel_chain(hook);
                let about = &ruleset.about;
                lines.jumps.push(format!("-A {from} -m comment --comment \"{about}\" -j {name}"));
            }
            lines.rules.extend(chain_rules(chain, &name, &names, family));
            lines.chains.push(name);
        }
        lines
    }

    /// The text that puts `self` in the place of `before`. Empty if there is nothing to do.
    pub(crate) fn replacing(&self, before: &Self, table: Table) -> String {
        if self.is_empty() && before.is_empty() {
            return String::new();
        }
        let mut text = vec![format!("*{}", table.name())];
        let all: std::collections::BTreeSet<&String> = self.chains.iter().chain(&before.chains).collect();
        // Named here, a chain is made if need be, and emptied.
        text.extend(all.iter().map(|chain| format!(":{chain} - [0:0]")));
        text.extend(before.jumps.iter().map(|jump| jump.replacen("-A", "-D", 1)));
        text.extend(
            before.chains.iter().filter(|chain| !self.chains.contains(chain)).map(|c| format!("-X {c}")),
        );
        text.extend(self.rules.iter().cloned());
        text.extend(self.jumps.iter().cloned());
        text.push("COMMIT".to_owned());
        text.join("\n") + "\n"
    }
}

/// The instance whose chain this is.
pub(crate) fn instance_of(chain: &str) -> Option<Instance> {
    let (stem, number) = chain.rsplit_once('-')?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match stem.strip_prefix("outrigger")? {
        "" => Some(Instance::default()),
        rest => rest.strip_prefix('-')?.parse().ok(),
    }
}

fn is_chain_of(instance: &Instance, chain: &str) -> bool {
    instance_of(chain).as_ref() == Some(instance)
}

/// Short names: 28 bytes are the most a chain's may have.
struct Names<'a> {
    stem: String,
    chains: Vec<&'a str>,
}

impl<'a> Names<'a> {
    fn of(ruleset: &'a Ruleset) -> Self {
        Self {
            stem: ruleset.instance.chains(),
            chains: ruleset.chains.iter().map(|chain| chain.name).collect(),
        }
    }

    fn of_chain(&self, name: &str) -> String {
        let number = self.chains.iter().position(|chain| *chain == name).unwrap_or(self.chains.len());
        format!("{}-{number}", self.stem)
    }
}

fn kernel_chain(hook: Hook) -> &'static str {
    match hook {
        Hook::NatOutput | Hook::MangleOutput => "OUTPUT",
        Hook::NatPrerouting | Hook::ManglePrerouting => "PREROUTING",
    }
}

fn chain_rules(chain: &Chain, name: &str, names: &Names<'_>, family: Family) -> Vec<String> {
    let mut lines = Vec::new();
    for rule in &chain.rules {
        for condition in expand(rule, family) {
            for verdict in verdict_words(rule.then, names) {
                lines.push(format!("-A {name}{condition} {verdict}"));
            }
        }
    }
    lines
}

/// The conditions of a rule as one text for each combination of what its lists hold; none if the rule is about the other
/// version of IP.
fn expand(rule: &Rule, family: Family) -> Vec<String> {
    let mut texts = vec![String::new()];
    for condition in &rule.when {
        let Some(alternatives) = condition_words(condition, family) else { return Vec::new() };
        texts = texts
            .iter()
            .flat_map(|text| alternatives.iter().map(move |alternative| format!("{text}{alternative}")))
            .collect();
    }
    texts
}

fn condition_words(condition: &Condition, family: Family) -> Option<Vec<String>> {
    let words = match condition {
        Condition::Family(only) => {
            return (*only == family).then(|| vec![String::new()]);
        }
        Condition::Destination(only, nets) => {
            return (*only == family).then(|| nets.iter().map(|net| format!(" -d {net}")).collect());
        }
        Condition::Source(only, nets) => {
            return (*only == family).then(|| nets.iter().map(|net| format!(" -s {net}")).collect());
        }
        Condition::Protocol(protocol) => vec![format!(" -p {}", protocol_word(*protocol))],
        Condition::To(protocol, ports) => port_words(*protocol, ports),
        Condition::Uid(uids) => uids.iter().map(|uid| format!(" -m owner --uid-owner {uid}")).collect(),
        Condition::Gid(gids) => gids.iter().map(|gid| format!(" -m owner --gid-owner {gid}")).collect(),
        Condition::Cgroup(cgroup) => {
            vec![format!(" -m cgroup --path \"{}\"", cgroup.path().replace('\\', "\\\\"))]
        }
        Condition::Mark(mark) => vec![format!(" -m mark --mark {mark}")],
        Condition::ConnectionMark(mark) => vec![format!(" -m connmark --mark {mark}")],
        Condition::NewConnection => vec![" -m conntrack --ctstate NEW".to_owned()],
        Condition::Opening => vec![" -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN".to_owned()],
        Condition::Leaves(interfaces) => interface_words("-o", interfaces),
        Condition::Enters(interfaces) => interface_words("-i", interfaces),
        Condition::ForThisMachine => vec![" -m addrtype --dst-type LOCAL".to_owned()],
        Condition::TransparentSocket => vec![" -m socket --transparent".to_owned()],
    };
    Some(words)
}

fn protocol_word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn port_words(protocol: Protocol, ports: &[Ports]) -> Vec<String> {
    let protocol = protocol_word(protocol);
    let word = |ports: &Ports| ports.to_string().replace('-', ":");
    if let [one] = ports {
        return vec![format!(" -p {protocol} -m {protocol} --dport {}", word(one))];
    }
    ports
        .chunks(MULTIPORT_MAX / 2)
        .map(|chunk| {
            let list: Vec<String> = chunk.iter().map(word).collect();
            format!(" -p {protocol} -m multiport --dports {}", list.join(","))
        })
        .collect()
}

fn interface_words(flag: &str, interfaces: &[Interface]) -> Vec<String> {
    let word = |interface: &Interface| interface.to_string().replace('*', "+");
    interfaces.iter().map(|interface| format!(" {flag} {}", word(interface))).collect()
}

fn verdict_words(verdict: Verdict, names: &Names<'_>) -> Vec<String> {
    let leave = || "-j RETURN".to_owned();
    match verdict {
        Verdict::Leave => vec![leave()],
        Verdict::Drop => vec!["-j DROP".to_owned()],
        Verdict::Goto(chain) => vec![format!("-g {}", names.of_chain(chain))],
        Verdict::Redirect(port) => vec![format!("-j REDIRECT --to-ports {port}")],
        Verdict::Tproxy(port, mark) => vec![format!("-j TPROXY --on-port {port} --tproxy-mark {mark}")],
        Verdict::SetMark(mark) => vec![format!("-j MARK --set-mark {mark}"), leave()],
        Verdict::SetConnectionMark(mark) => vec![format!("-j CONNMARK --set-mark {mark}"), leave()],
    }
}
