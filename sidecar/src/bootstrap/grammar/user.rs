//! A user to be: `USER` or `USER:GROUP`, each by name or by number.

use super::{GrammarError, because};
use crate::intercept::Account;
use std::fmt;
use std::str::FromStr;

/// A user, and the one group to be in; by default the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub user: Account,
    /// The group, when given.
    pub group: Option<Account>,
}

impl FromStr for User {
    type Err = GrammarError;
    fn from_str(text: &str) -> Result<Self, GrammarError> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let account = |text: &str| text.parse::<Account>().map_err(because);
        Ok(Self { user: account(user)?, group: group.map(account).transpose()? })
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            Some(group) => write!(f, "{}:{group}", self.user),
            None => self.user.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_may_name_its_group() {
        for text in ["outrigger", "900", "web:www-data", "web:33", "0:0"] {
            assert_eq!(text.parse::<User>().unwrap().to_string(), text);
        }
        for text in ["", ":", "web:", ":web", "a b", "web:x:y"] {
            text.parse::<User>().unwrap_err();
        }
    }
}
