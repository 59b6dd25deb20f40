//! Writes the generated Rust of mesh-protocol, of etcd's API and of the demo's greeter from their .proto files. Run by
//! `cargo xtask codegen`; the output is committed, so that building the mesh needs neither this program nor protoc.
//!
//! An argument names another folder to write into instead of the repository (`cargo xtask codegen --check` compares).

use anyhow::{Context, Result};
use std::path::Path;

/// What is generated; folders are relative to the repository.
struct Set {
    /// Folder of the .proto files, and the files.
    proto: &'static str,
    files: &'static [&'static str],
    /// Folder of the generated Rust.
    generated: &'static str,
    /// Whether we serve it, too.
    is_served: bool,
}

const SETS: [Set; 4] = [
    Set {
        proto: "control-plane/protocol/proto",
        files: &["discovery.proto", "resources.proto", "ca.proto"],
        generated: "control-plane/protocol/src/generated",
        is_served: true,
    },
    Set {
        proto: "control-plane/src/store/etcd/proto",
        files: &["etcd.proto"],
        generated: "control-plane/src/store/etcd/generated",
        is_served: false,
    },
    Set {
        proto: "control-plane/src/replicas/proto",
        files: &["replica.proto"],
        generated: "control-plane/src/replicas/generated",
        is_served: true,
    },
    Set {
        proto: "tests/load/proto",
        files: &["greeter.proto"],
        generated: "tests/load/src/generated",
        is_served: true,
    },
];

fn main() -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(3)
        .context("this crate lies in the repository")?;
    let target = std::env::args_os().nth(1).map_or_else(|| repository.to_path_buf(), Into::into);
    for Set { proto, files, generated, is_served } in SETS {
        let out = target.join(generated);
        std::fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
        let descriptors = protox::compile(files, [repository.join(proto)])?;
        tonic_prost_build::configure()
            .build_transport(false)
            .build_server(is_served)
            .bytes(".")
            .out_dir(&out)
            .include_file("mod.rs")
            .compile_fds(descriptors)
            .with_context(|| format!("generating Rust from {proto}"))?;
    }
    Ok(())
}
