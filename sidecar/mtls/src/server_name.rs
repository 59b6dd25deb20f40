//! What is written in the server name (SNI) between sidecars, and the one identity every mesh has.

use mesh_names::{Port, SpiffeId, TrustDomain};

/// The server name by which a sidecar asks a peer's sidecar for the application port: `p8080.mesh.internal`.
pub fn sni_for_port(port: Port, trust_domain: &TrustDomain) -> String {
    format!("p{port}.{trust_domain}")
}

/// The application port a server name asks for; `None` when it is not of the form [`sni_for_port`] makes.
pub fn port_of_sni(server_name: &str) -> Option<Port> {
    let digits = server_name.split('.').next()?.strip_prefix('p')?;
    let plain = !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

/// Who the control plane of a trust domain is: `spiffe://<trust domain>/ns/outrigger-system/sa/control-plane`.
#[allow(clippy::expect_used, reason = "both names are constants that follow their grammar")]
pub fn control_plane_id(trust_domain: &TrustDomain) -> SpiffeId {
    SpiffeId::new(
        trust_domain.clone(),
        "outrigger-system".parse().expect("a valid namespace"),
        "control-plane".parse().expect("a valid service account"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_reads_back_from_the_server_name() {
        let name = sni_for_port(Port::new(8080).unwrap(), &TrustDomain::default());
        assert_eq!(name, "p8080.mesh.internal");
        assert_eq!(port_of_sni(&name), Port::new(8080));
    }

    #[test]
    fn other_server_names_ask_for_no_port() {
        for name in
            ["", "p", "p.mesh.internal", "8080.x", "p0.x", "p65536.x", "p-1.x", "p+1.x", "p080.x", "orders"]
        {
            assert_eq!(port_of_sni(name), None, "{name}");
        }
    }

    #[test]
    fn the_control_plane_has_one_name() {
        let id = control_plane_id(&TrustDomain::default()).to_string();
        assert_eq!(id, "spiffe://mesh.internal/ns/outrigger-system/sa/control-plane");
    }
}
