//! The last good configuration on disk, so that a sidecar that restarts while the control plane is away serves at once.
//! Enters: what is held. Leaves: the same, after a restart; or nothing, if the file is not exactly what was written.
//!
//! ```text
//! "ORCACHE1" | CRC-32 of all that follows | length of all that follows | confirmed, seconds since 1970 | Node | Response …
//! ```
//!
//! Integers are little-endian. `Node` and one `DeltaDiscoveryResponse` for each type are the discovery protocol's own
//! messages, each preceded by its length. The file is replaced as a whole and readable by its owner only.

use crate::xds::held::Held;
use mesh_names::TrustDomain;
use mesh_process::file::write_private;
use mesh_protocol::resource::ResourceType;
use mesh_protocol::wire::{Any, discovery as wire};
use prost::Message;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const MAGIC: &[u8; 8] = b"ORCACHE1";
const HEAD: usize = 20;
/// The largest cache that is read back: far above the 10,000 services a sidecar may follow.
const SIZE_MAX: u64 = 512 * 1024 * 1024;

/// What a cache file gives back.
#[derive(Debug)]
pub(crate) struct Cached {
    /// The configuration.
    pub(crate) held: Held,
    /// When the control plane last confirmed it.
    pub(crate) confirmed: SystemTime,
}

/// Why a cache file is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CacheError {
    /// It can't be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// It is larger than any we write.
    #[error("it is larger than 512 MiB")]
    TooLarge,
    /// Another program or version wrote it.
    #[error("it is not a configuration cache of this version")]
    OtherFormat,
    /// It is not what was written.
    #[error("it is damaged: its checksum does not match")]
    Damaged,
    /// It is whole, but not a cache.
    #[error("it is damaged: {0}")]
    Message(#[from] prost::DecodeError),
    /// It belongs to another mesh.
    #[error("it is of the trust domain `{0}`")]
    OtherMesh(String),
}

/// The bytes of a cache file.
pub(crate) fn encode(held: &Held, trust_domain: &TrustDomain, confirmed: SystemTime) -> Vec<u8> {
    let seconds = confirmed.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut body = seconds.to_le_bytes().to_vec();
    let node = wire::Node {
        cluster: trust_domain.to_string(),
        user_agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    };
    body.extend(node.encode_length_delimited_to_vec());
    let exported = held.export();
    for kind in ResourceType::ALL {
        let of_kind = exported.iter().filter(|(exported, ..)| *exported == kind);
        let resources = of_kind.map(|(kind, name, version, bytes)| wire::Resource {
            version: version.to_string(),
            resource: Some(Any { type_url: kind.type_url().to_owned(), value: bytes.clone() }),
            name: name.clone(),
            aliases: Vec::new(),
        });
        let response = wire::DeltaDiscoveryResponse {
            system_version_info: held.revision.clone(),
            type_url: kind.type_url().to_owned(),
            resources: resources.collect(),
            ..Default::default()
        };
        body.extend(response.encode_length_delimited_to_vec());
    }
    let mut file = MAGIC.to_vec();
    file.extend(crc32(&body).to_le_bytes());
    file.extend((body.len() as u64).to_le_bytes());
    file.extend(body);
    file
}

/// Reads the bytes of a cache file. A resource in it that this version can't use is left out.
///
/// # Errors
/// [`CacheError`] if it is not exactly what [`encode`] wrote for this trust domain.
pub(crate) fn decode(file: &[u8], trust_domain: &TrustDomain) -> Result<Cached, CacheError> {
    let (head, body) = file.split_at_checked(HEAD).ok_or(CacheError::OtherFormat)?;
    let (magic, head) = head.split_at_checked(MAGIC.len()).ok_or(CacheError::OtherFormat)?;
    let (sum, length) = head.split_at_checked(4).ok_or(CacheError::OtherFormat)?;
    if magic != MAGIC {
        return Err(CacheError::OtherFormat);
    }
    if length != (body.len() as u64).to_le_bytes() || sum != crc32(body).to_le_bytes() {
        return Err(CacheError::Damaged);
    }
    let (seconds, mut rest) = body.split_first_chunk::<8>().ok_or(CacheError::Damaged)?;
    let confirmed = UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_le_bytes(*seconds)));
    let node = wire::Node::decode_length_delimited(&mut rest)?;
    if node.cluster != trust_domain.as_str() {
        return Err(CacheError::OtherMesh(node.cluster));
    }
    // A newer sidecar may read more from a resource than an older one kept, so versions only count for the same build:
    // without them everything is fetched anew once the control plane is there.
    let same_build = node.user_agent_version == env!("CARGO_PKG_VERSION");
    let mut held = Held::default();
    while !rest.is_empty() {
        let response = wire::DeltaDiscoveryResponse::decode_length_delimited(&mut rest)?;
        let Some(kind) = ResourceType::of_url(&response.type_url) else { continue };
        held.revision = response.system_version_info;
        for resource in response.resources {
            let version = if same_build { resource.version.as_str() } else { "" };
            let bytes = resource.resource.map(|any| any.value).unwrap_or_default();
            held.import(kind, &resource.name, version, &bytes);
        }
    }
    Ok(Cached { held, confirmed: confirmed.unwrap_or(UNIX_EPOCH) })
}

