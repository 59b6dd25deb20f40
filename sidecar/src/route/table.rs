//! All routes of one service port in final precedence. Immutable; built on the control thread.

use super::matcher::{PathCondition, RouteError, TextCondition};
use super::split::Split;
use crate::retry::AttemptPolicy;
use http::{HeaderMap, HeaderName, Method};
use mesh_protocol::service::{Backend, RouteMatch, RouteRule, ServicePort, ValueMatch};
use std::borrow::Cow;
use std::sync::Arc;

/// The routes of a port.
#[derive(Debug, Default)]
pub struct RouteTable {
    rules: Vec<Rule>,
    matches: Vec<Match>,
}

/// Where requests that fit go, and under which policies.
#[derive(Debug)]
pub struct Rule {
    /// The route it comes from, `namespace/name`.
    pub route: Arc<str>,
    /// Its place in that route, from 0.
    pub index: u32,
    /// Where requests go; picked from by [`Rule::split`].
    pub backends: Vec<Backend>,
    /// The backends' shares.
    pub split: Split,
    /// How its requests are attempted.
    pub(crate) attempts: AttemptPolicy,
}

/// What a table decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The service itself: it has no routes.
    Itself,
    /// The rule at this place in [`RouteTable::rule`].
    Rule(usize),
    /// None fits.
    None,
}

/// What of a request routes look at.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, without the query.
    pub path: &'a str,
    /// The query, without `?`.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// One way for a request to fit a rule.
#[derive(Debug)]
pub(super) struct Match {
    rule: usize,
    path: PathCondition,
    method: Option<Method>,
    headers: Vec<(HeaderName, TextCondition)>,
    /// A header name that can't exist: the match never fits.
    impossible: bool,
    query: Vec<(Box<str>, TextCondition)>,
}

impl RouteTable {
    /// Compiles a port's routes, keeping their order.
    ///
    /// # Errors
    /// [`RouteError`] with the first regular expression that can't be used.
    pub fn compile(port: &ServicePort) -> Result<Self, RouteError> {
        let matches = port.matches.iter().map(|m| {
            Match::compile(m).map_err(|(pattern, source)| {
                let rule = port.rules.get(m.rule);
                RouteError {
                    route: rule.map(|r| r.route.clone()).unwrap_or_default(),
                    rule: rule.map_or(0, |r| r.index),
                    pattern,
                    source,
                }
            })
        });
        Ok(Self {
            matches: matches.collect::<Result<_, _>>()?,
            rules: port.rules.iter().map(Rule::compile).collect(),
        })
    }

    /// Decides where a request goes.
    pub fn decide(&self, head: RequestHead<'_>) -> Decision {
        if self.matches.is_empty() {
            return Decision::Itself;
        }
        match self.matches.iter().find(|m| m.fits(head)) {
            Some(m) => Decision::Rule(m.rule),
            None => Decision::None,
        }
    }

    /// The rule at `index`.
    pub fn rule(&self, index: usize) -> Option<&Rule> {
        self.rules.get(index)
    }

    /// All rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

impl Rule {
    fn compile(rule: &RouteRule) -> Self {
        Self {
            route: rule.route.as_str().into(),
            index: rule.index,
            split: Split::new(rule.backends.iter().map(|b| b.weight)),
            backends: rule.backends.clone(),
            attempts: AttemptPolicy::compile(rule.timeouts, rule.retry.as_ref(), rule.hedging),
        }
    }
}

impl Match {
    pub(super) fn compile(m: &RouteMatch) -> Result<Self, (String, regex::Error)> {
        let mut impossible = false;
        let mut headers = Vec::with_capacity(m.headers.len());
        for ValueMatch { name, value } in &m.headers {
            match name.parse::<HeaderName>() {
                Ok(name) => headers.push((name, TextCondition::compile(value)?)),
                Err(_) => impossible = true,
            }
        }
        let method = match m.method.as_deref().map(|text| Method::from_bytes(text.as_bytes())) {
            None => None,
            Some(Ok(method)) => Some(method),
            Some(Err(_)) => {
                impossible = true;
                None
            }
        };
        let query = m.query_params.iter();
        let query = query.map(|p| Ok((p.name.as_str().into(), TextCondition::compile(&p.value)?)));
        Ok(Self {
            rule: m.rule,
            path: PathCondition::compile(&m.path)?,
            method,
            headers,
            impossible,
            query: query.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn fits(&self, head: RequestHead<'_>) -> bool {
        !self.impossible
            && self.method.as_ref().is_none_or(|method| method == head.method)
            && self.path.fits(head.path)
            && self.headers.iter().all(|(name, condition)| header_fits(head.headers, name, condition))
            && self.query.iter().all(|(name, condition)| query_fits(head.query, name, condition))
    }
}

/// A header given several times counts as one value joined by commas (RFC 9110 §5.3).
fn header_fits(headers: &HeaderMap, name: &HeaderName, condition: &TextCondition) -> bool {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => false,
        (Some(only), None) => condition.fits(only.as_bytes()),
        (Some(first), Some(second)) => {
            let mut joined = first.as_bytes().to_vec();
            for value in std::iter::once(second).chain(values) {
                joined.push(b',');
                joined.extend_from_slice(value.as_bytes());
            }
            condition.fits(&joined)
        }
    }
}

/// The first parameter of that name decides, names and values percent-decoded, as Gateway API asks.
fn query_fits(query: Option<&str>, name: &str, condition: &TextCondition) -> bool {
    let found = query.unwrap_or_default().split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (!pair.is_empty() && &*decoded(key) == name.as_bytes()).then_some(value)
    });
    found.is_some_and(|value| condition.fits(&decoded(value)))
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Cow::Borrowed(text.as_bytes());
    }
    let digit = |byte: Option<&u8>| byte.and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        out.push(match byte {
            b'+' => b' ',
            b'%' => match (digit(tail.first()), digit(tail.get(1))) {
                (Some(high), Some(low)) => {
                    rest = tail.get(2..).unwrap_or_default();
                    u8::try_from(high * 16 + low).unwrap_or(b'%')
                }
                _ => b'%',
            },
            other => *other,
        });
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
