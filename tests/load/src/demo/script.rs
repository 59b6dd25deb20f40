//! The order of events: start everything, run traffic, shift the canary, kill an instance, judge.

use super::Options;
use super::observe::Observation;
use super::report::{Claim, Phase, Report};
use crate::generator::report::Report as LoadReport;
use crate::mesh::{Beside, Mesh, free_port};
use crate::running::Running;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Requests per second for the greeting and for the echo: enough to make shares and percentiles mean something, little
/// enough for thirteen processes on two cores.
const GREETINGS_PER_SECOND: u32 = 200;
const ECHOES_PER_SECOND: u32 = 20;
/// Seconds of answers left out of the shares around a change, since an interval may hold both sides of it.
const BLUR: u64 = 2;
/// The namespace everything lives in; the example manifests name it.
const NAMESPACE: &str = "demo";
/// The instance that is killed.
const VICTIM: &str = "greeter-v1-b";
/// How long the mesh may take to carry its first request.
const FIRST_ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Runs the demo.
///
/// # Errors
/// The mesh could not be started.
#[expect(clippy::print_stderr, reason = "the demo talks to the person who started it")]
pub fn run(options: &Options) -> Result<Report> {
    let dir = options.work_dir.join(std::process::id().to_string());
    std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    eprintln!(
        "Starting a control plane and seven applications, each with its own sidecar, in {}",
        dir.display()
    );
    let mut mesh = match &options.switch {
        Some(switch) => {
            eprintln!(
                "Each on a machine of its own, a network namespace, and no application knows of the mesh"
            );
            Mesh::start_on(switch, &options.bin_dir, &dir)?
        }
        None => Mesh::start(&options.bin_dir, &dir)?,
    };
    for example in ["hello", "tcp-echo", "canary/services.yaml", "canary/route-90-10.yaml"] {
        mesh.apply(&options.manifests.join(example))?;
    }
    start_members(&mut mesh)?;
    let front_door = mesh.member("visitor")?.sidecar_addr("outbound")?.to_owned();
    first_answer(&mut mesh, &front_door)?;
    tell_where_to_look(&mesh, options.switch.as_deref())?;

    let shift_at = options.seconds * 2 / 5;
    let kill_at = options.seconds * 7 / 10;
    let mut echo = start_load(&mut mesh, &front_door, "/echo?line=ahoy", ECHOES_PER_SECOND, options.seconds)?;
    let mut greet =
        start_load(&mut mesh, &front_door, "/hello?name=demo", GREETINGS_PER_SECOND, options.seconds)?;
    let mut seen = Seen::default();
    let stdout = greet.stdout.take().context("load has no stdout")?;
    for line in BufReader::new(stdout).lines() {
        let report: LoadReport = serde_json::from_str(&line?).context("reading what load printed")?;
        if report.kind != "interval" {
            seen.greetings = report;
            continue;
        }
        seen.count(&report, shift_at, kill_at);
        seen.observation.update(&mesh);
        eprintln!("{}", seen.line(&report));
        if seen.elapsed == shift_at {
            mesh.apply(&options.manifests.join("canary/route-50-50.yaml"))?;
            eprintln!("-- applied canary/route-50-50.yaml: half of the greetings go to v2 now");
        }
        if seen.elapsed == kill_at {
            mesh.member(VICTIM)?.kill();
            eprintln!("-- killed {VICTIM}: application and sidecar, at once");
        }
    }
    greet.wait().context("waiting for load")?;
    seen.echoes = last_report(&mut echo)?;
    seen.observation.update(&mesh);
    Ok(judge(&seen, options.seconds))
}

/// Everything seen while traffic ran.
#[derive(Debug, Default)]
struct Seen {
    elapsed: u64,
    before: Phase,
    after: Phase,
    last: LoadReport,
    greetings: LoadReport,
    echoes: LoadReport,
    observation: Observation,
}

impl Seen {
    fn count(&mut self, interval: &LoadReport, shift_at: u64, kill_at: u64) {
        self.elapsed += 1;
        (self.before.asked, self.after.asked) = (0.1, 0.5);
        if self.elapsed <= shift_at {
            self.before.add(interval);
        } else if self.elapsed > shift_at + BLUR && self.elapsed <= kill_at {
            self.after.add(interval);
        }
        self.last = interval.clone();
    }

