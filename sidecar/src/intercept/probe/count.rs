//! What a running sidecar has counted: the one witness of a connection that TPROXY handed over, which looks from outside
//! like one to the service itself. Enters: where its metrics are, and from where a probe comes. Leaves: whether it has
//! counted one more.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;
use tokio::time::Instant;

/// The family that captured plain text is counted in, by source.
const FAMILY: &str = "outrigger_inbound_plaintext_connections_total";
/// By what its metrics are known, also before anything was counted.
const SIDECAR: &str = "outrigger_build_info{component=\"sidecar\"";
/// From asking for the metrics to having them; and from the probe's success on its side to being counted.
const WAIT: Duration = Duration::from_secs(2);
/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(20);
/// More than the metrics of the largest sidecar.
const LENGTH_MAX: u64 = 64 * 1024 * 1024;

/// What had been counted before the probe.
#[derive(Debug)]
pub(super) struct Count {
    metrics: SocketAddr,
    source: IpAddr,
    before: f64,
}

impl Count {
    /// Asks the sidecar whose metrics are on this port.
    ///
    /// # Errors
    /// In words: nobody there counts such connections, or not by this source.
    pub(super) fn before(port: u16, source: IpAddr) -> Result<Self, String> {
        let metrics = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let text = read(metrics).ok().filter(|text| text.contains(SIDECAR)).ok_or_else(|| {
            format!(
                "no sidecar says at http://{metrics}/metrics what arrives; is it where --metrics-port says?"
            )
        })?;
        let seen = of(&text, &source.to_string());
        if seen.is_none() && of(&text, "other").is_some() {
            return Err("the sidecar counts too many sources to tell this one apart".to_owned());
        }
        Ok(Self { metrics, source, before: seen.unwrap_or(0.0) })
    }

    /// Whether one more is counted, at once or soon.
    ///
    /// # Errors
    /// In words: it is not.
    pub(super) fn has_grown(&self) -> Result<(), String> {
        let until = Instant::now() + WAIT;
        loop {
            let text = read(self.metrics).unwrap_or_default();
            if of(&text, &self.source.to_string()).is_some_and(|now| now > self.before) {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err("the sidecar did not count it".to_owned());
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// How many connections from `source` there were, refused and accepted; nothing if it is not listed.
fn of(text: &str, source: &str) -> Option<f64> {
    let label = format!("source=\"{source}\"");
    let counts = text.lines().filter_map(|line| {
        let (labels, count) = line.strip_prefix(FAMILY)?.strip_prefix('{')?.split_once("} ")?;
        labels.split(',').any(|found| found == label).then(|| count.trim().parse::<f64>().ok())?
    });
    counts.reduce(|one, other| one + other)
}

fn read(from: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&from, WAIT)?;
    stream.set_read_timeout(Some(WAIT))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut text = Vec::new();
    stream.take(LENGTH_MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_counted_whatever_became_of_its_connections() {
        let text = "# HELP outrigger_inbound_plaintext_connections_total Captured.\n\
                    # TYPE outrigger_inbound_plaintext_connections_total counter\n\
                    outrigger_inbound_plaintext_connections_total{source=\"10.0.0.1\",verdict=\"accepted\"} 3\n\
                    outrigger_inbound_plaintext_connections_total{source=\"10.0.0.1\",verdict=\"refused\"} 4\n\
                    outrigger_inbound_plaintext_connections_total{source=\"10.0.0.11\",verdict=\"refused\"} 5\n\
                    outrigger_refusals_total{source=\"10.0.0.1\"} 6\n";
        assert_eq!(of(text, "10.0.0.1"), Some(7.0));
        assert_eq!(of(text, "10.0.0.11"), Some(5.0));
        assert_eq!(of(text, "10.0.0.2"), None);
    }
}
