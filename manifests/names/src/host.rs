//! Hosts outside of the mesh: one, or all below a domain.

use crate::{NameError, label};
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const HOST_MAX: usize = 253;
/// What a pattern for many hosts begins with.
const WILDCARD: &str = "*.";
/// Most domains above a host that are looked at: those nearest to the root, where patterns are written. Bounds what one
/// name of a hundred labels can cost.
const DOMAINS_MAX: usize = 8;

/// A host (`api.example.com`) or every host below a domain, at any depth (`*.example.com`), as in the Gateway API. In
/// lower case, without a dot at its end. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPattern(Arc<str>);

impl HostPattern {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain below which it stands for all hosts; nothing if it is one host.
    pub fn domain(&self) -> Option<&str> {
        self.0.strip_prefix(WILDCARD)
    }

    /// Whether it stands for this host, which must be in lower case.
    pub fn matches(&self, host: &str) -> bool {
        match self.domain() {
            None => *self.0 == *host,
            Some(domain) => {
                host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
            }
        }
    }

    /// Every pattern that could stand for `host`, the narrowest first: itself, then the domains above it. None if it is
    /// not the name of a host.
    pub fn candidates(host: &str) -> impl Iterator<Item = Self> {
        let exact = host.parse::<Self>().ok().filter(|pattern| pattern.domain().is_none());
        let domains =
            exact.iter().flat_map(|_| domains_above(host)).map(|it| Self(format!("{WILDCARD}{it}").into()));
        let domains: Vec<_> = domains.collect();
        exact.into_iter().chain(domains)
    }
}

/// The domains above a host, the narrowest first: `example.com` and `com` above `api.example.com`.
pub fn domains_above(host: &str) -> impl Iterator<Item = &str> {
    let dots = host.matches('.').count();
    host.match_indices('.').skip(dots.saturating_sub(DOMAINS_MAX)).filter_map(|(dot, _)| host.get(dot + 1..))
}

impl FromStr for HostPattern {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = |rule| Err(NameError::new(text, "a host", rule));
        let host = text.strip_prefix(WILDCARD).unwrap_or(text);
        if host.contains('*') {
            return wrong("`*` may stand for its first label only, as in `*.example.com`");
        }
        if host.parse::<std::net::IpAddr>().is_ok() {
            return wrong("it is an address");
        }
        match host.split('.').find_map(label::broken_rule) {
            Some(rule) => wrong(rule),
            None if text.len() > HOST_MAX => wrong("it has more than 253 characters"),
            None => Ok(Self(text.into())),
        }
    }
}

impl Borrow<str> for HostPattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(host: &str) -> Vec<String> {
        HostPattern::candidates(host).map(|pattern| pattern.to_string()).collect()
    }

    #[test]
    fn a_pattern_is_a_host_or_a_domain_below_a_star() {
        for (text, rule) in [
            ("api.*.com", "`*` may stand for its first label only, as in `*.example.com`"),
            ("*api.example.com", "`*` may stand for its first label only, as in `*.example.com`"),
            ("*", "`*` may stand for its first label only, as in `*.example.com`"),
            ("*.", "it is empty"),
            ("", "it is empty"),
            ("a..b", "it is empty"),
            ("API.example.com", "it must be in lower case"),
            ("api.example.com.", "it is empty"),
            ("10.0.0.1", "it is an address"),
            ("https://api.example.com", "only lower-case letters, digits and `-` may stand in it"),
        ] {
            assert_eq!(text.parse::<HostPattern>().unwrap_err().rule, rule, "{text:?}");
        }
    }

    #[test]
    fn a_star_stands_for_one_label_or_more() {
        let pattern: HostPattern = "*.example.com".parse().unwrap();
        for host in ["api.example.com", "a.b.example.com"] {
            assert!(pattern.matches(host), "{host}");
        }
        for host in ["example.com", ".example.com", "badexample.com", "example.org"] {
            assert!(!pattern.matches(host), "{host}");
        }
    }

    #[test]
    fn candidates_go_from_the_host_to_the_root() {
        assert_eq!(texts("api.example.com"), ["api.example.com", "*.example.com", "*.com"]);
        assert_eq!(texts("db"), ["db"]);
        assert!(texts("not a host").is_empty() && texts("*.com").is_empty() && texts("10.0.0.1").is_empty());
        let deep = "a.".repeat(100) + "example.com";
        assert_eq!(texts(&deep).len(), 1 + DOMAINS_MAX);
        assert_eq!(texts(&deep).last().map(String::as_str), Some("*.com"));
    }

    proptest! {
        #[test]
        fn the_candidates_of_a_host_match_it_and_nothing_is_read_with_a_panic(host in "[a-z*.-]{0,40}") {
            for pattern in HostPattern::candidates(&host) {
                prop_assert!(pattern.matches(&host));
            }
        }
    }
}
