//! From the types that read a kind to its file in `schemas/`. It is no part of the programs: what the types of Kubernetes and
//! of the Gateway API bring for this would be a good part of their code, and of the
//! time it takes to optimise them.

use super::Kind;
use super::external_service::{ExternalServiceSpec, ExternalServiceStatus};
use super::mesh_config::MeshConfigSpec;
use super::peer_authentication::{PeerAuthenticationSpec, PeerAuthenticationStatus};
use super::traffic_policy::{PolicyStatus, TrafficPolicySpec};
use super::workload::{WorkloadSpec, WorkloadStatus};
use gateway_api::experimental::httproutes::{HttpRouteSpec, HttpRouteStatus};
use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery, rbac::v1 as rbac};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

fn generate(kind: Kind) -> Value {
    let mut schema = match kind {
        Kind::Namespace => whole::<core::Namespace>(),
        Kind::Service => whole::<core::Service>(),
        Kind::Secret => whole::<core::Secret>(),
        Kind::ConfigMap => whole::<core::ConfigMap>(),
        Kind::EndpointSlice => whole::<discovery::EndpointSlice>(),
        Kind::Event => whole::<core::Event>(),
        Kind::RoleBinding => whole::<rbac::RoleBinding>(),
        Kind::ClusterRoleBinding => whole::<rbac::ClusterRoleBinding>(),
        Kind::Workload => parts::<WorkloadSpec, WorkloadStatus>(
            "One running instance of a service, what a Pod is to Kubernetes. A sidecar registers its own; write one by \
             hand for an instance without a sidecar.",
        ),
        Kind::HttpRoute => parts::<HttpRouteSpec, HttpRouteStatus>(
            "Routes HTTP requests that meet certain conditions to certain Services, by weight.",
        ),
        Kind::ExternalService => parts::<ExternalServiceSpec, ExternalServiceStatus>(
            "A place outside of the mesh that applications call, by its hosts or its addresses.",
        ),
        Kind::TrafficPolicy => parts::<TrafficPolicySpec, PolicyStatus>(
            "How requests to a Service are spread over its instances, how many there may be, which are made to fail, and how they \
             and those of an HTTPRoute are attempted. One for a port counts there instead of one for the whole Service; what \
             it does not say is the default.",
        ),
        Kind::MeshConfig => specification::<MeshConfigSpec>(
            "What holds for the mesh as a whole. There is at most one, named `default`.",
        ),
        Kind::PeerAuthentication => parts::<PeerAuthenticationSpec, PeerAuthenticationStatus>(
            "How plain text is met at the Workloads of a namespace, or at some of them. The narrowest word on a port \
             counts: a Workload's own, then its namespace's, then the mesh's.",
        ),
    };
    if let Some(schema) = schema.as_object_mut() {
        schema.insert(
            "x-kubernetes-group-version-kind".to_owned(),
            json!([{"group": kind.group(), "version": kind.version(), "kind": kind.name()}]),
        );
    }
    schema
}

fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::openapi3();
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    settings.into_generator()
}

fn whole<T: JsonSchema>() -> Value {
    let mut schema = generator().into_root_schema_for::<T>().to_value();
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("title");
    }
    schema
}

/// The schema of a kind whose types cover only its specification and status.
fn parts<Spec: JsonSchema, Status: JsonSchema>(description: &str) -> Value {
    let mut schema = specification::<Spec>(description);
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("status".to_owned(), whole::<Status>());
    }
    schema
}

/// The schema of a kind that has no status.
fn specification<Spec: JsonSchema>(description: &str) -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let mut properties = Map::new();
    properties.insert("apiVersion".to_owned(), text("The group and version of the kind."));
    properties.insert("kind".to_owned(), text("The name of the kind."));
    properties.insert("metadata".to_owned(), whole::<ObjectMeta>());
    properties.insert("spec".to_owned(), whole::<Spec>());
    json!({"type": "object", "description": description, "properties": properties, "required": ["spec"]})
}

/// The file of a kind.
fn path(kind: Kind) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas").join(kind.name()).with_extension("json")
}

/// A file that differs is written anew, and the test fails once, so that someone reads the difference.
#[test]
fn every_schema_is_what_its_types_generate() {
    let mut stale = Vec::new();
    for kind in Kind::ALL {
        let schema = format!("{:#}\n", generate(kind));
        if fs::read_to_string(path(kind)).ok().as_ref() != Some(&schema) {
            fs::write(path(kind), schema).unwrap();
            stale.push(kind.name());
        }
    }
    assert!(stale.is_empty(), "not what their types say, and written anew: {}", stale.join(", "));
}