    fn line(&self, interval: &LoadReport) -> String {
        let mut now = Phase::default();
        now.add(interval);
        let latency = &interval.latency_us;
        format!(
            "{:>4} s {:>5.0} rq/s  failed {:<3} p50 {:>5.1} ms  p99 {:>6.1} ms  v1 {:>3.0} %  v2 {:>3.0} %  retried {}",
            self.elapsed,
            interval.requests_per_second,
            interval.failed_total,
            latency.p50 / 1e3,
            latency.p99 / 1e3,
            (1.0 - now.share()) * 100.0,
            now.share() * 100.0,
            self.observation.sum("outrigger_retries_total", &[]),
        )
    }
}

fn start_members(mesh: &mut Mesh) -> Result<()> {
    mesh.join(
        "visitor",
        &Beside { namespace: NAMESPACE, service_account: "visitor", ..Beside::default() },
        None,
    )?;

    let echo = origin(mesh, "echo-a", &["tcp", "--one-at-a-time"])?;
    let inbound = inbound("tcp", &echo)?;
    let beside = Beside {
        namespace: NAMESPACE,
        service_account: "echo",
        labels: &[("app", "echo")],
        inbound,
        ..Beside::default()
    };
    mesh.join("echo-a", &beside, Some(echo))?;

    // v1 is well; one instance of v2 is slow, the other fails one answer in five.
    let greeters: [(&str, &str, &[&str]); 4] = [
        ("greeter-v1-a", "v1", &[]),
        (VICTIM, "v1", &[]),
        ("greeter-v2-a", "v2", &["--delay-ms", "20"]),
        ("greeter-v2-b", "v2", &["--fail-rate", "0.2"]),
    ];
    for (name, version, misbehave) in greeters {
        let greeter = origin(mesh, name, &[&["grpc"], misbehave].concat())?;
        let beside = Beside {
            namespace: NAMESPACE,
            service_account: "greeter",
            labels: &[("app", "greeter"), ("version", version)],
            inbound: self::inbound("grpc", &greeter)?,
            ..Beside::default()
        };
        mesh.join(name, &beside, Some(greeter))?;
    }

    // The front calls through its sidecar, so its own port must be known before it listens.
    let port = free_port()?;
    let beside = Beside {
        namespace: NAMESPACE,
        service_account: "front",
        labels: &[("app", "front")],
        inbound: Some(format!("http={port}/http")),
        upstreams: if mesh.is_transparent() { &[] } else { &["echo.demo:7000=127.0.0.1:0"] },
        ..Beside::default()
    };
    mesh.join("front-a", &beside, None)?;
    let is_transparent = mesh.is_transparent();
    let front = mesh.member("front-a")?;
    let (greeter_via, echo_via) = if is_transparent {
        ("greeter.demo:50051".to_owned(), "echo.demo:7000".to_owned())
    } else {
        let echo = front.sidecar_addr("upstream.echo.demo:7000")?;
        (front.sidecar_addr("outbound")?.to_owned(), echo.to_owned())
    };
    let listen = format!("127.0.0.1:{port}");
    let args = [
        "front",
        "--listen",
        &listen,
        "--greeter-via",
        &greeter_via,
        "--greeter",
        "greeter.demo:50051",
        "--echo-via",
        &echo_via,
    ];
    let application = origin(mesh, "front-a", &args)?;
    mesh.member("front-a")?.set_application(application);
    Ok(())
}

fn origin(mesh: &mut Mesh, name: &str, args: &[&str]) -> Result<Running> {
    let mut command = mesh.application(name, "origin")?;
    let (mode, rest) = args.split_first().context("an origin needs a mode")?;
    command.arg(mode).args(["--name", name]).args(rest);
    Running::start(name, command, &mesh.logs())
}

/// `--inbound` for an application that has just said where it listens.
fn inbound(protocol: &str, application: &Running) -> Result<Option<String>> {
    let (_, port) = application.ready("addr")?.rsplit_once(':').context("an address without a port")?;
    Ok(Some(format!("{protocol}={port}/{protocol}")))
}

/// Asks the way a user would until the whole chain answers: names, endpoints and certificates spread within seconds.
fn first_answer(mesh: &mut Mesh, front_door: &str) -> Result<()> {
    let tries = FIRST_ANSWER_WITHIN.as_secs() * 4;
    let mut answer = String::new();
    for _ in 0..tries {
        let report = last_report(&mut load(mesh, front_door, "/hello?name=first", 4, 0.25)?.spawn()?)?;
        if report.is_clean() {
            return Ok(());
        }
        answer = report.failure_examples.first().cloned().unwrap_or_default();
    }
    bail!("the mesh carried no request within {} s; the last answer: {answer}", FIRST_ANSWER_WITHIN.as_secs())
}

