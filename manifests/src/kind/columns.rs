//! What `kubectl get` prints: columns and cells of the Kubernetes Table format, for built-in kinds as Kubernetes prints
//! them. What enters is an object as stored; a field that is missing or of a wrong type becomes `<none>`, never an error.

use super::Kind;
use super::age::{age, since};
use jiff::Timestamp;
use serde_json::Value;

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its heading; `kubectl` prints it in capitals.
    pub name: &'static str,
    /// The JSON type of its cells.
    pub cell_type: &'static str,
    /// `name` for the column of names, else empty.
    pub format: &'static str,
    /// What it shows.
    pub description: &'static str,
    /// 0: always printed; 1: only with `-o wide`.
    pub priority: i32,
}

const NAME: Column =
    Column { format: "name", ..text("Name", "The name of the object, unique in its namespace") };
const AGE: Column = text("Age", "How long ago the object was stored first");

const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, cell_type: "string", format: "", description, priority: 0 }
}

const fn number(name: &'static str, description: &'static str) -> Column {
    Column { cell_type: "integer", ..text(name, description) }
}

const fn wide(column: Column) -> Column {
    Column { priority: 1, ..column }
}

const NAMESPACE: &[Column] = &[NAME, text("Status", "Active, or Terminating"), AGE];
const SERVICE: &[Column] = &[
    NAME,
    text("Type", "How the Service is exposed"),
    text("Cluster-IP", "Its virtual address"),
    text("External-IP", "Addresses from outside"),
    text("Port(s)", "Its ports"),
    AGE,
    wide(text("Selector", "The labels of the Workloads behind it")),
];
const SECRET: &[Column] =
    &[NAME, text("Type", "What its contents are for"), number("Data", "How many entries it has"), AGE];
const CONFIG_MAP: &[Column] = &[NAME, number("Data", "How many entries it has"), AGE];
const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    text("AddressType", "IPv4 or IPv6"),
    text("Ports", "The ports of every endpoint"),
    text("Endpoints", "The addresses"),
    AGE,
];
const WORKLOAD: &[Column] = &[
    NAME,
    text("Address", "Where it is reached"),
    text("ServiceAccount", "What it runs as"),
    text("Zone", "Where it runs"),
    text("Ready", "Whether it takes traffic"),
    AGE,
    wide(text("Ports", "The application's ports")),
];
const HTTP_ROUTE: &[Column] = &[
    NAME,
    text("Hostnames", "The hosts it is for"),
    AGE,
    wide(text("Parents", "What it is attached to")),
    wide(text("Accepted", "Whether every parent has accepted it")),
];

const MESH_CONFIG: &[Column] = &[
    NAME,
    text("Egress", "What becomes of connections to places the mesh does not know"),
    text("Mtls", "What becomes of plain text where nothing else is said"),
    AGE,
];
const PEER_AUTHENTICATION: &[Column] = &[
    NAME,
    text("Mode", "What becomes of plain text"),
    text("Ports", "Ports with a mode of their own"),
    text("Selector", "The labels of the Workloads it is for"),
    AGE,
];

const EXTERNAL_SERVICE: &[Column] = &[
    NAME,
    text("Hosts", "What it is called by"),
    text("Ports", "Its ports and what callers speak there"),
    text("Resolution", "Where it is: its addresses, a name, or DNS for the host itself"),
    AGE,
];

const TRAFFIC_POLICY: &[Column] = &[
    NAME,
    text("Targets", "What it is for"),
    text("Policy", "How an instance is chosen"),
    text("Accepted", "Whether it is in force at every target"),
    AGE,
];

const EVENT: &[Column] = &[
    text("Last Seen", "How long ago it happened last"),
    text("Type", "Normal, or Warning"),
    text("Reason", "What happened, in a word"),
    text("Object", "What it happened to"),
    text("Message", "What happened"),
    wide(text("Source", "Who says so")),
    wide(number("Count", "How often it happened")),
    wide(NAME),
];
const ROLE_BINDING: &[Column] = &[
    NAME,
    text("Role", "What its subjects may do"),
    AGE,
    wide(text("Users", "By their certificates")),
    wide(text("Groups", "By their certificates, or by what they are")),
    wide(text("ServiceAccounts", "By their tokens or certificates")),
];

