//! Content negotiation: which form the client wants objects in. What enters is an `Accept` header; what leaves is the
//! first form in it that we have.

use super::status::Failure;

/// How objects are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Object,
    /// As rows of a `meta.k8s.io/v1` Table: what `kubectl get` prints.
    Table,
    /// `metadata` alone.
    Metadata,
}

/// The first form of the header that we have.
pub(crate) fn form(accept: Option<&str>) -> Result<Form, Failure> {
    let Some(accept) = accept.filter(|accept| !accept.trim().is_empty()) else { return Ok(Form::Object) };
    accept.split(',').find_map(one).ok_or_else(|| Failure::not_acceptable(accept))
}

fn one(media: &str) -> Option<Form> {
    let mut parts = media.split(';').map(str::trim);
    let kind = parts.next()?;
    let parameter = |name: &str| {
        media
            .split(';')
            .skip(1)
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    match (kind, parameter("as").as_deref(), parameter("v").as_deref()) {
        ("application/json" | "application/*" | "*/*", None, _) => Some(Form::Object),
        ("application/json", Some("Table"), Some("v1") | None) => Some(Form::Table),
        (
            "application/json",
            Some("PartialObjectMetadata" | "PartialObjectMetadataList"),
            Some("v1") | None,
        ) => Some(Form::Metadata),
        _ => None,
    }
}

/// Whether the client takes aggregated discovery, version 2.
pub(crate) fn takes_aggregated_discovery(accept: Option<&str>) -> bool {
    let is_it = |media: &str| {
        let has = |part: &str| media.split(';').any(|found| found.trim() == part);
        has("application/json")
            && has("g=apidiscovery.k8s.io")
            && has("v=v2")
            && has("as=APIGroupDiscoveryList")
    };
    accept.is_some_and(|accept| accept.split(',').any(is_it))
}

/// Whether the client takes Kubernetes' OpenAPI v2 in protocol buffers, and not as JSON.
pub(crate) fn takes_protobuf_openapi(accept: Option<&str>) -> bool {
    accept.is_some_and(|accept| accept.contains("proto-openapi.spec.v2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_we_have_is_taken() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (accept, expected) in [
            (None, Form::Object),
            (Some("*/*"), Form::Object),
            (Some("application/json, */*"), Form::Object),
            (Some(table), Form::Table),
            (Some("application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json"), Form::Object),
            (
                Some("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"),
                Form::Metadata,
            ),
            (Some("application/vnd.kubernetes.protobuf,application/json"), Form::Object),
        ] {
            assert_eq!(form(accept).unwrap(), expected, "{accept:?}");
        }
        assert!(form(Some("application/vnd.kubernetes.protobuf")).is_err());
    }
}
