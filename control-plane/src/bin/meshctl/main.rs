//! `meshctl`: what a person does with the mesh that `kubectl` does not do, or not as well.
//!
//! Enters: a command line and a kubeconfig. Leaves: text for people on standard output, problems on standard error, and an
//! exit code: 0 done, 1 failed or something is wrong, 2 wrong usage. Never here: any knowledge the API does not have.

mod apply;
mod backup;
mod check;
mod client;
mod delete;
mod describe;
mod diff;
mod explain;
mod export;
mod failure;
mod get;
mod kubeconfig;
mod paths;
mod proxies;
mod sources;
mod table;
mod token;
mod wait;

use clap::{Args, Parser, Subcommand};
use client::Client;
use failure::Failure;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Look at and change an Outrigger mesh.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version, disable_help_subcommand = true)]
struct CommandLine {
    /// The kubeconfig to use; else $KUBECONFIG, else ~/.kube/config
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create or change objects as manifests say: all of them or, when one is refused, none
    Apply(apply::Arguments),
    /// Show what `apply` would change, line by line: exit code 1 when it would change something
    Diff(diff::Arguments),
    /// Show objects
    Get(get::Arguments),
    /// Show one object with what belongs to it
    Describe(describe::Arguments),
    /// Delete objects
    Delete(delete::Arguments),
    /// Print everything that people wrote as manifests that can be applied again
    Export(export::Arguments),
    /// Write everything that people wrote to a file, with its age and identity
    Backup(backup::Backup),
    /// Make the mesh what a backup says
    Restore(backup::Restore),
    /// Make join tokens
    Token {
        #[command(subcommand)]
        verb: token::Verb,
    },
    /// Print a kubeconfig with which somebody uses the API as a service account
    Kubeconfig(token::Kubeconfig),
    /// Show the connected sidecars and whether each is up to date
    Proxies(proxies::Arguments),
    /// Look for what is wrong: exit code 1 when something is
    Check,
    /// Say what a word in an `outrigger-reason` header, metric or log means; without a word, list them all
    Explain(explain::Arguments),
}

/// Where to look, for verbs that look into one namespace.
#[derive(Debug, Args)]
struct Place {
    /// The namespace; else the kubeconfig's, else `default`
    #[arg(long, short, value_name = "NAME")]
    namespace: Option<String>,
}

impl Place {
    fn namespace(&self, client: &Client) -> String {
        self.namespace.clone().unwrap_or_else(|| client.namespace().to_owned())
    }
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(line, &mut io::stdout().lock())),
        Err(error) => Err(Failure::from(format!("cannot start: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has gone (`meshctl get … | head`): nothing failed.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Found) => ExitCode::FAILURE,
        Err(failure) => {
            // When standard error is closed there is nobody left to tell.
            drop(writeln!(io::stderr(), "{failure}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(line: CommandLine, out: &mut dyn Write) -> Result<(), Failure> {
    let kubeconfig = line.kubeconfig;
    let client = || -> Result<Client, Failure> {
        let path = kubeconfig::locate(kubeconfig, std::env::var_os("KUBECONFIG"), std::env::var_os("HOME"))?;
        Ok(Client::new(kubeconfig::read(&path)?)?)
    };
    match line.verb {
        Verb::Apply(arguments) => apply::run(&arguments, &mut client()?, out).await,
        Verb::Diff(arguments) => diff::run(&arguments, &mut client()?, out).await,
        Verb::Get(arguments) => get::run(&arguments, &mut client()?, out).await,
        Verb::Describe(arguments) => describe::run(&arguments, &mut client()?, out).await,
        Verb::Delete(arguments) => delete::run(&arguments, &mut client()?, out).await,
        Verb::Export(arguments) => export::run(&arguments, &mut client()?, out).await,
        Verb::Backup(arguments) => backup::backup(&arguments, &mut client()?, out).await,
        Verb::Restore(arguments) => backup::restore(&arguments, &mut client()?, out).await,
        Verb::Token { verb } => token::run(&verb, &mut client()?, out).await,
        Verb::Kubeconfig(arguments) => token::kubeconfig(&arguments, &mut client()?, out).await,
        Verb::Proxies(arguments) => proxies::run(&arguments, &mut client()?, out).await,
        Verb::Check => check::run(client()?, out).await,
        Verb::Explain(arguments) => explain::run(&arguments, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }
}
