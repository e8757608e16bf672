//! Structured logs on stderr: for people, or one JSON object a line (`-o json`).

use clap::ColorChoice;
use std::io::IsTerminal;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::prelude::*;

/// Libraries that write whole requests at trace level, their passwords among them. Whatever is asked for, that is not logged.
const TELLTALE: [&str; 2] = ["tungstenite", "tokio_tungstenite"];

/// Sets up logging for the process: `RUST_LOG` if it is set, else by the number of `-v`.
pub(super) fn init(verbose: u8, color: ColorChoice, quiet: bool, json: bool) {
    let level = match verbose {
        0 if quiet => LevelFilter::WARN,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // Libraries below us speak of their own business at debug level.
    let ours = format!("warn,sentinel={level}");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(ours));
    let ansi = match color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
    };
    let harmless = filter_fn(|about| {
        let telltale = TELLTALE.iter().any(|name| about.target().starts_with(name));
        !(telltale && *about.level() == Level::TRACE)
    });
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let all = tracing_subscriber::registry().with(filter).with(harmless);
    if json {
        all.with(log.json()).init();
    } else {
        all.with(log.with_ansi(ansi)).init();
    }
}
