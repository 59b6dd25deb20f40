//! Makes `sidecar/layout.ld` anew: the order in which the linker puts a sidecar's functions, so that what an idle one
//! executes lies together and the rest of its code is never mapped. A stale file costs memory, never correctness.
//!
//! ```text
//! build without the script ─▶ record: valgrind's functions ─▶ map: their sections ─▶ script: the families they belong to
//! ```

mod map;
mod record;
mod script;

use crate::cargo::{self, repository, target_dir};
use anyhow::{Context, Result, bail};
use map::Map;
use record::Recording;
use script::{Executed, Layout, fits};
use std::fs;
use std::path::Path;

/// What is written.
const SCRIPT: &str = "sidecar/layout.ld";
/// What `sidecar/build.rs` reads; `off` links without the script.
const SWITCH: &str = "SIDECAR_LAYOUT";
/// Programs that record beside the sidecar.
const BESIDES: [&str; 5] = ["bench", "control-plane", "load", "meshctl", "origin"];
const HEADER: &str = "\
/* Made by `cargo xtask layout`; not to be edited.

   The order of the sidecar's functions, for release builds on Linux (build.rs; SIDECAR_LAYOUT=off leaves it out). The
   kernel maps 64 KiB around each place that is executed, so without an order nearly all of a sidecar's code is in memory
   for the quarter of it that an idle one executes.
   .text.idle is what a sidecar executes to start and to idle, .text.carrying what is executed under traffic only; the
   linker puts everything else behind them, as ever. Where the compiler has a profile (`cargo xtask dist`) it says itself
   what is hot, and .text.split is what it took out of functions since it is never executed. Recorded with valgrind. A pattern stands for all instances of a
   generic function, since the hashes that tell them apart change from build to build. Patterns that match nothing are
   harmless: a stale file costs memory, never correctness. */
";

/// Builds, records, writes.
///
/// # Errors
/// Valgrind is missing, a build or a program fails, or the linker is not lld, whose map is read.
#[allow(clippy::print_stdout, reason = "what was found is told at the end")]
pub(crate) fn run() -> Result<()> {
    record::require_valgrind()?;
    let work = target_dir()?.join("layout");
    fs::create_dir_all(&work).with_context(|| format!("creating {}", work.display()))?;
    let release = target_dir()?.join("release");
    let listing = work.join("sidecar.map");
    build(&listing)?;
    let sidecar = work.join("sidecar");
    fs::copy(release.join("sidecar"), &sidecar).context("copying the sidecar")?;
    let map =
        Map::read(&fs::read_to_string(&listing).with_context(|| format!("reading {}", listing.display()))?);
    if map.sections.is_empty() {
        bail!(
            "{} lists no code: it is read as rust-lld or lld writes it; link with one of them",
            listing.display()
        );
    }
    let recording = record::record(&release, &sidecar, &work)?;
    let executed = executed(&map, &recording);
    let layout = Layout::choose(map.sections.iter().zip(executed));

    let path = repository()?.join(SCRIPT);
    if let Ok(previous) = fs::read_to_string(&path) {
        let (matching, all) = matching(&previous, &map);
        println!("{SCRIPT} as it was: {matching} of its {all} patterns matched this build");
    }
    fs::write(&path, layout.script(HEADER)).with_context(|| format!("writing {}", path.display()))?;
    println!("{SCRIPT} as it is now: {}", layout.summary());
    Ok(())
}

/// Builds all that records; the sidecar with its symbols, without the script, and with a map.
fn build(listing: &Path) -> Result<()> {
    let mut besides = cargo::cargo()?;
    besides.args(["build", "--release"]);
    for binary in BESIDES {
        besides.args(["--bin", binary]);
    }
    cargo::run(&mut besides)?;
    let mut sidecar = cargo::cargo()?;
    sidecar.env(SWITCH, "off").args(["rustc", "--release", "--package", "sidecar", "--bin", "sidecar", "--"]);
    sidecar.args(["-C", "strip=none", "-C", "link-arg=-Wl,--no-demangle", "-C"]);
    sidecar.arg(format!("link-arg=-Wl,-Map={}", listing.display()));
    cargo::run(&mut sidecar)
}

/// For each section of the map, when it was executed.
fn executed(map: &Map, recording: &Recording) -> Vec<Executed> {
    let mut executed = vec![Executed::Never; map.sections.len()];
    for (functions, when) in [(&recording.carrying, Executed::Carrying), (&recording.idle, Executed::Idle)] {
        for position in functions.iter().filter_map(|function| map.position(function)) {
            if let Some(section) = executed.get_mut(position) {
                *section = when;
            }
        }
    }
    executed
}

/// How many patterns of a script match a section of the map, and how many there are.
fn matching(script: &str, map: &Map) -> (usize, usize) {
    let patterns: Vec<_> =
        script.lines().filter_map(|line| line.trim().strip_suffix(')')?.split_once('(')).collect();
    let matching = patterns.iter().filter(|(object, name)| {
        let names = || name.split_whitespace();
        map.sections
            .iter()
            .any(|section| fits(object, &section.object) && names().any(|name| fits(name, &section.name)))
    });
    (matching.count(), patterns.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_holds_no_pattern() {
        let (matching, all) = matching(HEADER, &Map::default());
        assert_eq!((matching, all), (0, 0));
    }
}
