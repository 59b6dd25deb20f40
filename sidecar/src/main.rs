//! The sidecar's entry: reads what is asked and the settings, starts logging, runs, and turns the outcome into an exit
//! code: 0 done, 1 failed, 2 wrong usage, or that of the command it is the parent of.

use mesh_process::{Invitation, Supervisor};
use sidecar::bootstrap::{self, Order, Surroundings};
use std::io::Write;
use std::process::ExitCode;

/// Fewer cycles and a smaller resident set than the system's allocator under many short-lived allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let settings = match bootstrap::order(std::env::args_os(), &Surroundings::look()) {
        Ok(Order::Run(settings)) => *settings,
        Ok(Order::Intercept(request)) => {
            return match sidecar::intercept::run(request) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => tell(&error.to_string(), 1),
            };
        }
        Ok(Order::Launch(order)) => {
            return match sidecar::command::launch(order) {
                Ok(code) => ExitCode::from(code),
                Err(error) => tell(&error.to_string(), error.exit_code()),
            };
        }
        Err(error) => error.exit(),
    };
    let level = match mesh_process::logging::init(settings.log_format, &settings.log_level) {
        Ok(level) => level,
        Err(error) => return tell(&format!("--log-level: {error}"), 2),
    };
    let supervisor = Supervisor::invited(&Invitation::look(), std::process::id()).unwrap_or_else(|error| {
        tracing::warn!(%error, "$NOTIFY_SOCKET is not used");
        Supervisor::default()
    });
    match sidecar::app::run(settings, level, supervisor) {
        Ok(code) => ExitCode::from(code),
        Err(error) => tell(&error.to_string(), error.exit_code()),
    }
}

fn tell(problem: &str, code: u8) -> ExitCode {
    // When standard error is closed there is nobody left to tell.
    drop(writeln!(std::io::stderr(), "sidecar: {problem}"));
    ExitCode::from(code)
}
