//! Medians and ratios of what was measured, as Markdown tables. A ratio is taken to Envoy in the same round, and the
//! median is taken of the ratios: what the machine did besides in that round hits both.

use super::machine::Memory;
use super::measure::{Measurement, Pressure};
use super::peer::Peer;
use super::rounds::{Footprint, Results};
use super::workload::Workload;
use crate::generator::report::Latency;
use std::fmt::Write as _;

/// All tables.
pub(super) fn render(results: &Results) -> String {
    let mut out = String::new();
    let rate = results.rate;
    let at_rate = |measured: &Measurement| matches!(measured.pressure, Pressure::Rate(_));
    let at_full = |measured: &Measurement| measured.pressure == Pressure::Full;
    by_workload(
        &mut out,
        results,
        &format!("CPU µs per request of both proxies together, at {rate} requests/s"),
        |w, p| with_ratio(results, w, p, at_rate, |measured| measured.cpu, 1),
    );
    by_workload(&mut out, results, "CPU µs per request of both proxies together, at full load", |w, p| {
        with_ratio(results, w, p, at_full, |measured| measured.cpu, 1)
    });
    by_workload(&mut out, results, "Requests/s at full load", |w, p| {
        with_ratio(results, w, p, at_full, |measured| Some(measured.throughput), 0)
    });
    by_workload(
        &mut out,
        results,
        &format!("Latency added to direct, p50 / p99 / p99.9 in µs, at {rate} requests/s"),
        |workload, peer| if peer == Peer::Direct { None } else { added(results, workload, peer) },
    );
    by_workload(
        &mut out,
        results,
        "Latency itself, p50 / p99 / p99.9 in µs, at the same rate",
        |workload, peer| {
            let of = |pick: fn(&Latency) -> f64| {
                median(chosen(results, workload, peer, at_rate).map(|measured| pick(&measured.latency_us)))
            };
            three(of(|l| l.p50)?, of(|l| l.p99)?, of(|l| l.p999)?)
        },
    );
    bulk(&mut out, results);
    footprints(&mut out, results);
    if results.measurements.iter().any(|measured| measured.workload == Workload::TcpGreeting) {
        out.push_str(
            "\ntcp-greeting: a new connection each, until the server's first line; at a tenth of the rate.\n",
        );
    }
    if !results.pinned {
        out.push_str("\nOne CPU only: proxies shared it with load and origins.\n");
    }
    if results.is_busy() {
        let percent = results.busy * 100.0;
        out.push_str(&format!(
            "\nThe machine was {percent:.0} % busy with something else: take these figures lightly.\n"
        ));
    }
    for (peer, workload, share) in at_their_limit(results) {
        let (peer, workload, percent) = (peer.name(), workload.name(), share * 100.0);
        out.push_str(&format!(
            "\n{peer} needed {percent:.0} % of its CPU for {workload} at {rate} requests/s: much of it was done together, so that \
             its figure there is low, and the others' ratios to it are high.\n"
        ));
    }
    for skipped in &results.skipped {
        // Writing to a String cannot fail.
        writeln!(out, "\nSkipped: {skipped}").ok();
    }
    out
}

/// From this share of its CPU on a pair works off a queue, and no longer what has just come.
const AT_ITS_LIMIT: f64 = 0.85;

/// Pairs that could hardly carry the fixed rate, and the share of the CPU they share that they needed.
fn at_their_limit(results: &Results) -> Vec<(Peer, Workload, f64)> {
    let mut all = Vec::new();
    for workload in Workload::ALL {
        for peer in Peer::ALL {
            let shares =
                chosen(results, workload, peer, |_| true).filter_map(|measured| match measured.pressure {
                    Pressure::Rate(rate) => Some(measured.cpu? * rate / 1e6),
                    Pressure::Full | Pressure::Bytes(_) => None,
                });
            all.extend(
                median(shares).filter(|share| *share > AT_ITS_LIMIT).map(|share| (peer, workload, share)),
            );
        }
    }
    all
}

