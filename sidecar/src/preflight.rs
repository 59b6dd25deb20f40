//! Everything that can be found wrong before anything starts, found wrong at once: files that can't be read, a state
//! directory in use, ports in use. Enters: settings. Leaves: what is needed to start, with every port bound; or one line
//! for each problem, with the flag to mend it.

use crate::bootstrap::{DnsAddress, InboundMode, Settings, Start, State, StateError, User};
use crate::command::{self, Launcher};
use crate::dial::{self, Right};
use crate::dns;
use crate::identity::authority::read_token;
use crate::identity::stored::Store;
use crate::intercept::further_groups;
use crate::privileges::{Later, Owner};
use crate::takeover::{Inherited, Kept, Link};
use crate::worker::{self, Listeners, Taking, Upstream};
use mesh_mtls::{Svid, TrustBundle, pem};
use mesh_names::Subdomain;
use std::fmt;
use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::time::SystemTime;

const ADMIN: &str = "--admin-addr";
const METRICS: &str = "--metrics-addr";
const DNS: &str = "--dns-addr";

/// What a start needs.
#[derive(Debug)]
pub(crate) struct Preflight {
    /// The state directory, locked.
    pub(crate) state: State,
    /// The workload's name.
    pub(crate) name: Subdomain,
    /// The CA certificates of `--trust-bundle`.
    pub(crate) trust_bundle: TrustBundle,
    /// Where the certificate is kept.
    pub(crate) store: Store,
    /// The certificate kept there, if it is still valid.
    pub(crate) svid: Option<Svid>,
    /// The workers' sockets.
    pub(crate) listeners: Listeners,
    /// The admin socket.
    pub(crate) admin: TcpListener,
    /// The metrics socket.
    pub(crate) metrics: TcpListener,
    /// The DNS sockets; none if DNS is off.
    pub(crate) dns: Vec<dns::Sockets>,
    /// Who starts the command as another user; none if there is nothing to be started so.
    pub(crate) launcher: Option<Launcher>,
    /// The process that the sockets are of; none if they are new.
    pub(crate) before: Option<Link>,
}

/// What only root may be able to get.
#[derive(Default)]
struct Sockets {
    listeners: Option<Listeners>,
    admin: Option<TcpListener>,
    metrics: Option<TcpListener>,
    dns: Option<Vec<dns::Sockets>>,
}

/// Everything that is wrong, one line each.
#[derive(Debug)]
pub struct PreflightErrors(Vec<String>);

impl fmt::Display for PreflightErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\nsidecar: "))
    }
}

impl std::error::Error for PreflightErrors {}

impl Preflight {
    /// A second handle of every socket, for the process that may take over from this one.
    ///
    /// # Errors
    /// The process may open no more files.
    pub(crate) fn kept(&self) -> io::Result<Kept> {
        let mut kept = Kept::with_lock_of(&self.state)?;
        for (flag, socket) in self.listeners.by_flag() {
            kept.add(&flag, socket)?;
        }
        kept.add(ADMIN, &self.admin)?;
        kept.add(METRICS, &self.metrics)?;
        for sockets in &self.dns {
            let (udp, tcp) = sockets.parts();
            kept.add(DNS, udp)?;
            kept.add(DNS, tcp)?;
        }
        Ok(kept)
    }

