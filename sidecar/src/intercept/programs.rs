//! Running the commands that change the kernel's tables: where they are, and what they said. The only place of the
//! sidecar that starts programs.

use super::failure::InterceptError;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where such commands are, though it may not be on the path of an ordinary user or a unit.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// CAP_NET_ADMIN in the mask of capabilities (capabilities(7)).
const NET_ADMIN: u64 = 1 << 12;

/// A command of this machine.
#[derive(Debug, Clone)]
pub(super) struct Program {
    name: &'static str,
    path: PathBuf,
}

impl Program {
    /// The command, if it is installed.
    pub(super) fn find(name: &'static str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let places = std::env::split_paths(&path).chain(PLACES.iter().map(PathBuf::from));
        let found = places.map(|place| place.join(name)).find(|path| path.is_file())?;
        Some(Self { name, path: found })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it to its end and returns what it printed.
    ///
    /// # Errors
    /// It can't be started, or fails: with what it said.
    pub(super) fn run(&self, arguments: &[&str]) -> Result<String, InterceptError> {
        self.feed(arguments, "")
    }

    /// The same, with `input` on its standard input.
    ///
    /// # Errors
    /// As for [`Program::run`].
    pub(super) fn feed(&self, arguments: &[&str], input: &str) -> Result<String, InterceptError> {
        let failed = |said: String| {
            let what = format!("`{} {}`", self.name, arguments.join(" "));
            InterceptError::Program { what, said }
        };
        let mut command = Command::new(&self.path);
        command.args(arguments).env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that ends before it has read all says why itself.
            drop(stdin.write_all(input.as_bytes()));
        }
        let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(failed(if said.is_empty() { output.status.to_string() } else { said }))
    }
}

/// Whether this process may change the firewall of its network namespace.
///
/// # Errors
/// It may not.
pub(super) fn check_rights() -> Result<(), InterceptError> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if may_change_firewall(&status) { Ok(()) } else { Err(InterceptError::NoRights) }
}

fn may_change_firewall(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & NET_ADMIN != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_from_the_effective_capabilities() {
        assert!(may_change_firewall("Name:\tx\nCapPrm:\t0\nCapEff:\t000001ffffffffff\n"));
        assert!(may_change_firewall("CapEff:\t0000000000001000\n"));
        assert!(!may_change_firewall("CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000000\n"));
        assert!(!may_change_firewall(""));
    }

    #[test]
    fn what_a_program_said_is_in_its_failure() {
        let shell = Program::find("sh").expect("every machine has a shell");
        assert_eq!(shell.feed(&["-c", "cat"], "hello").expect("cat"), "hello");
        let error = shell.run(&["-c", "echo no >&2; exit 3"]).expect_err("exit code 3");
        assert_eq!(error.to_string(), "`sh -c echo no >&2; exit 3` failed: no");
        assert!(Program::find("no-such-program").is_none());
    }
}
