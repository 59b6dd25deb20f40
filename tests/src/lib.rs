//! What the end-to-end tests share: the real binaries, started on loopback on ports the system chooses, and small
//! clients that show every byte. Tests are blocking and sequential inside, and run in parallel with each other: nothing
//! is shared between two of them but the binaries.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`world`] | a mesh in a folder of its own, with helpers to add services and origins |
//! | [`api`] | requests to the control plane's API |
//! | [`clock`] | a clock on the wall that a test sets |
//! | [`door`] | a plain port that leads to a sidecar's inbound port, as a peer of the mesh |
//! | [`etcd`] | an etcd cluster whose members can be stopped |
//! | [`frames`] | HTTP/2 frames written and read one by one |
//! | [`holding`] | an application that answers when the test says so |
//! | [`http1`] | HTTP/1.1 requests written and answers read byte by byte |
//! | [`netns`] | machines that are network namespaces |
//! | [`site`] | a mesh on several such machines |
//! | [`pki`] | certificates, good and bad |
//! | [`recorder`] | a server that writes requests down as they came |
//! | [`wait`] | waiting for something to become so, with a deadline and a story |

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stderr,
    reason = "a test that can't go on should panic, with what it saw"
)]

pub mod api;
pub mod clock;
pub mod door;
pub mod etcd;
pub mod frames;
pub mod holding;
pub mod http1;
pub mod netns;
pub mod pki;
pub mod recorder;
pub mod site;
pub mod wait;
pub mod world;
