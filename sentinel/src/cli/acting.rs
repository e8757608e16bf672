//! `sentinel stop-acting` and `resume-acting`: everything becomes simulation at once, and back.

use super::Global;
use super::exit::Failure;
use super::output::{Format, escape_line};
use super::source::Source;
use clap::Args;
use reqwest::Method;
use serde_json::json;

#[derive(Args, Debug)]
pub(super) struct Acting {
    /// Why; kept in the audit
    #[arg(short, long, default_value = "")]
    reason: String,
}

pub(super) fn run(global: &Global, args: &Acting, on: bool) -> Result<(), Failure> {
    let output = global.output();
    let client = Source::live(&global.load()?)?;
    let wish = json!({ "acting": on, "reason": args.reason });
    let answer = client.call(Method::POST, "/acting", &[], Some(&wish))?;
    if output.format() == Format::Json {
        output.json(&answer);
    } else {
        let says = answer["says"].as_str().unwrap_or_default();
        let mut letters = says.chars();
        let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        output.line(&escape_line(&format!("{first}{}.", letters.as_str())));
    }
    Ok(())
}
