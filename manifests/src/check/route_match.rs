//! Rules of what a request must look like to fit a rule of an HTTPRoute.

use super::value;
use crate::diagnostic::{Code, Report};
use crate::field::{PathPattern, PatternError, TextPattern};
use crate::kind::route::{Match, NamedPattern, Rule};
use crate::path::FieldPath;
use gateway_api::experimental::httproutes as gateway;
use std::collections::BTreeMap;

/// The Gateway API's bounds.
const MATCHES_MAX: usize = 64;
const CONDITIONS_MAX: usize = 16;
const NAME_BYTES_MAX: usize = 256;

/// Reads the matches of a rule. None given means one that fits everything.
pub(crate) fn read(
    given: &[gateway::HttpRouteRulesMatches],
    path: &FieldPath,
    report: &mut Report,
) -> Vec<Match> {
    value::at_most(MATCHES_MAX, given.len(), path, report);
    let mut read = Vec::new();
    for (place, given) in given.iter().enumerate() {
        let path = path.index(place);
        let pattern = given.path.as_ref().map(|given| path_pattern(given, &path.field("path"), report));
        let headers = given.headers.iter().flatten().map(|header| Condition {
            name: &header.name,
            value: &header.value,
            is_regex: header.r#type == Some(gateway::HttpRouteRulesMatchesHeadersType::RegularExpression),
        });
        let params = given.query_params.iter().flatten().map(|param| Condition {
            name: &param.name,
            value: &param.value,
            is_regex: param.r#type == Some(gateway::HttpRouteRulesMatchesQueryParamsType::RegularExpression),
        });
        let headers = conditions(headers.collect(), Names::Headers, &path.field("headers"), report);
        let query_params =
            conditions(params.collect(), Names::QueryParams, &path.field("queryParams"), report);
        let method = given.method.as_ref().map(|method| method_name(method).to_owned());
        read.push(Match { path: pattern.flatten().unwrap_or_default(), method, headers, query_params });
    }
    if read.is_empty() {
        let everything =
            Match { path: PathPattern::default(), method: None, headers: vec![], query_params: vec![] };
        read.push(everything);
    }
    read
}

/// Warns of matches that an earlier one of the same route says too: of two equal ones the first rule wins.
pub(crate) fn check_shadowed(rules: &[Rule], path: &FieldPath, report: &mut Report) {
    let mut seen: Vec<(&Match, FieldPath)> = Vec::new();
    for (place, rule) in rules.iter().enumerate() {
        for (inner, given) in rule.matches.iter().enumerate() {
            let path = path.index(place).field("matches").index(inner);
            match seen.iter().find(|(earlier, _)| *earlier == given) {
                Some((_, earlier)) => {
                    let message =
                        format!("no request gets here: `{earlier}` fits the same requests and is first");
                    report.warning(
                        Code::DuplicateEntry,
                        path,
                        message,
                        "take one of them away, or make it differ",
                    );
                }
                None => seen.push((given, path)),
            }
        }
    }
}

fn path_pattern(
    given: &gateway::HttpRouteRulesMatchesPath,
    path: &FieldPath,
    report: &mut Report,
) -> Option<PathPattern> {
    use gateway::HttpRouteRulesMatchesPathType as Type;
    let text = given.value.as_deref().unwrap_or("/");
    let pattern = match given.r#type.as_ref().unwrap_or(&Type::PathPrefix) {
        Type::Exact => PathPattern::exact(text),
        Type::PathPrefix => PathPattern::prefix(text),
        Type::RegularExpression => PathPattern::regex(text),
    };
    pattern.map_err(|error| broken(text, &error, path.field("value"), report)).ok()
}

fn broken(text: &str, error: &PatternError, path: FieldPath, report: &mut Report) {
    let (code, mend) = match error {
        PatternError::Relative => (Code::BadValue, format!("write `/{text}`")),
        PatternError::NotPlain(_) => (Code::BadValue, "write the path as a server sees it".to_owned()),
        PatternError::TooLong(_, most) => (Code::OutOfRange, format!("keep at most {most} bytes")),
        PatternError::Empty => (Code::BadValue, "write what it must be".to_owned()),
        PatternError::Regex(_) => {
            (Code::BadRegex, "see https://docs.rs/regex for the syntax; there is no look-around".to_owned())
        }
    };
    report.error(code, path, error.to_string(), mend);
}

/// A condition on a named value, as written.
struct Condition<'a> {
    name: &'a str,
    value: &'a str,
    is_regex: bool,
}

/// What the names of conditions are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Header names: tokens (RFC 9110 §5.1) in any case.
    Headers,
    /// Query parameters: any text, case counts.
    QueryParams,
}

fn conditions(
    given: Vec<Condition<'_>>,
    names: Names,
    path: &FieldPath,
    report: &mut Report,
) -> Vec<NamedPattern> {
    value::at_most(CONDITIONS_MAX, given.len(), path, report);
    let (mut seen, mut read) = (BTreeMap::new(), Vec::new());
    for (place, given) in given.into_iter().enumerate() {
        let path = path.index(place);
        check_name(given.name, names, &path.field("name"), report);
        let name =
            if names == Names::Headers { given.name.to_ascii_lowercase() } else { given.name.to_owned() };
        if let Some(earlier) = seen.insert(name.clone(), place) {
            let message = format!("the condition at place {earlier} has the same name");
            let mend = "keep one: a regular expression can say both";
            report.error(Code::DuplicateEntry, path.field("name"), message, mend);
        }
        let value =
            if given.is_regex { TextPattern::regex(given.value) } else { TextPattern::exact(given.value) };
        match value {
            Ok(value) => read.push(NamedPattern { name, value }),
            Err(error) => broken(given.value, &error, path.field("value"), report),
        }
    }
    read
}

fn check_name(name: &str, names: Names, path: &FieldPath, report: &mut Report) {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let message = format!("a name has 1 to {NAME_BYTES_MAX} bytes, and this has {}", name.len());
        return report.error(Code::BadName, path.clone(), message, "name what the condition is about");
    }
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if names == Names::Headers && name.starts_with(':') {
        let message = format!("`{name}` is a pseudo-header of HTTP/2");
        report.error(Code::BadName, path.clone(), message, "use `path`, `method` or the route's `hostnames`");
    } else if names == Names::Headers && !name.bytes().all(token) {
        let message = format!("`{name}` is not the name of a header");
        report.error(Code::BadName, path.clone(), message, "use letters, digits and `-`");
    }
}

fn method_name(method: &gateway::HttpRouteRulesMatchesMethod) -> &'static str {
    use gateway::HttpRouteRulesMatchesMethod as Method;
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
    }
}