impl Kind {
    /// The columns of a table of its objects.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::Namespace => NAMESPACE,
            Self::Service => SERVICE,
            Self::Secret => SECRET,
            Self::ConfigMap => CONFIG_MAP,
            Self::EndpointSlice => ENDPOINT_SLICE,
            Self::Workload => WORKLOAD,
            Self::HttpRoute => HTTP_ROUTE,
            Self::ExternalService => EXTERNAL_SERVICE,
            Self::MeshConfig => MESH_CONFIG,
            Self::PeerAuthentication => PEER_AUTHENTICATION,
            Self::TrafficPolicy => TRAFFIC_POLICY,
            Self::Event => EVENT,
            Self::RoleBinding | Self::ClusterRoleBinding => ROLE_BINDING,
        }
    }

    /// The row of one object, a cell for each of [`Kind::columns`].
    pub fn cells(self, object: &Value, now: Timestamp) -> Vec<Value> {
        let name = Value::from(at(object, "/metadata/name").unwrap_or_default());
        let age = Value::from(age(object, now));
        let or_none = |pointer: &str| Value::from(at(object, pointer).unwrap_or("<none>"));
        match self {
            Self::Namespace => {
                vec![name, Value::from(at(object, "/status/phase").unwrap_or("Active")), age]
            }
            Self::Service => vec![
                name,
                Value::from(at(object, "/spec/type").unwrap_or("ClusterIP")),
                or_none("/spec/clusterIP"),
                Value::from(external_ip(object)),
                Value::from(service_ports(object)),
                age,
                Value::from(selector(object, "/spec/selector")),
            ],
            Self::Secret => vec![
                name,
                Value::from(at(object, "/type").unwrap_or("Opaque")),
                Value::from(entries(object, &["data", "stringData"])),
                age,
            ],
            Self::ConfigMap => vec![name, Value::from(entries(object, &["data", "binaryData"])), age],
            Self::EndpointSlice => vec![
                name,
                or_none("/addressType"),
                Value::from(joined(list(object, "/ports").filter_map(|port| port.get("port")), "<unset>")),
                Value::from(endpoints(object)),
                age,
            ],
            Self::Workload => vec![
                name,
                or_none("/spec/address"),
                Value::from(at(object, "/spec/serviceAccount").unwrap_or("default")),
                or_none("/spec/zone"),
                Value::from(condition(object.pointer("/status/conditions"), "Ready").unwrap_or("Unknown")),
                age,
                Value::from(joined(
                    list(object, "/spec/ports").filter_map(|port| port.get("port")),
                    "<none>",
                )),
            ],
            Self::HttpRoute => vec![
                name,
                match object.pointer("/spec/hostnames") {
                    Some(Value::Array(hosts)) if !hosts.is_empty() => {
                        Value::from(Value::from(hosts.clone()).to_string())
                    }
                    Some(_) | None => Value::from(""),
                },
                age,
                Value::from(parents(object, "/spec/parentRefs")),
                Value::from(accepted(object, "/status/parents")),
            ],
            Self::ExternalService => vec![
                name,
                Value::from(joined(list(object, "/spec/hosts"), "<none>")),
                Value::from(external_ports(object)),
                Value::from(match at(object, "/spec/dnsName") {
                    Some(name) => name.to_owned(),
                    None => joined(list(object, "/spec/addresses"), "DNS"),
                }),
                age,
            ],
            Self::MeshConfig => vec![
                name,
                Value::from(at(object, "/spec/egress/policy").unwrap_or("Allow")),
                Value::from(at(object, "/spec/mtls/mode").unwrap_or("Strict")),
                age,
            ],
            Self::PeerAuthentication => vec![
                name,
                or_none("/spec/mtls/mode"),
                Value::from(ports_with_modes(object)),
                Value::from(selector(object, "/spec/selector/matchLabels")),
                age,
            ],
            Self::Event => {
                let seen = ["/lastTimestamp", "/eventTime", "/metadata/creationTimestamp"];
                let seen = seen.into_iter().find_map(|pointer| at(object, pointer)).unwrap_or_default();
                let kind = at(object, "/involvedObject/kind").unwrap_or_default().to_lowercase();
                vec![
                    Value::from(since(seen, now)),
                    or_none("/type"),
                    or_none("/reason"),
                    Value::from(format!("{kind}/{}", at(object, "/involvedObject/name").unwrap_or_default())),
                    or_none("/message"),
                    or_none("/source/component"),
                    object.get("count").filter(|count| count.is_i64()).cloned().unwrap_or(Value::from(1)),
                    name,
                ]
            }
            Self::RoleBinding | Self::ClusterRoleBinding => vec![
                name,
                Value::from(format!("ClusterRole/{}", at(object, "/roleRef/name").unwrap_or("<none>"))),
                age,
                Value::from(subjects(object, "User")),
                Value::from(subjects(object, "Group")),
                Value::from(subjects(object, "ServiceAccount")),
            ],
            Self::TrafficPolicy => vec![
                name,
                Value::from(parents(object, "/spec/targetRefs")),
                Value::from(at(object, "/spec/loadBalancing/policy").unwrap_or("PeakEwma")),
                Value::from(accepted(object, "/status/ancestors")),
                age,
            ],
        }
    }
}

fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

fn list<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    object.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn joined<'a>(values: impl Iterator<Item = &'a Value>, nothing: &str) -> String {
    let texts: Vec<String> = values.map(shown).collect();
    if texts.is_empty() { nothing.to_owned() } else { texts.join(",") }
}

fn entries(object: &Value, fields: &[&str]) -> usize {
    fields.iter().filter_map(|field| object.get(field)?.as_object()).map(serde_json::Map::len).sum()
}

fn external_ip(object: &Value) -> String {
    match at(object, "/spec/type") {
        Some("ExternalName") => at(object, "/spec/externalName").unwrap_or("<none>").to_owned(),
        _ => joined(list(object, "/spec/externalIPs"), "<none>"),
    }
}

fn service_ports(object: &Value) -> String {
    let port = |port: &Value| {
        let number = port.get("port").map(shown).unwrap_or_default();
        let protocol = port.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
        match port.get("nodePort").and_then(Value::as_u64) {
            Some(node_port) if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
            Some(_) | None => format!("{number}/{protocol}"),
        }
    };
    let ports: Vec<String> = list(object, "/spec/ports").map(port).collect();
    if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }
}

fn selector(object: &Value, pointer: &str) -> String {
    let selector = object.pointer(pointer).and_then(Value::as_object);
    let pairs: Vec<String> =
        selector.into_iter().flatten().map(|(key, value)| format!("{key}={}", shown(value))).collect();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// `443/tls,80->443/http`.
fn external_ports(object: &Value) -> String {
    let port = |port: &Value| {
        let number = port.get("port").map(shown).unwrap_or_default();
        let target = port.get("targetPort").map(|target| format!("->{}", shown(target))).unwrap_or_default();
        format!("{number}{target}/{}", port.get("protocol").and_then(Value::as_str).unwrap_or("detect"))
    };
    let ports: Vec<String> = list(object, "/spec/ports").map(port).collect();
    if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }
}

/// `8081=Permissive,8082=Permissive`.
fn ports_with_modes(object: &Value) -> String {
    let port = |port: &Value| {
        let [number, mode] = ["port", "mode"].map(|field| port.get(field).map(shown).unwrap_or_default());
        format!("{number}={mode}")
    };
    let ports: Vec<String> = list(object, "/spec/mtls/ports").map(port).collect();
    if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") }
}

/// `eve, shop/deployer`, as Kubernetes prints them.
fn subjects(object: &Value, kind: &str) -> String {
    let named = |subject: &Value| {
        let name = subject.get("name").map(shown).unwrap_or_default();
        subject.get("namespace").map_or(name.clone(), |namespace| format!("{}/{name}", shown(namespace)))
    };
    let of_kind = list(object, "/subjects").filter(|subject| at(subject, "/kind") == Some(kind));
    of_kind.map(named).collect::<Vec<_>>().join(", ")
}

/// As Kubernetes: three addresses, then how many more.
fn endpoints(object: &Value) -> String {
    const SHOWN: usize = 3;
    let addresses = || list(object, "/endpoints").flat_map(|endpoint| list(endpoint, "/addresses"));
    let first = joined(addresses().take(SHOWN), "<unset>");
    match addresses().count().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} + {more} more..."),
    }
}

