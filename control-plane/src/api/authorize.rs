//! Who may do what: Kubernetes' four roles, bound to people and service accounts by RoleBindings and ClusterRoleBindings.
//! Which role a request needs is a table; which role its user has is what the bindings say when it comes, so that a binding
//! that is deleted ends a right at once.
//!
//! | what | read | write |
//! | --- | --- | --- |
//! | most kinds, those that are not stored too | view | edit |
//! | Secrets | edit | edit |
//! | PeerAuthentications | view | admin |
//! | join and API tokens | – | admin |
//! | Namespaces, MeshConfigs | view | cluster-admin |
//! | RoleBindings, ClusterRoleBindings | admin | cluster-admin |
//! | backup, restore | cluster-admin | cluster-admin |
//!
//! A RoleBinding gives a role in its namespace alone; a ClusterRoleBinding everywhere. Only who may do everything hands on
//! rights.

use super::Api;
use super::authenticate::{ADMINISTRATORS, User};
use super::discovery;
use super::path::{Part, Target};
use super::status::Failure;
use crate::store::{List, StoreError, Stored};
use manifests::role_binding::Role;
use manifests::{Kind, Object};
use serde::Deserialize;
use serde_json::{Value, json};
use std::borrow::Cow;

/// Of a binding, whom it binds.
#[derive(Deserialize)]
struct Bound<'a> {
    #[serde(borrow, default)]
    subjects: Vec<Named<'a>>,
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
}

/// What somebody wants to do, as Kubernetes names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Asked<'a> {
    pub(crate) verb: &'a str,
    /// Empty for the core group.
    pub(crate) group: &'a str,
    /// In the plural.
    pub(crate) resource: &'a str,
    pub(crate) part: &'a str,
    /// None: in all namespaces, or outside of them.
    pub(crate) namespace: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// What a request for a target asks; nothing where no right is needed.
    pub(crate) fn of(target: &'a Target, verb: &'a str) -> Option<Self> {
        let asked = Self { verb, ..Self::default() };
        let of_kind = |kind: Kind| Self { group: kind.group(), resource: kind.plural(), ..asked };
        Some(match target {
            Target::Collection { kind, namespace } => {
                Self { namespace: namespace.as_deref(), ..of_kind(*kind) }
            }
            // A namespace can be read with a role in it.
            Target::Object { kind: kind @ Kind::Namespace, name, .. } => {
                Self { namespace: Some(name), ..of_kind(*kind) }
            }
            Target::Object { kind, namespace, part, .. } => {
                let part = if *part == Part::Status { "status" } else { "" };
                Self { namespace: namespace.as_deref(), part, ..of_kind(*kind) }
            }
            Target::Virtual { kind, namespace, .. } => Self {
                group: kind.group(),
                resource: kind.plural(),
                namespace: namespace.as_deref(),
                ..asked
            },
            Target::Token { namespace, .. } => {
                Self { resource: "serviceaccounts", part: "token", namespace: Some(namespace), ..asked }
            }
            Target::Backup => Self { resource: "backup", ..asked },
            Target::Restore => Self { resource: "restore", ..asked },
            Target::Probe(_)
            | Target::Version
            | Target::Groups(_)
            | Target::Group(_)
            | Target::Resources { .. }
            | Target::OpenApiV2
            | Target::OpenApiV3Index
            | Target::OpenApiV3 { .. }
            | Target::AccessReview
            | Target::RulesReview
            | Target::SubjectReview => return None,
        })
    }

    /// The least role that may, and whether a role in the namespace is enough.
    fn needs(&self) -> (Role, Reach) {
        let is_reading = matches!(self.verb, "get" | "list" | "watch");
        let (read, write) = match (self.group, self.resource) {
            ("", "serviceaccounts") if self.part == "token" => (Role::Admin, Role::Admin),
            ("", "secrets") => (Role::Edit, Role::Edit),
            ("", "namespaces") | ("outrigger.dev", "meshconfigs") => (Role::View, Role::ClusterAdmin),
            ("outrigger.dev", "peerauthentications") => (Role::View, Role::Admin),
            ("rbac.authorization.k8s.io", _) => (Role::Admin, Role::ClusterAdmin),
            (group, resource) if discovery::is_known(group, resource) => (Role::View, Role::Edit),
            // What is not there may be done by whoever may do everything.
            _ => (Role::ClusterAdmin, Role::ClusterAdmin),
        };
        let reach = match self.resource {
            "namespaces" if self.verb == "get" => Reach::Namespace,
            "namespaces" | "meshconfigs" | "clusterrolebindings" => Reach::Everywhere,
            _ => Reach::Namespace,
        };
        (if is_reading { read } else { write }, reach)
    }

    /// As in `cannot list resource "services" in API group "" in the namespace "shop"`, which is how Kubernetes says it.
    fn sentence(&self) -> String {
        let part = if self.part.is_empty() { String::new() } else { format!("/{}", self.part) };
        let place = match self.namespace {
            Some(namespace) => format!("in the namespace \"{namespace}\""),
            None => "at the cluster scope".to_owned(),
        };
        format!(
            "cannot {} resource \"{}{part}\" in API group \"{}\" {place}",
            self.verb, self.resource, self.group
        )
    }
}

