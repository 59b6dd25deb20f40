//! One number of sidecars: what is measured, in order.

use crate::arrivals::Arrivals;
use crate::link::Link;
use crate::swarm::Swarm;
use crate::{Options, mesh};
use anyhow::{Context, Result};
use mesh_load::bench::machine::{cpu_microseconds, memory};
use mesh_load::mesh::{Beside, Mesh};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tests::api::Api;
use tests::pki::TestCa;
use tokio::time::Instant;

/// From the last sidecar's registration to the measurement of memory: what its arrival left to do is done.
const SETTLE: Duration = Duration::from_secs(3);

/// Below so many sidecars their memory is lost in what the allocator gives back of the writing before.
const MEMORY_FROM: usize = 1_000;

/// The one that is not simulated.
const REAL: &str = "real";

/// What was measured.
#[derive(Debug)]
pub(crate) struct Figures {
    sidecars: usize,
    seeded: Duration,
    registered: Duration,
    kib_each: f64,
    /// Of a real sidecar that calls as many services as the simulated ones.
    sidecar_kib: f64,
    endpoint: Change,
    route: Change,
    roots: Change,
    /// From the end of a control plane until the next one is ready.
    started: Duration,
    back: Duration,
    /// Of the one that was started again.
    control_plane_kib: f64,
}

/// A sort of change.
#[derive(Debug, Clone, Copy)]
enum Sort {
    Endpoint,
    Route,
    Roots,
}

/// Changes of one sort.
#[derive(Debug)]
struct Change {
    p50: Duration,
    p99: Duration,
    /// In microseconds.
    cpu_each: f64,
    bytes_each: u64,
}

/// Starts a control plane, fills it, connects the sidecars, changes things, and starts it again.
///
/// # Errors
/// Anything that does not come about in time.
pub(crate) async fn run(options: &Options, sidecars: usize, bin_dir: &Path) -> Result<Figures> {
    let dir = tempfile::tempdir()?;
    let mut control_plane = match &options.etcd {
        None => Mesh::start(bin_dir, dir.path())?,
        Some(members) => Mesh::start_several(bin_dir, dir.path(), 1, members)?,
    };
    let pid = control_plane.control_plane_pid()?;
    let mut api = Api::connect(&control_plane.kubeconfig()).await?;
    let start = Instant::now();
    mesh::seed(&mut api, options.services, options.endpoints).await?;
    let seeded = start.elapsed();
    let token = control_plane.token(mesh::NAMESPACE, "caller")?;
    let address = control_plane.discovery()?.trim_start_matches("https://").parse()?;
    let link = Link::join(address, &control_plane.trust_bundle(), &token).await?;
    tokio::time::sleep(SETTLE).await;
    let before = resident_kib(pid)?;

    let start = Instant::now();
    let swarm = Swarm::start(link, sidecars, options.called, options.services).await?;
    let registered = start.elapsed();
    tokio::time::sleep(SETTLE).await;
    let kib_each = (resident_kib(pid)? - before) / sidecars as f64;

    let sidecar_kib = real_sidecar(&mut control_plane, options).await?;

    let shared = swarm.shared.clone();
    let roots = control_plane.trust_bundle();
    let own = std::fs::read_to_string(&roots).context("reading ca.crt")?;
    let mut changes = async |arrivals: &Arrivals, sort: Sort| -> Result<Change> {
        let (cpu, bytes) = (cpu_microseconds(&[pid])?, shared.bytes.load(Ordering::Relaxed));
        let mut latencies = Vec::new();
        for number in 0..options.changes {
            arrivals.begin(sidecars);
            match sort {
                Sort::Endpoint => mesh::change_endpoint(&mut api, number).await?,
                Sort::Route => mesh::change_route(&mut api, number).await?,
                Sort::Roots => {
                    let next = TestCa::new(&format!("root {number}")).pem();
                    std::fs::write(&roots, format!("{own}{next}")).context("writing ca.crt")?;
                }
            }
            latencies.extend(arrivals.all().await.with_context(|| format!("change {number}"))?);
        }
        let each = u32::try_from(options.changes * sidecars)?;
        latencies.sort_unstable();
        let at =
            |share: usize| latencies.get((latencies.len() - 1) * share / 100).copied().unwrap_or_default();
        Ok(Change {
            p50: at(50),
            p99: at(99),
            cpu_each: (cpu_microseconds(&[pid])? - cpu) / f64::from(each),
            bytes_each: (shared.bytes.load(Ordering::Relaxed) - bytes) / u64::from(each),
        })
    };
    let endpoint = changes(&swarm.shared.endpoints, Sort::Endpoint).await?;
    let route = changes(&swarm.shared.routes, Sort::Route).await?;
    let roots = changes(&swarm.shared.roots, Sort::Roots).await?;

    swarm.shared.registered.begin(sidecars);
    let start = Instant::now();
    tokio::task::block_in_place(|| control_plane.restart_control_plane())?;
    let started = start.elapsed();
    let start = Instant::now();
    let came_back = swarm.shared.registered.all().await;
    came_back.with_context(|| format!("coming back after a restart ({})", swarm.shared.last_failure()))?;
    let back = start.elapsed();
    tokio::time::sleep(SETTLE).await;
    let control_plane_kib = resident_kib(control_plane.control_plane_pid()?)?;
    Ok(Figures {
        sidecars,
        seeded,
        registered,
        kib_each,
        sidecar_kib,
        endpoint,
        route,
        roots,
        started,
        back,
        control_plane_kib,
    })
}

