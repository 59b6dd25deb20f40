//! The JSON schema of each kind: the one source for unknown fields, wrong types and the API's OpenAPI documents. The files
//! are what the types that read a kind say of themselves; a test writes them.

use super::Kind;
use serde_json::Value;
use std::sync::OnceLock;

impl Kind {
    /// Its schema, whole, without references to others: OpenAPI v3, as custom resource definitions hold it.
    pub fn schema(self) -> &'static Value {
        static SCHEMAS: [OnceLock<Value>; Kind::ALL.len()] = [const { OnceLock::new() }; Kind::ALL.len()];
        static NONE: Value = Value::Null;
        SCHEMAS.get(self as usize).map_or(&NONE, |schema| {
            schema.get_or_init(|| serde_json::from_str(self.schema_text()).unwrap_or_default())
        })
    }

    fn schema_text(self) -> &'static str {
        match self {
            Self::Namespace => include_str!("../../schemas/Namespace.json"),
            Self::Service => include_str!("../../schemas/Service.json"),
            Self::Secret => include_str!("../../schemas/Secret.json"),
            Self::ConfigMap => include_str!("../../schemas/ConfigMap.json"),
            Self::EndpointSlice => include_str!("../../schemas/EndpointSlice.json"),
            Self::Workload => include_str!("../../schemas/Workload.json"),
            Self::HttpRoute => include_str!("../../schemas/HTTPRoute.json"),
            Self::MeshConfig => include_str!("../../schemas/MeshConfig.json"),
            Self::PeerAuthentication => include_str!("../../schemas/PeerAuthentication.json"),
            Self::ExternalService => include_str!("../../schemas/ExternalService.json"),
            Self::Event => include_str!("../../schemas/Event.json"),
            Self::RoleBinding => include_str!("../../schemas/RoleBinding.json"),
            Self::ClusterRoleBinding => include_str!("../../schemas/ClusterRoleBinding.json"),
            Self::TrafficPolicy => include_str!("../../schemas/TrafficPolicy.json"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_schema_is_whole() {
        for kind in Kind::ALL {
            assert!(!kind.schema_text().contains("\"$ref\""), "{kind} refers to another schema");
            assert_eq!(kind.schema().pointer("/properties/metadata/type"), Some(&json!("object")), "{kind}");
        }
    }
}
