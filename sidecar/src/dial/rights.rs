//! Whether this process may do to sockets what its flags ask for, found by trying; and what to do if not.

use super::Dial;
use crate::bootstrap::{InboundMode, Settings};
use crate::listen::Taking;
use rustix::thread::clear_ambient_capability_set;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

/// What of root's rights this process needs for as long as it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    /// Nothing.
    None,
    /// To mark sockets, and to use other machines' addresses: CAP_NET_ADMIN.
    NetAdmin,
}

impl Right {
    /// What these settings need.
    pub(crate) fn needed(settings: &Settings) -> Self {
        if settings.mark.is_some() || is_transparent(settings) { Self::NetAdmin } else { Self::None }
    }
}

fn is_transparent(settings: &Settings) -> bool {
    settings.plaintext_addr.is_some() && settings.inbound_mode == InboundMode::Tproxy
}

/// What this process may not do, in one sentence with the remedy; nothing if it may do all that it needs.
pub(crate) fn missing(settings: &Settings) -> Option<String> {
    let mut flags = Vec::new();
    let mut why = None;
    if let Some(mark) = settings.mark
        && let Err(error) = attempt(|socket| Dial::new(Some(mark)).mark(socket))
    {
        flags.push(format!("--mark {mark}"));
        why = Some(error);
    }
    if is_transparent(settings)
        && let Err(error) = attempt(|socket| Taking::Any.apply(socket, any()))
    {
        flags.push("--inbound-mode tproxy".to_owned());
        why = Some(error);
    }
    why.map(|error| sentence(&flags.join(" and "), &error))
}

fn sentence(flags: &str, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return format!("{flags}: the system refuses it: {error}");
    }
    let program =
        std::env::current_exe().map_or_else(|_| "sidecar".into(), |path| path.display().to_string());
    format!(
        "{flags}: this takes the right CAP_NET_ADMIN, which this process has not: start it as root, where --uid USER \
         keeps that one right; or give it with `setcap cap_net_admin+ep {program}`, or in its systemd unit with \
         `AmbientCapabilities=CAP_NET_ADMIN`. Rules that know the sidecar by its user (`sidecar intercept --sidecar-uid`) \
         and redirect need no right"
    )
}

fn any() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
}

fn attempt(work: impl FnOnce(&Socket) -> io::Result<()>) -> io::Result<()> {
    work(&Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?)
}

/// Lets no program that is started later have the right: a service manager may have given it to us for that, too.
///
/// # Errors
/// The system refuses.
pub(crate) fn clear_ambient() -> io::Result<()> {
    Ok(clear_ambient_capability_set()?)
}
