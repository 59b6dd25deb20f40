//! Rules of others that would get in the way of ours. Pure.

use super::iptables;

/// Chains by which other meshes capture, and whose they are.
const OTHER_MESHES: [(&str, &str); 8] = [
    ("ISTIO_OUTPUT", "Istio"),
    ("ISTIO_INBOUND", "Istio"),
    ("KUMA_MESH_OUTBOUND", "Kuma"),
    ("KUMA_MESH_INBOUND", "Kuma"),
    ("PROXY_INIT_OUTPUT", "Linkerd"),
    ("PROXY_INIT_REDIRECT", "Linkerd"),
    ("CONSUL_PROXY_OUTPUT", "Consul"),
    ("CONSUL_PROXY_INBOUND", "Consul"),
];

/// Names of chains in a listing of `nft list chains`, or in what iptables-save prints.
pub(crate) fn chain_names(listing: &str) -> impl Iterator<Item = &str> {
    listing.lines().filter_map(|line| {
        let line = line.trim();
        let name = line.strip_prefix("chain ").or_else(|| line.strip_prefix(':'))?;
        name.split([' ', '{']).next()
    })
}

/// Other meshes whose chains are there, one sentence each.
pub(crate) fn other_meshes(listing: &str) -> Vec<String> {
    let mut found: Vec<&str> = chain_names(listing)
        .filter_map(|chain| OTHER_MESHES.iter().find(|(name, _)| *name == chain))
        .map(|(_, mesh)| *mesh)
        .collect();
    found.sort_unstable();
    found.dedup();
    let tell = |mesh| {
        format!(
            "rules of {mesh} capture traffic on this machine already, and a connection can be captured once: remove \
             them first"
        )
    };
    found.into_iter().map(tell).collect()
}

/// Whether chains of ours were made by iptables, as a listing of `nft` shows them.
pub(crate) fn made_by_iptables(listing: &str) -> bool {
    chain_names(listing).any(|chain| iptables::instance_of(chain).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_mesh_is_named_once() {
        let listing = "table ip nat {\n\tchain OUTPUT {\n\t\ttype nat hook output\n\t}\n\tchain ISTIO_OUTPUT {\n\t}\n\
                       \tchain ISTIO_INBOUND {\n\t}\n}\n";
        let found = other_meshes(listing);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("rules of Istio capture traffic"), "{}", found[0]);
        assert!(other_meshes(":PREROUTING ACCEPT [0:0]\n:KUMA_MESH_INBOUND - [0:0]\n").len() == 1);
        assert!(other_meshes("table inet filter {\n\tchain input {\n\t}\n}\n").is_empty());
    }

    #[test]
    fn chains_of_ours_in_iptables_tables_are_seen() {
        assert!(made_by_iptables("table ip nat {\n\tchain outrigger-web-0 {\n"));
        assert!(!made_by_iptables("table inet outrigger {\n\tchain outbound {\n"));
    }
}
