//! Giving up root. Enters: users as flags name them. Leaves: their numbers; and a process that is such a user for good,
//! without root's groups or a way back, and without its capabilities but the one that its sockets need.
//!
//! Linux keeps this per thread, so it happens in `main`'s thread before there is another: what is started later
//! inherits it.

use crate::bootstrap::User;
use crate::dial::Right;
use crate::intercept;
use rustix::process::{Gid, Uid, getegid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_no_new_privs,
    set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};
use std::fmt;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::Path;

/// A user and its one group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Whether programs started later may get other rights than ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Later {
    /// No: nothing is started later.
    NoOther,
    /// Yes: a command that may be one with rights of its own, as `ping`.
    Other,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

impl Owner {
    /// The user that `flag` names; only root can become another than it is.
    ///
    /// # Errors
    /// A sentence with the remedy.
    pub(crate) fn of_flag(flag: &str, user: &User) -> Result<Self, String> {
        let (uid, gid) = intercept::user(&user.user).ok_or_else(|| {
            let name = &user.user;
            format!(
                "{flag} {user}: this machine has no such user; make one with `useradd --system --no-create-home \
                 {name}`, or give another name or a number"
            )
        })?;
        let gid = match &user.group {
            Some(group) => intercept::group(group)
                .ok_or_else(|| format!("{flag} {user}: this machine has no group {group}; give another, or a number"))?,
            None => gid.ok_or_else(|| {
                format!("{flag} {user}: this machine has no user with this number, so its group must be given: {user}:GROUP")
            })?,
        };
        let owner = Self { uid, gid };
        if !geteuid().is_root() && owner != Self::now() {
            return Err(format!(
                "{flag} {user}: only root can become another user; start as root, or leave the flag out"
            ));
        }
        Ok(owner)
    }

    fn now() -> Self {
        Self { uid: geteuid().as_raw(), gid: getegid().as_raw() }
    }

    /// Makes sure that the directory is there and this user's. One that is another's, with the files in it, is given to
    /// the user; what is the user's already is left as it is, since the user could have laid links there.
    ///
    /// # Errors
    /// What could not be done, with the path.
    pub(crate) fn take_directory(self, directory: &Path) -> io::Result<()> {
        let naming =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", directory.display()));
        if let Some(parent) = directory.parent() {
            // Others must be able to go through, or the user could not.
            std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(naming)?;
        }
        match std::fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(naming(error)),
            Ok(()) | Err(_) => {}
        }
        let found = std::fs::symlink_metadata(directory).map_err(naming)?;
        if !found.is_dir() || found.uid() == self.uid {
            return Ok(());
        }
        for entry in std::fs::read_dir(directory).map_err(naming)? {
            let entry = entry.map_err(naming)?;
            if entry.file_type().map_err(naming)?.is_file() {
                lchown(entry.path(), Some(self.uid), Some(self.gid)).map_err(naming)?;
            }
        }
        lchown(directory, Some(self.uid), Some(self.gid)).map_err(naming)
    }

    /// Becomes this user for good, with this one of root's rights at most. Programs started later do not have it.
    ///
    /// # Errors
    /// The system refuses; the process should end.
    pub(crate) fn become_for_good(self, later: Later, right: Right) -> io::Result<()> {
        if self != Self::now() || geteuid().is_root() {
            let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
            set_thread_groups(&[])?;
            set_thread_res_gid(gid, gid, gid)?;
            set_keep_capabilities(right == Right::NetAdmin)?;
            // Last, since it takes the right to do the others. The kernel drops all capabilities with it, unless told to
            // keep them; then all but the one are dropped here.
            set_thread_res_uid(uid, uid, uid)?;
            if right == Right::NetAdmin && self.uid != 0 {
                keep(CapabilitySet::NET_ADMIN)?;
            }
            set_keep_capabilities(false)?;
        }
        if later == Later::NoOther {
            set_no_new_privs(true)?;
        }
        let root = Uid::ROOT;
        if self.uid != 0 && set_thread_res_uid(root, root, root).is_ok() {
            return Err(io::Error::other("root could be taken back"));
        }
        Ok(())
    }
}

/// Keeps this one capability, if it is there, and drops all others.
fn keep(capability: CapabilitySet) -> io::Result<()> {
    let held = capabilities(None)?.permitted & capability;
    Ok(set_capabilities(
        None,
        CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() },
    )?)
}
