//! The OpenAPI document of version 2, in the form that Go clients ask for, read by one of them. Needs a kubectl of 1.27 or
//! later, in OUTRIGGER_TEST_KUBECTL.

use super::kubectl::clean;
use tests::world::World;

#[test]
fn fields_are_explained_from_it() {
    assert!(std::env::var_os("OUTRIGGER_TEST_KUBECTL").is_some(), "which kubectl? see the module");
    let world = World::new();
    for (field, says) in [
        ("service.spec.ports", "appProtocol"),
        ("trafficpolicy.spec.loadBalancing", "policy"),
        ("workload.status.controlPlane", "The control plane its sidecar is connected to"),
    ] {
        let help = clean(&world, &["explain", field, "--output", "plaintext-openapiv2"]);
        assert!(help.contains(says), "{field}: {help}");
    }
}
