//! Metric families as text, in the two formats Prometheus reads.
//!
//! Enters: gathered families. Leaves: text. Never here: which metrics there are.
//! Sources: Prometheus text format 0.0.4; OpenMetrics 1.0.

use http::HeaderValue;
use prometheus::TextEncoder;
use prometheus::proto::{MetricFamily, MetricType};

/// The format of an answer to a scrape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposition {
    /// Prometheus text 0.0.4, read by everything.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// OpenMetrics when the client names it and does not rule it out with `q=0`; otherwise Prometheus text, which is
    /// also what a person with curl gets.
    pub(super) fn accepted(accept: Option<&HeaderValue>) -> Self {
        let accept = accept.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let wanted = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            parts.next() == Some("application/openmetrics-text")
                && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0"))
        });
        if wanted { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => prometheus::TEXT_FORMAT,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The families as text.
///
/// The two formats differ, for what this crate can produce, in three things: a counter's family is named without
/// `_total`, a counter without that suffix does not exist (it becomes `unknown`), and the text ends with `# EOF`.
pub(super) fn encode(families: &[MetricFamily], exposition: Exposition) -> prometheus::Result<String> {
    let mut text = String::new();
    for family in families {
        let start = text.len();
        TextEncoder::new().encode_utf8(std::slice::from_ref(family), &mut text)?;
        if exposition == Exposition::OpenMetrics && family.get_field_type() == MetricType::COUNTER {
            let written = text.split_off(start);
            written.lines().for_each(|line| push_counter_line(&mut text, family.name(), line));
        }
    }
    if exposition == Exposition::OpenMetrics {
        text.push_str("# EOF\n");
    }
    Ok(text)
}

fn push_counter_line(text: &mut String, family: &str, line: &str) {
    let stem = family.strip_suffix("_total");
    let comment = ["# HELP ", "# TYPE "].into_iter().find_map(|kind| {
        let rest = line.strip_prefix(kind)?.strip_prefix(family)?;
        Some((kind, rest))
    });
    match (comment, stem) {
        (Some((kind, rest)), Some(stem)) => text.extend([kind, stem, rest]),
        (Some(("# TYPE ", _counter)), None) => text.extend(["# TYPE ", family, " unknown"]),
        (Some(_) | None, _) => text.push_str(line),
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

    fn families() -> Vec<MetricFamily> {
        let registry = Registry::new();
        let counter = IntCounter::new("a_total", "All of a").expect("valid");
        let odd = IntCounter::new("b_seconds", "No suffix").expect("valid");
        let gauge = IntGauge::new("c", "Now").expect("valid");
        let options = HistogramOpts::new("d_seconds", "Took").buckets(vec![0.5]);
        let histogram = Histogram::with_opts(options).expect("valid");
        histogram.observe(0.25);
        for collector in [Box::new(counter) as Box<dyn prometheus::core::Collector>, Box::new(odd)] {
            registry.register(collector).expect("new");
        }
        registry.register(Box::new(gauge)).expect("new");
        registry.register(Box::new(histogram)).expect("new");
        registry.gather()
    }

    #[test]
    fn openmetrics_names_counters_without_their_suffix_and_ends_with_eof() {
        let text = encode(&families(), Exposition::OpenMetrics).expect("encodable");
        let expected = "# HELP a All of a\n# TYPE a counter\na_total 0\n\
             # HELP b_seconds No suffix\n# TYPE b_seconds unknown\nb_seconds 0\n\
             # HELP c Now\n# TYPE c gauge\nc 0\n\
             # HELP d_seconds Took\n# TYPE d_seconds histogram\n\
             d_seconds_bucket{le=\"0.5\"} 1\nd_seconds_bucket{le=\"+Inf\"} 1\n\
             d_seconds_sum 0.25\nd_seconds_count 1\n# EOF\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn prometheus_text_is_left_as_it_is() {
        let families = families();
        let text = encode(&families, Exposition::Prometheus).expect("encodable");
        assert_eq!(text, TextEncoder::new().encode_to_string(&families).expect("encodable"));
    }

    #[test]
    fn the_format_follows_the_accept_header() {
        let cases = [
            ("", Exposition::Prometheus),
            ("*/*", Exposition::Prometheus),
            ("text/plain;version=0.0.4", Exposition::Prometheus),
            (
                "application/openmetrics-text; version=1.0.0; charset=utf-8, text/plain;q=0.5",
                Exposition::OpenMetrics,
            ),
            ("text/plain, application/openmetrics-text;q=0", Exposition::Prometheus),
        ];
        for (accept, expected) in cases {
            let value = HeaderValue::from_static(accept);
            assert_eq!(Exposition::accepted(Some(&value)), expected, "accept: {accept}");
        }
        assert_eq!(Exposition::accepted(None), Exposition::Prometheus);
    }
}
