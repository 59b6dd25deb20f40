//! What people write about places outside of the mesh, and what sidecars are told of it.

use super::fixture::{apply, changes, deletion, index};
use super::*;
use mesh_names::{ExternalServiceName, HostPattern};
use mesh_protocol::external::{ExternalHost, ExternalTrust, Resolution};
use std::collections::BTreeSet;
use std::net::IpAddr;

fn external(namespace: &str, name: &str, created: u8, spec: &str) -> String {
    format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: ExternalService\nmetadata: {{ namespace: {namespace}, name: {name}, \
         creationTimestamp: '2026-01-0{created}T00:00:00Z' }}\nspec: {spec}\n"
    )
}

fn config_map(entries: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{ namespace: shop, name: payments-ca }}\ndata: {entries}\n"
    )
}

fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["ca.example.com".to_owned()]).unwrap();
    params.self_signed(&key).unwrap().pem()
}

fn host(index: &Index, text: &str) -> Option<ExternalHost> {
    compile_external_host(index, &text.parse().unwrap())
}

fn owners(index: &Index, text: &str) -> Vec<String> {
    host(index, text).iter().flat_map(|host| &host.services).map(|it| it.name.to_string()).collect()
}

fn verdict(index: &Index, name: &str) -> String {
    let verdict = judge_external(index, &name.parse().unwrap()).unwrap();
    format!("{}: {}", verdict.reason, verdict.message)
}

const ORIGINATING: &str = "{ hosts: [api.example.com], ports: [{ port: 80, protocol: http, targetPort: 443, \
     tls: { originate: { sni: api.example.org, caBundle: { configMap: { name: payments-ca } } } } }] }";

#[test]
fn hosts_and_domains_lead_to_those_that_name_them_the_oldest_first() {
    let mut index = index("");
    let spec = "{ hosts: [api.example.com, '*.example.com'], ports: [{ port: 443, protocol: tls }] }";
    apply(&mut index, &external("shop", "young", 3, spec));
    let dirty = apply(&mut index, &external("billing", "old", 1, spec));
    let pattern = |text: &str| Dirty::ExternalHost(text.parse::<HostPattern>().unwrap());
    let name: ExternalServiceName = "billing/old".parse().unwrap();
    assert_eq!(dirty, [Dirty::External(name), pattern("api.example.com"), pattern("*.example.com")].into());
    assert_eq!(owners(&index, "*.example.com"), ["billing/old", "shop/young"]);
    assert_eq!(host(&index, "api.example.com").unwrap().services[0].resolution, Resolution::Host);

    let narrower = "{ hosts: ['*.example.com'], dnsName: lb.example.net, ports: [{ port: 443 }] }";
    let dirty = apply(&mut index, &external("shop", "young", 3, narrower));
    assert!(dirty.contains(&pattern("api.example.com")), "it is named no longer");
    assert_eq!(owners(&index, "api.example.com"), ["billing/old"]);
    let young = &host(&index, "*.example.com").unwrap().services[1];
    assert_eq!(young.resolution, Resolution::Name("lb.example.net".parse().unwrap()));
    index.apply(deletion(&changes(&external("billing", "old", 1, spec))[0]));
    assert_eq!(host(&index, "api.example.com"), None);
}

#[test]
fn a_static_address_leads_to_the_external_service_beside_endpoints_there() {
    let mut index = index("");
    let spec = "{ addresses: [192.0.2.7], ports: [{ port: 5432, protocol: tcp }] }";
    let written = external("shop", "database", 1, spec);
    let dirty = apply(&mut index, &written);
    let at: IpAddr = "192.0.2.7".parse().unwrap();
    assert!(dirty.contains(&Dirty::Address(at)));
    let mut book = AddressBook::default();
    let there = book.compile(&index, at).unwrap();
    assert_eq!((there.endpoints.len(), there.external_services.len()), (0, 1));
    assert_eq!(there.external_services[0].ports[0].port.number(), 5432);

    apply(
        &mut index,
        "apiVersion: v1\nkind: Service\nmetadata: { namespace: shop, name: web }\nspec: { ports: [{ name: http, port: 80 }] }\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { namespace: shop, name: web, labels: { kubernetes.io/service-name: web } }\n\
         addressType: IPv4\nports: [{ name: http, port: 8080 }]\nendpoints: [{ addresses: [192.0.2.7] }]",
    );
    let web = "shop/web".parse().unwrap();
    book.set_endpoints(&web, &compile_endpoints(&index, &web));
    let there = book.compile(&index, at).unwrap();
    assert_eq!((there.endpoints.len(), there.external_services.len()), (1, 1));
    index.apply(deletion(&changes(&written)[0]));
    assert_eq!(book.compile(&index, at).unwrap().external_services, []);
}

