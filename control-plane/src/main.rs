//! `control-plane`: reads the settings, starts logging and the runtime, and says in one line why it cannot.

use anyhow::Context;
use control_plane::app::{App, Ready};
use control_plane::bootstrap::{Settings, settings};
use std::io::{self, Write};
use std::process::ExitCode;

/// Pushes are many small allocations on several threads; the system's allocator gives little of them back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let settings = match settings(std::env::args_os()) {
        Ok(settings) => settings,
        Err(error) => error.exit(),
    };
    match serve(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // When standard error is closed there is nobody left to tell.
            drop(writeln!(io::stderr(), "control-plane: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn serve(settings: Settings) -> anyhow::Result<()> {
    mesh_process::logging::init(settings.log_format, &settings.log_level)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let served = runtime.block_on(async { App::open(settings).await?.run(announce).await });
    // What is still running has had its grace time.
    runtime.shutdown_background();
    Ok(served?)
}

/// The one line on standard output, for people and for programs that wait for it.
fn announce(ready: &Ready) {
    let Ready { addresses, kubeconfig } = ready;
    let mut out = io::stdout().lock();
    let line = format!(
        "control-plane ready: api=https://{} discovery={} metrics={} kubeconfig={}\n",
        addresses.api,
        addresses.discovery,
        addresses.metrics,
        kubeconfig.display()
    );
    if let Err(error) = out.write_all(line.as_bytes()).and_then(|()| out.flush()) {
        tracing::warn!(%error, "cannot say on standard output that the control plane is ready");
    }
}
