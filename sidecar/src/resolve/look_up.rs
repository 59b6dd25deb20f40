//! One look-up: `/etc/hosts`, then the DNS servers of the system or of `--dns-upstream`. The system's configuration is read
//! anew each time, since a laptop or a DHCP client changes it while we run.

use super::{Answer, LookUp};
use crate::dial::{Dial, Marked};
use hickory_resolver::Resolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::{DnsError, NetError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// From the question to its answer, all servers and retries included.
const DEADLINE: Duration = Duration::from_secs(5);

/// The system's way of looking names up.
#[derive(Debug, Clone)]
pub struct SystemDns {
    servers: Arc<[SocketAddr]>,
    dial: Dial,
}

impl SystemDns {
    /// Asks these servers, or if there are none those of the system, over sockets opened so.
    pub fn new(servers: &[SocketAddr], dial: Dial) -> Self {
        Self { servers: servers.into(), dial }
    }

    fn resolver(&self) -> Result<Resolver<Marked>, NetError> {
        let marked = Marked::new(self.dial);
        let mut builder = match self.servers.is_empty() {
            true => Resolver::builder(marked)?,
            false => {
                let servers = self.servers.iter().map(|server| {
                    let at = |mut connection: ConnectionConfig| {
                        connection.port = server.port();
                        connection
                    };
                    let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
                    NameServerConfig::new(server.ip(), true, connections)
                });
                let config = ResolverConfig::from_name_servers(servers.collect());
                Resolver::builder_with_config(config, marked)
            }
        };
        let options = builder.options_mut();
        options.use_hosts_file = ResolveHosts::Always;
        // Answers are kept by the schedule, which wants to know how long they hold.
        options.cache_size = 0;
        builder.build()
    }
}

impl LookUp for SystemDns {
    async fn look_up(&self, name: Arc<str>) -> Answer {
        let resolver = match self.resolver() {
            Ok(resolver) => resolver,
            Err(error) => {
                return Answer::Failed(
                    format!("the system's DNS configuration cannot be used: {error}").into(),
                );
            }
        };
        // A name with a dot is whole: no search domain is put behind it.
        let whole = if name.contains('.') { format!("{name}.") } else { name.to_string() };
        match tokio::time::timeout(DEADLINE, resolver.lookup_ip(whole)).await {
            Err(_elapsed) => Answer::Failed(format!("no answer within {} s", DEADLINE.as_secs()).into()),
            Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none)))) => {
                Answer::None(none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into())))
            }
            Ok(Err(error)) => Answer::Failed(error.to_string().into()),
            Ok(Ok(answer)) => {
                let ttl = answer.valid_until().saturating_duration_since(Instant::now().into_std());
                let addresses = usable(answer.iter().collect(), self.dial);
                if addresses.is_empty() { Answer::None(None) } else { Answer::Addresses(addresses, ttl) }
            }
        }
    }
}

/// Without the addresses this machine has no way to, as IPv6 ones where there is only IPv4; all, if it has a way to none.
/// What `getaddrinfo` does too (RFC 6724 §6, rule 1): the kernel is asked for a route, nothing is sent.
fn usable(addresses: Vec<IpAddr>, dial: Dial) -> Vec<IpAddr> {
    let has_route = |address: &IpAddr| {
        let any: SocketAddr = match address {
            IpAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            IpAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = std::net::UdpSocket::bind(any);
        // A mark can be what decides on the way.
        let routed =
            |socket: std::net::UdpSocket| dial.mark(&socket).and_then(|()| socket.connect((*address, 443)));
        socket.and_then(routed).is_ok()
    };
    let (usable, others): (Vec<_>, Vec<_>) = addresses.into_iter().partition(has_route);
    if usable.is_empty() { others } else { usable }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_way_to_it_is_left_out_unless_there_is_no_other() {
        let (local, nowhere): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [255, 255, 255, 255].into());
        assert_eq!(usable(vec![nowhere, local], Dial::default()), [local]);
        assert_eq!(usable(vec![nowhere], Dial::default()), [nowhere]);
    }

    #[tokio::test]
    async fn localhost_is_in_the_hosts_file() {
        let Answer::Addresses(addresses, _) =
            SystemDns::new(&[], Dial::default()).look_up("localhost".into()).await
        else {
            panic!("localhost has an address");
        };
        assert!(addresses.iter().all(IpAddr::is_loopback), "{addresses:?}");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_a_failure_and_no_answer() {
        let server = SocketAddr::from(([127, 0, 0, 1], 9));
        let answer = SystemDns::new(&[server], Dial::default()).look_up("db.example.com".into()).await;
        assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
    }
}
