//! Writes the generated Rust of mesh-protocol and of the demo's greeter from their .proto files. Run by
//! `cargo xtask codegen`; the output is committed, so that building the mesh needs neither this program nor protoc.
//!
//! An argument names another folder to write into instead of the repository (`cargo xtask codegen --check` compares).

use anyhow::{Context, Result};
use std::path::Path;

/// Folder of the .proto files, the files, and the folder of the generated Rust; all relative to the repository.
const GENERATED: [(&str, &[&str], &str); 2] = [
    (
        "control-plane/protocol/proto",
        &["discovery.proto", "resources.proto", "ca.proto"],
        "control-plane/protocol/src/generated",
    ),
    ("tests/load/proto", &["greeter.proto"], "tests/load/src/generated"),
];

fn main() -> Result<()> {
    let repository =
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).context("this crate lies in the repository")?;
    let target = std::env::args_os().nth(1).map_or_else(|| repository.to_path_buf(), Into::into);
    for (proto, files, generated) in GENERATED {
        let out = target.join(generated);
        std::fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
        let descriptors = protox::compile(files, [repository.join(proto)])?;
        tonic_prost_build::configure()
            .build_transport(false)
            .bytes(".")
            .out_dir(&out)
            .include_file("mod.rs")
            .compile_fds(descriptors)
            .with_context(|| format!("generating Rust from {proto}"))?;
    }
    Ok(())
}
