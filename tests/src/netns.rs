//! Machines that are network namespaces: each with its own addresses, rules and ports, joined by virtual cables, and gone
//! when dropped. Nothing of this reaches the machine's own network.
//!
//! Clients are `bash`, started as the user a test asks for: it opens a connection, reads one line and prints it. Servers
//! are threads of the test that have entered the namespace: each answers every connection with one line that says who
//! answered, where the kernel says the connection was going, and where it came from.

use crate::wait::eventually;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a client waits for its line, in seconds; only ever reached by a test that fails.
const CLIENT_SECONDS: u32 = 10;
/// How often a server looks whether it should end.
const LOOK: Duration = Duration::from_millis(10);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A machine.
#[derive(Debug)]
pub struct Host {
    name: String,
    open: OwnedFd,
}

impl Host {
    /// A machine with nothing but loopback.
    ///
    /// # Panics
    /// Namespaces can't be made: not root, or no `ip`.
    pub fn new() -> Self {
        let name = format!("outrigger-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        sh("ip", &["netns", "add", &name]);
        sh("ip", &["-n", &name, "link", "set", "lo", "up"]);
        let open = File::open(Path::new("/run/netns").join(&name)).unwrap().into();
        Self { name, open }
    }

    /// The namespace's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Two machines with a cable between them: the first is 10.77.N.1 and fd77:N::1, the second ends with 2.
    pub fn pair() -> (Self, Self) {
        let (one, other) = (Self::new(), Self::new());
        one.join(&other, 0);
        (one, other)
    }

    /// A cable to another machine, in network N.
    pub fn join(&self, other: &Self, network: u8) {
        let (here, there) = (format!("eth{network}"), format!("eth{network}"));
        let ends = ["link", "add", &here, "netns", &self.name, "type", "veth"];
        sh("ip", &[&ends[..], &["peer", "name", &there, "netns", &other.name]].concat());
        for (host, interface, number) in [(self, &here, 1), (other, &there, 2)] {
            let v4 = format!("10.77.{network}.{number}/24");
            let v6 = format!("fd77:{network}::{number}/64");
            sh("ip", &["-n", &host.name, "addr", "add", &v4, "dev", interface]);
            sh("ip", &["-n", &host.name, "addr", "add", &v6, "dev", interface, "nodad"]);
            sh("ip", &["-n", &host.name, "link", "set", interface, "up"]);
        }
    }

    /// Runs `work` on a thread that is in the namespace; what it opens or starts stays there.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let entered = scope.spawn(|| {
                enter(&self.open);
                work()
            });
            entered.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs a program to its end.
    pub fn run(&self, mut command: Command) -> Output {
        self.inside(|| command.current_dir("/").output()).unwrap()
    }

    /// Runs `program ARGS` and returns what it printed.
    ///
    /// # Panics
    /// It fails.
    pub fn sh(&self, program: &str, args: &[&str]) -> String {
        self.inside(|| sh(program, args))
    }

    /// Runs `sidecar intercept ARGS`, as root.
    pub fn intercept(&self, args: &str) -> Output {
        let mut command = Command::new(sidecar());
        command.arg("intercept").args(args.split_whitespace());
        self.run(command)
    }

    /// The same, and it must succeed; returns what it printed.
    ///
    /// # Panics
    /// It fails.
    pub fn intercepts(&self, args: &str) -> String {
        let output = self.intercept(args);
        assert!(output.status.success(), "sidecar intercept {args}: {}", told(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same, and it must fail with exit code 1; returns what it said.
    ///
    /// # Panics
    /// It does not.
    pub fn refuses(&self, args: &str) -> String {
        let output = self.intercept(args);
        assert_eq!(output.status.code(), Some(1), "sidecar intercept {args}: {}", told(&output));
        told(&output)
    }

    /// All rules there are, without counters.
    pub fn rules(&self) -> String {
        self.sh("nft", &["-s", "list", "ruleset"])
    }

    /// What user `uid` reads from a TCP connection to `to`, or how it fails.
    ///
    /// # Errors
    /// It can't connect, or nobody answers.
    pub fn asks(&self, uid: u32, to: &str) -> Result<String, String> {
        self.client(uid, "tcp", to)
    }

    /// What user `uid` is answered to a datagram to `to`.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn asks_udp(&self, uid: u32, to: &str) -> Result<String, String> {
        self.client(uid, "udp", to)
    }

    fn client(&self, uid: u32, protocol: &str, to: &str) -> Result<String, String> {
        let mut command = Command::new("bash");
        command.arg("-c").arg(client_script(protocol, to)).uid(uid).gid(uid);
        line_of(&self.run(command))
    }

    /// Answers TCP connections on `address`.
    pub fn serve(&self, word: &'static str, address: &str) -> Server {
        self.server(word, address, Way::Usual)
    }

    /// Answers TCP connections to any address that TPROXY hands over to `address`.
    pub fn serve_transparently(&self, word: &'static str, address: &str) -> Server {
        self.server(word, address, Way::Transparent)
    }

    /// The same, but the line is the one of whoever was meant, asked in the client's name with this mark.
    pub fn relay_transparently(&self, address: &str, mark: u32) -> Server {
        self.server("relay", address, Way::Relaying(mark))
    }

    fn server(&self, word: &'static str, address: &str, way: Way) -> Server {
        let address: SocketAddr = address.parse().unwrap();
        let open = self.open.try_clone().unwrap();
        Server::start(move |stop| {
            enter(&open);
            let listener = listen(address, way).unwrap();
            Box::new(move || {
                while !stop.load(Ordering::Relaxed) {
                    // Accepting times out, so that an end is noticed.
                    if let Ok((accepted, _)) = listener.accept() {
                        // A client that does not wait for its line is none of ours: a probe.
                        drop(answer(accepted.into(), word, way));
                    }
                }
            })
        })
    }

    /// Answers datagrams on `address` with a line.
    pub fn serve_udp(&self, word: &'static str, address: &str) -> Server {
        let address: SocketAddr = address.parse().unwrap();
        let open = self.open.try_clone().unwrap();
        Server::start(move |stop| {
            enter(&open);
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_read_timeout(Some(LOOK)).unwrap();
            Box::new(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((_, client)) = socket.recv_from(&mut [0; 512]) {
                        socket.send_to(format!("{word}\n").as_bytes(), client).unwrap();
                    }
                }
            })
        })
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let removed = Command::new("ip").args(["netns", "del", &self.name]).status();
        assert!(
            std::thread::panicking() || removed.is_ok_and(|status| status.success()),
            "{} stays",
            self.name
        );
    }
}

