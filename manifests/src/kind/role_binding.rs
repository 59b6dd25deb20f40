//! Kubernetes' kinds RoleBinding and ClusterRoleBinding, `rbac.authorization.k8s.io/v1`: who may do what over the API. The roles are
//! those that every Kubernetes cluster has for people; there are no others.

use super::Metadata;
use std::fmt;

/// The group of the kinds and of the roles they refer to.
pub const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

/// Who has a role, in one namespace or, without one, in all of them and beyond.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleBinding {
    /// Its name, and the namespace of a RoleBinding.
    pub metadata: Metadata,
    /// The role.
    pub role: Role,
    /// Who has it.
    pub subjects: Vec<Subject>,
}

/// A role, named as in Kubernetes. Each may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `view`: read everything but Secrets and role bindings.
    View,
    /// `edit`: also write what decides on traffic, and read and write Secrets.
    Edit,
    /// `admin`: also write what decides on security within a namespace, PeerAuthentications and join tokens.
    Admin,
    /// `cluster-admin`: everything.
    ClusterAdmin,
}

/// Somebody who may have a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// By the common name of a client certificate.
    User(String),
    /// By an organisation of a client certificate, or a group that everybody of a sort is in, such as `system:authenticated`.
    Group(String),
    /// By a token or a workload's own certificate.
    ServiceAccount {
        /// Where it lives.
        namespace: String,
        /// Its name there.
        name: String,
    },
}

impl Role {
    /// All, from the least to the most.
    pub const ALL: [Self; 4] = [Self::View, Self::Edit, Self::Admin, Self::ClusterAdmin];

    /// The name of its ClusterRole.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Edit => "edit",
            Self::Admin => "admin",
            Self::ClusterAdmin => "cluster-admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
