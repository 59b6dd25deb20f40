//! Writes to the store what follows from other objects: EndpointSlices of Services with a selector, virtual addresses of
//! Services, statuses of routes, TrafficPolicies, Services and ExternalServices.
//! What enters is the newest desired state of each object, from the index; what leaves is a write, and only when the
//! store says something else. Every replica may do this at once: writes are compare-and-swap, and a replica that comes
//! second finds nothing to do.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`work`] | what waits to be written: one entry an object, the newest wins |
//! | [`writer`] | compares and writes, with retries |
//! | `policy_status` | a TrafficPolicy's status as JSON |
//! | `route_status` | a route's status as JSON |
//! | [`virtual_ips`] | which virtual addresses each Service has. Pure |
//! | `service_status` | a Service's virtual addresses and its and an ExternalService's conditions as JSON |
//! | [`stamp`] | the metadata only the server writes |

mod policy_status;
mod route_status;
mod service_status;
pub mod stamp;
pub mod virtual_ips;
pub mod work;
pub mod writer;