#[test]
fn certificates_come_from_the_config_map_as_soon_as_it_has_them() {
    let mut index = index(&external("shop", "payments", 1, ORIGINATING));
    let port = |index: &Index| host(index, "api.example.com").unwrap().services[0].ports[0].clone();
    let missing = "there is no ConfigMap `shop/payments-ca`; create it, or mend the name";
    assert_eq!(port(&index).invalid.unwrap(), format!("ExternalService shop/payments: {missing}"));
    assert_eq!(port(&index).originate, None, "nobody else is trusted instead");
    assert_eq!(verdict(&index, "shop/payments"), format!("InvalidCACertificateRef: {missing}"));

    for (entries, said) in [
        ("{}", "ConfigMap `shop/payments-ca` has no entry `ca.crt`; it has no entries"),
        ("{ root.pem: x }", "ConfigMap `shop/payments-ca` has no entry `ca.crt`; it has `root.pem`"),
        (
            "{ ca.crt: x }",
            "entry `ca.crt` of ConfigMap `shop/payments-ca` holds no certificate; write the CA certificates there in PEM",
        ),
    ] {
        apply(&mut index, &config_map(entries));
        assert_eq!(verdict(&index, "shop/payments"), format!("InvalidCACertificateRef: {said}"));
    }
    apply(&mut index, &config_map("{ ca.crt: '-----BEGIN CERTIFICATE-----' }"));
    assert!(
        verdict(&index, "shop/payments").contains("can't be used"),
        "{}",
        verdict(&index, "shop/payments")
    );

    let pem = serde_json::to_string(&certificate()).unwrap();
    let dirty = apply(&mut index, &config_map(&format!("{{ ca.crt: {pem} }}")));
    assert_eq!(dirty.len(), 2, "the host and the status: {dirty:?}");
    assert_eq!(verdict(&index, "shop/payments"), "ResolvedRefs: every certificate is there");
    let originate = port(&index).originate.unwrap();
    assert_eq!(originate.sni, Some("api.example.org".parse().unwrap()));
    assert!(matches!(originate.trust, ExternalTrust::Certificates(it) if it.len() == 1));
    assert_eq!(port(&index).invalid, None);
    assert_eq!(apply(&mut index, &config_map(&format!("{{ ca.crt: {pem} }}"))), BTreeSet::new());
}

#[test]
fn of_a_secret_nothing_but_certificates_is_kept() {
    let pem = format!("{}-----BEGIN PRIVATE KEY-----\nsecret\n-----END PRIVATE KEY-----\n", certificate());
    let data = serde_json::to_string(&pem).unwrap();
    let secret = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{ namespace: shop, name: ca }}\nstringData: {{ ca.crt: {data}, password: hidden }}\n"
    );
    let Some(Change::CaSource(_, Some(source))) = changes(&secret).pop() else { panic!("a source") };
    let kept = format!("{source:?}");
    assert!(
        kept.contains("BEGIN CERTIFICATE") && !kept.contains("PRIVATE") && !kept.contains("hidden"),
        "{kept}"
    );
    let mut index = index(&secret);
    let spec = ORIGINATING.replace("configMap: { name: payments-ca }", "secret: { name: ca }");
    apply(&mut index, &external("shop", "payments", 1, &spec));
    assert_eq!(verdict(&index, "shop/payments"), "ResolvedRefs: every certificate is there");
}
