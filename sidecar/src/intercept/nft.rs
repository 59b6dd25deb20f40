//! A ruleset as the text that `nft -f -` reads, in one transaction: the table is made, removed with all that was in it,
//! and made anew, so that installing twice is installing once. Pure.

use super::grammar::Instance;
use super::ruleset::{Chain, Condition, Family, Hook, Protocol, Rule, Ruleset, Verdict};
use std::fmt::{Display, Write};

/// The script that installs.
pub(crate) fn install(ruleset: &Ruleset) -> String {
    let mut text = remove(&ruleset.instance);
    text.push_str(&table(ruleset));
    text
}

/// The script that removes, whether or not there is something to remove.
pub(crate) fn remove(instance: &Instance) -> String {
    let table = instance.table();
    format!("add table inet {table}\ndelete table inet {table}\n")
}

fn table(ruleset: &Ruleset) -> String {
    let mut lines = vec![format!("table inet {} {{", ruleset.instance.table())];
    // No packet comes here. Older versions of nft know comments on rules only.
    lines.push("\tchain about {".to_owned());
    lines.push(format!("\t\treturn comment \"{}\"", ruleset.about));
    lines.push("\t}".to_owned());
    // nft wants a chain to be there before another leads to it.
    for chain in ruleset.chains.iter().rev() {
        lines.push(String::new());
        lines.extend(chain_lines(chain));
    }
    lines.push("}".to_owned());
    lines.join("\n") + "\n"
}

fn chain_lines(chain: &Chain) -> Vec<String> {
    let mut lines = vec![format!("\tchain {} {{", chain.name)];
    if let Some(hook) = chain.hook {
        lines.push(format!("\t\t{} policy accept;", hook_words(hook)));
    }
    lines.extend(chain.rules.iter().map(|rule| format!("\t\t{}", rule_words(rule))));
    lines.push("\t}".to_owned());
    lines
}

fn hook_words(hook: Hook) -> &'static str {
    match hook {
        Hook::NatOutput => "type nat hook output priority -100;",
        Hook::NatPrerouting => "type nat hook prerouting priority -100;",
        Hook::ManglePrerouting => "type filter hook prerouting priority -150;",
        Hook::MangleOutput => "type route hook output priority -150;",
    }
}

fn rule_words(rule: &Rule) -> String {
    let mut text = String::new();
    for condition in &rule.when {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{} ", condition_words(condition));
    }
    text + &verdict_words(rule.then)
}

fn condition_words(condition: &Condition) -> String {
    match condition {
        Condition::Family(Family::V4) => "meta nfproto ipv4".to_owned(),
        Condition::Family(Family::V6) => "meta nfproto ipv6".to_owned(),
        Condition::Protocol(Protocol::Tcp) => "meta l4proto tcp".to_owned(),
        Condition::Protocol(Protocol::Udp) => "meta l4proto udp".to_owned(),
        Condition::To(Protocol::Tcp, ports) => format!("tcp dport {}", set(ports)),
        Condition::To(Protocol::Udp, ports) => format!("udp dport {}", set(ports)),
        Condition::Destination(Family::V4, nets) => format!("ip daddr {}", set(nets)),
        Condition::Destination(Family::V6, nets) => format!("ip6 daddr {}", set(nets)),
        Condition::Source(Family::V4, nets) => format!("ip saddr {}", set(nets)),
        Condition::Source(Family::V6, nets) => format!("ip6 saddr {}", set(nets)),
        Condition::Uid(uids) => format!("meta skuid {}", set(uids)),
        Condition::Gid(gids) => format!("meta skgid {}", set(gids)),
        Condition::Cgroup(cgroup) => format!("socket cgroupv2 level {} \"{cgroup}\"", cgroup.level()),
        Condition::Mark(mark) => format!("meta mark {mark}"),
        Condition::ConnectionMark(mark) => format!("ct mark {mark}"),
        Condition::NewConnection => "ct state new".to_owned(),
        Condition::Opening => "tcp flags & (fin|syn|rst|ack) == syn".to_owned(),
        Condition::Leaves(interfaces) => format!("oifname {}", quoted(interfaces)),
        Condition::Enters(interfaces) => format!("iifname {}", quoted(interfaces)),
        Condition::ForThisMachine => "fib daddr type local".to_owned(),
        Condition::TransparentSocket => "socket transparent 1".to_owned(),
    }
}

fn verdict_words(verdict: Verdict) -> String {
    match verdict {
        Verdict::Leave => "return".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Goto(chain) => format!("goto {chain}"),
        Verdict::Redirect(port) => format!("redirect to :{port}"),
        Verdict::Tproxy(port, mark) => format!("tproxy to :{port} meta mark set {mark} accept"),
        Verdict::SetMark(mark) => format!("meta mark set {mark} accept"),
        Verdict::SetConnectionMark(mark) => format!("ct mark set {mark} accept"),
    }
}

fn quoted(items: &[impl Display]) -> String {
    let items: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    set(&items)
}

fn set(items: &[impl Display]) -> String {
    match items {
        [one] => one.to_string(),
        several => {
            let items: Vec<String> = several.iter().map(ToString::to_string).collect();
            format!("{{ {} }}", items.join(", "))
        }
    }
}
