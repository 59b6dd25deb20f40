//! Reads a Prometheus text exposition over HTTP: what enters is an address, what leaves is samples.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(5);

/// One sample: a name, its labels and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The metric's name, with `_bucket`, `_sum` or `_count` for histograms.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// The value of a label; empty if it has none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// All samples of one scrape.
#[derive(Debug, Clone, Default)]
pub struct Samples(pub Vec<Sample>);

impl Samples {
    /// The samples with this name and these labels.
    pub fn with<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        let fits = move |sample: &&Sample| {
            sample.name == name && labels.iter().all(|(label, value)| sample.label(label) == *value)
        };
        self.0.iter().filter(fits)
    }

    /// The sum of the values of the samples with this name and these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.with(name, labels).map(|sample| sample.value).sum()
    }
}

/// Scrapes `http://ADDR/metrics`.
///
/// # Errors
/// The address can't be reached, answers something else than 200, or what it answers is no exposition.
pub fn scrape(addr: &str) -> Result<Samples> {
    let body = get(addr, "/metrics")?;
    parse(&body).with_context(|| format!("reading the metrics of {addr}"))
}

/// The body of `GET http://ADDR/PATH`.
///
/// # Errors
/// The address can't be reached, or answers something else than 200.
pub fn get(addr: &str, path: &str) -> Result<String> {
    let fetch = || -> Result<String> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(WITHIN))?;
        stream.set_write_timeout(Some(WITHIN))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = fetch().with_context(|| format!("fetching http://{addr}{path}"))?;
    let (head, body) =
        answer.split_once("\r\n\r\n").with_context(|| format!("no HTTP answer from {addr}"))?;
    let status = head.split_whitespace().nth(1).unwrap_or_default();
    if status != "200" {
        bail!("http://{addr}{path} answered {status}: {body}");
    }
    Ok(body.to_owned())
}

/// Parses the Prometheus text format 0.0.4.
///
/// # Errors
/// A line is neither comment nor sample.
pub fn parse(text: &str) -> Result<Samples> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| sample(line).with_context(|| format!("not a sample: {line}")))
        .collect::<Result<_>>()
        .map(Samples)
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at_checked(end)?;
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.insert(label.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample { name: name.to_owned(), labels, value })
}

/// The text up to the closing quote, unescaped, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exposition_is_read_sample_by_sample() {
        let text =
            "# HELP a help\n# TYPE a counter\na 1\nb{x=\"1\",y=\"a\\\"b\\\\c\"} 2.5\nb{x=\"2\"} +Inf 123\n";
        let samples = parse(text).unwrap();
        assert_eq!(samples.sum("a", &[]), 1.0);
        assert_eq!(samples.with("b", &[("x", "1")]).next().unwrap().label("y"), "a\"b\\c");
        assert_eq!(samples.sum("b", &[("x", "2")]), f64::INFINITY);
        assert!(parse("{").is_err());
    }
}
