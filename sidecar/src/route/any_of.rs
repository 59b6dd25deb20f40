//! Conditions outside of a route: whether a request is one of those that a limit or a failure made on purpose is for. The
//! same conditions as a route's, by the same rules.

use super::RequestHead;
use super::table::Match;
use mesh_protocol::service::RouteMatch;

/// Requests that fit any of some matches; of none, every request.
#[derive(Debug, Default)]
pub struct AnyOf(Vec<Match>);

/// A regular expression that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the regular expression `{pattern}` can't be used")]
pub struct PatternError {
    /// The expression.
    pub pattern: String,
    /// What is wrong with it.
    #[source]
    pub source: regex::Error,
}

impl AnyOf {
    /// Compiles the matches.
    ///
    /// # Errors
    /// [`PatternError`] with the first expression that can't be used.
    pub fn compile(matches: &[RouteMatch]) -> Result<Self, PatternError> {
        let compiled = matches.iter().map(Match::compile).collect::<Result<_, _>>();
        compiled.map(Self).map_err(|(pattern, source)| PatternError { pattern, source })
    }

    /// Whether the request is one of them.
    pub fn fit(&self, head: RequestHead<'_>) -> bool {
        self.0.is_empty() || self.0.iter().any(|it| it.fits(head))
    }
}
