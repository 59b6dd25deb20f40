//! Which control plane to talk to, as whom, trusting which authority: a kubeconfig file, as `kubectl` reads it.
//!
//! Enters: `--kubeconfig`, `$KUBECONFIG` or `~/.kube/config`. Leaves: an [`Access`]. Never here: connections. Of what a
//! kubeconfig may say, exec plugins and `insecure-skip-tls-verify` are refused by name: the first would run other
//! programs, the second would make the rest pointless.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use serde::Deserialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Everything needed to connect.
#[derive(Debug)]
pub(crate) struct Access {
    /// `https://host:port` of the API.
    pub(crate) server: Uri,
    /// PEM of the authority.
    pub(crate) authority: String,
    /// PEM of the client's certificate chain and of its key.
    pub(crate) certificate: Option<(String, String)>,
    /// A bearer token.
    pub(crate) token: Option<String>,
    /// The namespace used where none is given.
    pub(crate) namespace: String,
}

/// Why there is no access.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KubeconfigError {
    #[error(
        "there is no kubeconfig: give `--kubeconfig FILE` or set KUBECONFIG; \
         the control plane writes one into its data directory (DIR/kubeconfig)"
    )]
    Nowhere,
    #[error("{}: cannot read the kubeconfig: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: not a kubeconfig: {source}", path.display())]
    Malformed { path: PathBuf, source: serde_yaml::Error },
    #[error("{}: {problem}", path.display())]
    Unusable { path: PathBuf, problem: String },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    contexts: Vec<NamedContext>,
}

#[derive(Debug, Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Debug, Deserialize)]
struct NamedUser {
    name: String,
    #[serde(default)]
    user: User,
}

#[derive(Debug, Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    token: Option<String>,
    exec: Option<serde_yaml::Value>,
}

#[derive(Debug, Deserialize)]
struct Context {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

/// Where the kubeconfig is: the flag, else the first file of `$KUBECONFIG` that exists, else `~/.kube/config`.
pub(crate) fn locate(
    flag: Option<PathBuf>,
    kubeconfig: Option<OsString>,
    home: Option<OsString>,
) -> Result<PathBuf, KubeconfigError> {
    if let Some(path) = flag {
        return Ok(path);
    }
    let listed: Vec<PathBuf> = kubeconfig
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    if let Some(first) = listed.first() {
        return Ok(listed.iter().find(|path| path.exists()).unwrap_or(first).clone());
    }
    let usual = home.map(|home| Path::new(&home).join(".kube/config"));
    usual.filter(|path| path.exists()).ok_or(KubeconfigError::Nowhere)
}

/// Reads the current context of the kubeconfig.
pub(crate) fn read(path: &Path) -> Result<Access, KubeconfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| KubeconfigError::Unreadable { path: path.to_owned(), source })?;
    let file: File = serde_yaml::from_str(&text)
        .map_err(|source| KubeconfigError::Malformed { path: path.to_owned(), source })?;
    access(file, path).map_err(|problem| KubeconfigError::Unusable { path: path.to_owned(), problem })
}

fn access(file: File, path: &Path) -> Result<Access, String> {
    let wanted = &file.current_context;
    if wanted.is_empty() {
        return Err("`current-context` is not set".to_owned());
    }
    let context = file.contexts.into_iter().find(|context| context.name == *wanted);
    let context = context.ok_or_else(|| format!("there is no context `{wanted}`"))?.context;
    let cluster = file.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.ok_or_else(|| format!("there is no cluster `{}`", context.cluster))?.cluster;
    let user = file.users.into_iter().find(|user| user.name == context.user);
    let user = user.ok_or_else(|| format!("there is no user `{}`", context.user))?.user;
    if cluster.insecure_skip_tls_verify {
        return Err("`insecure-skip-tls-verify` is not supported: give the certificate authority".to_owned());
    }
    if user.exec.is_some() {
        return Err("`exec` is not supported: give a client certificate or a token".to_owned());
    }
    let server: Uri =
        cluster.server.parse().map_err(|error| format!("server `{}`: {error}", cluster.server))?;
    if server.scheme_str() != Some("https") || server.host().is_none() {
        return Err(format!("server `{}` must be written https://HOST:PORT", cluster.server));
    }
    let beside = |file: &Path| path.parent().unwrap_or(Path::new("")).join(file);
    let pem = |data: Option<String>, file: Option<PathBuf>, what: &str| {
        embedded(data, file.as_deref().map(beside), what)
    };
    let authority =
        pem(cluster.certificate_authority_data, cluster.certificate_authority, "certificate-authority")?;
    let authority = authority.ok_or("the cluster has no `certificate-authority-data`")?;
    let chain = pem(user.client_certificate_data, user.client_certificate, "client-certificate")?;
    let key = pem(user.client_key_data, user.client_key, "client-key")?;
    let certificate = match (chain, key) {
        (Some(chain), Some(key)) => Some((chain, key)),
        (None, None) => None,
        (Some(_), None) => return Err("the user has a client certificate without a client key".to_owned()),
        (None, Some(_)) => return Err("the user has a client key without a client certificate".to_owned()),
    };
    let namespace = context.namespace.filter(|namespace| !namespace.is_empty());
    Ok(Access {
        server,
        authority,
        certificate,
        token: user.token,
        namespace: namespace.unwrap_or_else(|| "default".to_owned()),
    })
}

