//! Writes to the store what follows from other objects: EndpointSlices of Services with a selector, statuses of routes
//! and Services.
//! What enters is the newest desired state of each object, from the index; what leaves is a write, and only when the
//! store says something else. Every replica may do this at once: writes are compare-and-swap, and a replica that comes
//! second finds nothing to do.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`work`] | what waits to be written: one entry an object, the newest wins |
//! | [`writer`] | compares and writes, with retries |
//! | `route_status` | a route's status as JSON |
//! | `service_status` | a Service's condition on its target ports as JSON |
//! | [`stamp`] | the metadata only the server writes |

mod route_status;
mod service_status;
pub mod stamp;
pub mod work;
pub mod writer;
