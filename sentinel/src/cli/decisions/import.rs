//! `sentinel decisions import`: a list somebody keeps, all of it or none.

use super::super::client::Client;
use super::super::exit::Failure;
use super::super::output::{Format, Output, escape_line};
use super::super::progress::Progress;
use super::{duration, kinds};
use anyhow::Context;
use clap::{Args, ValueEnum};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the agent takes at most, bytes.
const LARGEST: u64 = 32 << 20;

#[derive(Args, Debug)]
pub(in crate::cli) struct Import {
    /// The list; `-` for standard input
    #[arg(short, long, value_name = "FILE")]
    input: PathBuf,
    /// How it is written [default: by the file's ending, else values]
    #[arg(long, value_enum)]
    format: Option<ListFormat>,
    /// Import the good lines though others are refused
    #[arg(long)]
    skip_bad: bool,
    /// For lines that say no duration [default: response.duration of the settings]
    #[arg(short, long, value_parser = duration)]
    duration: Option<Duration>,
    /// For lines that say no reason
    #[arg(short, long)]
    reason: Option<String>,
    /// For lines that say no type
    #[arg(short, long = "type", value_parser = kinds())]
    kind: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ListFormat {
    /// A header that names the columns (value, type, duration, reason, scope), then a line each
    Csv,
    /// An array of objects with those keys
    Json,
    /// An address or prefix a line
    Values,
}

impl ListFormat {
    fn of(file: &Path) -> Self {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some("csv") => Self::Csv,
            Some("json" | "jsonl" | "ndjson") => Self::Json,
            _ => Self::Values,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Values => "values",
        }
    }
}

pub(super) fn run(client: &Client, args: &Import, output: &Output) -> Result<(), Failure> {
    let list = read(&args.input)?;
    let format = args.format.unwrap_or_else(|| ListFormat::of(&args.input));
    let mut query = vec![("format", format.as_str().to_owned())];
    if args.skip_bad {
        query.push(("skip_bad", "true".to_owned()));
    }
    if let Some(duration) = args.duration {
        query.push(("duration", format!("{}ms", duration.as_millis())));
    }
    if let Some(kind) = &args.kind {
        query.push(("type", kind.clone()));
    }
    if let Some(reason) = &args.reason {
        query.push(("reason", reason.clone()));
    }
    // The agent answers once all of them stand; how far it is meanwhile it does not say.
    let progress = Progress::waiting(&format!("The agent takes {} bytes in", list.len()));
    let done = client.send_list("/decisions/import", &query, list)?;
    drop(progress);
    if output.format() == Format::Json {
        output.json(&done);
        return Ok(());
    }
    let count = |key: &str| done[key].as_u64().unwrap_or(0);
    for bad in done["bad"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let text = format!(
            "line {} skipped: {}",
            bad["line"],
            bad["problem"].as_str().unwrap_or_default()
        );
        output.line(&escape_line(&text));
    }
    let only = if done["simulated"] == true {
        "; they only count (simulation, or acting is stopped)"
    } else {
        ""
    };
    output.line(&format!(
        "{} imported, {} of them in another's place, {} repeated, {} skipped{only}.",
        count("imported"),
        count("replaced"),
        count("repeated"),
        count("skipped")
    ));
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut list = Vec::new();
    let name = file.display();
    let limit = LARGEST + 1;
    if file.as_os_str() == "-" {
        std::io::stdin().lock().take(limit).read_to_end(&mut list)
    } else {
        std::fs::File::open(file).and_then(|opened| opened.take(limit).read_to_end(&mut list))
    }
    .with_context(|| format!("{name} cannot be read"))?;
    if list.len() as u64 > LARGEST {
        return Err(Failure::Usage(format!(
            "{name} is larger than the {LARGEST} bytes that one import takes; split it"
        )));
    }
    Ok(list)
}
