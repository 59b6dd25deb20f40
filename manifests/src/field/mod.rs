//! Values inside fields, as types that parse: what enters is the text of a field, what leaves cannot be wrong, so that
//! nothing is validated twice.

mod duration;
mod pattern;

pub use duration::{DurationError, format_duration, parse_duration};
pub use pattern::{PathPattern, PatternError, TextPattern};
