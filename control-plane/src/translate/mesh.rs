//! What holds for the mesh as a whole.

use super::index::Index;
use super::virtual_networks;
use manifests::kind::mesh_config::EgressPolicy as Written;
use mesh_protocol::mesh::{EgressPolicy, Mesh};

/// Compiles the mesh's configuration: there always is one, without a MeshConfig that of the defaults.
pub fn compile_mesh(index: &Index) -> Mesh {
    let written = index.mesh_config.as_ref().map(|config| config.egress).unwrap_or_default();
    let egress = match written {
        Written::Allow => EgressPolicy::Allow,
        Written::RegisteredOnly => EgressPolicy::RegisteredOnly,
    };
    Mesh { egress, virtual_networks: virtual_networks().collect() }
}
