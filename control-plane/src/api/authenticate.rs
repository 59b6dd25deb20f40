//! Who asks. What enters is what the client proved in its handshake, or the token it bears; what leaves is a [`User`], or a
//! refusal: 401, with why.

use super::status::Failure;
use super::token::TokenAuthority;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use manifests::role_binding::Subject;
use mesh_mtls::ApiClient;

/// The group that may do everything, as in Kubernetes.
pub(crate) const ADMINISTRATORS: &str = "system:masters";
/// The group of everybody with a name.
const AUTHENTICATED: &str = "system:authenticated";
/// The group of all service accounts; with a colon and a namespace, of those in it.
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// Somebody with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

impl User {
    /// The user behind a request. A certificate counts more than a token, since the connection is the certificate's.
    pub(crate) fn of(
        client: &ApiClient,
        headers: &HeaderMap,
        tokens: &dyn TokenAuthority,
    ) -> Result<Self, Failure> {
        match client {
            ApiClient::Workload(id) => {
                Ok(Self::service_account(id.namespace.as_str(), id.service_account.as_str()))
            }
            ApiClient::User { name, groups } => {
                let groups = groups.iter().cloned().chain([AUTHENTICATED.to_owned()]).collect();
                Ok(Self { name: name.clone(), groups })
            }
            ApiClient::Anonymous => {
                let bearer = headers.get(AUTHORIZATION).ok_or_else(Failure::unauthorized)?;
                let token = bearer.to_str().ok().and_then(|text| text.split_once(' '));
                let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
                let (_, token) = token.ok_or_else(|| {
                    Failure::unauthorized_because("the Authorization header holds no bearer token")
                })?;
                let account = tokens
                    .bearer(token.trim())
                    .map_err(|why| Failure::unauthorized_because(&format!("the token is refused: {why}")))?;
                Ok(Self::service_account(account.0.as_str(), account.1.as_str()))
            }
        }
    }

    /// A service account, as Kubernetes names it.
    fn service_account(namespace: &str, name: &str) -> Self {
        let here = format!("{SERVICE_ACCOUNTS}:{namespace}");
        let groups = vec![SERVICE_ACCOUNTS.to_owned(), here, AUTHENTICATED.to_owned()];
        Self { name: format!("system:serviceaccount:{namespace}:{name}"), groups }
    }

    /// Whether the user may do everything.
    pub(crate) fn is_administrator(&self) -> bool {
        self.is_in(ADMINISTRATORS)
    }

    fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    /// Whether a subject of this name may mean the user: a look that spares reading the bindings of all others.
    pub(crate) fn may_be(&self, subject: &str) -> bool {
        // The name of a service account is the end of the user's.
        let is_its_end = self.name.strip_suffix(subject).is_some_and(|front| front.ends_with(':'));
        self.name == subject || is_its_end || self.is_in(subject)
    }

    /// Whether a subject of a binding means the user.
    pub(crate) fn is(&self, subject: &Subject) -> bool {
        match subject {
            Subject::User(name) => *name == self.name,
            Subject::Group(name) => self.is_in(name),
            Subject::ServiceAccount { namespace, name } => {
                Self::service_account(namespace, name).name == self.name
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::token::{MintRefusal, MintedToken};
    use super::*;
    use http::{HeaderValue, StatusCode};
    use mesh_names::{Namespace, ServiceAccount};
    use std::time::Duration;

    struct One;

    impl TokenAuthority for One {
        fn mint(
            &self,
            _: &Namespace,
            _: &ServiceAccount,
            _: crate::ca::token::Audience,
            _: Option<Duration>,
        ) -> Result<MintedToken, MintRefusal> {
            Err(MintRefusal::Failed("none".to_owned()))
        }

        fn bearer(&self, token: &str) -> Result<(Namespace, ServiceAccount), String> {
            match token {
                "good" => Ok(("shop".parse().unwrap(), "deployer".parse().unwrap())),
                _ => Err("it expired".to_owned()),
            }
        }
    }

    fn user(client: &ApiClient, authorization: Option<&'static str>) -> Result<User, Failure> {
        let value = authorization.map(|text| (AUTHORIZATION, HeaderValue::from_static(text)));
        User::of(client, &value.into_iter().collect(), &One)
    }

    #[test]
    fn a_certificate_or_a_token_says_who_one_is() {
        let eve = ApiClient::User { name: "eve".into(), groups: vec!["dev".into()] };
        let eve = user(&eve, Some("Bearer bad")).unwrap();
        assert_eq!((eve.name.as_str(), eve.groups.len()), ("eve", 2));
        let by_token = user(&ApiClient::Anonymous, Some("bearer good")).unwrap();
        let workload = ApiClient::Workload("spiffe://mesh.internal/ns/shop/sa/deployer".parse().unwrap());
        assert_eq!(user(&workload, None).unwrap(), by_token, "a workload is its service account");
        assert_eq!(by_token.name, "system:serviceaccount:shop:deployer");
        for authorization in [None, Some("Bearer bad"), Some("Basic good"), Some("good"), Some("Bearer")] {
            let refusal = user(&ApiClient::Anonymous, authorization).unwrap_err();
            assert_eq!(refusal.code, StatusCode::UNAUTHORIZED, "{authorization:?}");
        }
        let refusal = user(&ApiClient::Anonymous, Some("Bearer bad")).unwrap_err();
        assert!(refusal.message().contains("it expired"), "{}", refusal.message());
    }

    #[test]
    fn subjects_mean_whom_they_name() {
        let user = user(&ApiClient::Anonymous, Some("Bearer good")).unwrap();
        let account = |namespace: &str, name: &str| Subject::ServiceAccount {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        assert!(user.is(&account("shop", "deployer")));
        assert!(!user.is(&account("shop", "other")) && !user.is(&account("other", "deployer")));
        for group in ["system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated"] {
            assert!(user.is(&Subject::Group(group.to_owned())), "{group}");
        }
        assert!(!user.is(&Subject::Group(ADMINISTRATORS.to_owned())) && !user.is_administrator());
        assert!(user.is(&Subject::User("system:serviceaccount:shop:deployer".to_owned())));
        let meant = ["deployer", "system:serviceaccounts:shop", "system:serviceaccount:shop:deployer"];
        assert!(meant.iter().all(|name| user.may_be(name)));
        assert!(["other", "ployer", "shop:other", ADMINISTRATORS].iter().all(|name| !user.may_be(name)));
    }
}
