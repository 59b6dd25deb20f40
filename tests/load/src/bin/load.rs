//! `load`: sends requests at a constant rate, checks every answer, prints one JSON line per report. Exit code 0 only if
//! every answer was right.

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[allow(clippy::print_stdout, clippy::print_stderr, reason = "the report is this program's interface")]
fn main() -> ExitCode {
    let tell = |event| match serde_json::to_string(&event) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("load: {error}"),
    };
    match mesh_load::generator::run(mesh_load::generator::Options::parse(), tell) {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::from(2)
        }
    }
}