/// How far a role must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Namespace,
    Everywhere,
}

/// What a user may do: everywhere, and in the one namespace that was looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Rights {
    everywhere: Option<Role>,
    here: Option<Role>,
}

impl Rights {
    /// Whether they suffice. A request that names no namespace is for all of them.
    pub(crate) fn allow(&self, asked: &Asked<'_>) -> bool {
        let (needed, reach) = asked.needs();
        let here = self.here.filter(|_| reach == Reach::Namespace && asked.namespace.is_some());
        self.everywhere.max(here) >= Some(needed)
    }

    /// As `kubectl auth can-i --list` shows them, for the namespace that was looked into.
    pub(crate) fn rules(&self) -> Value {
        if self.everywhere == Some(Role::ClusterAdmin) {
            return json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        }
        const VERBS: [&str; 8] =
            ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
        let rule = |(group, resource): (&'static str, String)| {
            let (name, part) = resource.split_once('/').unwrap_or((&resource, ""));
            let asked = |verb| Asked { verb, group, resource: name, part, namespace: Some("") };
            let verbs: Vec<_> = VERBS.into_iter().filter(|verb| self.allow(&asked(verb))).collect();
            (!verbs.is_empty())
                .then(|| json!({"verbs": verbs, "apiGroups": [group], "resources": [resource]}))
        };
        discovery::names().into_iter().filter_map(rule).collect()
    }

    fn of(user: &User, everywhere: &List, here: Option<&List>) -> Self {
        let greatest = |list: &List| {
            let named = |stored: &&Stored| {
                let bound = stored.object.part::<Bound<'_>>();
                bound.is_some_and(|bound| bound.subjects.iter().any(|subject| user.may_be(&subject.name)))
            };
            let bindings = list.items.iter().filter(named).filter_map(|stored| {
                let binding = Object::from_json(stored.key.kind, stored.object.read()).ok()?;
                if let Object::RoleBinding(it) | Object::ClusterRoleBinding(it) = binding {
                    Some(it)
                } else {
                    None
                }
            });
            let held = bindings.filter(|binding| binding.subjects.iter().any(|subject| user.is(subject)));
            held.map(|binding| binding.role).max()
        };
        Self { everywhere: greatest(everywhere), here: here.and_then(greatest) }
    }
}

