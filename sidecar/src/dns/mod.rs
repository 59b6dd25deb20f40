//! The DNS server beside an application: the mesh's names are answered here, everything else is forwarded.
//!
//! ```text
//! bytes ─> question ─> meaning ─┬─ a name of the mesh ──> names (the seam) ─> reply ─┐
//!  (serve)  (pure)     (pure)   ├─ perhaps one ─────────> names, else ──┐            ├─> bytes
//!                               └─ a foreign name ──────────────────────┴─> forward ─┘
//!                                                        cache ─> flights ─> upstream (UDP, then TCP)
//! ```
//!
//! Enters: DNS questions over UDP and TCP from programs on this machine; the virtual addresses of services, by
//! [`MeshNames`](names::MeshNames); the system's resolvers, from `--dns-upstream` or `/etc/resolv.conf`. Leaves: answers, each within what
//! the asker can take. Never here: a connection of the application, or anything on a worker's runtime; all of it runs on
//! the control runtime, and while nobody asks it holds two idle sockets.
//!
//! | room | what it decides or does |
//! | --- | --- |
//! | [`names`] | what the mesh knows of a name: the seam to the control plane |
//! | [`told`] | the same, as the control plane has told it |
//! | [`question`] | bytes → a question, or how they are refused. Pure |
//! | [`meaning`] | a name → what it stands for in the mesh. Pure |
//! | [`reply`] | what is known → a message that fits. Pure |
//! | [`respond`] | the steps in order, for one question |
//! | [`cache`] | forwarded answers and how long they hold: RFC 2308, RFC 8767, RFC 9520. Pure |
//! | [`forward`] | cache, one flight for equal questions, stale answers |
//! | [`upstreams`] | which servers are asked; never ourselves |
//! | [`upstream`] | one question put to those servers |
//! | [`serve`], [`conversation`] | sockets, their bounds, and one TCP connection |
//!
//! What resolvers of applications rely on, and where it is decided:
//!
//! - A name of the mesh that has no address of the kind asked for is "no data", never "no such name": a resolver that asks
//!   for A and AAAA at once would give up on both ([`reply`]).
//! - A foreign name with a search domain of the mesh behind it (`example.com.shop.svc.mesh.internal`) is "no such name" at
//!   once, without asking anybody, so that the resolver goes on to the next candidate ([`meaning`]).
//! - `orders` and `orders.shop` are ours only if the mesh has the service, since `example.com` has the same shape; a
//!   foreign name never waits for a control plane that does not answer ([`respond`]).

mod cache;
mod conversation;
mod forward;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod meaning;
mod names;
mod question;
mod reply;
mod respond;
mod serve;
mod told;
mod upstream;
mod upstreams;

pub(crate) use meaning::Place;
pub(crate) use serve::{Server, Sockets};
pub(crate) use told::Told;
pub(crate) use upstreams::Source;

#[cfg(test)]
mod tests;
