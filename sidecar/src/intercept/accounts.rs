//! Users and groups by name. Read from `/etc/passwd` and `/etc/group`, then asked from `getent`, which also knows those
//! of a directory service.

use super::grammar::Account;
use std::process::Command;

/// Who knows users and groups.
pub(crate) trait Accounts {
    /// The number of this one; a number is its own.
    fn id(&self, registry: Registry, account: &Account) -> Option<u32>;
}

/// Users or groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registry {
    /// Users.
    Users,
    /// Groups.
    Groups,
}

impl Registry {
    fn name(self) -> &'static str {
        match self {
            Self::Users => "passwd",
            Self::Groups => "group",
        }
    }
}

/// This machine's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine;

impl Accounts for Machine {
    fn id(&self, registry: Registry, account: &Account) -> Option<u32> {
        let name = match account {
            Account::Id(id) => return Some(*id),
            Account::Name(name) => name,
        };
        let file = std::fs::read_to_string(format!("/etc/{}", registry.name())).unwrap_or_default();
        listed(&file, name).or_else(|| {
            let asked = Command::new("getent").args([registry.name(), name]).output().ok()?;
            listed(&String::from_utf8_lossy(&asked.stdout), name)
        })
    }
}

/// The number of `name` in lines of `name:password:number:…`.
fn listed(lines: &str, name: &str) -> Option<u32> {
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1))??.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_whole() {
        let lines = "root:x:0:0:root:/:/bin/sh\nweb2:x:1002:1002::/:\nweb:x:1001:1001::/:\n";
        assert_eq!(listed(lines, "web"), Some(1001));
        assert_eq!(listed(lines, "we"), None);
        assert_eq!(Machine.id(Registry::Users, &Account::Name("root".to_owned())), Some(0));
        assert_eq!(Machine.id(Registry::Groups, &Account::Id(7)), Some(7));
    }
}
