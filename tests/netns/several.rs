//! Several services on one machine, each with a sidecar of its own.

use crate::{OTHER, SERVICE};
use tests::netns::Host;

const WEB: &str = "--name web --include-uid 1001 --include-inbound-port 8080";
const API: &str = "--name api --include-uid 1002 --include-inbound-port 9000 --outbound-port 16001 --inbound-port 16006 \
                   --inbound-mtls-port 16008 --dns-port 16053 --admin-port 16000 --metrics-port 16020";

#[test]
fn two_sidecars_each_get_their_own_service_s_traffic() {
    let (host, far) = Host::pair();
    let _servers = [
        host.serve("web-sidecar", "127.0.0.1:15001"),
        host.serve("web-sidecar", "[::1]:15001"),
        host.serve("api-sidecar", "127.0.0.1:16001"),
        host.serve("api-sidecar", "[::1]:16001"),
        host.serve("web-sidecar", "0.0.0.0:15006"),
        host.serve("api-sidecar", "0.0.0.0:16006"),
        far.serve("far", "10.77.0.2:80"),
    ];
    host.intercepts(&format!("install {WEB}"));
    host.intercepts(&format!("install {API}"));
    assert_eq!(host.asks(SERVICE, "10.77.0.2:80").unwrap(), "web-sidecar 10.77.0.2:80 10.77.0.1");
    assert_eq!(host.asks(OTHER, "10.77.0.2:80").unwrap(), "api-sidecar 10.77.0.2:80 10.77.0.1");
    assert_eq!(host.asks(0, "10.77.0.2:80").unwrap(), "far - 10.77.0.1");
    assert_eq!(far.asks(0, "10.77.0.1:8080").unwrap(), "web-sidecar 10.77.0.1:8080 10.77.0.2");
    assert_eq!(far.asks(0, "10.77.0.1:9000").unwrap(), "api-sidecar 10.77.0.1:9000 10.77.0.2");
    // One goes, the other stays.
    host.intercepts("uninstall --name web");
    assert_eq!(host.asks(SERVICE, "10.77.0.2:80").unwrap(), "far - 10.77.0.1");
    assert_eq!(host.asks(OTHER, "10.77.0.2:80").unwrap(), "api-sidecar 10.77.0.2:80 10.77.0.1");
}

#[test]
fn two_that_would_get_in_each_other_s_way_are_refused_with_the_remedy() {
    let host = Host::new();
    host.intercepts(&format!("install {WEB}"));
    let before = host.rules();
    let said = host.refuses("install --sidecar-uid 900");
    assert!(
        said.contains("the rules in table outrigger_web are for a sidecar with the same ports"),
        "{said}"
    );
    assert!(said.contains("would both capture what the same users send"), "{said}");
    assert!(said.contains("`sidecar intercept uninstall --name web`"), "{said}");
    assert_eq!(host.rules(), before);
}
