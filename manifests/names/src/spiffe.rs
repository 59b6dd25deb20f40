//! Trust domains and SPIFFE IDs (SPIFFE-ID standard §2), in the one path form the mesh issues.

use crate::{NameError, Namespace, ServiceAccount};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const TRUST_DOMAIN_MAX: usize = 255;
const WHAT: &str = "a SPIFFE ID of this mesh";

/// The name under which one CA's identities are valid, for example `mesh.internal` (SPIFFE-ID §2.1). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    /// `mesh.internal`: the `internal` top-level domain is reserved for private use, so it can't clash.
    fn default() -> Self {
        Self("mesh.internal".into())
    }
}

impl FromStr for TrustDomain {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        let rule = if text.is_empty() {
            "it is empty"
        } else if text.len() > TRUST_DOMAIN_MAX {
            "it has more than 255 characters"
        } else if !text.bytes().all(allowed) {
            "only lower-case letters, digits, `.`, `-` and `_` may stand in it"
        } else {
            return Ok(Self(text.into()));
        };
        Err(NameError::new(text, "a trust domain", rule))
    }
}

/// Who a workload is: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    /// Under whose authority.
    pub trust_domain: TrustDomain,
    /// In which namespace.
    pub namespace: Namespace,
    /// As what.
    pub service_account: ServiceAccount,
}

impl SpiffeId {
    /// Joins the three parts.
    pub fn new(trust_domain: TrustDomain, namespace: Namespace, service_account: ServiceAccount) -> Self {
        Self { trust_domain, namespace, service_account }
    }
}

impl FromStr for SpiffeId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |rule| NameError::new(text, WHAT, rule);
        let rest = text.strip_prefix("spiffe://").ok_or_else(|| wrong("it must start with `spiffe://`"))?;
        let form = "it must have the form `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`";
        let mut parts = rest.split('/');
        let mut next = || parts.next().ok_or_else(|| wrong(form));
        let (trust_domain, ns, namespace, sa, account) = (next()?, next()?, next()?, next()?, next()?);
        if ns != "ns" || sa != "sa" || parts.next().is_some() {
            return Err(wrong(form));
        }
        Ok(Self {
            trust_domain: trust_domain.parse()?,
            namespace: namespace.parse()?,
            service_account: account.parse()?,
        })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_exact_form_is_an_identity() {
        let id = "spiffe://mesh.internal/ns/shop/sa/orders";
        assert_eq!(id.parse::<SpiffeId>().unwrap().to_string(), id);
        for wrong in [
            "",
            "https://mesh.internal/ns/shop/sa/orders",
            "spiffe://mesh.internal/ns/shop/sa/orders/",
            "spiffe://mesh.internal/ns/shop/sa/orders/x",
            "spiffe://mesh.internal/ns/shop/sa/",
            "spiffe://mesh.internal/ns//sa/orders",
            "spiffe://mesh.internal/ns/shop",
            "spiffe://Mesh.internal/ns/shop/sa/orders",
            "spiffe://mesh.internal/sa/shop/ns/orders",
            "spiffe://mesh.internal/ns/../sa/orders",
            "spiffe://mesh.internal/ns/shop/sa/orders?x",
            "spiffe://mesh.internal:80/ns/shop/sa/orders",
        ] {
            assert!(wrong.parse::<SpiffeId>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_displays_as_it_was_written(text in "spiffe://[a-z.]{1,8}/(ns|x)/[a-z-]{1,5}/sa/[a-z]{1,5}") {
            if let Ok(id) = text.parse::<SpiffeId>() { prop_assert_eq!(id.to_string(), text); }
        }
    }
}
