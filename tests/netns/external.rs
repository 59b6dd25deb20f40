//! Places outside of the mesh that are known by their host, called by captured applications: TLS of their own is passed on by
//! its server name, TLS is added where they speak in the clear, and what nobody registered is refused.

use std::path::Path;
use tests::pki::TestCa;
use tests::site::{Machine, Site, Versions};

/// `hosts` lead to the TLS server at `far`, whatever address was dialled.
fn registered(far: &Machine, ca: &TestCa) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: MeshConfig\nmetadata: {{name: default}}\nspec:\n  egress: {{policy: \
         RegisteredOnly}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: far-ca, namespace: shop}}\ndata: \
         {{ca.crt: {ca:?}}}\n---\napiVersion: outrigger.dev/v1alpha1\nkind: ExternalService\nmetadata: {{name: packages, \
         namespace: shop}}\nspec:\n  hosts: [\"*.example.test\"]\n  addresses: [{far}]\n  ports: [{{port: 9443, protocol: \
         tls}}]\n---\napiVersion: outrigger.dev/v1alpha1\nkind: ExternalService\nmetadata: {{name: payments, namespace: \
         shop}}\nspec:\n  hosts: [payments.other.test]\n  addresses: [{far}]\n  ports: [{{port: 80, protocol: http, \
         targetPort: 9443, tls: {{originate: {{caBundle: {{configMap: {{name: far-ca}}}}}}}}}}]\n",
        far = far.v4,
        ca = ca.pem(),
    )
}

#[test]
fn a_place_is_known_by_its_host_whether_it_speaks_tls_or_is_given_it() {
    let site = Site::new();
    let mut far = site.machine("far", Versions::Both);
    let ca = TestCa::new("far");
    let issued = ca.leaf().dns("*.example.test").dns("payments.other.test").issue();
    let (chain, key) = (far.dir().join("chain.pem"), far.dir().join("key.pem"));
    std::fs::write(&chain, issued.chain_pem()).unwrap();
    std::fs::write(&key, issued.key.to_pem().as_bytes()).unwrap();
    std::os::unix::fs::chown(&key, Some(tests::site::SERVICE), None).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("netns/tls_server.py");
    let arguments = [script.as_path(), Path::new("9443"), &chain, &key].map(|part| part.to_str().unwrap());
    far.start("tls", "python3", &arguments);
    let caller = site.member("caller", "");
    site.apply(&registered(&far, &ca));

    // Dialled by an address that is registered nowhere, so that the server name alone says what is meant.
    let tls = |host: &str| format!("--insecure --resolve {host}:9443:[{}] https://{host}:9443/", far.v6);
    // By IPv4, as the ExternalService says; until the sidecar knows that, by the address that was dialled.
    caller.until_curl(&tls("a.example.test"), "over tls as a.example.test from ::ffff:");
    caller.curl(&tls("b.other.test")).unwrap_err();
    caller.counted(
        "outrigger_tcp_connections_total",
        &[("direction", "outbound"), ("service", "shop/packages")],
        1.0,
    );

    // TLS that the sidecar adds, and checks.
    let plain = format!("--resolve payments.other.test:80:[{}] http://payments.other.test/", far.v6);
    caller.until_curl(&plain, "over tls as payments.other.test");
    caller.counted(
        "outrigger_requests_total",
        &[("direction", "outbound"), ("service", "shop/payments"), ("status", "200")],
        1.0,
    );
}
