//! An etcd cluster on loopback whose members can be killed, paused and started again. Its ports are below those that the
//! system gives to others, so that a member finds its own again.

use mesh_load::running::Running;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports for members: above those of well-known services, below `net.ipv4.ip_local_port_range`.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The cluster.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    client: u16,
    arguments: Vec<String>,
    logs: PathBuf,
    running: Running,
}

impl Etcd {
    /// Starts a cluster of `count` members with their data in `dir`, and returns when they serve.
    ///
    /// # Panics
    /// etcd is not installed, or does not start.
    pub fn start(count: usize, dir: &Path) -> Self {
        let ports: Vec<(u16, u16)> = (0..count).map(|_| (port(), port())).collect();
        let peers: Vec<String> = ports
            .iter()
            .enumerate()
            .map(|(number, (_, peer))| format!("etcd-{number}=http://127.0.0.1:{peer}"))
            .collect();
        let members = ports.iter().enumerate().map(|(number, (client, peer))| {
            let name = format!("etcd-{number}");
            let (client_url, peer_url) =
                (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let data = dir.join(&name).display().to_string();
            let mut arguments = Vec::new();
            for (flag, value) in [
                ("--name", name.as_str()),
                ("--data-dir", &data),
                ("--listen-client-urls", &client_url),
                ("--advertise-client-urls", &client_url),
                ("--listen-peer-urls", &peer_url),
                ("--initial-advertise-peer-urls", &peer_url),
                ("--initial-cluster", &peers.join(",")),
                ("--logger", "zap"),
            ] {
                arguments.extend([flag.to_owned(), value.to_owned()]);
            }
            let logs = dir.join("logs");
            let running = launch(&name, &arguments, &logs);
            Member { name, client: *client, arguments, logs, running }
        });
        let cluster = Self { members: members.collect() };
        for number in 0..count {
            cluster.until_it_serves(number);
        }
        cluster
    }

    /// The members' URLs, as `--etcd-endpoints` takes them.
    pub fn endpoints(&self) -> String {
        let urls: Vec<String> =
            self.members.iter().map(|member| format!("http://127.0.0.1:{}", member.client)).collect();
        urls.join(",")
    }

    /// A member's process.
    ///
    /// # Panics
    /// There is no such member.
    pub fn member(&mut self, number: usize) -> &mut Running {
        &mut self.members[number].running
    }

    /// Starts a killed member again with what it has on disk, and returns when it serves.
    ///
    /// # Panics
    /// It does not.
    pub fn start_again(&mut self, number: usize) {
        let member = &mut self.members[number];
        member.running = launch(&member.name, &member.arguments, &member.logs);
        self.until_it_serves(number);
    }

    fn until_it_serves(&self, number: usize) {
        let client = self.members[number].client;
        crate::wait::eventually("etcd serves", || {
            let answer = crate::http1::get(&format!("127.0.0.1:{client}"), "etcd", "/health");
            let answer = answer.map_err(|error| error.to_string())?;
            crate::wait::holds(answer.status == 200, format!("{answer:?}"))
        });
    }
}

fn launch(name: &str, arguments: &[String], logs: &Path) -> Running {
    let mut command = Command::new("etcd");
    command.args(arguments);
    Running::launch(name, command, logs).expect("these tests need etcd: apt-get install etcd-server")
}

/// A port nobody listens on, another one each time. Processes begin at different ones.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let all = PORTS.end - PORTS.start;
    let first = (std::process::id() % u32::from(all)) as u16;
    (0..all)
        .map(|_| PORTS.start + (first.wrapping_mul(7) % all + NEXT.fetch_add(1, Ordering::Relaxed)) % all)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
