//! Who this sidecar is: a key made here, a certificate for it from the control plane's authority, renewed in time, kept
//! on disk. Enters: the trust bundle and the join token. Leaves: [`mesh_mtls::Identity`], which every handshake reads.
//! Never here: whom to let in.

pub(crate) mod authority;
pub(crate) mod renewal;
mod schedule;
pub(crate) mod stored;
