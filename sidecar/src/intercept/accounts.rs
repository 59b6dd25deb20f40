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

/// A user's number and that of its first group; the latter is not known of a number that is no user's.
pub(crate) fn user(account: &Account) -> Option<(u32, Option<u32>)> {
    let id = Machine.id(Registry::Users, account)?;
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = first_group(&passwd, account).or_else(|| {
        let asked = Command::new("getent").args(["passwd", &account.to_string()]).output().ok()?;
        first_group(&String::from_utf8_lossy(&asked.stdout), account)
    });
    Some((id, found))
}

/// A group's number.
pub(crate) fn group(account: &Account) -> Option<u32> {
    Machine.id(Registry::Groups, account)
}

/// The groups a user is in besides its first one; none of a number that is no user's.
pub(crate) fn further_groups(account: &Account) -> Vec<u32> {
    let name = match account {
        Account::Name(name) => Some(name.clone()),
        Account::Id(_) => {
            let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
            name_of(&passwd, account).or_else(|| {
                let asked = Command::new("getent").args(["passwd", &account.to_string()]).output().ok()?;
                name_of(&String::from_utf8_lossy(&asked.stdout), account)
            })
        }
    };
    let Some(name) = name else { return Vec::new() };
    // As `login` and systemd ask, so that those of a directory service are there too.
    let asked = Command::new("getent").args(["initgroups", &name]).output();
    match asked.ok().filter(|asked| asked.status.success()) {
        Some(asked) => {
            let line = String::from_utf8_lossy(&asked.stdout).into_owned();
            line.split_whitespace().skip(1).filter_map(|number| number.parse().ok()).collect()
        }
        None => memberships(&std::fs::read_to_string("/etc/group").unwrap_or_default(), &name),
    }
}

/// The name in the line of the user with this number.
fn name_of(lines: &str, account: &Account) -> Option<String> {
    let Account::Id(id) = account else { return None };
    lines.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(*id)).then(|| name.to_owned())
    })
}

/// The numbers of the groups in lines of `name:password:number:member,member` that have this member.
fn memberships(lines: &str, member: &str) -> Vec<u32> {
    let groups = lines.lines().filter_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let is_in = fields.get(3)?.split(',').any(|one| one == member);
        is_in.then(|| fields.get(2)?.parse().ok())?
    });
    groups.collect()
}

/// The group in the user's line of `name:password:number:group:…`.
fn first_group(lines: &str, account: &Account) -> Option<u32> {
    lines.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let (name, number) = (fields.first()?, fields.get(2)?);
        let is_it = match account {
            Account::Id(id) => number.parse() == Ok(*id),
            Account::Name(wanted) => wanted == name,
        };
        is_it.then(|| fields.get(3)?.parse().ok())?
    })
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
        let lines = "root:x:0:0:root:/:/bin/sh\nweb:x:1001:33::/:\n";
        assert_eq!(first_group(lines, &Account::Name("web".to_owned())), Some(33));
        assert_eq!(first_group(lines, &Account::Id(1001)), Some(33));
        assert_eq!(first_group(lines, &Account::Id(7)), None);
        assert_eq!(name_of(lines, &Account::Id(1001)).as_deref(), Some("web"));
        let groups = "adm:x:4:syslog,web\ncert:x:44:web2\nempty:x:45:\nspool:x:46:web\n";
        assert_eq!(memberships(groups, "web"), [4, 46]);
        assert!(further_groups(&Account::Id(4_000_000_000)).is_empty());
    }
}
