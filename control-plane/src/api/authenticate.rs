//! Who asks, and whether they may. What enters is what the client proved in its handshake; what leaves is a [`User`], or
//! a refusal: 401 for nobody, 403 for somebody without the right.

use super::status::Failure;
use mesh_mtls::ApiClient;

/// The group that may do everything, as in Kubernetes.
pub(crate) const ADMINISTRATORS: &str = "system:masters";

/// Somebody with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

impl User {
    /// The user behind a connection.
    pub(crate) fn of(client: &ApiClient) -> Result<Self, Failure> {
        match client {
            ApiClient::Anonymous => Err(Failure::unauthorized()),
            ApiClient::Workload(id) => Ok(Self { name: id.to_string(), groups: Vec::new() }),
            ApiClient::User { name, groups } => Ok(Self { name: name.clone(), groups: groups.clone() }),
        }
    }

    /// Whether the user may do everything.
    pub(crate) fn is_administrator(&self) -> bool {
        self.groups.iter().any(|group| group == ADMINISTRATORS)
    }

    /// Lets administrators pass.
    pub(crate) fn authorize(&self, verb: &str, what: &str) -> Result<(), Failure> {
        if self.is_administrator() {
            return Ok(());
        }
        Err(Failure::forbidden(format!(
            "forbidden: user \"{}\" may not {verb} {what}: a certificate of the group {ADMINISTRATORS} is needed",
            self.name
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;

    #[test]
    fn only_administrators_pass_and_the_refusal_names_user_and_verb() {
        let user = |groups: &[&str]| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            User::of(&ApiClient::User { name: "eve".into(), groups }).unwrap()
        };
        assert_eq!(user(&["dev", "system:masters"]).authorize("delete", "services"), Ok(()));
        let refusal = user(&["dev"]).authorize("delete", "services").unwrap_err();
        assert_eq!(refusal.code, StatusCode::FORBIDDEN);
        assert!(refusal.message().contains("\"eve\" may not delete services"), "{}", refusal.message());
        assert_eq!(User::of(&ApiClient::Anonymous).unwrap_err().code, StatusCode::UNAUTHORIZED);
        let workload = ApiClient::Workload("spiffe://mesh.internal/ns/shop/sa/orders".parse().unwrap());
        let refusal = User::of(&workload).unwrap().authorize("list", "secrets").unwrap_err();
        assert!(refusal.message().contains("spiffe://mesh.internal/ns/shop/sa/orders"));
    }
}
