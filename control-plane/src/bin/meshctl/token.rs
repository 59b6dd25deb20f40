//! `meshctl token create` and `meshctl kubeconfig`: a token to join with, and a kubeconfig that holds one for the API, by the
//! same call as `kubectl create token`.

use crate::client::{Client, Form};
use crate::failure::Failure;
use crate::paths::escaped;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Print a token with which sidecars of one service account join the mesh
    Create(Create),
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The namespace of the workload
    #[arg(long, short)]
    namespace: String,
    /// The service account the workload runs as
    #[arg(long, short)]
    service_account: String,
    /// For how long sidecars may join with it: 90s, 30m, 12h, 7d
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    ttl: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Kubeconfig {
    /// The namespace of the service account; also the one used where none is given
    #[arg(long, short)]
    namespace: String,
    /// The service account to act as; what it may do RoleBindings and ClusterRoleBindings say
    #[arg(long, short)]
    service_account: String,
    /// For how long it is good: 90s, 30m, 12h, 7d
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = duration)]
    ttl: Duration,
}

/// Prints the token alone, so that `meshctl token create … > FILE` is the file for `--token-file`.
pub(crate) async fn run(verb: &Verb, client: &mut Client, out: &mut dyn Write) -> Result<(), Failure> {
    let Verb::Create(create) = verb;
    let token =
        token(client, &create.namespace, &create.service_account, "outrigger-join", create.ttl).await?;
    writeln!(out, "{token}")?;
    Ok(())
}

/// Prints a kubeconfig, so that `meshctl kubeconfig … > FILE` is what its bearer gives to `kubectl` and `meshctl`.
pub(crate) async fn kubeconfig(
    arguments: &Kubeconfig,
    client: &mut Client,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let Kubeconfig { namespace, service_account, ttl } = arguments;
    let token = token(client, namespace, service_account, "outrigger-api", *ttl).await?;
    let authority = STANDARD.encode(client.authority());
    let server = client.server();
    // Names the control plane has taken, an address and base64: nothing needs quoting.
    write!(
        out,
        "apiVersion: v1
kind: Config
clusters:
- name: outrigger
  cluster:
    server: {server}
    certificate-authority-data: {authority}
users:
- name: {namespace}-{service_account}
  user:
    token: {token}
contexts:
- name: outrigger
  context:
    cluster: outrigger
    user: {namespace}-{service_account}
    namespace: {namespace}
current-context: outrigger
"
    )?;
    Ok(())
}

async fn token(
    client: &mut Client,
    namespace: &str,
    service_account: &str,
    audience: &str,
    ttl: Duration,
) -> Result<String, Failure> {
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/{}/token",
        escaped(namespace),
        escaped(service_account)
    );
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [audience], "expirationSeconds": ttl.as_secs()},
    });
    let body = Some(("application/json", body.to_string()));
    let (_, answer) = client.ask(Method::POST, &path, Form::Objects, body).await?;
    let token = answer.pointer("/status/token").and_then(Value::as_str);
    Ok(token.ok_or_else(|| "the control plane answered without a token".to_owned())?.to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("write a number and a unit: 90s, 30m, 12h, 7d".to_owned()),
    };
    let number: u64 =
        number.parse().map_err(|_| "write a number and a unit: 90s, 30m, 12h, 7d".to_owned())?;
    let seconds = number.checked_mul(seconds).filter(|seconds| *seconds > 0).ok_or("out of range")?;
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_a_number_with_a_unit() {
        let cases = [("90s", 90), ("30m", 1_800), ("12h", 43_200), ("7d", 604_800)];
        for (text, seconds) in cases {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "90", "h", "1w", "0s", "-1h", "99999999999999999999d", "9999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
