//! Which servers foreign names are asked of. Enters: `--dns-upstream`, or the system's `/etc/resolv.conf`, read anew when
//! it may have changed. Leaves: at most three addresses, the one that answered last first. Never here: our own address;
//! asking ourselves would ask ourselves.

use hickory_resolver::system_conf::parse_resolv_conf;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// As many as libc's resolvers ask (MAXNS in `resolv.h`).
const SERVERS_MAX: usize = 3;
/// Where DNS is served.
const PORT: u16 = 53;
/// From a look at the system's configuration to the next: a laptop or a DHCP client changes it while we run.
const FRESH: Duration = Duration::from_secs(5);

/// Where the servers are written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// By flags.
    Given(Vec<SocketAddr>),
    /// In the system's resolver configuration, at this path.
    System(PathBuf),
}

impl Source {
    /// The servers given by flags, or if there are none those of the system.
    pub(crate) fn of_flags(given: Vec<SocketAddr>) -> Self {
        if given.is_empty() { Self::System("/etc/resolv.conf".into()) } else { Self::Given(given) }
    }
}

/// The servers, and which of them answers.
#[derive(Debug)]
pub(super) struct Upstreams {
    source: Source,
    /// Where we listen ourselves.
    own: Vec<SocketAddr>,
    /// Guards the list; held to copy it, never over an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    servers: Vec<SocketAddr>,
    read: Option<Instant>,
    answered: Option<SocketAddr>,
}

impl Upstreams {
    pub(super) fn new(source: Source, own: Vec<SocketAddr>) -> Self {
        let upstreams = Self { source, own, state: Mutex::default() };
        match &upstreams.source {
            Source::Given(servers) => {
                upstreams.state().servers = upstreams.usable(servers.clone(), "--dns-upstream");
            }
            // Once before anybody asks, so that questions that come together all have servers.
            Source::System(path) => {
                upstreams.state().read = Some(Instant::now());
                upstreams.take(std::fs::read(path), path);
            }
        }
        upstreams
    }

    /// The servers to ask, in this order.
    pub(super) async fn list(&self) -> Vec<SocketAddr> {
        if let Source::System(path) = &self.source
            && self.state().read.is_none_or(|read| read.elapsed() >= FRESH)
        {
            // Whoever comes next meanwhile takes the list as it was.
            self.state().read = Some(Instant::now());
            self.take(tokio::fs::read(path).await, path);
        }
        let state = self.state();
        let mut servers = state.servers.clone();
        // Stable: the others stay as they are written.
        servers.sort_by_key(|server| Some(*server) != state.answered);
        servers
    }

    /// This server has answered.
    pub(super) fn answered(&self, server: SocketAddr) {
        self.state().answered = Some(server);
    }