fn by_workload(
    out: &mut String,
    results: &Results,
    title: &str,
    cell: impl Fn(Workload, Peer) -> Option<String>,
) {
    let workloads: Vec<_> = Workload::ALL
        .into_iter()
        .filter(|workload| *workload != Workload::TcpBulk)
        .filter(|workload| results.measurements.iter().any(|measured| measured.workload == *workload))
        .collect();
    if workloads.is_empty() {
        return;
    }
    let names: Vec<_> = workloads.iter().map(|workload| workload.name().to_owned()).collect();
    let mut rows = Vec::new();
    for peer in Peer::ALL {
        let cells: Vec<_> = workloads.iter().map(|workload| cell(*workload, peer)).collect();
        if cells.iter().any(Option::is_some) {
            rows.push((peer, cells.into_iter().map(|cell| cell.unwrap_or_else(|| "–".to_owned())).collect()));
        }
    }
    table(out, title, &names, &rows);
}

fn table(out: &mut String, title: &str, columns: &[String], rows: &[(Peer, Vec<String>)]) {
    let mut text =
        format!("\n### {title}\n\n|  | {} |\n|---|{}\n", columns.join(" | "), "---:|".repeat(columns.len()));
    for (peer, cells) in rows {
        text.push_str(&format!("| {} | {} |\n", peer.name(), cells.join(" | ")));
    }
    out.push_str(&text);
}

fn chosen(
    results: &Results,
    workload: Workload,
    peer: Peer,
    keep: impl Fn(&Measurement) -> bool,
) -> impl Iterator<Item = &Measurement> {
    results
        .measurements
        .iter()
        .filter(move |measured| measured.workload == workload && measured.peer == peer && keep(measured))
}

fn with_ratio(
    results: &Results,
    workload: Workload,
    peer: Peer,
    keep: impl Fn(&Measurement) -> bool + Copy,
    value: impl Fn(&Measurement) -> Option<f64> + Copy,
    digits: usize,
) -> Option<String> {
    let own = median(chosen(results, workload, peer, keep).filter_map(value))?;
    let ratios = chosen(results, workload, peer, keep).filter_map(|measured| {
        let envoy =
            chosen(results, workload, Peer::Envoy, keep).find(|envoy| envoy.round == measured.round)?;
        Some(value(measured)? / value(envoy)?)
    });
    let ratio = median(ratios).map(|ratio| format!(" ({ratio:.2}×)")).unwrap_or_default();
    Some(format!("{}{ratio}", number(own, digits)))
}

fn added(results: &Results, workload: Workload, peer: Peer) -> Option<String> {
    let at_rate = |measured: &Measurement| matches!(measured.pressure, Pressure::Rate(_));
    let of = |pick: fn(&Latency) -> f64| {
        median(chosen(results, workload, peer, at_rate).filter_map(|measured| {
            let mut direct = chosen(results, workload, Peer::Direct, at_rate);
            let direct = direct.find(|direct| direct.round == measured.round)?;
            Some(pick(&measured.latency_us) - pick(&direct.latency_us))
        }))
    };
    three(of(|l| l.p50)?, of(|l| l.p99)?, of(|l| l.p999)?)
}

fn three(p50: f64, p99: f64, p999: f64) -> Option<String> {
    Some(format!("{} / {} / {}", number(p50, 0), number(p99, 0), number(p999, 0)))
}

fn bulk(out: &mut String, results: &Results) {
    let any = |_: &Measurement| true;
    let rows: Vec<_> = Peer::ALL
        .into_iter()
        .filter_map(|peer| {
            let bytes = |measured: &Measurement| Some(measured.throughput / 1e9);
            let speed = with_ratio(results, Workload::TcpBulk, peer, any, bytes, 2)?;
            let cpu = with_ratio(results, Workload::TcpBulk, peer, any, |measured| measured.cpu, 2);
            Some((peer, vec![speed, cpu.unwrap_or_else(|| "–".to_owned())]))
        })
        .collect();
    if !rows.is_empty() {
        let columns = ["GB/s".to_owned(), "CPU s per GiB, both proxies".to_owned()];
        table(out, "TCP bulk, one connection, client to origin", &columns, &rows);
    }
}