impl Api {
    /// What a user may do everywhere and in a namespace, as of now.
    pub(crate) async fn rights(&self, user: &User, namespace: Option<&str>) -> Result<Rights, StoreError> {
        if user.is_administrator() {
            return Ok(Rights { everywhere: Some(Role::ClusterAdmin), here: None });
        }
        let everywhere = self.store.list(Some(Kind::ClusterRoleBinding), None).await?;
        let here = match namespace {
            Some(namespace) => Some(self.store.list(Some(Kind::RoleBinding), Some(namespace)).await?),
            None => None,
        };
        Ok(Rights::of(user, &everywhere, here.as_ref()))
    }

    /// Lets a request pass, or refuses it and says which role is missing.
    pub(crate) async fn authorize(&self, user: &User, asked: &Asked<'_>) -> Result<(), Failure> {
        if self.rights(user, asked.namespace).await?.allow(asked) {
            return Ok(());
        }
        let (needed, reach) = asked.needs();
        let way = match (reach, asked.namespace) {
            _ if needed == Role::ClusterAdmin => {
                format!("a certificate of the group {ADMINISTRATORS} or a ClusterRoleBinding to {needed}")
            }
            (Reach::Namespace, Some(_)) => format!("a RoleBinding to {needed} in this namespace"),
            (Reach::Namespace | Reach::Everywhere, _) => format!("a ClusterRoleBinding to {needed}"),
        };
        let message = format!("forbidden: User \"{}\" {}: {way} would allow it", user.name, asked.sentence());
        Err(Failure::forbidden(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked<'a>(verb: &'a str, kind: Kind, namespace: Option<&'a str>) -> Asked<'a> {
        Asked { verb, group: kind.group(), resource: kind.plural(), part: "", namespace }
    }

    #[test]
    fn each_role_may_what_the_table_says_where_it_reaches() {
        let shop = Some("shop");
        let token = Asked {
            verb: "create",
            resource: "serviceaccounts",
            part: "token",
            namespace: shop,
            ..Asked::default()
        };
        let cases = [
            (asked("list", Kind::Service, shop), Some(Role::View)),
            (asked("update", Kind::Service, shop), Some(Role::Edit)),
            (asked("get", Kind::Secret, shop), Some(Role::Edit)),
            (asked("get", Kind::PeerAuthentication, shop), Some(Role::View)),
            (asked("create", Kind::PeerAuthentication, shop), Some(Role::Admin)),
            (token, Some(Role::Admin)),
            (asked("list", Kind::RoleBinding, shop), Some(Role::Admin)),
            (asked("create", Kind::RoleBinding, shop), None),
            (asked("get", Kind::Namespace, shop), Some(Role::View)),
            (asked("delete", Kind::Namespace, shop), None),
            (asked("patch", Kind::MeshConfig, None), None),
            (Asked { resource: "pods", ..asked("list", Kind::Service, shop) }, None),
        ];
        for (asked, least) in cases {
            for role in [Role::View, Role::Edit, Role::Admin] {
                let expected = least.is_some_and(|least| role >= least);
                let here = Rights { here: Some(role), ..Rights::default() };
                assert_eq!(here.allow(&asked), expected, "{role} in the namespace: {asked:?}");
                let everywhere = Rights { everywhere: Some(role), ..Rights::default() };
                assert_eq!(everywhere.allow(&asked), expected, "{role} everywhere: {asked:?}");
            }
            assert!(Rights { everywhere: Some(Role::ClusterAdmin), here: None }.allow(&asked));
            assert!(!Rights::default().allow(&asked), "nobody may {asked:?}");
        }
    }

    #[test]
    fn a_role_in_a_namespace_ends_there() {
        let here = Rights { here: Some(Role::ClusterAdmin), everywhere: None };
        assert!(here.allow(&asked("create", Kind::RoleBinding, Some("shop"))));
        for asked in [
            asked("list", Kind::Service, None),
            asked("list", Kind::Namespace, None),
            asked("delete", Kind::Namespace, Some("shop")),
            asked("create", Kind::ClusterRoleBinding, None),
            asked("update", Kind::MeshConfig, None),
        ] {
            assert!(!here.allow(&asked), "{asked:?}");
        }
    }
}
