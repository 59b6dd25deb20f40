//! `meshctl explain`: what a sidecar's word for a refusal means and what to do.

use crate::failure::Failure;
use crate::table::Table;
use clap::Args;
use mesh_protocol::refusal::{EXPLANATIONS, explain};
use std::io::Write;

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The word, as in `outrigger-reason: connect_refused`
    reason: Option<String>,
}

pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(word) = &arguments.reason else {
        let mut table = Table::new(&["REASON", "MEANING"]);
        table.rows =
            EXPLANATIONS.iter().map(|row| vec![row.word.to_owned(), row.meaning.to_owned()]).collect();
        out.write_all(table.render().as_bytes())?;
        return Ok(());
    };
    let Some(explanation) = explain(word) else {
        return Err(format!("`{word}` is not a reason; `meshctl explain` lists them").into());
    };
    writeln!(out, "{}: {}\n{}", explanation.word, explanation.meaning, explanation.mend)?;
    Ok(())
}