fn load(mesh: &mut Mesh, front_door: &str, path: &str, rate: u32, seconds: f64) -> Result<Command> {
    let mut command = mesh.application("visitor", "load")?;
    command.args(["http1", "--target", "front.demo:8080", "--path", path, "--connections", "8"]);
    if !mesh.is_transparent() {
        command.args(["--via", front_door]);
    }
    command.args(["--rate", &rate.to_string(), "--duration", &seconds.to_string(), "--timeout", "5"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    Ok(command)
}

#[expect(clippy::cast_precision_loss, reason = "a number of seconds")]
fn start_load(mesh: &mut Mesh, front_door: &str, path: &str, rate: u32, seconds: u64) -> Result<Child> {
    let mut command = load(mesh, front_door, path, rate, seconds as f64)?;
    command.args(["--interval", "1"]).spawn().context("starting load")
}

fn last_report(load: &mut Child) -> Result<LoadReport> {
    let stdout = load.stdout.take().context("load has no stdout")?;
    let mut last = LoadReport::default();
    for line in BufReader::new(stdout).lines() {
        last = serde_json::from_str(&line?).context("reading what load printed")?;
    }
    load.wait().context("waiting for load")?;
    Ok(last)
}

#[expect(clippy::print_stderr, reason = "the demo talks to the person who started it")]
fn tell_where_to_look(mesh: &Mesh, switch: Option<&str>) -> Result<()> {
    // Another terminal gets there by the switch's namespace.
    let within = switch.map(|switch| format!("ip netns exec {switch} env ")).unwrap_or_default();
    let kubeconfig = mesh.kubeconfig();
    eprintln!("\nWhile it runs, try:");
    eprintln!(
        "  {within}KUBECONFIG={} kubectl get services,httproutes,workloads -n demo",
        display(&kubeconfig)
    );
    for member in mesh.members() {
        eprintln!("  {within}curl -s http://{}/metrics   # {}", member.sidecar_addr("metrics")?, member.name);
    }
    eprintln!("  {within}curl -s http://{}/metrics   # control plane\n", mesh.control_plane_metrics()?);
    Ok(())
}

fn display(path: &Path) -> String {
    path.canonicalize().unwrap_or_else(|_| path.to_owned()).display().to_string()
}

fn judge(seen: &Seen, seconds: u64) -> Report {
    let observation = &seen.observation;
    let failures = seen.greetings.failed_total + seen.echoes.failed_total;
    let requests = seen.greetings.sent + seen.echoes.sent;
    let retries = observation.sum("outrigger_retries_total", &[]);
    let identities = observation.conversations();
    let talks = |from: &str, to: &str| {
        let from = format!("/ns/demo/sa/{from}");
        identities.iter().any(|talk| talk.from.ends_with(&from) && talk.service == to && talk.requests > 0)
    };
    let claim = |claim: &str, held: bool, seen: String| Claim { claim: claim.to_owned(), held, seen };
    let share = |phase: &Phase| format!("{:.1} % of {}", phase.share() * 100.0, phase.v1 + phase.v2);
    let all_verified = identities.iter().all(|talk| talk.from.starts_with("spiffe://"));
    let claims = vec![
        claim(
            "every request was answered, and rightly",
            failures == 0 && seen.greetings.is_clean() && seen.echoes.is_clean(),
            format!("{failures} of {requests} failed"),
        ),
        claim("the canary got 10 % at first", seen.before.is_as_asked(), share(&seen.before)),
        claim("and 50 % after one manifest", seen.after.is_as_asked(), share(&seen.after)),
        claim("failed attempts were retried elsewhere", retries > 0, format!("{retries} attempts")),
        claim(
            "the killed instance answers no more, the rest do",
            !seen.last.greeters.contains_key(VICTIM) && seen.last.ok > 0,
            format!("in the last second: {:?}", seen.last.greeters),
        ),
        claim(
            "every hop was mutual TLS between known identities",
            all_verified
                && talks("visitor", "demo/front")
                && talks("front", "demo/greeter")
                && talks("front", "demo/echo"),
            format!("{} pairs", identities.len()),
        ),
    ];
    Report {
        held: claims.iter().all(|claim| claim.held),
        seconds,
        requests,
        failures,
        failure_examples: [&seen.greetings, &seen.echoes]
            .iter()
            .flat_map(|r| r.failure_examples.clone())
            .collect(),
        retries,
        split: vec![seen.before.clone(), seen.after.clone()],
        endpoints: observation.endpoints(),
        routes: observation.routes(),
        identities,
        claims,
    }
}