/// Starts a sidecar as users do, beside no application, and returns what it has resident once it knows what it calls.
async fn real_sidecar(control_plane: &mut Mesh, options: &Options) -> Result<f64> {
    let upstreams: Vec<_> = (0..options.called.min(options.services))
        .map(|number| mesh::service(number).map(|it| format!("{}.{}:80=127.0.0.1:0", it.name, it.namespace)))
        .collect::<Result<_>>()?;
    let upstreams: Vec<_> = upstreams.iter().map(String::as_str).collect();
    let beside = Beside {
        namespace: mesh::NAMESPACE,
        service_account: "caller",
        upstreams: &upstreams,
        ..Beside::default()
    };
    tokio::task::block_in_place(|| control_plane.join(REAL, &beside, None))?;
    tokio::time::sleep(SETTLE).await;
    resident_kib(control_plane.member(REAL)?.sidecar_pid())
}

fn resident_kib(pid: u32) -> Result<f64> {
    Ok(memory(&[pid])?.resident * 1024.0)
}

/// The figures as a table in Markdown.
pub(crate) fn table(all: &[Figures]) -> String {
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e3);
    let seconds = |time: Duration| format!("{:.1}", time.as_secs_f64());
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    let mut row = |name, cell: &dyn Fn(&Figures) -> String| rows.push((name, all.iter().map(cell).collect()));
    row("writing the mesh, s", &|it| seconds(it.seeded));
    row("all registered, s", &|it| seconds(it.registered));
    row("memory of a connected sidecar, KiB", &|it| match it.sidecars {
        MEMORY_FROM.. => format!("{:.1}", it.kib_each),
        _ => "–".to_owned(),
    });
    row("memory of a sidecar, KiB", &|it| format!("{:.0}", it.sidecar_kib));
    row("one endpoint, p50, ms", &|it| ms(it.endpoint.p50));
    row("one endpoint, p99, ms", &|it| ms(it.endpoint.p99));
    row("one endpoint, CPU of a push, µs", &|it| format!("{:.1}", it.endpoint.cpu_each));
    row("one endpoint, bytes of a push", &|it| it.endpoint.bytes_each.to_string());
    row("one route, p50, ms", &|it| ms(it.route.p50));
    row("one route, p99, ms", &|it| ms(it.route.p99));
    row("one route, CPU of a push, µs", &|it| format!("{:.1}", it.route.cpu_each));
    row("one route, bytes of a push", &|it| it.route.bytes_each.to_string());
    row("trusted roots, p50, ms", &|it| ms(it.roots.p50));
    row("trusted roots, p99, ms", &|it| ms(it.roots.p99));
    row("trusted roots, CPU of a push, µs", &|it| format!("{:.1}", it.roots.cpu_each));
    row("trusted roots, bytes of a push", &|it| it.roots.bytes_each.to_string());
    row("ready after a restart, ms", &|it| ms(it.started));
    row("all back after a restart, s", &|it| seconds(it.back));
    row("memory of the control plane then, MiB", &|it| format!("{:.0}", it.control_plane_kib / 1024.0));
    let head: Vec<_> = all.iter().map(|it| it.sidecars.to_string()).collect();
    let mut text = format!("| sidecars | {} |\n| --- |{}\n", head.join(" | "), " ---: |".repeat(all.len()));
    for (name, cells) in rows {
        text.push_str(&format!("| {name} | {} |\n", cells.join(" | ")));
    }
    text
}
