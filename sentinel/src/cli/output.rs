//! Results on stdout: for people, as JSON, or as CSV; hostile text made harmless.

use super::table::Table;
use crate::types::is_unseen;
use clap::{ColorChoice, ValueEnum};
use serde::Serialize;
use std::io::{IsTerminal, Write};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Tables and sentences.
    Human,
    /// What the API answers.
    Json,
    /// Comma-separated values with a header.
    Raw,
}

/// Where results go.
pub(super) struct Output {
    format: Format,
    color: bool,
}

impl Output {
    pub(super) fn new(format: Format, color: ColorChoice) -> Self {
        let color = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Self { format, color }
    }

    pub(super) const fn format(&self) -> Format {
        self.format
    }

    /// Whether colours are wanted.
    pub(super) const fn colored(&self) -> bool {
        self.color
    }

    /// One line or paragraph. A reader that went away is no error of ours.
    #[expect(clippy::unused_self, reason = "all results go through the one output")]
    pub(super) fn line(&self, text: &str) {
        let _ = writeln!(std::io::stdout().lock(), "{text}");
    }

    /// Words beside the result, for whoever reads along; on standard error, so that a pipe has the result alone.
    pub(super) fn remark(&self, text: &str) {
        if self.format == Format::Human {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        }
    }

    /// A JSON document.
    pub(super) fn json(&self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.line(&escape_json(&text)),
            Err(error) => eprintln!("error: {error}"),
        }
    }

    /// A table for people or as CSV.
    pub(super) fn table(&self, table: &Table) {
        let text = if self.format == Format::Raw {
            table.csv()
        } else {
            table.aligned(self.color)
        };
        let _ = write!(std::io::stdout().lock(), "{text}");
    }

    /// A word set off from the rest.
    pub(super) fn strong(&self, text: &str) -> String {
        if self.color {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// What a complaint begins with; a list of problems stands for itself.
    pub(super) fn error_prefix(&self, list: bool) -> &'static str {
        match (list, self.color) {
            (true, _) => "",
            (false, true) => "\x1b[1;31merror:\x1b[0m ",
            (false, false) => "error: ",
        }
    }
}

/// Text with everything that could steer a terminal escaped: controls, and characters that reorder or hide.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\n') || is_unseen(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The same for one line: a newline is escaped too.
pub(super) fn escape_line(text: &str) -> String {
    escape(text).replace('\n', "\\n")
}

/// JSON that says the same, with what could steer a terminal or hide from its reader spelled out. Outside its texts there is
/// nothing of the kind but line breaks.
fn escape_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if (c.is_control() && c != '\n') || is_unseen(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = std::fmt::Write::write_fmt(&mut out, format_args!("\\u{unit:04x}"));
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_says_the_same_and_steers_nothing() {
        let told = serde_json::json!({ "reason": "\u{202e}a\u{9b}31m\u{7f}\u{e0041}\u{1b}\n漢" });
        let text = escape_json(&serde_json::to_string_pretty(&told).expect("JSON"));
        assert!(text.contains(r"\u202ea\u009b31m\u007f\udb40\udc41\u001b\n漢"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).expect("JSON"), told);
    }

    #[test]
    fn nothing_steers_the_terminal() {
        let hostile = "a\x1b[2Jb\u{202e}c\u{7f}\u{9b}31m\r\u{200b}";
        let safe = escape_line(&format!("{hostile}\nnext"));
        assert_eq!(safe, "a\\u{1b}[2Jb\\u{202e}c\\u{7f}\\u{9b}31m\\u{d}\\u{200b}\\nnext");
        assert_eq!(escape("ä ≥ 10\nb"), "ä ≥ 10\nb");
    }
}
