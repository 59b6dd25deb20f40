//! Rules of RoleBinding and ClusterRoleBinding.

use super::metadata;
use crate::diagnostic::{Code, Report};
use crate::kind::Kind;
use crate::kind::role_binding::{RBAC_GROUP, Role, RoleBinding, Subject};
use crate::nearest::nearest;
use crate::path::FieldPath;
use k8s_openapi::api::rbac::v1 as rbac;

/// As many as fit into an object that a person reads.
const SUBJECTS_MAX: usize = 1_000;

/// Reads a RoleBinding.
pub(crate) fn in_namespace(given: &rbac::RoleBinding, report: &mut Report) -> Option<RoleBinding> {
    let metadata = metadata::read(Kind::RoleBinding, &given.metadata, report);
    let role = role(&given.role_ref, report);
    let subjects = subjects(given.subjects.as_deref().unwrap_or_default(), report);
    Some(RoleBinding { metadata: metadata?, role: role?, subjects })
}

/// Reads a ClusterRoleBinding.
pub(crate) fn everywhere(given: &rbac::ClusterRoleBinding, report: &mut Report) -> Option<RoleBinding> {
    let metadata = metadata::read(Kind::ClusterRoleBinding, &given.metadata, report);
    let role = role(&given.role_ref, report);
    let subjects = subjects(given.subjects.as_deref().unwrap_or_default(), report);
    Some(RoleBinding { metadata: metadata?, role: role?, subjects })
}

fn role(given: &rbac::RoleRef, report: &mut Report) -> Option<Role> {
    let path = FieldPath::of("roleRef");
    group(&given.api_group, &path, report);
    if given.kind != "ClusterRole" {
        let message = format!("a `{}` is no role here", given.kind);
        report.error(Code::Unsupported, path.field("kind"), message, "write `ClusterRole`");
    }
    let role = Role::ALL.into_iter().find(|role| role.as_str() == given.name);
    if role.is_none() {
        let names = Role::ALL.map(Role::as_str);
        let mend = match nearest(&given.name, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("choose one of {}", names.join(", ")),
        };
        let message = format!("there is no role `{}`", given.name);
        report.error(Code::Unsupported, path.field("name"), message, mend);
    }
    role
}

fn subjects(given: &[rbac::Subject], report: &mut Report) -> Vec<Subject> {
    let path = FieldPath::of("subjects");
    if given.len() > SUBJECTS_MAX {
        let message = format!("there are {} subjects, more than {SUBJECTS_MAX}", given.len());
        report.error(Code::OutOfRange, path, message, "bind a group, or split the object");
        return Vec::new();
    }
    let read = |(place, given)| subject(given, &path.index(place), report);
    given.iter().enumerate().filter_map(read).collect()
}

fn subject(given: &rbac::Subject, path: &FieldPath, report: &mut Report) -> Option<Subject> {
    if given.name.is_empty() {
        report.error(Code::MissingField, path.field("name"), "nobody is named", "write who is meant");
    }
    let is_account = given.kind == "ServiceAccount";
    match given.namespace.as_deref().filter(|namespace| !namespace.is_empty()) {
        None if is_account => {
            let mend = "write the namespace it lives in";
            report.error(Code::MissingField, path.field("namespace"), "a service account has one", mend);
            return None;
        }
        Some(_) if !is_account => {
            let message = format!("a {} lives in no namespace", given.kind);
            report.error(Code::BadValue, path.field("namespace"), message, "take this line away");
        }
        Some(_) | None => {}
    }
    let name = given.name.clone();
    match given.kind.as_str() {
        "ServiceAccount" => {
            Some(Subject::ServiceAccount { namespace: given.namespace.clone().unwrap_or_default(), name })
        }
        kind @ ("User" | "Group") => {
            if let Some(named) = &given.api_group {
                group(named, path, report);
            }
            Some(if kind == "User" { Subject::User(name) } else { Subject::Group(name) })
        }
        other => {
            let message = format!("`{other}` is nobody who can have a role");
            report.error(Code::BadValue, path.field("kind"), message, "write User, Group or ServiceAccount");
            None
        }
    }
}

/// A reference without a group means this one.
fn group(given: &str, path: &FieldPath, report: &mut Report) {
    if !given.is_empty() && given != RBAC_GROUP {
        let message = format!("`{given}` is not the group of roles and people");
        report.error(Code::BadValue, path.field("apiGroup"), message, format!("write `{RBAC_GROUP}`"));
    }
}