    fn take(&self, text: io::Result<Vec<u8>>, path: &Path) {
        match text {
            Ok(text) => self.update(&text, &path.display().to_string()),
            // Last good wins.
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "cannot read the DNS configuration")
            }
        }
    }

    fn update(&self, text: &[u8], path: &str) {
        let servers = match parse_resolv_conf(text) {
            Ok((config, _)) => {
                config.name_servers().iter().map(|server| SocketAddr::new(server.ip, PORT)).collect()
            }
            Err(error) => {
                tracing::debug!(path, %error, "no DNS server in the configuration");
                Vec::new()
            }
        };
        let usable = self.usable(servers, path);
        let mut state = self.state();
        if state.servers != usable {
            tracing::info!(servers = ?usable, "foreign names are asked of these DNS servers");
            state.servers = usable;
        }
    }

    fn usable(&self, servers: Vec<SocketAddr>, place: &str) -> Vec<SocketAddr> {
        let (own, mut others): (Vec<_>, Vec<_>) =
            servers.into_iter().partition(|server| self.is_own(*server));
        if others.is_empty() && !own.is_empty() {
            tracing::warn!(
                ?own,
                place,
                "the only DNS server there is this sidecar; foreign names fail until --dns-upstream names another"
            );
        }
        others.truncate(SERVERS_MAX);
        others
    }

    fn is_own(&self, server: SocketAddr) -> bool {
        let ip = server.ip().to_canonical();
        self.own.iter().any(|own| {
            let everywhere = own.ip().is_unspecified() && ip.is_loopback();
            // An unspecified address as a destination is this machine.
            let here = ip.is_unspecified() && own.ip().is_loopback();
            own.port() == server.port() && (everywhere || here || IpAddr::to_canonical(&own.ip()) == ip)
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn flags_come_before_the_systems_configuration() {
        assert_eq!(Source::of_flags(vec![at("192.0.2.1:53")]), Source::Given(vec![at("192.0.2.1:53")]));
        assert_eq!(Source::of_flags(Vec::new()), Source::System("/etc/resolv.conf".into()));
    }

    #[tokio::test]
    async fn we_are_never_our_own_upstream() {
        for (own, server, is_kept) in [
            ("127.0.0.1:15053", "127.0.0.1:15053", false),
            ("127.0.0.1:15053", "[::ffff:127.0.0.1]:15053", false),
            ("127.0.0.1:15053", "0.0.0.0:15053", false),
            ("0.0.0.0:53", "127.0.0.53:53", false),
            ("[::]:53", "[::1]:53", false),
            ("127.0.0.1:15053", "127.0.0.1:53", true),
            ("127.0.0.1:53", "127.0.0.53:53", true),
            ("127.0.0.1:53", "192.0.2.1:53", true),
        ] {
            let upstreams = Upstreams::new(Source::Given(vec![at(server)]), vec![at(own)]);
            assert_eq!(!upstreams.list().await.is_empty(), is_kept, "{server} from {own}");
        }
    }

    #[tokio::test]
    async fn the_server_that_answered_last_is_asked_first() {
        let servers = ["192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53", "192.0.2.4:53"].map(at);
        let upstreams = Upstreams::new(Source::Given(servers.to_vec()), Vec::new());
        assert_eq!(upstreams.list().await, servers[..3], "three at most, as libc");
        upstreams.answered(servers[1]);
        assert_eq!(upstreams.list().await, [servers[1], servers[0], servers[2]]);
        upstreams.answered(at("192.0.2.9:53"));
        assert_eq!(upstreams.list().await, servers[..3], "one that is gone from the list stays gone");
    }

    #[tokio::test]
    async fn questions_that_come_together_all_have_servers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "nameserver 192.0.2.1\n").unwrap();
        let upstreams = Upstreams::new(Source::System(file.path().to_owned()), Vec::new());
        let (one, other) = tokio::join!(upstreams.list(), upstreams.list());
        assert_eq!((one, other), (vec![at("192.0.2.1:53")], vec![at("192.0.2.1:53")]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_systems_configuration_is_read_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let upstreams = Upstreams::new(Source::System(path.clone()), vec![at("127.0.0.1:53")]);
        assert!(upstreams.list().await.is_empty(), "no file, no server");
        std::fs::write(&path, "search shop.svc.mesh.internal\nnameserver 127.0.0.1\nnameserver 192.0.2.1\n")
            .unwrap();
        assert!(upstreams.list().await.is_empty(), "not looked at again so soon");
        tokio::time::advance(FRESH).await;
        assert_eq!(upstreams.list().await, [at("192.0.2.1:53")]);
        std::fs::write(&path, "nameserver fd00::53\n").unwrap();
        tokio::time::advance(FRESH).await;
        assert_eq!(upstreams.list().await, [at("[fd00::53]:53")]);
        std::fs::remove_file(&path).unwrap();
        tokio::time::advance(FRESH).await;
        assert_eq!(upstreams.list().await, [at("[fd00::53]:53")], "last good wins");
    }
}