    /// Checks and binds. As root with `--uid`, root is given up in between: what is read after that is read as the user.
    ///
    /// # Errors
    /// [`PreflightErrors`] with every problem; nothing stays bound or locked.
    pub(crate) fn check(settings: &Settings) -> Result<Self, PreflightErrors> {
        // Without knowing who to be, nothing else is done.
        let users = Users::of_settings(settings).map_err(PreflightErrors)?;
        let mut inherited =
            inherited(settings, users.own).map_err(|problem| PreflightErrors(vec![problem]))?;
        let mut late = Vec::new();
        let Sockets { listeners, admin, metrics, dns } = Sockets::bind(settings, &mut inherited, &mut late);
        let mut problems = Vec::new();
        let launcher = users.take_over(settings);
        let launcher = noted(launcher, &mut problems).flatten();
        let bundle = pem::read_trust_bundle(&settings.trust_bundle);
        let trust_bundle = noted(bundle.map_err(|error| format!("--trust-bundle: {error}")), &mut problems);
        let state = match inherited.lock() {
            Some(lock) => Some(State::inherited(&settings.state_dir, lock)),
            None => match State::open(&settings.state_dir) {
                // Whatever else is wrong follows from that: its ports are in use.
                Err(StateError::Locked { .. }) if settings.start == Start::TakeOver => {
                    return Err(PreflightErrors(vec![not_offered(settings)]));
                }
                opened => noted(opened.map_err(|error| error.to_string()), &mut problems),
            },
        };
        let owned = state.and_then(|state| {
            let name = state.workload_name(settings.name.as_ref(), settings.service_account().as_str());
            let name = noted(name.map_err(|error| error.to_string()), &mut problems)?;
            Some((state, name))
        });
        let kept = owned.as_ref().map(|(state, _)| {
            let store = Store::new(state);
            let svid = kept_svid(&store, settings);
            (store, svid)
        });
        if kept.as_ref().is_none_or(|(_, svid)| svid.is_none()) {
            // With a certificate the token is not needed, and may be gone.
            let token = read_token(&settings.token_file);
            let file = settings.token_file.display();
            noted(token.map_err(|error| format!("--token-file {file}: {error}")), &mut problems);
        }
        problems.append(&mut late);
        match (trust_bundle, owned, kept, listeners, admin, metrics, dns) {
            (
                Some(trust_bundle),
                Some((state, name)),
                Some((store, svid)),
                Some(listeners),
                Some(admin),
                Some(metrics),
                Some(dns),
            ) if problems.is_empty() => {
                let before = inherited.into_link();
                Ok(Self {
                    state,
                    name,
                    trust_bundle,
                    store,
                    svid,
                    listeners,
                    admin,
                    metrics,
                    dns,
                    launcher,
                    before,
                })
            }
            _ => Err(PreflightErrors(problems)),
        }
    }
}

impl Sockets {
    fn bind(settings: &Settings, inherited: &mut Inherited, problems: &mut Vec<String>) -> Self {
        let upstreams: Vec<_> = settings
            .upstreams
            .iter()
            .map(|upstream| Upstream {
                service: upstream.service.clone(),
                port: upstream.port,
                address: upstream.address,
            })
            .collect();
        let addresses = worker::Addresses {
            outbound: Some(settings.outbound_addr),
            inbound: Some(settings.inbound_addr),
            capture: settings.capture,
            plaintext: settings.plaintext_addr,
            taking: taking(settings),
            upstreams,
        };
        let mut inherit = |flag: &str, address| inherited.listeners(flag, address);
        let bound = worker::bind_or_inherit(&addresses, settings.workers, &mut inherit);
        Self {
            listeners: noted(bound.map_err(|error| error.to_string()), problems),
            admin: noted(bind(ADMIN, settings.admin_addr, inherited), problems),
            metrics: noted(bind(METRICS, settings.metrics_addr, inherited), problems),
            dns: noted(dns_sockets(settings.dns_addr, inherited), problems),
        }
    }
}

/// How captured plain text is to be taken. Without the right to take it so, what else is wrong is still to be found.
fn taking(settings: &Settings) -> Taking {
    match settings.inbound_mode {
        InboundMode::Tproxy if dial::missing(settings).is_none() => Taking::Any,
        InboundMode::Tproxy | InboundMode::Redirect | InboundMode::Off => Taking::Own,
    }
}

/// Who this process and its command are to be.
struct Users {
    own: Option<Owner>,
    command: Option<Owner>,
}

