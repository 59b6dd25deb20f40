//! Promises of the settings: precedence, and every problem of a file at once.

use super::*;
use clap::{Args, CommandFactory, Subcommand};
use std::net::SocketAddr;

#[derive(Debug, Parser)]
#[command(name = "program")]
struct Program {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(Serve),
    #[command(subcommand)]
    Rules(Rules),
}

#[derive(Debug, Subcommand)]
enum Rules {
    Install(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    #[arg(long)]
    config: Option<PathBuf>,
    #[arg(long)]
    data_dir: PathBuf,
    #[arg(long, default_value = "127.0.0.1:15443")]
    api_addr: SocketAddr,
    #[arg(long)]
    label: Vec<String>,
    #[arg(long)]
    verbose: bool,
    #[arg(long, value_parser = ["text", "json"], default_value = "text")]
    log_format: String,
    /// Read from the environment in these tests: `HOME` is set wherever tests run.
    #[arg(long, env = "HOME")]
    home: Option<String>,
}

fn serve(file: &str, flags: &[&str]) -> Result<Serve, String> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("settings.yaml");
    std::fs::write(&path, file).expect("writable");
    let mut arguments =
        vec![OsString::from("program"), "serve".into(), "--config".into(), path.clone().into()];
    arguments.extend(flags.iter().map(OsString::from));
    match parse::<Program>(arguments) {
        Ok(Program { verb: Verb::Serve(serve) | Verb::Rules(Rules::Install(serve)) }) => Ok(serve),
        Err(error) => Err(error.to_string().replace(&path.display().to_string(), "settings.yaml")),
    }
}

#[test]
fn the_file_stands_in_for_flags_even_for_required_ones() {
    let file =
        "dataDir: /var/lib/it\napiAddr: 127.0.0.1:1\nverbose: true\nlabel:\n- app=orders\n- version=1\n";
    let serve = serve(file, &[]).expect("valid");
    assert_eq!(serve.data_dir, Path::new("/var/lib/it"));
    assert_eq!(serve.api_addr.port(), 1);
    assert_eq!(serve.label, ["app=orders", "version=1"]);
    assert!(serve.verbose);
    assert!(serve.config.is_some());
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let file = "dataDir: /file\nlogFormat: json\nlabel: {app: orders}\n";
    let serve = serve(file, &["--data-dir", "/flag", "--label", "a=1,b=2"]).expect("valid");
    assert_eq!(serve.data_dir, Path::new("/flag"));
    assert_eq!(serve.log_format, "json");
    assert_eq!(serve.label, ["a=1", "b=2"], "a list is replaced, not merged");
    assert_eq!(serve.api_addr.port(), 15443);
}

#[test]
fn the_environment_beats_the_file() {
    let serve = serve("dataDir: /d\nhome: /from/file\n", &[]).expect("valid");
    assert_eq!(serve.home, std::env::var("HOME").ok());
}

#[test]
fn every_flag_has_its_variable() {
    let command = with_environment(Program::command());
    let serve = command.find_subcommand("serve").expect("declared");
    let variable = |id: &str| {
        let arg = serve.get_arguments().find(|arg| arg.get_id() == id).expect("declared");
        arg.get_env().map(|name| name.to_string_lossy().into_owned())
    };
    assert_eq!(variable("api_addr").as_deref(), Some("OUTRIGGER_API_ADDR"));
    assert_eq!(variable("label").as_deref(), Some("OUTRIGGER_LABEL"));
}

#[test]
fn all_problems_of_the_file_are_reported_at_once_with_their_lines() {
    let file = "# settings\ndataDir: [a, b]\n\napiAddr: nowhere\nlogFormat: xml\nlabels: {}\nconfig: other\n";
    let expected = "\
settings.yaml:2: `dataDir` takes one value, not a list
settings.yaml:4: `apiAddr` cannot be `nowhere`: invalid socket address syntax
settings.yaml:5: `logFormat` cannot be `xml`; it is one of text, json
settings.yaml:6: `labels` is not a setting; the settings are apiAddr, dataDir, home, label, logFormat, verbose
settings.yaml:7: `config` is not a setting; the settings are apiAddr, dataDir, home, label, logFormat, verbose";
    assert_eq!(serve(file, &[]).expect_err("five problems"), expected);
}

#[test]
fn a_file_that_is_not_yaml_or_not_a_map_is_refused_with_its_line() {
    let problem = serve("dataDir: /d\n  apiAddr: [\n", &[]).expect_err("broken");
    assert!(problem.starts_with("settings.yaml:2: "), "{problem}");
    let problem = serve("- a\n- b\n", &[]).expect_err("a list");
    assert!(problem.contains("expected settings as `key: value`"), "{problem}");
    let problem = serve("dataDir: a\ndataDir: b\n", &[]).expect_err("twice");
    assert!(problem.contains("`dataDir` is given twice"), "{problem}");
    let problem = serve("dataDir:\n", &[]).expect_err("no value");
    assert!(problem.contains("settings.yaml:1: `dataDir` must be a value"), "{problem}");
}

#[test]
fn an_empty_file_sets_nothing_and_what_is_missing_is_a_usage_error() {
    let problem = serve("# nothing\n", &[]).expect_err("--data-dir is required");
    assert!(problem.contains("--data-dir <DATA_DIR>"), "{problem}");
    assert!(serve("", &["--data-dir", "/d"]).is_ok());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let arguments = ["program", "serve", "--config", "/nonexistent/settings.yaml"].map(OsString::from);
    let problem = parse::<Program>(arguments).expect_err("no such file").to_string();
    assert!(problem.starts_with("/nonexistent/settings.yaml: cannot read the settings file"), "{problem}");
}

#[test]
fn a_file_is_found_however_deep_its_subcommand_lies() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("settings.yaml");
    std::fs::write(&path, "dataDir: /there\n").expect("writable");
    let arguments = ["program", "rules", "install", "--config", path.to_str().expect("a UTF-8 path")];
    let program: Program = parse(arguments.map(OsString::from)).expect("the file has what is needed");
    let Verb::Rules(Rules::Install(install)) = program.verb else { panic!("{program:?}") };
    assert_eq!(install.data_dir, Path::new("/there"));
}
