//! The administrator's kubeconfig as text.
//!
//! Enters: the API's address and certificates. Leaves: YAML that `kubectl` and `meshctl` read. Never here: the file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The kubeconfig of an administrator with this client certificate. All material is embedded, so that the file can be
/// copied to another machine by itself.
pub fn kubeconfig(api: SocketAddr, authority: &str, certificate: &str, key: &str) -> String {
    let [authority, certificate, key] = [authority, certificate, key].map(|pem| STANDARD.encode(pem));
    format!(
        "\
# Full rights over the mesh: keep it private. Rewritten when the control plane starts.
apiVersion: v1
kind: Config
current-context: outrigger
clusters:
- name: outrigger
  cluster:
    server: https://{}
    certificate-authority-data: {authority}
users:
- name: admin
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: outrigger
  context:
    cluster: outrigger
    user: admin
    namespace: default
",
        reachable(api)
    )
}

/// An address clients on this machine can connect to, also when the listener takes all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_yaml_with_everything_embedded() {
        let text = kubeconfig(([0, 0, 0, 0], 15443).into(), "CA", "CERT", "KEY");
        let parsed: serde_yaml::Value = serde_yaml::from_str(&text).expect("YAML");
        let cluster = parsed.get("clusters").and_then(|list| list.get(0)?.get("cluster")).expect("a cluster");
        assert_eq!(
            cluster.get("server").and_then(serde_yaml::Value::as_str),
            Some("https://127.0.0.1:15443")
        );
        assert!(text.contains(&STANDARD.encode("KEY")));
    }

    #[test]
    fn an_ipv6_address_is_bracketed() {
        let text = kubeconfig("[::]:7".parse().expect("an address"), "", "", "");
        assert!(text.contains("server: https://[::1]:7\n"), "{text}");
    }
}
