//! Which of two matches is tried first: the order of the Gateway API (HTTPRouteRule, `matches`), across all rules of
//! all routes of a port.
//!
//! 1. an exact path; then a regular expression, the longer first (the specification leaves their place open; before
//!    prefixes, so that they are not hidden by `/`); then the longest prefix
//! 2. a method
//! 3. more headers
//! 4. more query parameters
//! 5. the older route, then the route first by `namespace/name`
//! 6. the earlier rule, then the earlier match in it

use super::index::RouteName;
use manifests::field::PathPattern;
use manifests::kind::route::{HttpRoute, Match};
use std::cmp::Reverse;

/// A match's place: the lower one is tried first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank<'a> {
    path: (u8, Reverse<usize>),
    has_no_method: bool,
    headers: Reverse<usize>,
    query_params: Reverse<usize>,
    /// A route that is not stored yet is the youngest.
    created: (bool, Option<jiff::Timestamp>),
    route: &'a RouteName,
    rule: usize,
    place: usize,
}

impl<'a> Rank<'a> {
    /// The place of the match at `place` in rule `rule` of a route.
    pub(super) fn of(name: &'a RouteName, route: &HttpRoute, rule: usize, place: usize, it: &Match) -> Self {
        let path = match &it.path {
            PathPattern::Exact(path) => (0, Reverse(path.len())),
            PathPattern::Regex(path) => (1, Reverse(path.len())),
            PathPattern::Prefix(path) => (2, Reverse(path.len())),
        };
        let created = route.metadata.created;
        Self {
            path,
            has_no_method: it.method.is_none(),
            headers: Reverse(it.headers.len()),
            query_params: Reverse(it.query_params.len()),
            created: (created.is_none(), created),
            route: name,
            rule,
            place,
        }
    }
}
