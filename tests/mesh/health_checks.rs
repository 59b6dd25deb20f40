//! An application is asked by its own sidecar whether it is well, as a TrafficPolicy says, and by its callers where it has
//! none; while it is not, nobody is sent there, and everybody can see why.

use mesh_load::mesh::Beside;
use mesh_load::scrape::Samples;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use tests::http1::Connection;
use tests::wait::{eventually, holds};
use tests::world::{NAMESPACE, World};

/// An HTTP/1.1 server whose `/healthz` is answered with the status it is told, and everything else with 200.
#[derive(Clone)]
struct Moody {
    status: Arc<AtomicU16>,
    asked: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
}

impl Moody {
    fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let moody =
            Self { status: Arc::new(AtomicU16::new(200)), asked: Arc::default(), served: Arc::default() };
        let served = moody.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let moody = served.clone();
                std::thread::spawn(move || moody.serve(stream));
            }
        });
        (moody, address)
    }

    fn serve(&self, stream: std::net::TcpStream) -> Option<()> {
        let mut writer = stream.try_clone().ok()?;
        let mut reader = BufReader::new(stream);
        loop {
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).ok()? > 2 {
                head.push_str(&line);
                line.clear();
            }
            if head.is_empty() {
                return None;
            }
            let is_question = head.starts_with("GET /healthz ");
            let status = if is_question { self.status.load(Ordering::SeqCst) } else { 200 };
            let counter = if is_question { &self.asked } else { &self.served };
            counter.fetch_add(1, Ordering::SeqCst);
            write!(writer, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\nX-Instance: moody\r\n\r\n").ok()?;
        }
    }
}

/// Those that get requests get them in turn, so that who gets none is left out.
fn policy(world: &World, check: &str) {
    world.apply(&format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: web, namespace: demo}}\nspec:\n  \
         targetRefs: [{{kind: Service, name: web}}]\n  loadBalancing: {{policy: RoundRobin}}\n  healthCheck:\n    interval: \
         1s\n{check}"
    ));
}

/// How many of 20 requests the moody instance answers.
fn share(outbound: &str) -> usize {
    let mut connection = Connection::open(outbound).unwrap();
    (0..20).filter(|_| connection.get("web", "/").unwrap().header("x-instance") == "moody").count()
}

fn ready(world: &World, workload: &str) -> serde_json::Value {
    let said = world.mesh.meshctl(&["get", "workload", workload, "-n", "demo", "-o", "json"]).unwrap();
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    said["status"]["conditions"][0].clone()
}

#[test]
fn an_instance_that_is_not_well_gets_no_requests_says_why_and_comes_back() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    let (moody, address) = Moody::start();
    let beside = Beside {
        namespace: NAMESPACE,
        service_account: "web",
        labels: &[("app", "web")],
        inbound: Some(format!("main={}/http", address.port())),
        ..Beside::default()
    };
    world.mesh.join("web-moody", &beside, None).unwrap();
    let outbound = world.client("shopper", &[]);
    // `origin` knows no /healthz, and says 404 to it.
    policy(&world, "    unhealthyThreshold: 2\n    http: {path: /healthz, expectedStatuses: [200, 404]}\n");
    world.counted("web-moody", "outrigger_health_checks_total", &[("result", "passed")], 1.0);
    eventually("both answer", || {
        let share = share(&outbound);
        holds(share > 0 && share < 20, share)
    });

    moody.status.store(503, Ordering::SeqCst);
    eventually("nobody is sent to who is not well", || {
        let share = share(&outbound);
        holds(share == 0, share)
    });
    let port = address.port().to_string();
    let samples = world.metrics("web-moody");
    assert!(samples.sum("outrigger_health_checks_total", &[("port", &port), ("result", "failed")]) >= 2.0);
    assert_eq!(samples.sum("outrigger_health_check_healthy", &[("port", &port)]), 0.0);
    let condition = ready(&world, "web-moody");
    assert_eq!(
        (&condition["status"], &condition["reason"]),
        (&"False".into(), &"Unhealthy".into()),
        "{condition}"
    );
    let message = condition["message"].as_str().unwrap();
    let says = format!("GET /healthz at port {port} was answered with 503, not 200 or 404");
    assert!(message.contains(&says), "{message}");

    moody.status.store(200, Ordering::SeqCst);
    eventually("it is back", || {
        let share = share(&outbound);
        holds(share > 0, share)
    });
    assert_eq!(ready(&world, "web-moody")["reason"], "Connected");

    // What nobody asks for any more is not asked, and holds nobody back.
    moody.status.store(503, Ordering::SeqCst);
    eventually("it is out again", || {
        let share = share(&outbound);
        holds(share == 0, share)
    });
    world.mesh.meshctl(&["delete", "trafficpolicy", "web", "-n", "demo"]).unwrap();
    eventually("it is back, though it is as it was", || {
        let condition = ready(&world, "web-moody");
        holds(condition["reason"] == "Connected", condition)
    });
}

