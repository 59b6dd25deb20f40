//! A TrafficPolicy as people write it, and its status as the control plane writes it.

use super::{
    CircuitBreakerSpec, ConcurrencySpec, FaultInjectionSpec, HealthCheckSpec, HedgingSpec,
    OutlierDetectionSpec, RateLimitSpec, RetrySpec, TimeoutsSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use serde::{Deserialize, Serialize};

/// The kind as written.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicyManifest {
    /// Name and namespace.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// Which Services or routes, and what holds for requests to them.
    pub spec: TrafficPolicySpec,
    /// What became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<PolicyStatus>,
}

/// Which Services or routes, and what holds for requests to them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TrafficPolicySpec {
    /// The Services and HTTPRoutes it is for, in its own namespace. Of two policies for the same target the oldest is in force.
    /// For an HTTPRoute only `timeouts`, `retry` and `hedging` may be said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target_refs: Vec<TargetRefSpec>,
    /// How an instance is chosen. Default: the one of two at random with less expected latency times load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_balancing: Option<LoadBalancingSpec>,
    /// Instances nearer to the caller first. Default: where they are does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locality: Option<LocalitySpec>,
    /// New instances get their share little by little. Default: at once. Not for the policies that hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<SlowStartSpec>,
    /// When less than this share of the instances is healthy, in percent, those that are ejected are used too, and if that
    /// is not enough, those that are not ready. 0 to 100. Default: 0, only when there is no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<i32>,
    /// Instances that fail are left out for a while. Default: five gateway failures in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outlier_detection: Option<OutlierDetectionSpec>,
    /// Instances are asked whether they are well, each by its own sidecar, or by its callers where it has none, and those
    /// that are not get no requests. Default: an instance is well once its ports have accepted a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckSpec>,
    /// How much each caller has under way with the Service at most. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit_breaker: Option<CircuitBreakerSpec>,
    /// How many requests each instance lets in at once. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<ConcurrencySpec>,
    /// How often each instance lets requests in. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitSpec>,
    /// Failures that callers' sidecars make on purpose. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault_injection: Option<FaultInjectionSpec>,
    /// How long requests may take. Default: as long as it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutsSpec>,
    /// Which failed attempts are made again. Default: two further ones, of what is safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetrySpec>,
    /// A second attempt elsewhere when the first takes long. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hedging: Option<HedgingSpec>,
}

/// What a policy is for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct TargetRefSpec {
    /// The group of the kind: `gateway.networking.k8s.io` for an HTTPRoute. Default: the core group, which is written as the
    /// empty text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The kind: `Service` or `HTTPRoute`.
    pub kind: String,
    /// The name of the Service or route.
    pub name: String,
    /// The name of one of the Service's ports, or of the route's rules. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

/// How an instance is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancingSpec {
    /// `PeakEwma`, `LeastRequest`, `RoundRobin`, `Random`, `RingHash` or `Maglev`. The last two send requests with the same
    /// key to the same instance.
    pub policy: BalancingPolicy,
    /// For `LeastRequest` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least_request: Option<LeastRequestSpec>,
    /// For `RingHash` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ring_hash: Option<RingHashSpec>,
    /// For `Maglev` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maglev: Option<MaglevSpec>,
    /// What a request's key is made of: the first of these that the request has. A request that has none of them goes
    /// anywhere. For `RingHash` and `Maglev`, which need at least one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hash_on: Vec<HashOnSpec>,
    /// How much an instance may have under way at most, in percent of its part of all requests under way, 101 to 1000; what
    /// is more goes to the next in the key's order. Usually 125. For `RingHash` and `Maglev`. Default: no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounded_load: Option<i32>,
}

/// The law by which an instance is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum BalancingPolicy {
    /// Of two at random the one with less expected latency times load.
    PeakEwma,
    /// Of some at random the one with the fewest requests under way.
    LeastRequest,
    /// In turns.
    RoundRobin,
    /// At random.
    Random,
    /// By key on a ring: little moves when instances come and go.
    RingHash,
    /// By key in a table: even shares.
    Maglev,
}

/// For `LeastRequest`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LeastRequestSpec {
    /// How many instances are compared, 2 to 16. Default: 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<i32>,
}

/// For `RingHash`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RingHashSpec {
    /// Least points on the ring, 1 to 1048576. Default: 1024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_ring_size: Option<i32>,
    /// Most points on the ring, 1 to 1048576. Default: 65536.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum_ring_size: Option<i32>,
}

/// For `Maglev`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MaglevSpec {
    /// Places in the table, a prime number up to 5000011. Default: 16381.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_size: Option<i32>,
}

