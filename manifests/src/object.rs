//! From JSON to a checked object: what enters is a kind and any JSON; what leaves is an object of which every field is
//! known, decided and valid, or everything that is wrong with it. Reading never stops at the first problem.

use crate::check;
use crate::diagnostic::{Code, Diagnostic, Report, Subject};
use crate::kind::external_service::ExternalService;
use crate::kind::mesh_config::MeshConfig;
use crate::kind::peer_authentication::PeerAuthentication;
use crate::kind::role_binding::RoleBinding;
use crate::kind::route::HttpRoute;
use crate::kind::service::Service;
use crate::kind::slice::EndpointSlice;
use crate::kind::traffic_policy::TrafficPolicy;
use crate::kind::workload::Workload;
use crate::kind::{ConfigMap, Event, Kind, Metadata, Namespace, Secret};
use crate::path::FieldPath;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Bytes of one object as JSON that are too many; etcd's own limit is half as much again.
pub const OBJECT_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting of mappings and lists; the deepest kind needs 14.
pub const DEPTH_MAX: usize = 64;

/// A checked object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object {
    /// A Namespace.
    Namespace(Namespace),
    /// A Service.
    Service(Service),
    /// A Secret.
    Secret(Secret),
    /// A ConfigMap.
    ConfigMap(ConfigMap),
    /// An EndpointSlice.
    EndpointSlice(EndpointSlice),
    /// A Workload.
    Workload(Workload),
    /// An HTTPRoute.
    HttpRoute(HttpRoute),
    /// A MeshConfig.
    MeshConfig(MeshConfig),
    /// A PeerAuthentication.
    PeerAuthentication(PeerAuthentication),
    /// An ExternalService.
    ExternalService(ExternalService),
    /// A TrafficPolicy.
    TrafficPolicy(TrafficPolicy),
    /// An Event.
    Event(Event),
    /// A RoleBinding.
    RoleBinding(RoleBinding),
    /// A ClusterRoleBinding.
    ClusterRoleBinding(RoleBinding),
}

/// What reading an object found.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The object, unless there is an error among the diagnostics.
    pub object: Option<Object>,
    /// Errors and warnings, in the order of the text's fields as far as possible.
    pub diagnostics: Vec<Diagnostic>,
}

impl Object {
    /// Reads an object and checks everything that can be checked without other objects.
    ///
    /// # Errors
    /// Everything that is wrong with it, warnings included.
    pub fn from_json(kind: Kind, value: Value) -> Result<Self, Vec<Diagnostic>> {
        let Reading { object, diagnostics } = Self::read(kind, value);
        object.ok_or(diagnostics)
    }

    /// Reads an object like [`Object::from_json`] and keeps the warnings of one that is taken.
    pub fn read(kind: Kind, mut value: Value) -> Reading {
        let mut report = Report::default();
        let subject = subject(kind, &value);
        let object = match bounds(&value) {
            Err(diagnostic) => {
                report.push(*diagnostic);
                None
            }
            Ok(()) => {
                envelope(kind, &value, &mut report);
                check::structure::check(kind.schema(), &mut value, &FieldPath::default(), &mut report);
                if let Some(fields) = value.as_object_mut() {
                    // Judged already.
                    fields.remove("apiVersion");
                    fields.remove("kind");
                    fields.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
                }
                typed(kind, &value, &mut report)
            }
        };
        let object = object.filter(|_| !report.has_errors());
        Reading { object, diagnostics: report.finish(&subject) }
    }

    /// Reads an object that was checked before it was stored, without a copy. Fields that this version does not know, as one
    /// has that a later version stored, are passed over.
    ///
    /// # Errors
    /// As [`Object::from_json`].
    pub fn of_stored(kind: Kind, value: &Value) -> Result<Self, Vec<Diagnostic>> {
        let mut report = Report::default();
        match typed(kind, value, &mut report).filter(|_| !report.has_errors()) {
            Some(object) => Ok(object),
            // It says more clearly what is wrong, and takes what is only written in another way.
            None => Self::from_json(kind, value.clone()),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Service(_) => Kind::Service,
            Self::Secret(_) => Kind::Secret,
            Self::ConfigMap(_) => Kind::ConfigMap,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Workload(_) => Kind::Workload,
            Self::HttpRoute(_) => Kind::HttpRoute,
            Self::MeshConfig(_) => Kind::MeshConfig,
            Self::PeerAuthentication(_) => Kind::PeerAuthentication,
            Self::ExternalService(_) => Kind::ExternalService,
            Self::TrafficPolicy(_) => Kind::TrafficPolicy,
            Self::Event(_) => Kind::Event,
            Self::RoleBinding(_) => Kind::RoleBinding,
            Self::ClusterRoleBinding(_) => Kind::ClusterRoleBinding,
        }
    }

