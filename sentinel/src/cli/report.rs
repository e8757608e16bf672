//! `sentinel report`: what happened in a period, into a file.

use super::client::Client;
use super::exit::Failure;
use super::output;
use super::progress::Progress;
use super::source::Source;
use super::{Global, duration};
use crate::report::{Format, OFFLINE, Report, begins};
use crate::time::wall_now as now;
use anyhow::Context as _;
use clap::Args as ClapArgs;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// How far back it reaches, such as 7d
    #[arg(long, value_name = "DURATION", default_value = "30d", value_parser = duration)]
    since: Duration,
    /// Where to: a file that ends in .html, .json or .pdf
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    let output = global.output();
    let config = global.load()?;
    let ending = args
        .out
        .extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or_default();
    let format = Format::named(ending).ok_or_else(|| {
        let file = args.out.display();
        Failure::Usage(format!(
            "{file}: the name says how it is written; let it end in .html, .json or .pdf"
        ))
    })?;
    let now = now();
    let since = begins(now, super::ago(args.since)).map_err(|error| Failure::Usage(error.to_string()))?;
    let progress = Progress::waiting("What happened is counted");
    let document = match Source::open(&config)? {
        Source::Live(client) => live(&client, &since.to_string(), format)?,
        Source::Stored(stored) => {
            let (figures, stopped) = stored.figures(since, now)?;
            Report::new(figures, OFFLINE, stopped).write(format)?
        }
    };
    drop(progress);
    std::fs::write(&args.out, &document).with_context(|| format!("{} cannot be written", args.out.display()))?;
    let file = args.out.display().to_string();
    if output.format() == output::Format::Json {
        output.json(&json!({ "file": file, "bytes": document.len() }));
    } else {
        output.line(&output::escape_line(&format!(
            "{file} written, {} bytes",
            document.len()
        )));
    }
    Ok(())
}

fn live(client: &Client, since: &str, format: Format) -> Result<Vec<u8>, Failure> {
    client.document("/reports", &json!({ "since": since, "format": format.name() }))
}
