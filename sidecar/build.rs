//! Hands `layout.ld` to the linker: in which order a release build's functions lie. It saves memory and changes nothing
//! else, so wherever it is not sure that the linker reads such a script, nothing is passed.

use std::env::var;
use std::process::Command;

/// `off` links without the script: `cargo xtask layout` records a binary built so.
const SWITCH: &str = "SIDECAR_LAYOUT";
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=layout.ld");
    println!("cargo::rerun-if-env-changed={SWITCH}");
    let is_release = var("PROFILE").is_ok_and(|profile| profile == "release");
    let is_linux = var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux");
    let is_on = var(SWITCH).map_or(true, |value| value != "off");
    if is_release && is_linux && is_on && reads_scripts() == Some(true) {
        let folder = var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bin=sidecar=-Wl,-T,{folder}/layout.ld");
    }
}

/// Whether the linker is lld or GNU ld, as it says itself: the others (mold, gold, wild) refuse the script. Asked is what
/// rustc starts, with the flags it adds; nothing is known of flags that this does not know, and of cross builds. Where
/// rustc brings an lld of its own, that reads scripts as well.
fn reads_scripts() -> Option<bool> {
    let host = var("HOST").ok()?;
    if !host.starts_with(&var("CARGO_CFG_TARGET_ARCH").ok()?) || !host.contains("linux") {
        return None;
    }
    let mut program = var("RUSTC_LINKER").unwrap_or_else(|_| "cc".to_owned());
    let mut arguments = Vec::new();
    let flags = var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let flags = flags.split('\x1f').map(|flag| flag.trim_start_matches("-C"));
    // A profile's path may have any name.
    for flag in flags.filter(|flag| flag.contains("link") && !flag.starts_with("profile-")) {
        match flag.split_once('=')? {
            ("link-arg", argument) => arguments.push(argument.to_owned()),
            ("linker", other) => program = other.to_owned(),
            ("linker-features" | "link-self-contained", _) => {}
            _ => return None,
        }
    }
    let answer = Command::new(program).args(arguments).arg("-Wl,--version").output().ok()?;
    let answer = String::from_utf8_lossy(&answer.stdout);
    Some(answer.starts_with("GNU ld") || answer.starts_with("LLD"))
}