    /// Its name, namespace, labels and age.
    pub fn metadata(&self) -> &Metadata {
        match self {
            Self::Namespace(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::Secret(object) => &object.metadata,
            Self::ConfigMap(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::Workload(object) => &object.metadata,
            Self::HttpRoute(object) => &object.metadata,
            Self::MeshConfig(object) => &object.metadata,
            Self::PeerAuthentication(object) => &object.metadata,
            Self::ExternalService(object) => &object.metadata,
            Self::TrafficPolicy(object) => &object.metadata,
            Self::Event(object) => &object.metadata,
            Self::RoleBinding(object) | Self::ClusterRoleBinding(object) => &object.metadata,
        }
    }
}

/// The object's own word on what it is, for diagnostics.
pub(crate) fn subject(kind: Kind, value: &Value) -> Subject {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    Subject {
        kind: kind.name().to_owned(),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
    }
}

fn bounds(value: &Value) -> Result<(), Box<Diagnostic>> {
    let mut open = vec![(value, 1_usize)];
    while let Some((value, depth)) = open.pop() {
        let inside: Vec<&Value> = match value {
            Value::Array(items) => items.iter().collect(),
            Value::Object(fields) => fields.values().collect(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => continue,
        };
        if depth > DEPTH_MAX {
            let message = format!("mappings and lists are nested deeper than {DEPTH_MAX} levels");
            let diagnostic = Diagnostic::error(Code::TooDeep, FieldPath::default(), message);
            return Err(Box::new(diagnostic.mend("no kind needs this: look for wrong indentation")));
        }
        open.extend(inside.into_iter().map(|value| (value, depth + 1)));
    }
    let bytes = value.to_string().len();
    if bytes >= OBJECT_BYTES_MAX {
        let message = format!("the object has {bytes} bytes, and must have less than {OBJECT_BYTES_MAX}");
        let diagnostic = Diagnostic::error(Code::TooLarge, FieldPath::default(), message);
        return Err(Box::new(diagnostic.mend("split it, or keep large contents elsewhere")));
    }
    Ok(())
}

/// `apiVersion` and `kind`, if given, must be those of the kind the object is read as.
fn envelope(kind: Kind, value: &Value, report: &mut Report) {
    for (field, expected) in [("apiVersion", kind.api_version()), ("kind", kind.name())] {
        match value.get(field) {
            Some(Value::String(given)) if given != expected => {
                let message = format!("it is `{given}`, and the object is read as `{expected}`");
                report.error(Code::BadValue, FieldPath::of(field), message, format!("write `{expected}`"));
            }
            Some(_) | None => {}
        }
    }
}

fn typed(kind: Kind, value: &Value, report: &mut Report) -> Option<Object> {
    match kind {
        Kind::Namespace => {
            decode(value, report).and_then(|it| check::plain::namespace(it, report)).map(Object::Namespace)
        }
        Kind::Service => {
            decode(value, report).and_then(|it| check::service::read(&it, report)).map(Object::Service)
        }
        Kind::Secret => {
            decode(value, report).and_then(|it| check::plain::secret(it, report)).map(Object::Secret)
        }
        Kind::ConfigMap => {
            decode(value, report).and_then(|it| check::plain::config_map(it, report)).map(Object::ConfigMap)
        }
        Kind::EndpointSlice => {
            decode(value, report).and_then(|it| check::slice::read(&it, report)).map(Object::EndpointSlice)
        }
        Kind::Workload => {
            decode(value, report).and_then(|it| check::workload::read(&it, report)).map(Object::Workload)
        }
        Kind::HttpRoute => {
            decode(value, report).and_then(|it| check::route::read(&it, report)).map(Object::HttpRoute)
        }
        Kind::MeshConfig => {
            decode(value, report).and_then(|it| check::mesh::config(&it, report)).map(Object::MeshConfig)
        }
        Kind::PeerAuthentication => decode(value, report)
            .and_then(|it| check::mesh::peer_authentication(&it, report))
            .map(Object::PeerAuthentication),
        Kind::ExternalService => decode(value, report)
            .and_then(|it| check::external_service::read(&it, report))
            .map(Object::ExternalService),
        Kind::Event => {
            decode(value, report).and_then(|it| check::plain::event(it, report)).map(Object::Event)
        }
        Kind::RoleBinding => decode(value, report)
            .and_then(|it| check::role_binding::in_namespace(&it, report))
            .map(Object::RoleBinding),
        Kind::ClusterRoleBinding => decode(value, report)
            .and_then(|it| check::role_binding::everywhere(&it, report))
            .map(Object::ClusterRoleBinding),
        Kind::TrafficPolicy => decode(value, report)
            .and_then(|it| check::traffic_policy::read(&it, report))
            .map(Object::TrafficPolicy),
    }
}

/// Reads the value as the type that holds the kind. [`check::structure`] has seen to it that this cannot fail: it knows
/// every rule that the schema of a kind has, and the schema is made from the type.
fn decode<T: DeserializeOwned>(value: &Value, report: &mut Report) -> Option<T> {
    match T::deserialize(value) {
        Ok(decoded) => Some(decoded),
        // The value was mended where it was wrong, so that an error here is most likely its echo.
        Err(_) if report.has_errors() => None,
        Err(error) => {
            let mend = "see the kind's reference for its format";
            report.error(Code::WrongType, FieldPath::default(), error.to_string(), mend);
            None
        }
    }
}
