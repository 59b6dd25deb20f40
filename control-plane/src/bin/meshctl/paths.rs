//! Where objects are in the API, and which kind a word on the command line means.
//!
//! Enters: words. Leaves: paths. Never here: requests.

use manifests::Kind;

/// Something `get` can show: a stored kind, or one whose objects are made when they are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    Stored(Kind),
    /// The connected sidecars.
    Proxies,
    /// The addresses of Services.
    Endpoints,
}

impl Resource {
    /// The resource a person names: `services`, `svc`, `httproute`, `proxies`.
    pub(crate) fn named(word: &str) -> Result<Self, String> {
        match word.to_lowercase().as_str() {
            "proxies" | "proxy" | "px" => return Ok(Self::Proxies),
            "endpoints" | "ep" => return Ok(Self::Endpoints),
            _ => {}
        }
        Kind::from_argument(word).map(Self::Stored).ok_or_else(|| {
            let mut known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.plural()).collect();
            known.extend(["proxies", "endpoints"]);
            known.sort_unstable();
            format!("`{word}` is not a kind of object; there are {}", known.join(", "))
        })
    }

    pub(crate) fn is_namespaced(self) -> bool {
        match self {
            Self::Stored(kind) => kind.is_namespaced(),
            Self::Proxies | Self::Endpoints => true,
        }
    }

    pub(crate) fn plural(self) -> &'static str {
        match self {
            Self::Stored(kind) => kind.plural(),
            Self::Proxies => "proxies",
            Self::Endpoints => "endpoints",
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::Stored(kind) => kind.api_version(),
            Self::Proxies => "outrigger.dev/v1alpha1",
            Self::Endpoints => "v1",
        }
    }

    /// The path of all objects, or of those of one namespace.
    pub(crate) fn collection(self, namespace: Option<&str>) -> String {
        let root = if self.api_version().contains('/') { "apis" } else { "api" };
        let place = match namespace.filter(|_| self.is_namespaced()) {
            Some(namespace) => format!("namespaces/{}/", escaped(namespace)),
            None => String::new(),
        };
        format!("/{root}/{}/{place}{}", self.api_version(), self.plural())
    }

    /// The path of one object.
    pub(crate) fn object(self, namespace: &str, name: &str) -> String {
        format!("{}/{}", self.collection(Some(namespace)), escaped(name))
    }
}

/// A word as one segment of a path (RFC 3986 §2.3): names need no escaping, but what a person types may.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_the_kubernetes_scheme() {
        let service = Resource::named("svc").expect("known");
        assert_eq!(service.collection(None), "/api/v1/services");
        assert_eq!(service.object("shop", "orders"), "/api/v1/namespaces/shop/services/orders");
        let route = Resource::named("HTTPRoute").expect("known");
        let path = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/a%2Fb";
        assert_eq!(route.object("shop", "a/b"), path);
        let namespace = Resource::named("ns").expect("known");
        assert_eq!(namespace.object("ignored", "shop"), "/api/v1/namespaces/shop");
        assert_eq!(
            Resource::named("proxies").expect("known").collection(None),
            "/apis/outrigger.dev/v1alpha1/proxies"
        );
    }

    #[test]
    fn an_unknown_kind_lists_the_known_ones() {
        let problem = Resource::named("pods").expect_err("there are no pods");
        assert!(
            problem.starts_with("`pods` is not a kind of object; there are clusterrolebindings, "),
            "{problem}"
        );
    }
}
