//! Connections that do not leave this machine, under a congestion control that paces. Over loopback nothing is lost and no
//! path has to be probed, but BBR still spreads what is sent over time: a timer for every segment, and a third more CPU
//! for each byte. Where a machine's congestion control is of that kind, such connections get Reno, which
//! sends at once and is part of every kernel; those to other machines keep what the machine's owner chose.

use socket2::SockRef;
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;
use tokio::net::TcpStream;

/// What new connections use (tcp(7)).
const CHOSEN: &str = "/proc/sys/net/ipv4/tcp_congestion_control";

/// What everyone may choose, whatever the machine's owner allows besides.
const UNPACED: &[u8] = b"reno";

/// Takes pacing off a connection with `peer`, if it has any and stays on this machine. Where the system refuses, the
/// connection works without it.
pub(crate) fn unpace(stream: &TcpStream, peer: SocketAddr) {
    static IS_PACED: LazyLock<bool> =
        LazyLock::new(|| std::fs::read_to_string(CHOSEN).is_ok_and(|chosen| paces(&chosen)));
    if !*IS_PACED {
        return;
    }
    let stays = stays(peer.ip(), || stream.local_addr().ok().map(|local| local.ip()));
    if stays {
        SockRef::from(stream).set_tcp_congestion(UNPACED).ok();
    }
}

/// All versions of BBR.
fn paces(chosen: &str) -> bool {
    chosen.starts_with("bbr")
}

/// Whether a connection has both its ends here: an address of loopback never leaves, nor does what goes to where it comes
/// from.
fn stays(peer: IpAddr, local: impl FnOnce() -> Option<IpAddr>) -> bool {
    let peer = peer.to_canonical();
    peer.is_loopback()
        || local().is_some_and(|local| local.to_canonical() == peer || local.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn a_connection_stays_where_either_end_is_loopback_or_both_are_the_same() {
        for (peer, local, expected) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("::ffff:127.0.0.2", "10.0.0.1", true),
            ("10.0.0.1", "127.0.0.1", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("::1", "::1", true),
            ("10.0.0.2", "10.0.0.1", false),
            ("fd00::2", "fd00::1", false),
        ] {
            let (peer, local): (IpAddr, IpAddr) = (peer.parse().unwrap(), local.parse().unwrap());
            assert_eq!(stays(peer, || Some(local)), expected, "{peer} {local}");
        }
        assert!(!stays("10.0.0.2".parse().unwrap(), || None));
    }

    #[tokio::test]
    async fn a_connection_here_is_not_paced_and_works() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let chosen = std::fs::read_to_string(CHOSEN).unwrap();
        unpace(&stream, address);
        let has = SockRef::from(&stream).tcp_congestion().unwrap();
        let has = String::from_utf8_lossy(&has);
        let expected = if paces(&chosen) { "reno" } else { chosen.trim() };
        assert_eq!(has.trim_end_matches('\0'), expected);
    }
}
