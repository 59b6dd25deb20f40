//! Services are restarted, one instance after the other, while clients use them over HTTP/1.1, HTTP/2 and gRPC, unary and
//! streaming; no client sees an error, nor has to send anything again.

use mesh_load::running::Running;
use serde_json::Value;
use tests::world::World;

/// Instances of each of the two Services: the least that can be restarted without an end of service.
const INSTANCES: usize = 2;
/// Restarts in the suite.
const SOME: usize = 40;
/// Restarts in the long run: `cargo nextest run -p tests --run-ignored only a_thousand`.
const MANY: usize = 1_000;

/// How the clients call: nothing of it may be sent twice. A few requests a second of each kind are enough, as some are
/// under way at any moment: each takes 5 ms in the application, and a stream a quarter of a second.
const CLIENTS: [(&str, &str, &[&str]); 4] = [
    ("http1", "web.demo:80", &["http1", "--path", "/echo", "--post-bytes", "500", "--connections", "4"]),
    ("http2", "web.demo:80", &["http2", "--path", "/echo", "--post-bytes", "500", "--streams", "8"]),
    ("grpc", "greeter.demo:80", &["grpc", "--streams", "8"]),
    (
        "grpc-stream",
        "greeter.demo:80",
        &["grpc-stream", "--streams", "16", "--greetings", "26", "--greeting-interval-ms", "10"],
    ),
];

/// The two Services.
const SERVICES: [(&str, &str, &[&str]); 2] =
    [("web", "http", &["http", "--delay-ms", "5"]), ("greeter", "grpc", &["grpc", "--delay-ms", "5"])];

struct Client {
    name: &'static str,
    load: Running,
}

impl Client {
    fn start(world: &World, outbound: &str, name: &'static str, target: &str, args: &[&str]) -> Self {
        let mut command = world.mesh.program("load");
        command.args(args).args(["--target", target, "--via", outbound]);
        command.args(["--rate", "15", "--duration", "86400", "--timeout", "20", "--marks"]);
        Self { name, load: Running::launch(name, command, &world.mesh.logs()).unwrap() }
    }

    /// Ends it and returns its report.
    fn report(&mut self, world: &World) -> Value {
        self.load.terminate().unwrap();
        self.load.wait().unwrap();
        let log = std::fs::read_to_string(world.mesh.logs().join(format!("{}.log", self.name))).unwrap();
        serde_json::from_str(log.lines().last().unwrap()).unwrap()
    }
}

/// How an instance is restarted.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Another instance takes its place, as a Pod's does: a new name, and new ports.
    Replace,
    /// The same instance comes back, as a unit of systemd does: its name, its ports and its state directory are the old
    /// ones, so that it serves from what it has on disk before it has heard from the control plane.
    InPlace,
}

const WAYS: [Way; 2] = [Way::InPlace, Way::Replace];

/// Restarts so many instances under load, in both ways, and returns how many requests were answered meanwhile.
fn roll(restarts: usize) -> u64 {
    let mut world = World::new();
    let mut running: Vec<Vec<String>> = Vec::new();
    for (service, protocol, args) in SERVICES {
        world.service(service, 80, Some(protocol), "main");
        let names = (0..INSTANCES).map(|number| format!("{service}-{number}"));
        running.push(names.inspect(|name| world.serve(service, name, protocol, args)).collect());
    }
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    let clients = CLIENTS.map(|(name, target, args)| Client::start(&world, &outbound, name, target, args));

    for restart in 0..restarts {
        // One instance of a Service right after the other, as soon as it says that it is ready; then the other Service.
        let turn = restart / INSTANCES % SERVICES.len();
        let (service, protocol, args) = SERVICES[turn];
        let old = running[turn].remove(0);
        let way = WAYS[restart / (INSTANCES * SERVICES.len()) % WAYS.len()];
        let new = match way {
            Way::Replace => {
                world.mesh.retire(&old).unwrap();
                let new = format!("{service}-{}", INSTANCES + restart);
                world.serve(service, &new, protocol, args);
                new
            }
            Way::InPlace => {
                let member = world.mesh.member(&old).unwrap();
                assert!(member.terminate_sidecar().unwrap().success());
                member.kill_application();
                let listen = format!("127.0.0.1:{}", member.application_port().unwrap());
                let application = world.origin(&old, &[args, &["--listen", &listen]].concat());
                world.mesh.member(&old).unwrap().set_application(application);
                world.mesh.restart_sidecar(&old).unwrap();
                old
            }
        };
        running[turn].push(new);
    }

    let mut answered = 0;
    for mut client in clients {
        let report = client.report(&world);
        assert_eq!(report["failed_total"], 0, "{}: {report}", client.name);
        assert_eq!(report["resent"], 0, "{}: {report}", client.name);
        let seen = report["instances"].as_object().unwrap().len();
        assert!(seen > INSTANCES, "{}: {report}", client.name);
        answered += report["ok"].as_u64().unwrap();
    }
    answered
}

#[test]
fn a_rolling_restart_shows_no_client_an_error() {
    let answered = roll(SOME);
    assert!(answered > 0);
}

#[test]
#[ignore = "takes ten minutes"]
#[allow(clippy::print_stdout, reason = "the figure is what it is run for")]
fn a_thousand_restarts_show_no_client_an_error() {
    let answered = roll(MANY);
    println!("{MANY} restarts, {answered} requests, none failed");
}
