//! Failures made on purpose hit the requests they are for, exactly as often as asked, say what they are, and hurt nobody
//! else.

use tests::holding::Holding;
use tests::http1::{Answer, Connection, get};
use tests::wait::{eventually, holds};
use tests::world::World;

/// Applies rules, and waits until the caller's worker goes by them: `/config` has them before. A first rule is told by its
/// own `status`, different for each policy of a test.
fn policy(world: &World, outbound: &str, (service, port): (&str, u16), status: u16, rules: &str) {
    let probe = "/quick/in-force";
    world.apply(&format!(
        "apiVersion: outrigger.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: {service}, namespace: demo}}\nspec:\n  \
         targetRefs: [{{group: '', kind: Service, name: {service}}}]\n  faultInjection:\n    rules:\n    - {{matches: \
         [{{path: {{value: {probe}}}}}], abort: {{httpStatus: {status}}}}}\n{rules}"
    ));
    world.until_answers(outbound, &format!("{service}:{port}"), probe, status);
}

const WEB: (&str, u16) = ("web", 80);

fn web() -> (World, String) {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    world.serve("web", "web-a", "http", &["http"]);
    world.serve("web", "web-b", "http", &["http"]);
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/", 200);
    (world, outbound)
}

fn tester(outbound: &str) -> Answer {
    let mut connection = Connection::open(outbound).unwrap();
    connection.write(b"GET / HTTP/1.1\r\nHost: web\r\nX-Tester: 1\r\n\r\n").unwrap();
    connection.answer().unwrap()
}

fn arrived(world: &mut World) -> f64 {
    let inbound = [("direction", "inbound")];
    ["web-a", "web-b"].map(|it| world.metrics(it).sum("outrigger_requests_total", &inbound)).iter().sum()
}

#[test]
fn an_abort_hits_whom_its_header_says_and_neither_reaches_an_instance_nor_counts_against_one() {
    let (mut world, outbound) = web();
    policy(
        &world,
        &outbound,
        WEB,
        418,
        "    - {matches: [{headers: [{name: x-tester, value: '1'}]}], abort: {httpStatus: 502}}\n",
    );
    let (before, abort) = (arrived(&mut world), [("service", "demo/web"), ("fault", "abort")]);
    let struck = world.metrics("shopper").sum("outrigger_faults_injected_total", &abort);
    for _ in 0..30 {
        let answer = tester(&outbound);
        assert_eq!((answer.status, answer.reason()), (502, "fault_injected"), "{}", answer.body);
        assert!(answer.body.contains("demo/web") && answer.body.contains("on purpose"), "{}", answer.body);
        assert_eq!(get(&outbound, "web", "/").unwrap().status, 200);
    }
    assert_eq!(arrived(&mut world), before + 30.0, "only the others arrived");
    let samples = world.metrics("shopper");
    assert_eq!(samples.sum("outrigger_faults_injected_total", &abort), struck + 30.0);
    assert_eq!(samples.sum("outrigger_endpoint_ejections_total", &[]), 0.0);
    assert_eq!(samples.sum("outrigger_retries_total", &[]), 0.0, "502 is not tried again");
    let labels = [("service", "demo/web"), ("reason", "fault_injected"), ("status", "502")];
    assert_eq!(samples.sum("outrigger_requests_total", &labels), 30.0);
}

#[test]
fn of_a_hundred_percent_all_are_struck_and_of_0_none() {
    let (world, outbound) = web();
    policy(&world, &outbound, WEB, 418, "    - {abort: {httpStatus: 500, percentage: 0}}\n");
    let statuses = |outbound: &str| -> Vec<u16> {
        let mut connection = Connection::open(outbound).unwrap();
        (0..100).map(|_| connection.get("web", "/").unwrap().status).collect()
    };
    assert_eq!(statuses(&outbound), [200; 100]);
    policy(
        &world,
        &outbound,
        WEB,
        419,
        "    - {matches: [{method: POST}], abort: {httpStatus: 500}}\n    - {abort: {grpcStatus: 8, percentage: 100}}\n",
    );
    assert_eq!(statuses(&outbound), [429; 100], "the HTTP status that RESOURCE_EXHAUSTED stands for");
    world.mesh.meshctl(&["delete", "trafficpolicy", "web", "-n", "demo"]).unwrap();
    world.until_answers(&outbound, "web", "/", 200);
}

#[test]
fn grpc_callers_get_the_grpc_status_that_was_asked_for() {
    let mut world = World::new();
    world.service("greeter", 50051, Some("grpc"), "main");
    world.serve("greeter", "greeter-a", "grpc", &["grpc"]);
    let outbound = world.client("shopper", &[]);
    let via =
        ["grpc", "--target", "greeter.demo:50051", "--via", &outbound, "--duration", "0.2", "--rate", "20"];
    eventually("the greeter answers", || {
        let report = world.load(&via);
        holds(report["failed_total"] == 0, report)
    });
    policy(&world, &outbound, ("greeter", 50051), 418, "    - {abort: {grpcStatus: 10}}\n");
    let report = world.load(&via);
    let failed: Vec<_> = report["failed"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(failed, ["grpc-10"], "{report}");
}

#[test]
fn a_delayed_request_is_overtaken_by_a_later_one_and_its_answer_says_so() {
    let mut world = World::new();
    world.service("web", 80, Some("http"), "main");
    let web = Holding::serve(&mut world, "web", "web-a");
    let outbound = world.client("shopper", &[]);
    world.until_answers(&outbound, "web", "/quick", 200);
    policy(&world, &outbound, WEB, 418, "    - {matches: [{path: {value: /slow}}], delay: {duration: 5s}}\n");
    let mut delayed = Connection::open(&outbound).unwrap();
    delayed.write(b"GET /slow HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
    world.counted("shopper", "outrigger_faults_injected_total", &[("fault", "delay")], 1.0);
    let mut later = Connection::open(&outbound).unwrap();
    later.write(b"GET /later HTTP/1.1\r\nHost: web\r\n\r\n").unwrap();
    let first = web.next();
    assert_eq!(first.path, "/later");
    first.answer();
    assert_eq!(later.answer().unwrap().header("outrigger-fault"), "");
    let second = web.next();
    assert_eq!(second.path, "/slow");
    second.answer();
    let answer = delayed.answer().unwrap();
    assert_eq!((answer.status, answer.header("outrigger-fault")), (200, "delay=5000ms"));
    assert_eq!(answer.reason(), "", "the answer is the application's own");
}

#[test]
fn a_delay_counts_for_the_requests_timeout() {
    let (world, outbound) = web();
    world.apply(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: web, namespace: demo}\nspec:\n  \
         parentRefs: [{group: '', kind: Service, name: web}]\n  rules:\n  - backendRefs: [{name: web, port: 80}]\n    \
         timeouts: {request: 200ms}\n",
    );
    policy(&world, &outbound, WEB, 418, "    - {delay: {duration: 5m}}\n");
    // The route was applied before, and is told with the policy.
    let answer = get(&outbound, "web", "/").unwrap();
    assert_eq!((answer.status, answer.reason()), (504, "request_timeout"), "{}", answer.body);
    assert_eq!(answer.header("outrigger-fault"), "delay=300000ms");
}