/// What a request's key is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct HashOnSpec {
    /// `Header`, `Cookie`, `QueryParameter`, `SourceIdentity` or `SourceAddress`.
    #[serde(rename = "type")]
    pub kind: HashOnType,
    /// The name of the header, cookie or query parameter. None for the source's identity or address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For a cookie: the sidecar gives one to clients that have none, for this long, up to 8760h; `0s` is until the browser
    /// is closed. Default: only a cookie that the application has set counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// For a cookie with `ttl`: the paths it is for. Default: `/`, all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Where a key is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum HashOnType {
    /// In a header, all its values.
    Header,
    /// In a cookie.
    Cookie,
    /// In the query of the request's target.
    QueryParameter,
    /// The SPIFFE ID of the workload that calls: all instances of a caller share an instance of the Service.
    SourceIdentity,
    /// The IP address of the client of the calling sidecar. On loopback, where all have one, the name of the workload
    /// stands for it: each instance of a caller has its instance of the Service.
    SourceAddress,
}

/// Instances nearer to the caller first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct LocalitySpec {
    /// `PreferSameZone`: instances in the caller's zone get its requests as long as they are healthy enough; what they can't
    /// carry goes to all others alike. `Failover`: the nearest come first, those in the caller's subzone, then in its zone,
    /// its region, and other regions. `SameZoneOnly` and `SameRegionOnly`: no request leaves the caller's zone or region,
    /// and where nobody there takes it, it fails. Callers and instances of which no zone is known have one in common.
    pub mode: LocalityMode,
    /// For `Failover`: the order of other regions, by the region of the caller, at most 32. Those that are not named come
    /// last. Default: all alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failover: Vec<RegionFailoverSpec>,
    /// How much more than its part a level can carry, in percent, 100 to 1000: at 140, others get nothing while 71.4 % of
    /// the nearest instances are healthy. Not for the modes that never use others. Default: 140.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overprovisioning: Option<i32>,
    /// A farther instance takes a request when a nearer one costs more than this many percent of what the farther does, 100
    /// to 10000: so that callers who are many do not overrun instances who are few. For `PreferSameZone` and `Failover`, with
    /// `PeakEwma` or `LeastRequest`. Default: however much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer_cost: Option<i32>,
}

/// Where requests go when a region can't carry them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct RegionFailoverSpec {
    /// The region of the caller.
    pub from: String,
    /// The regions that come after it, in this order, at most 16.
    pub to: Vec<String>,
}

/// Which instances come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum LocalityMode {
    /// Those in the caller's zone, then all others alike.
    PreferSameZone,
    /// The nearest.
    Failover,
    /// Those in the caller's zone, and no others.
    SameZoneOnly,
    /// Those in the caller's region, and no others.
    SameRegionOnly,
}

/// New instances get their share little by little.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct SlowStartSpec {
    /// From the moment an instance is ready until it gets its full share, 1s to 1h.
    pub window: String,
    /// The bend of the ramp in percent, 10 to 1000: 100 is a straight line, more rises early. Default: 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggression: Option<i32>,
    /// Where the ramp begins, in percent of the full share, 1 to 100. Default: 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<i32>,
}

/// What became of a policy (Gateway API, `PolicyStatus`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicyStatus {
    /// One for each target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<PolicyTargetStatus>,
}

/// What became of a policy at one of its targets.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct PolicyTargetStatus {
    /// The target.
    pub ancestor_ref: AncestorRef,
    /// Who says so.
    pub controller_name: String,
    /// `Accepted`: the policy is in force there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A target of a policy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct AncestorRef {
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// A part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section_name: Option<String>,
}

impl LocalityMode {
    /// As manifests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreferSameZone => "PreferSameZone",
            Self::Failover => "Failover",
            Self::SameZoneOnly => "SameZoneOnly",
            Self::SameRegionOnly => "SameRegionOnly",
        }
    }
}

impl BalancingPolicy {
    /// Whether it compares instances by what a request to them costs.
    pub const fn measures(self) -> bool {
        match self {
            Self::PeakEwma | Self::LeastRequest => true,
            Self::RoundRobin | Self::Random | Self::RingHash | Self::Maglev => false,
        }
    }

    /// As manifests write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PeakEwma => "PeakEwma",
            Self::LeastRequest => "LeastRequest",
            Self::RoundRobin => "RoundRobin",
            Self::Random => "Random",
            Self::RingHash => "RingHash",
            Self::Maglev => "Maglev",
        }
    }
}
