//! Where the peers' programs are: Envoy's is fetched, those of HAProxy and nginx must be installed, ours are built.

use super::peer::Peer;
use super::{envoy, nginx};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What can be measured here, and what is left out and why.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// The program of each peer that has one of its own.
    pub(super) found: BTreeMap<Peer, PathBuf>,
    /// Peers, or parts of what is measured of them, that are left out, and why.
    pub(super) left_out: Vec<String>,
}

/// Looks for the programs of these peers. Those that are not there are taken out of `peers`.
pub(super) fn find(peers: &mut Vec<Peer>, bin_dir: &Path, out: &Path) -> Programs {
    let mut programs = Programs::default();
    peers.retain(|peer| {
        let program = match peer {
            Peer::Direct | Peer::Outrigger => return true,
            Peer::Floor => Ok(bin_dir.join("relay")),
            Peer::Envoy => envoy::binary(out),
            Peer::Haproxy | Peer::Nginx => installed(peer.name()),
        };
        match program {
            Ok(program) => {
                if *peer == Peer::Nginx && nginx::stream_module().is_none() {
                    let without = "nginx: TCP workloads: its module `stream` is not here: apt-get install libnginx-mod-stream";
                    programs.left_out.push(without.to_owned());
                }
                programs.found.insert(*peer, program);
                true
            }
            Err(error) => {
                programs.left_out.push(format!("{}: {error:#}", peer.name()));
                false
            }
        }
    });
    programs
}

/// A program on the path, or where only root's path leads.
fn installed(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let found = places.map(|dir| dir.join(name)).find(|program| program.is_file());
    found
        .with_context(|| format!("it is not installed: apt-get install {name}; its service may stay stopped"))
}