#[test]
fn where_no_instance_is_well_requests_are_sent_nevertheless() {
    let (moody, address) = Moody::start();
    let (mut world, outbound) = World::in_front_of(address, "/");
    moody.status.store(500, Ordering::SeqCst);
    policy(&world, "    http: {path: /healthz}\n");
    eventually("its workload is not ready", || {
        let condition = ready(&world, "web-a");
        holds(condition["reason"] == "Unhealthy", condition)
    });
    world.counted("web-a", "outrigger_health_checks_total", &[("result", "failed")], 2.0);
    assert_eq!(share(&outbound), 20, "half a service is better than none");
}

#[test]
fn an_instance_is_asked_by_its_own_sidecar_alone() {
    let (moody, address) = Moody::start();
    let (mut world, outbound) = World::in_front_of(address, "/");
    let other = world.client("other", &[]);
    policy(&world, "    http: {path: /healthz}\n");
    world.counted("web-a", "outrigger_health_checks_total", &[("result", "passed")], 3.0);
    assert_eq!((share(&outbound), share(&other)), (20, 20));
    let own = world.metrics("web-a").sum("outrigger_health_checks_total", &[]);
    let asked = moody.asked.load(Ordering::SeqCst);
    // One may be under way between the two looks.
    assert!(asked as f64 <= own + 2.0, "asked {asked} times, by its own sidecar {own}");
    for caller in ["shopper", "other"] {
        assert_eq!(world.metrics(caller).sum("outrigger_health_checks_total", &[]), 0.0, "{caller}");
    }
}

#[test]
fn a_grpc_server_is_asked_by_its_own_protocol() {
    let mut world = World::new();
    world.service("web", 80, Some("grpc"), "main");
    // The greeter does not implement the protocol: gRPC says UNIMPLEMENTED, which is no word that it is well.
    world.serve("web", "web-a", "grpc", &["grpc"]);
    policy(&world, "    grpc: {}\n");
    let message = eventually("its workload says what is wrong", || {
        let condition = ready(&world, "web-a");
        if condition["reason"] == "Unhealthy" {
            Ok(condition["message"].to_string())
        } else {
            Err(condition.to_string())
        }
    });
    assert!(message.contains("/grpc.health.v1.Health/Check for the server at port"), "{message}");
    assert!(message.contains("it was answered with gRPC status 12"), "{message}");
    policy(&world, "    tcp: {}\n");
    eventually("it is ready by a check that it knows", || {
        let condition = ready(&world, "web-a");
        holds(condition["reason"] == "Connected", condition)
    });
}

#[test]
fn an_instance_without_a_sidecar_is_asked_by_its_callers() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    let [(moody, address), (_calm, other)] = [Moody::start(), Moody::start()];
    for (name, address) in [("a", address), ("b", other)] {
        world.apply(&format!(
            "apiVersion: outrigger.dev/v1alpha1\nkind: Workload\nmetadata: {{name: web-{name}, namespace: demo, labels: \
             {{app: web}}}}\nspec:\n  address: {}\n  ports: [{{name: main, port: {}, appProtocol: http}}]\n",
            address.ip(),
            address.port()
        ));
    }
    policy(&world, "    unhealthyThreshold: 2\n    http: {path: /healthz}\n");
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    const ANSWERS: &str = "outrigger_endpoint_health_checks_total";
    world.counted("shopper", ANSWERS, &[("service", "demo/web"), ("result", "passed")], 2.0);
    let gets_requests = || {
        let before = moody.served.load(Ordering::SeqCst);
        share(&outbound);
        moody.served.load(Ordering::SeqCst) > before
    };
    assert!(gets_requests());

    moody.status.store(503, Ordering::SeqCst);
    eventually("nobody is sent to who is not well", || holds(!gets_requests(), "it gets requests"));
    let samples = world.metrics("shopper");
    assert!(samples.sum(ANSWERS, &[("service", "demo/web"), ("result", "failed")]) >= 2.0);
    let failing = |samples: &Samples| samples.sum("outrigger_endpoint_health_checks_failing", &[]);
    assert_eq!(failing(&samples), 1.0);
    let log = std::fs::read_to_string(world.mesh.logs().join("shopper-sidecar.log")).unwrap();
    let says = format!("GET /healthz at port {} was answered with 503, not 200 to 399", address.port());
    assert!(log.contains(&says) && log.contains("demo/web"), "{log}");

    moody.status.store(200, Ordering::SeqCst);
    eventually("it is back", || holds(gets_requests(), "it gets none"));

    // What nobody asks for any more holds nobody back.
    moody.status.store(503, Ordering::SeqCst);
    eventually("it is out again", || holds(!gets_requests(), "it gets requests"));
    world.mesh.meshctl(&["delete", "trafficpolicy", "web", "-n", "demo"]).unwrap();
    eventually("it is back, though it is as it was", || holds(gets_requests(), "it gets none"));
}