/// Reads a cache file; nothing if there is none.
///
/// # Errors
/// [`CacheError`] if there is one that can't be used.
pub(crate) fn load(path: &Path, trust_domain: &TrustDomain) -> Result<Option<Cached>, CacheError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(file) if file.len() > SIZE_MAX => return Err(CacheError::TooLarge),
        Ok(_) | Err(_) => {}
    }
    decode(&std::fs::read(path)?, trust_domain).map(Some)
}

/// Replaces a cache file.
///
/// # Errors
/// As [`write_private`]; the old one stays.
pub(crate) fn store(path: &Path, file: &[u8]) -> io::Result<()> {
    write_private(path, file)
}

/// CRC-32 (IEEE 802.3), bit by bit: it runs once a start and once a change, over kilobytes, and guards against torn or
/// rotten files, not against people.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_protocol::endpoint::{Endpoint, EndpointHealth, Transport};
    use mesh_protocol::service::Service;

    fn held() -> Held {
        let mut held = Held { revision: "42".into(), ..Held::default() };
        let service =
            Service { name: "shop/orders".parse().unwrap(), ports: vec![], virtual_addresses: vec![] };
        held.import(ResourceType::Service, "shop/orders", "s1", &service.encode());
        let endpoint = Endpoint {
            service: "shop/orders".parse().unwrap(),
            name: "a".parse().unwrap(),
            address: "127.0.0.1".parse().unwrap(),
            ports: vec![],
            transport: Transport::Plaintext,
            locality: mesh_protocol::Locality { zone: Some("z".into()), ..Default::default() },
            weight: Default::default(),
            health: EndpointHealth::Ready,
        };
        held.import(ResourceType::Endpoint, "shop/orders/a", "e1", &endpoint.encode());
        held.import(ResourceType::Endpoint, "shop/cart/*", "", &[]);
        held
    }

    fn file() -> Vec<u8> {
        encode(&held(), &TrustDomain::default(), UNIX_EPOCH + Duration::from_secs(1_700_000_000))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let cached = decode(&file(), &TrustDomain::default()).unwrap();
        assert_eq!(cached.confirmed, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        assert_eq!(cached.held.revision, "42");
        assert_eq!(cached.held.export(), held().export());
        assert!(
            cached.held.endpoints[&"shop/cart".parse().unwrap()].known,
            "an empty collection stays known"
        );
    }

    #[test]
    fn a_damaged_file_is_refused_wherever_the_damage_is() {
        let good = file();
        for index in 0..good.len() {
            let mut bad = good.clone();
            bad[index] ^= 1;
            assert!(decode(&bad, &TrustDomain::default()).is_err(), "byte {index}");
        }
        for length in 0..good.len() {
            assert!(decode(&good[..length], &TrustDomain::default()).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn a_cache_of_another_mesh_is_refused() {
        let error = decode(&file(), &"other".parse().unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "it is of the trust domain `mesh.internal`");
    }

    #[test]
    fn a_cache_file_is_private_and_may_be_absent() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("configuration");
        assert!(load(&path, &TrustDomain::default()).unwrap().is_none());
        store(&path, &file()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(load(&path, &TrustDomain::default()).unwrap().is_some());
    }

    #[test]
    fn the_checksum_is_the_well_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