fn parents(object: &Value, pointer: &str) -> String {
    let parent = |parent: &Value| {
        let kind = parent.get("kind").and_then(Value::as_str).unwrap_or("Gateway");
        format!("{kind}/{}", parent.get("name").map(shown).unwrap_or_default())
    };
    let parents: Vec<String> = list(object, pointer).map(parent).collect();
    if parents.is_empty() { "<none>".to_owned() } else { parents.join(",") }
}

fn accepted(object: &Value, pointer: &str) -> &'static str {
    let mut words = list(object, pointer)
        .map(|parent| condition(parent.get("conditions"), "Accepted").unwrap_or("Unknown"))
        .peekable();
    if words.peek().is_none() {
        return "Unknown";
    }
    if words.all(|word| word == "True") { "True" } else { "False" }
}

fn condition<'a>(conditions: Option<&'a Value>, kind: &str) -> Option<&'a str> {
    let mut conditions = conditions?.as_array()?.iter();
    conditions
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))?
        .get("status")?
        .as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_row_has_a_cell_for_every_column_even_of_an_empty_object() {
        for kind in Kind::ALL {
            for object in [json!({}), json!(null), json!({"metadata": 7, "spec": [], "status": "x"})] {
                assert_eq!(kind.cells(&object, Timestamp::UNIX_EPOCH).len(), kind.columns().len(), "{kind}");
            }
        }
    }

    #[test]
    fn a_service_is_printed_as_kubernetes_prints_it() {
        let service = json!({
            "metadata": {"name": "front", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"clusterIP": "10.0.0.1", "selector": {"app": "front"},
                     "ports": [{"port": 80}, {"port": 53, "protocol": "UDP", "nodePort": 30053}]},
        });
        let now = Timestamp::from_second(61).unwrap();
        assert_eq!(
            Value::from(Kind::Service.cells(&service, now)),
            json!(["front", "ClusterIP", "10.0.0.1", "<none>", "80/TCP,53:30053/UDP", "61s", "app=front"])
        );
    }

    #[test]
    fn an_external_service_shows_where_it_is() {
        let mut payments = json!({
            "metadata": {"name": "payments"},
            "spec": {"hosts": ["api.example.com", "*.example.org"],
                     "ports": [{"port": 443, "protocol": "tls"}, {"port": 80, "targetPort": 443}]},
        });
        let shown = |object: &Value| Value::from(Kind::ExternalService.cells(object, Timestamp::UNIX_EPOCH));
        let row = |at: &str| {
            json!(["payments", "api.example.com,*.example.org", "443/tls,80->443/detect", at, "<unknown>"])
        };
        assert_eq!(shown(&payments), row("DNS"));
        payments["spec"]["addresses"] = json!(["192.0.2.1", "192.0.2.2"]);
        assert_eq!(shown(&payments), row("192.0.2.1,192.0.2.2"));
    }

    #[test]
    fn modes_and_defaults_are_shown() {
        let now = Timestamp::UNIX_EPOCH;
        let config = json!({"metadata": {"name": "default"}, "spec": {}});
        assert_eq!(
            Value::from(Kind::MeshConfig.cells(&config, now)),
            json!(["default", "Allow", "Strict", "<unknown>"])
        );
        let probes = json!({
            "metadata": {"name": "probes"},
            "spec": {"selector": {"matchLabels": {"app": "orders"}},
                     "mtls": {"ports": [{"port": 8081, "mode": "Permissive"}]}},
        });
        assert_eq!(
            Value::from(Kind::PeerAuthentication.cells(&probes, now)),
            json!(["probes", "<none>", "8081=Permissive", "app=orders", "<unknown>"])
        );
    }

    #[test]
    fn a_slice_shows_three_addresses_and_how_many_more() {
        let endpoint = |address: &str| json!({"addresses": [address]});
        let slice = json!({
            "addressType": "IPv4", "ports": [{"port": 80}, {"port": 81}],
            "endpoints": [endpoint("10.0.0.1"), endpoint("10.0.0.2"), endpoint("10.0.0.3"), endpoint("10.0.0.4")],
        });
        let cells = Kind::EndpointSlice.cells(&slice, Timestamp::UNIX_EPOCH);
        assert_eq!(cells[2], json!("80,81"));
        assert_eq!(cells[3], json!("10.0.0.1,10.0.0.2,10.0.0.3 + 1 more..."));
    }
}