/// Base64 data wins over a path beside the kubeconfig, as in `kubectl`.
fn embedded(data: Option<String>, file: Option<PathBuf>, what: &str) -> Result<Option<String>, String> {
    match (data, file) {
        (Some(data), _) => {
            let bytes = STANDARD.decode(data.trim()).map_err(|error| format!("`{what}-data`: {error}"))?;
            String::from_utf8(bytes).map(Some).map_err(|_| format!("`{what}-data` is not PEM"))
        }
        (None, Some(path)) => std::fs::read_to_string(&path)
            .map(Some)
            .map_err(|error| format!("`{what}`: {}: {error}", path.display())),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
current-context: mesh
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:15443', certificate-authority-data: Q0E=}}]
users: [{name: u, user: {client-certificate-data: Q0VSVA==, client-key: key.pem}}]
contexts: [{name: mesh, context: {cluster: c, user: u, namespace: shop}}]
";

    fn read_text(text: &str) -> Result<Access, String> {
        let directory = tempfile::tempdir().expect("a temporary directory");
        std::fs::write(directory.path().join("key.pem"), "KEY").expect("writable");
        let path = directory.path().join("kubeconfig");
        std::fs::write(&path, text).expect("writable");
        let directory = format!("{}/", directory.path().display());
        read(&path).map_err(|error| error.to_string().replace(&directory, ""))
    }

    #[test]
    fn the_current_context_leads_to_server_authority_and_user() {
        let access = read_text(GOOD).expect("valid");
        assert_eq!(access.server.port_u16(), Some(15443));
        assert_eq!((access.authority.as_str(), access.namespace.as_str()), ("CA", "shop"));
        assert_eq!(access.certificate, Some(("CERT".to_owned(), "KEY".to_owned())));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let cases = [
            ("current-context: mesh", "current-context: other", "kubeconfig: there is no context `other`"),
            ("https://", "http://", "server `http://127.0.0.1:15443` must be written https://HOST:PORT"),
            ("certificate-authority-data: Q0E=", "insecure-skip-tls-verify: true", "is not supported"),
            (", client-key: key.pem", "", "a client certificate without a client key"),
            ("key.pem", "other.pem", "`client-key`: other.pem: No such file"),
            ("Q0E=", "'?'", "`certificate-authority-data`"),
        ];
        for (from, to, expected) in cases {
            let problem = read_text(&GOOD.replace(from, to)).expect_err(expected);
            assert!(problem.contains(expected), "{problem}");
        }
    }

    #[test]
    fn the_flag_comes_first_and_nothing_at_all_is_explained() {
        let flag = locate(Some("a".into()), Some("b".into()), None).expect("given");
        assert_eq!(flag, Path::new("a"));
        assert_eq!(
            locate(None, Some("/nowhere/b:/nowhere/c".into()), None).expect("given"),
            Path::new("/nowhere/b")
        );
        let problem = locate(None, None, Some("/nowhere".into())).expect_err("no file").to_string();
        assert!(problem.contains("--kubeconfig FILE"), "{problem}");
    }
}
