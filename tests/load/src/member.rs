//! A member of a mesh: an application with a sidecar beside it, both child processes.

use crate::running::Running;
use crate::scrape::{Samples, scrape};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::process::ExitStatus;

/// An application and the sidecar beside it.
#[derive(Debug)]
pub struct Member {
    /// The instance's name, for example `greeter-v1-a`.
    pub name: String,
    pub(crate) application: Option<Running>,
    pub(crate) sidecar: Running,
    pub(crate) arguments: Vec<OsString>,
}

impl Member {
    /// Where its sidecar listens: `outbound`, `inbound`, `metrics`, or `upstream.NAME`.
    ///
    /// # Errors
    /// The sidecar's ready line has no such key.
    pub fn sidecar_addr(&self, key: &str) -> Result<&str> {
        self.sidecar.ready(key)
    }

    /// The flags of its sidecar that are the member's own.
    pub fn sidecar_arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// The port its application listens on.
    ///
    /// # Errors
    /// It has none.
    pub fn application_port(&self) -> Result<u16> {
        let application =
            self.application.as_ref().with_context(|| format!("{} has no application", self.name))?;
        let (_, port) = application.ready("addr")?.rsplit_once(':').context("an address without a port")?;
        port.parse().context("a port that is no number")
    }

    /// What its sidecar counted.
    ///
    /// # Errors
    /// The sidecar does not answer: it was killed.
    pub fn scrape(&self) -> Result<Samples> {
        scrape(self.sidecar.ready("metrics")?)
    }

    /// Gives it its application, started after the sidecar because it calls through it.
    pub fn set_application(&mut self, application: Running) {
        self.application = Some(application);
    }

    /// Kills application and sidecar at once, as when a machine loses power.
    pub fn kill(&mut self) {
        self.kill_application();
        self.kill_sidecar();
    }

    /// Kills the application at once; its sidecar goes on.
    pub fn kill_application(&mut self) {
        if let Some(application) = &mut self.application {
            application.kill();
        }
    }

    /// Kills the sidecar at once; its application goes on.
    pub fn kill_sidecar(&mut self) {
        self.sidecar.kill();
    }

    /// The sidecar's process number.
    pub fn sidecar_pid(&self) -> u32 {
        self.sidecar.pid()
    }

    /// Asks the sidecar to end and waits until it has.
    ///
    /// # Errors
    /// It can't be asked.
    pub fn terminate_sidecar(&mut self) -> Result<ExitStatus> {
        self.sidecar.terminate()?;
        self.sidecar.wait()
    }
}