fn footprints(out: &mut String, results: &Results) {
    let columns = [
        "RSS idle",
        "RSS with 1000 idle connections",
        "RSS after load",
        "start to first 200, ms",
        "binary, MiB",
    ]
    .map(str::to_owned);
    let rows: Vec<_> = Peer::ALL
        .into_iter()
        .filter_map(|peer| {
            let of = |value: fn(&Footprint) -> f64| {
                median(results.footprints.iter().filter(|footprint| footprint.peer == peer).map(value))
            };
            let memory = |pick: fn(&Footprint) -> Memory| -> Option<String> {
                let taken = results.footprints.iter().filter(|footprint| footprint.peer == peer).map(pick);
                let (resident, anonymous): (Vec<_>, Vec<_>) =
                    taken.map(|memory| (memory.resident, memory.anonymous)).unzip();
                Some(format!("{:.1} ({:.1})", median(resident.into_iter())?, median(anonymous.into_iter())?))
            };
            Some((
                peer,
                vec![
                    memory(|footprint| footprint.idle)?,
                    memory(|footprint| footprint.with_connections)?,
                    memory(|footprint| footprint.after_load)?,
                    number(of(|footprint| footprint.start_ms)?, 0),
                    number(of(|footprint| footprint.binary_mib)?, 1),
                ],
            ))
        })
        .collect();
    if !rows.is_empty() {
        let title = "Memory of the pair in MiB (anonymous part in brackets), start-up, binary";
        table(out, title, &columns, &rows);
    }
}

/// With commas between thousands.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{sign}{grouped}.{fraction}"),
        None => format!("{sign}{grouped}"),
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len().is_multiple_of(2) { Some((upper + values.get(middle - 1)?) / 2.0) } else { Some(upper) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(round: u32, peer: Peer, cpu: f64) -> Measurement {
        Measurement {
            round,
            peer,
            workload: Workload::H1Get,
            pressure: Pressure::Full,
            amount: 1.0,
            cpu: Some(cpu),
            throughput: 12_345.0,
            latency_us: Latency::default(),
            wrong: Vec::new(),
        }
    }

    #[test]
    fn the_ratio_is_the_median_of_ratios_within_rounds() {
        // The second round ran on a machine half as fast: ratios of medians would be off.
        let mut results = Results { rate: 2000.0, pinned: true, ..Results::default() };
        for (round, envoy, own) in [(1, 100.0, 50.0), (2, 200.0, 80.0), (3, 100.0, 40.0)] {
            results.measurements.push(measured(round, Peer::Envoy, envoy));
            results.measurements.push(measured(round, Peer::Outrigger, own));
        }
        let text = render(&results);
        assert!(text.contains("| outrigger | 50.0 (0.40×) |"), "{text}");
        assert!(text.contains("| envoy | 12,345 (1.00×) |"), "{text}");
        assert!(!text.contains("| direct"), "{text}");
    }

    #[test]
    fn who_could_hardly_carry_the_rate_is_named() {
        let mut results = Results { rate: 2000.0, pinned: true, ..Results::default() };
        for (peer, cpu) in [(Peer::Envoy, 480.0), (Peer::Outrigger, 160.0)] {
            let measured = measured(1, peer, cpu);
            results.measurements.push(Measurement { pressure: Pressure::Rate(2000.0), ..measured.clone() });
            results.measurements.push(measured);
        }
        let text = render(&results);
        assert!(text.contains("envoy needed 96 % of its CPU for h1-get at 2000 requests/s"), "{text}");
        assert!(!text.contains("outrigger needed"), "{text}");
    }

    #[test]
    fn medians_and_numbers() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0].into_iter()), Some(2.5));
        assert_eq!(median([].into_iter()), None);
        assert_eq!(number(-1_234_567.89, 1), "-1,234,567.9");
        assert_eq!(number(999.0, 0), "999");
    }
}
