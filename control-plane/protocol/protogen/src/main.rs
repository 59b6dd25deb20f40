//! Writes `../src/generated/*.rs` from `../proto/*.proto`. Run by `cargo xtask codegen`; the output is committed, so
//! that building the mesh needs neither this program nor protoc.

use anyhow::{Context, Result};
use std::path::Path;

fn main() -> Result<()> {
    let protocol = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("this crate lies inside mesh-protocol")?;
    let proto = protocol.join("proto");
    let files = protox::compile(["discovery.proto", "resources.proto", "ca.proto"], [&proto])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .out_dir(protocol.join("src/generated"))
        .include_file("mod.rs")
        .compile_fds(files)
        .context("generating Rust from the compiled .proto files")
}