/// A server; dropping it ends it.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

type Loop = Box<dyn FnOnce()>;

impl Server {
    /// `open` binds and returns the loop; this returns once it is bound.
    fn start(open: impl FnOnce(Arc<AtomicBool>) -> Loop + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let (bound, is_bound) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn(move || {
            let serve = open(told);
            bound.send(()).unwrap();
            serve();
        });
        is_bound.recv().expect("the server's thread says what it could not bind");
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "a server failed");
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    Usual,
    Transparent,
    Relaying(u32),
}

fn listen(address: SocketAddr, way: Way) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    match (way, address.is_ipv6()) {
        (Way::Usual, _) => {}
        (Way::Transparent | Way::Relaying(_), false) => socket.set_ip_transparent_v4(true)?,
        (Way::Transparent | Way::Relaying(_), true) => socket.set_ip_transparent_v6(true)?,
    }
    socket.set_read_timeout(Some(LOOK))?;
    socket.bind(&address.into())?;
    socket.listen(64)?;
    Ok(socket)
}

fn answer(mut accepted: TcpStream, word: &str, way: Way) -> io::Result<()> {
    let (local, peer) = (accepted.local_addr()?, accepted.peer_addr()?);
    let line = match way {
        Way::Usual => format!("{word} {} {}\n", original(&accepted, local), peer.ip()),
        Way::Transparent => format!("{word} {local} {}\n", peer.ip()),
        Way::Relaying(mark) => in_the_name_of(peer.ip(), local, mark)?,
    };
    accepted.write_all(line.as_bytes())
}

/// Where the kernel says the connection was going; `-` if here.
fn original(accepted: &TcpStream, local: SocketAddr) -> String {
    let socket = SockRef::from(accepted);
    let found = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let found = found.ok().and_then(|found| found.as_socket());
    // Without its scope, which the kernel does not tell.
    let found = found.map(|found| SocketAddr::new(found.ip(), found.port())).filter(|found| *found != local);
    found.map_or_else(|| "-".to_owned(), |found| found.to_string())
}

fn in_the_name_of(client: IpAddr, service: SocketAddr, mark: u32) -> io::Result<String> {
    let socket = Socket::new(Domain::for_address(service), Type::STREAM, Some(Protocol::TCP))?;
    if service.is_ipv4() {
        socket.set_ip_transparent_v4(true)?;
    } else {
        socket.set_ip_transparent_v6(true)?;
    }
    socket.set_mark(mark)?;
    socket.bind(&SocketAddr::new(client, 0).into())?;
    socket.connect_timeout(&service.into(), Duration::from_secs(CLIENT_SECONDS.into()))?;
    let mut line = String::new();
    TcpStream::from(socket).read_to_string(&mut line)?;
    Ok(line)
}

/// Opens a connection as `bash` can, and prints the line that comes; first sends a word if nobody would answer else.
pub fn client_script(protocol: &str, to: &str) -> String {
    let (address, port) = to.rsplit_once(':').unwrap();
    let address = address.trim_matches(['[', ']']);
    let exchange = match protocol {
        // `read` takes byte by byte, and a datagram is gone after the first.
        "udp" => format!("echo who >&3 && timeout {CLIENT_SECONDS} dd bs=512 count=1 status=none <&3"),
        _ => format!("read -r -t {CLIENT_SECONDS} -u 3 line && echo \"$line\""),
    };
    format!("exec 3<>/dev/{protocol}/{address}/{port} && {exchange}")
}

/// The line a client printed, or what it said.
///
/// # Errors
/// It failed.
pub fn line_of(output: &Output) -> Result<String, String> {
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{} {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// What a program said on standard error.
pub fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The sidecar under test.
///
/// # Panics
/// It was not built.
pub fn sidecar() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let sidecar = test.parent().and_then(Path::parent).unwrap().join("sidecar");
    assert!(sidecar.exists(), "{} is not built: run `cargo build --bins` first", sidecar.display());
    sidecar
}

/// Waits until a namespace or link of a probe is gone everywhere: the kernel removes some things a little later.
pub fn no_probe_is_left(host: &Host) {
    eventually("nothing of a probe is left", || {
        let links = host.sh("ip", &["-o", "link"]);
        if links.contains("orgprobe") { Err(links) } else { Ok(()) }
    });
}

fn enter(namespace: &OwnedFd) {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .expect("entering a network namespace needs root");
}

fn sh(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}: is it installed?"));
    assert!(output.status.success(), "{program} {}: {}", args.join(" "), told(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
