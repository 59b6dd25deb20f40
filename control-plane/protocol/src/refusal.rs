//! The words by which a sidecar says why it turned something away, and what each means to a person.
//!
//! Enters: a word, from the `outrigger-reason` header, a metric or a log. Leaves: what happened and what to do. Never
//! here: status codes and who may retry, which are the sidecar's own table; its tests hold both to the same words.

/// What one word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explanation {
    /// The stable word: `connect_refused`.
    pub word: &'static str,
    /// What happened.
    pub meaning: &'static str,
    /// What to do about it.
    pub mend: &'static str,
}

/// What this word means; `-` may stand for `_`.
pub fn explain(word: &str) -> Option<&'static Explanation> {
    let word = word.trim().replace('-', "_").to_lowercase();
    EXPLANATIONS.iter().find(|explanation| explanation.word == word)
}

const fn row(word: &'static str, meaning: &'static str, mend: &'static str) -> Explanation {
    Explanation { word, meaning, mend }
}

/// Every word, in the order of a request's way.
pub const EXPLANATIONS: &[Explanation] = &[
    row(
        "unknown_host",
        "The host of the request names no service of the mesh.",
        "Check the spelling against `meshctl get services -A`; inside the namespace `orders` will do, from elsewhere write `orders.shop` or `orders.shop.svc.mesh.internal`.",
    ),
    row(
        "unknown_port",
        "The service exists, but not the port the caller asked for.",
        "Compare the port with `meshctl get service NAME -n NAMESPACE`; callers use the Service's `port`, not its `targetPort`.",
    ),
    row(
        "no_route",
        "The service has HTTPRoutes and none of them matches the request.",
        "Compare path, method and headers with `meshctl get httproutes -o yaml`; a rule without matches catches the rest.",
    ),
    row(
        "invalid_backend",
        "The route that matches has no backend that can work: its Service or port does not exist.",
        "`meshctl check` and the route's `status.parents[].conditions` (ResolvedRefs) name the reference that leads nowhere.",
    ),
    row(
        "no_endpoints",
        "The service has no endpoint at all: no Workload carries the labels of its selector and announces its target port.",
        "Compare `spec.selector` and each `targetPort` of the Service (by name or number) with `meshctl get workloads -o yaml`; see that the sidecars of its instances run.",
    ),
    row(
        "no_healthy_endpoint",
        "The service has endpoints, and none of them takes traffic now: all are draining or not ready.",
        "See the Ready column of `meshctl get workloads`, and the logs of the instances that are not ready.",
    ),
    row(
        "connect_refused",
        "The machine of the endpoint answered that nothing listens on the port.",
        "See that the endpoint's sidecar (or, without one, the application) runs and listens on the announced port.",
    ),
    row(
        "connect_timeout",
        "The endpoint did not accept the connection in time.",
        "Usually a firewall, a wrong `--address` of the endpoint's sidecar, or a machine that is down.",
    ),
    row(
        "connect_failed",
        "The connection to the endpoint failed: no way to it, or it was reset.",
        "Try to reach its address from the caller's machine; the caller's log has the operating system's error.",
    ),
    row(
        "handshake_failed",
        "Mutual TLS with the endpoint failed.",
        "The logs of both sidecars say why; compare their trust bundles and clocks, and `/certs` of their admin ports.",
    ),
    row(
        "identity_mismatch",
        "The endpoint proved an identity other than the expected one, so nothing was sent to it.",
        "The address may belong to another workload by now. See the service account its sidecar runs as (`meshctl proxies`).",
    ),
    row(
        "request_timeout",
        "The request took longer in all than its route or TrafficPolicy allows, or than its caller said that it waits (`grpc-timeout`, `outrigger-timeout`, `outrigger-deadline`).",
        "Raise `timeouts.request` of the HTTPRoute rule or TrafficPolicy, or find out why the service is slow.",
    ),
    row(
        "attempt_timeout",
        "The last attempt took longer than the route or TrafficPolicy allows for one.",
        "Raise `timeouts.backendRequest` of the HTTPRoute rule or TrafficPolicy, or find out why the endpoint is slow.",
    ),
    row(
        "upstream_reset",
        "The endpoint reset the request after it had been sent.",
        "See the endpoint's own log. Requests that are safe to repeat were retried first.",
    ),
    row(
        "upstream_closed",
        "The endpoint closed the connection before it answered.",
        "See the endpoint's own log: it may have crashed, or been stopped without draining.",
    ),
    row(
        "upstream_protocol",
        "What the endpoint answered is not valid HTTP.",
        "See that the port's `appProtocol` is what the application speaks; use `tcp` when it is not HTTP.",
    ),
    row(
        "queue_full",
        "Too many requests already wait for this service.",
        "The service is slower than its callers ask: add instances, or call it less.",
    ),
    row(
        "headers_too_large",
        "The head of the request is larger than allowed.",
        "Send fewer or smaller headers; large cookies are the usual cause.",
    ),
    row(
        "uri_too_long",
        "The target of the request is longer than allowed.",
        "Move what the query carries into the body.",
    ),
    row(
        "bad_request",
        "The request is not valid HTTP, or could be read in two ways.",
        "Correct the client; the sidecar's log names the rule it breaks.",
    ),
    row(
        "header_timeout",
        "The head of the request did not arrive in time.",
        "The client opened a connection and sent too little on it; see what it waits for.",
    ),
    row(
        "discovery_timeout",
        "The control plane has not said yet where this service is.",
        "See that the control plane runs and the sidecar is connected to it (`meshctl proxies`).",
    ),
    row(
        "not_ready",
        "The sidecar has no certificate or no configuration yet.",
        "`/ready` on the sidecar's admin port names what is missing.",
    ),
    row(
        "draining",
        "The sidecar is shutting down and takes nothing new.",
        "Nothing to mend: callers try another endpoint.",
    ),
    row(
        "loop_detected",
        "The service leads back to this sidecar's own listener.",
        "Correct the endpoint's address or the `--upstream` that points to the sidecar itself.",
    ),
    row(
        "method_not_supported",
        "The method is not supported here: CONNECT to something that is not a service.",
        "Use CONNECT only with the host and port of a service.",
    ),
    row(
        "plaintext",
        "A peer spoke in the clear where mutual TLS is required: to the sidecar's own port, or to the application's.",
        "Let the caller go through its own sidecar, or make an exception for the port with a PeerAuthentication of mode \
         Permissive.",
    ),
    row(
        "untrusted_certificate",
        "The peer's certificate was not issued by this mesh's authority.",
        "Give the peer's sidecar this mesh's trust bundle and a join token of this control plane.",
    ),
    row(
        "expired_certificate",
        "The peer's certificate has expired.",
        "See why its sidecar could not renew (its log, `/certs`); compare the clocks of both machines.",
    ),
    row(
        "certificate_not_yet_valid",
        "The peer's certificate is not valid yet.",
        "The clock of one of the machines is wrong.",
    ),
    row(
        "wrong_identity",
        "The peer proved an identity that may not come in here.",
        "See who it is in the sidecar's log, and whether it is in the right namespace and service account.",
    ),
    row(
        "no_certificate",
        "The peer showed no certificate.",
        "Let the caller go through its own sidecar; TLS without a client certificate is not enough.",
    ),
    row(
        "handshake_protocol",
        "The peer's TLS handshake broke the protocol or offered nothing we accept.",
        "Sidecars speak TLS 1.3 only; see what else connects to the inbound port.",
    ),
    row(
        "handshake_timeout",
        "The peer did not finish its TLS handshake in time.",
        "A port scan, a health check that only connects, or a very slow network.",
    ),
    row(
        "unknown_inbound_port",
        "The workload has not announced the port the peer asked for.",
        "Add `--inbound PORT` to the sidecar of the workload, or correct the Service's `targetPort`.",
    ),
    row(
        "app_refused",
        "Nothing listens on the application's port beside the sidecar.",
        "Start the application, or correct the port in `--inbound`.",
    ),
    row(
        "app_timeout",
        "The application did not accept the sidecar's connection in time.",
        "The application's accept queue is full: it is overloaded or stuck.",
    ),
    row(
        "app_closed",
        "The application closed the connection before it answered.",
        "See the application's own log.",
    ),
    row(
        "downstream_closed",
        "The caller went away before it had its answer.",
        "Nothing to mend here: the caller's own timeout or its user ended it.",
    ),
    row(
        "egress_refused",
        "A captured connection went to a place the mesh does not know, and MeshConfig allows only registered ones.",
        "Register the place with an ExternalService, or set `egress.policy: Allow` in the MeshConfig `default`.",
    ),
    row(
        "unknown_address",
        "A captured connection went to a virtual address that belongs to no service: the service was deleted, or never existed.",
        "Look its name up again, where a program holds addresses for long; `kubectl get services --all-namespaces` shows who has which.",
    ),
    row(
        "name_not_resolved",
        "The place outside of the mesh is looked up by DNS, which knows no address of it or does not answer.",
        "Look the name up on the sidecar's machine (`getent ahosts NAME`); correct the ExternalService's `dnsName` or `hosts`, or give its `addresses`.",
    ),
    row(
        "upstream_certificate",
        "The sidecar adds TLS for a place outside of the mesh, whose certificate does not fit: untrusted, expired, or for another name.",
        "The answer says what does not fit; correct `tls.originate.sni` or `tls.originate.caBundle` of the ExternalService's port, or the certificate there.",
    ),
    row(
        "connection_limit",
        "The caller's sidecar has as many connections to the service open as `circuitBreaker.maxConnections` of its TrafficPolicy allows.",
        "See who holds them (`outrigger_limit_used` of the caller's sidecar); close what is idle, or raise the limit.",
    ),
    row(
        "request_limit",
        "The caller's sidecar has as many requests to the service under way, and as many waiting, as `circuitBreaker` of its TrafficPolicy allows.",
        "The service is slower than its caller asks: add instances, call it less, or raise `maxRequests`. The answer has the numbers.",
    ),
    row(
        "pending_timeout",
        "The request waited for its turn at the caller's sidecar as long as `circuitBreaker.maxPendingTime` of the service's TrafficPolicy allows.",
        "As for request_limit; with a longer `maxPendingTime` more would wait, and longer.",
    ),
    row(
        "concurrency_limit",
        "The sidecar of the instance lets in as many requests at once as `concurrency` of the service's TrafficPolicy allows, and its queue was full for this client.",
        "The answer says how much of it this client has itself. Add instances, call less at once, or raise the limit; `outrigger_limit` of the instance's sidecar shows where a limit that adapts stands.",
    ),
    row(
        "concurrency_timeout",
        "The request waited at the sidecar of the instance as long as `concurrency.maxPendingTime` of the service's TrafficPolicy allows.",
        "As for concurrency_limit.",
    ),
    row(
        "rate_limited",
        "More requests came than `rateLimit` of the service's TrafficPolicy lets in at this instance.",
        "Come again after `retry-after` seconds; the answer names the limit and whom it counts. Call less often, or raise `requests` or `burst`.",
    ),
    row(
        "fault_injected",
        "`faultInjection` of the service's TrafficPolicy made this request fail on purpose. The service never saw it.",
        "Nothing to mend: take the rule away when the test is over.",
    ),
    row(
        "idle_timeout",
        "No byte of the request or of its response passed for longer than `timeouts.idle` of the TrafficPolicy allows.",
        "Raise `timeouts.idle`, or let the application send something now and then on streams that are meant to be quiet.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_explained_once_in_sentences() {
        for explanation in EXPLANATIONS {
            assert_eq!(explain(explanation.word), Some(explanation), "{}", explanation.word);
            assert!(
                explanation.meaning.ends_with('.') && explanation.mend.ends_with('.'),
                "{}",
                explanation.word
            );
        }
        assert_eq!(explain("Connect-Refused").map(|explanation| explanation.word), Some("connect_refused"));
        assert_eq!(explain("bad_luck"), None);
    }
}
