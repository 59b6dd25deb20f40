//! The command line as it is written: every flag with its default and its help. Each flag is also an environment variable
//! and a key of the `--config` file; that, and their precedence, is `mesh_process::settings`.

use crate::store::{EtcdEndpoint, EtcdOptions, EtcdTls};
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

    /// A member of the etcd cluster, as http://HOST:PORT or https://HOST:PORT; comma-separated or repeated. Every control
    /// plane of the mesh names the same cluster; the data directory still holds its keys
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        required_if_eq("store", "etcd"),
        help_heading = "Several control planes"
    )]
    pub etcd_endpoints: Vec<EtcdEndpoint>,

    /// What every key in etcd begins with: one for each mesh
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "/outrigger",
        value_parser = etcd_prefix,
        help_heading = "Several control planes"
    )]
    pub etcd_prefix: String,

    /// CA certificates in PEM under which the members must prove their names; for https
    #[arg(long, value_name = "FILE", help_heading = "Several control planes")]
    pub etcd_ca: Option<PathBuf>,

    /// The certificate to show to etcd, in PEM
    #[arg(long, value_name = "FILE", requires = "etcd_key", help_heading = "Several control planes")]
    pub etcd_cert: Option<PathBuf>,

    /// Its key, in PEM
    #[arg(long, value_name = "FILE", requires = "etcd_cert", help_heading = "Several control planes")]
    pub etcd_key: Option<PathBuf>,

    /// Where the other control planes reach this one's discovery listener; by default this machine's address on the way
    /// to etcd, with the listener's port
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Several control planes")]
    pub replica_addr: Option<SocketAddr>,

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
    /// An etcd cluster, 3.4 or later, that several control planes share.
    Etcd,
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

impl Settings {
    /// How etcd is reached.
    pub fn etcd(&self) -> EtcdOptions {
        let client = self.etcd_cert.clone().zip(self.etcd_key.clone());
        EtcdOptions {
            endpoints: self.etcd_endpoints.clone(),
            tls: EtcdTls { ca: self.etcd_ca.clone(), client },
            prefix: self.etcd_prefix.clone(),
        }
    }
}

fn etcd_prefix(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.trim_matches('/').split('/').all(|part| !part.is_empty());
    match is_path && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.trim_end_matches('/').to_owned()),
        false => Err("write a path such as /outrigger".to_owned()),
    }
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
    fn a_store_is_one_there_is_with_what_it_needs() {
        let problem = read(&["--data-dir", "/d", "--store", "paper"]).expect_err("not there");
        assert!(problem.contains("[possible values: embedded, etcd]"), "{problem}");
        let problem = read(&["--data-dir", "/d", "--store", "etcd"]).expect_err("where?");
        assert!(problem.contains("--etcd-endpoints <URL>"), "{problem}");
        let etcd = ["--data-dir", "/d", "--store", "etcd", "--etcd-endpoints", "http://a:1,https://b"];
        let settings = read(&etcd).expect("enough");
        let shown: Vec<_> = settings.etcd().endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["http://a:1", "https://b:2379"]);
        assert_eq!(settings.etcd().prefix, "/outrigger");
        for (flag, value, says) in [
            ("--etcd-cert", "c.pem", "--etcd-key <FILE>"),
            ("--etcd-prefix", "mesh", "write a path such as /outrigger"),
            ("--etcd-prefix", "/", "write a path such as /outrigger"),
            ("--etcd-endpoints", "a:1", "write http://HOST:PORT"),
        ] {
            let problem = read(&[&etcd[..], &[flag, value]].concat()).expect_err(value);
            assert!(problem.contains(says), "{problem}");
        }
    }
}