impl Users {
    fn of_settings(settings: &Settings) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut owner = |flag, user: &Option<User>| {
            let user = user.as_ref()?;
            noted(Owner::of_flag(flag, user), &mut problems)
        };
        let users = Self {
            own: owner("--uid", &settings.uid),
            command: owner("--command-uid", &settings.command_uid),
        };
        if problems.is_empty() { Ok(users) } else { Err(problems) }
    }

    /// Starts the launcher and becomes the user, who must have the right that the settings take.
    fn take_over(&self, settings: &Settings) -> Result<Option<Launcher>, String> {
        let launcher = match (self.command, &settings.command) {
            (Some(Owner { uid, gid }), Some(command)) => {
                let user = settings.command_uid.as_ref();
                let order = command::Order {
                    uid,
                    gid,
                    further_groups: user.map(|user| further_groups(&user.user)).unwrap_or_default(),
                    when: command::When::Told,
                    command: command.clone(),
                };
                let launcher = Launcher::start(&order);
                Some(launcher.map_err(|error| format!("cannot start the launcher of {command}: {error}"))?)
            }
            (None, _) | (_, None) => None,
        };
        if let Some(own) = self.own {
            own.take_directory(&settings.state_dir).map_err(|error| format!("--state-dir: {error}"))?;
            let later = match (&settings.command, &launcher) {
                (Some(_), None) => Later::Other,
                (None, _) | (_, Some(_)) => Later::NoOther,
            };
            own.become_for_good(later, Right::needed(settings))
                .map_err(|error| format!("--uid: cannot become {own}: {error}"))?;
        }
        if Right::needed(settings) == Right::NetAdmin {
            let cleared = dial::clear_ambient();
            cleared
                .map_err(|error| format!("cannot keep CAP_NET_ADMIN from programs started later: {error}"))?;
        }
        dial::missing(settings).map_or(Ok(launcher), Err)
    }
}

fn kept_svid(store: &Store, settings: &Settings) -> Option<Svid> {
    match store.load(&settings.identity, SystemTime::now()) {
        Ok(svid) => svid,
        Err(error) => {
            let path = store.path().display();
            tracing::warn!(%path, %error, "the certificate on disk is not used; a new one is asked for");
            None
        }
    }
}

/// What the process before has given us, if it was to be asked.
fn inherited(settings: &Settings, own: Option<Owner>) -> Result<Inherited, String> {
    match settings.start {
        Start::Afresh => Ok(Inherited::default()),
        Start::TakeOver => Inherited::ask(&settings.state_dir, own.map(|own| own.uid)).map_err(|error| {
            let state_dir = settings.state_dir.display();
            format!("--takeover: the sidecar on {state_dir} cannot be taken over from, and goes on: {error}")
        }),
    }
}

/// A sidecar runs there and does not hand over.
fn not_offered(settings: &Settings) -> String {
    format!(
        "--takeover: the sidecar on {} runs and cannot be taken over from, and goes on: it has a COMMAND, which would lose \
         its parent, or it is only just starting or already ending. With a COMMAND, end that sidecar and start this one \
         without --takeover: it leaves the mesh and finishes its requests before COMMAND is told to end",
        settings.state_dir.display()
    )
}

fn bind(flag: &str, address: SocketAddr, inherited: &mut Inherited) -> Result<TcpListener, String> {
    if let Some(socket) = inherited.listeners(flag, address).pop() {
        return Ok(socket);
    }
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|error| unbound(flag, address, &error))
}

fn unbound(flag: &str, address: SocketAddr, error: &io::Error) -> String {
    let why = if error.kind() == io::ErrorKind::AddrInUse {
        "another process has this port: stop it, or choose another port with this flag".to_owned()
    } else {
        error.to_string()
    };
    format!("cannot listen on {address} ({flag}): {why}")
}

/// The DNS server's sockets: at its address, and at the same port of IPv6's loopback, since that is where the kernel
/// redirects queries over IPv6.
fn dns_sockets(address: DnsAddress, inherited: &mut Inherited) -> Result<Vec<dns::Sockets>, String> {
    let DnsAddress::At(address) = address else { return Ok(Vec::new()) };
    let mut bind =
        |address| match (inherited.datagrams(DNS, address), inherited.listeners(DNS, address).pop()) {
            (Some(udp), Some(tcp)) => dns::Sockets::inherited(udp, tcp),
            (None, _) | (_, None) => dns::Sockets::bind(address),
        };
    let first = bind(address).map_err(|error| unbound("--dns-addr", address, &error))?;
    let twin = SocketAddr::from((Ipv6Addr::LOCALHOST, first.address().port()));
    if address.is_ipv6() {
        return Ok(vec![first]);
    }
    match bind(twin) {
        Ok(second) => Ok(vec![first, second]),
        // Without IPv6 nothing is redirected there either.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => Ok(vec![first]),
        Err(error) => Err(unbound("--dns-addr", twin, &error)),
    }
}

fn noted<T>(result: Result<T, String>, problems: &mut Vec<String>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}
