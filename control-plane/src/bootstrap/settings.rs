//! The command line as it is written: every flag with its default and its help. Each flag is also an environment variable
//! and a key of the `--config` file; that, and their precedence, is `mesh_process::settings`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use mesh_names::TrustDomain;
use mesh_process::logging::{Format, checked_level};
use mesh_process::settings::SettingsError;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "control-plane",
    version,
    about = "Keeps the desired state of an Outrigger mesh and pushes it to every sidecar",
    propagate_version = true
)]
struct CommandLine {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serves the API, discovery and the certificate authority until it is told to stop.
    ///
    /// Every flag can also stand in the environment (--api-addr is OUTRIGGER_API_ADDR) and in the file given by --config
    /// (apiAddr). A flag beats the environment, the environment beats the file. SIGTERM or SIGINT stops it; sidecars go
    /// on with what they know. Exit codes: 0 done, 1 failed, 2 wrong usage.
    Serve(Box<Settings>),
}

/// The settings of `control-plane serve`.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// YAML file with any of these flags as camelCase keys
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where everything is kept: the store, the authority's keys, ca.crt, kubeconfig; created when missing
    #[arg(long, value_name = "DIR")]
    pub data_dir: PathBuf,

    /// Where the API is served (HTTPS), for kubectl and meshctl
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:15443")]
    pub api_addr: SocketAddr,

    /// Where sidecars connect (gRPC over TLS)
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:15012")]
    pub discovery_addr: SocketAddr,

    /// Where /metrics, /readyz and /livez are served (HTTP)
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:15014")]
    pub metrics_addr: SocketAddr,

    /// A further host name or IP address by which clients reach the API or discovery, for the server certificate; may be
    /// repeated. The addresses of this machine's listeners and `localhost` are in it by themselves
    #[arg(long, value_name = "HOST", value_parser = server_name)]
    pub server_name: Vec<String>,

    /// What keeps the objects
    #[arg(long, value_enum, default_value_t)]
    pub store: StoreKind,

    /// The trust domain of the mesh; cannot change once the data directory exists
    #[arg(long, value_name = "NAME", default_value_t)]
    pub trust_domain: TrustDomain,

    /// How log lines look: text or json
    #[arg(long, value_name = "FORMAT", default_value_t, help_heading = "Logging")]
    pub log_format: Format,

    /// What is logged: error, warn, info, debug, trace, or per module `info,control_plane::xds=debug`
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = checked_level, help_heading = "Logging")]
    pub log_level: String,
}

/// What keeps the objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum StoreKind {
    /// A file in the data directory.
    #[default]
    Embedded,
}

/// Reads the settings of `control-plane serve`.
///
/// # Errors
/// When the command line, the environment or the file is wrong, or help was asked for.
pub fn settings(arguments: impl IntoIterator<Item = OsString>) -> Result<Settings, SettingsError> {
    let line: CommandLine = mesh_process::settings::parse(arguments)?;
    let Verb::Serve(settings) = line.verb;
    Ok(*settings)
}

fn server_name(text: &str) -> Result<String, String> {
    let is_host = !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if is_host || text.parse::<IpAddr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("write a host name or an IP address, without scheme and port".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<Settings, String> {
        let arguments = ["control-plane", "serve"].iter().chain(arguments).map(OsString::from);
        settings(arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn the_data_directory_is_all_that_must_be_given() {
        let settings = read(&["--data-dir", "/d"]).expect("enough");
        assert_eq!(settings.api_addr.to_string(), "127.0.0.1:15443");
        assert_eq!(settings.discovery_addr.to_string(), "0.0.0.0:15012");
        assert_eq!(settings.metrics_addr.to_string(), "0.0.0.0:15014");
        assert_eq!(settings.trust_domain.as_str(), "mesh.internal");
        assert_eq!(settings.store, StoreKind::Embedded);
        let problem = read(&[]).expect_err("no directory");
        assert!(problem.contains("--data-dir <DIR>"), "{problem}");
    }

    #[test]
    fn a_wrong_level_or_server_name_is_wrong_usage() {
        let problem = read(&["--data-dir", "/d", "--log-level", "loud"]).expect_err("no level");
        assert!(problem.contains("`loud` is not a log level"), "{problem}");
        let problem = read(&["--data-dir", "/d", "--server-name", "https://here"]).expect_err("no name");
        assert!(problem.contains("write a host name or an IP address"), "{problem}");
        assert!(read(&["--data-dir", "/d", "--server-name", "cp.example.org,::1"]).is_ok());
    }

    #[test]
    fn only_stores_that_exist_are_offered() {
        let problem = read(&["--data-dir", "/d", "--store", "etcd"]).expect_err("not there");
        assert!(problem.contains("[possible values: embedded]"), "{problem}");
    }
}
