//! Kubernetes' Python client against the API: lists in pages, watches that are taken up again, conflicts, discovery, server-side
//! apply.

use crate::grpcio::python;
use tests::world::World;

#[test]
fn the_python_client_works_as_against_any_cluster() {
    let world = World::empty();
    let output =
        python("kubernetes_client.py").arg(world.mesh.kubeconfig()).arg(world.dir()).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said == "ok\n", "{said}");
}
