//! A resource of the mesh's protocol is decoded; what was understood says the same once more when encoded. The first byte
//! is the type.

#![no_main]

use mesh_protocol::address::Address;
use mesh_protocol::endpoint::Endpoint;
use mesh_protocol::external::ExternalHost;
use mesh_protocol::mesh::Mesh;
use mesh_protocol::resource::ResourceType;
use mesh_protocol::service::Service;
use mesh_protocol::trust_bundle::TrustBundle;
use mesh_protocol::workload::Workload;

macro_rules! again {
    ($type:ty, $bytes:expr) => {
        if let Ok(read) = <$type>::decode($bytes) {
            assert_eq!(<$type>::decode(&read.encode()).ok(), Some(read));
        }
    };
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let Some(kind) = ResourceType::ALL.get(usize::from(*kind) % ResourceType::ALL.len()) else { return };
    match kind {
        ResourceType::TrustBundle => again!(TrustBundle, bytes),
        ResourceType::Mesh => again!(Mesh, bytes),
        ResourceType::Workload => again!(Workload, bytes),
        ResourceType::Service => again!(Service, bytes),
        ResourceType::Endpoint => again!(Endpoint, bytes),
        ResourceType::Address => again!(Address, bytes),
        ResourceType::ExternalHost => again!(ExternalHost, bytes),
    }
});
