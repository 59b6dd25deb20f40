//! Places outside of the mesh: registered while sidecars run, found by their host, gone when they are deleted.

use tests::http1::get;
use tests::world::World;

#[test]
fn a_registered_host_is_reached_through_dns_and_one_that_is_not_is_unknown() {
    let mut world = World::new();
    let origin = world.origin("outside", &["http"]);
    let port = origin.ready("addr").unwrap().rsplit_once(':').unwrap().1.to_owned();
    let outbound = world.client("shopper", &[]);
    for host in ["api.example.com", "example.com"] {
        let unknown = get(&outbound, host, "/").unwrap();
        assert_eq!((unknown.status, unknown.reason()), (502, "unknown_host"), "{}", unknown.body);
    }
    world.apply(&format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: ExternalService\nmetadata: {{name: api, namespace: demo}}\nspec:\n  \
         hosts: ['*.example.com', example.com]\n  dnsName: localhost\n  \
         ports: [{{port: 80, protocol: http, targetPort: {port}}}]\n"
    ));
    for host in ["api.example.com", "a.b.example.com", "example.com"] {
        world.until_answers(&outbound, host, "/", 200);
    }
    let port = get(&outbound, "api.example.com:81", "/").unwrap();
    assert_eq!(port.reason(), "unknown_port", "{}", port.body);
    let labels = [("service", "demo/api"), ("status", "200")];
    world.counted("shopper", "outrigger_requests_total", &labels, 3.0);
    world.counted("shopper", "outrigger_external_name_lookups_total", &[("result", "ok")], 1.0);
}
