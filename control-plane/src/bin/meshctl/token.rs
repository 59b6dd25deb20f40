//! `meshctl token create`: a join token, by the same call as `kubectl create token`.

use crate::client::{Client, Form};
use crate::failure::Failure;
use crate::paths::escaped;
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

/// Prints the token alone, so that `meshctl token create … > FILE` is the file for `--token-file`.
pub(crate) async fn run(verb: &Verb, client: &mut Client, out: &mut dyn Write) -> Result<(), Failure> {
    let Verb::Create(create) = verb;
    let path = format!(
        "/api/v1/namespaces/{}/serviceaccounts/{}/token",
        escaped(&create.namespace),
        escaped(&create.service_account)
    );
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": create.ttl.as_secs()},
    });
    let body = Some(("application/json", body.to_string()));
    let (_, answer) = client.ask(Method::POST, &path, Form::Objects, body).await?;
    let token = answer.pointer("/status/token").and_then(Value::as_str);
    let token = token.ok_or_else(|| "the control plane answered without a token".to_owned())?;
    writeln!(out, "{token}")?;
    Ok(())
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
