//! Which rule a request falls under, and which backend its share goes to. What enters is a service port as the
//! control plane compiled it (order is final: the first match that fits decides) and a request's head; what leaves is
//! a [`Rule`] and one of its backends. Pure; nothing is looked up elsewhere.

mod any_of;
mod matcher;
mod split;
mod table;

pub use any_of::{AnyOf, PatternError};
pub use matcher::RouteError;
pub use split::Split;
pub use table::{Decision, RequestHead, RouteTable, Rule};
