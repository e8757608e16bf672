//! Lists as people and other programs write them, into wishes, line by line. Every text in them is a stranger's.

use crate::api::commands::reason;
use crate::api::query::{duration, short, target};
use crate::types::{ActionKind, BadLine, Listed, Needs, NewDecision};
use serde_json::Value;
use std::time::Duration;

/// How a list is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A header that names the columns, then a line each (RFC 4180).
    Csv,
    /// An array of objects, or objects one after the other.
    Json,
    /// An address or prefix a line; `#` begins a comment.
    Values,
}

impl Format {
    pub(super) fn named(text: &str) -> Option<Self> {
        match text {
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "values" => Some(Self::Values),
            _ => None,
        }
    }
}

/// What holds where a line does not say it.
pub(super) struct Defaults {
    pub(super) action: ActionKind,
    pub(super) duration: Duration,
    pub(super) reason: String,
    pub(super) actor: String,
}

/// What a column or key is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Target,
    Kind,
    Duration,
    Reason,
    Scope,
    /// Known from other programs' lists, and of no use here.
    Passed,
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "value" | "target" | "ip" | "range" | "address" => Self::Target,
            "type" | "action" => Self::Kind,
            "duration" => Self::Duration,
            "reason" | "scenario" | "comment" => Self::Reason,
            "scope" => Self::Scope,
            "id" | "uuid" | "origin" | "until" | "simulated" | "created_at" => Self::Passed,
            _ => return None,
        })
    }
}

const KNOWN: &str = "`value`, `type`, `duration`, `reason` and `scope` are known";

/// The action a word stands for. Containers are isolated one by one.
pub(super) fn kind(word: &str) -> Option<ActionKind> {
    ActionKind::meant(&word.to_ascii_lowercase()).filter(|kind| kind.profile().needs != Needs::Container)
}

type Lines = (Vec<Listed>, Vec<BadLine>);

/// Reads a list: what could be read, and the lines that could not.
///
/// # Errors
/// What is wrong with the list as a whole, and the mend.
pub(super) fn read(body: &[u8], format: Format, defaults: &Defaults) -> Result<Lines, String> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let good = std::str::from_utf8(&body[..error.valid_up_to()]);
        let line = 1 + good.map_or(0, newlines);
        format!("line {line} is not UTF-8; save the list as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader {
        defaults,
        good: Vec::new(),
        bad: Vec::new(),
    };
    match format {
        Format::Values => reader.values(text),
        Format::Csv => reader.csv(text)?,
        Format::Json => reader.json(text)?,
    }
    Ok((reader.good, reader.bad))
}

struct Reader<'a> {
    defaults: &'a Defaults,
    good: Vec<Listed>,
    bad: Vec<BadLine>,
}

impl Reader<'_> {
    fn take(&mut self, line: u32, wish: Result<NewDecision, String>) {
        match wish {
            Ok(wish) => self.good.push(Listed { line, wish }),
            Err(problem) => self.bad.push(BadLine {
                line,
                problem,
                guard: None,
            }),
        }
    }

    fn values(&mut self, text: &str) {
        for (line, text) in (1..).zip(text.lines()) {
            let value = text.split('#').next().unwrap_or_default().trim();
            if !value.is_empty() {
                let wish = self.wish([(Field::Target, value)].into_iter());
                self.take(line, wish);
            }
        }
    }

    fn csv(&mut self, text: &str) -> Result<(), String> {
        let mut records = Records { text, line: 1 };
        let Some((_, head)) = records.next() else {
            return Err("the list is empty; its first line names the columns, such as `value,duration,reason`".into());
        };
        let head = head?;
        let mut columns = Vec::with_capacity(head.len());
        for name in &head {
            let name = name.trim();
            let column = Field::named(name)
                .ok_or_else(|| format!("the first line names a column `{}`; {KNOWN}", short(name)))?;
            if column != Field::Passed && columns.contains(&column) {
                return Err(format!(
                    "the first line names two columns like `{}`; leave one",
                    short(name)
                ));
            }
            columns.push(column);
        }
        if !columns.contains(&Field::Target) {
            return Err(
                "the first line must name the columns, with `value` among them; a plain list of addresses is \
                        `--format values`"
                    .into(),
            );
        }
        for (line, record) in records {
            let wish = record.and_then(|cells| {
                if cells.len() != columns.len() {
                    return Err(format!(
                        "it has {} cells where the first line names {} columns",
                        cells.len(),
                        columns.len()
                    ));
                }
                self.wish(columns.iter().copied().zip(cells.iter().map(String::as_str)))
            });
            self.take(line, wish);
        }
        Ok(())
    }

    fn json(&mut self, text: &str) -> Result<(), String> {
        let mut at = blank(text);
        let array = text[at..].starts_with('[');
        at += usize::from(array);
        // Newlines are counted once, from item to item.
        let (mut line, mut counted) = (1, 0);
        let mut first = true;
        loop {
            at += blank(&text[at..]);
            line += newlines(&text[counted..at]);
            counted = at;
            let rest = &text[at..];
            if rest.is_empty() && !array {
                return Ok(());
            }
            if array && rest.starts_with(']') {
                let behind = &rest[1..];
                return if blank(behind) == behind.len() {
                    Ok(())
                } else {
                    Err(format!(
                        "line {line}: something stands behind the end of the array; remove it"
                    ))
                };
            }
            if array && !first {
                let Some(after) = rest.strip_prefix(',') else {
                    return Err(format!("line {line}: a comma or the end of the array is missing"));
                };
                at = text.len() - after.len();
                at += blank(&text[at..]);
                line += newlines(&text[counted..at]);
                counted = at;
            }
            first = false;
            let mut items = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
            let item = match items.next() {
                Some(Ok(item)) => item,
                Some(Err(error)) => return Err(format!("the item at line {line} is not JSON: {}", wrong(&error))),
                None => return Err(format!("line {line}: the array has no end; is the file whole?")),
            };
            at += items.byte_offset();
            let wish = self.item(&item);
            self.take(line, wish);
        }
    }

    fn item(&self, item: &Value) -> Result<NewDecision, String> {
        let Value::Object(pairs) = item else {
            return Err("it is no object such as {\"value\": \"203.0.113.7\", \"duration\": \"4h\"}".to_owned());
        };
        let mut fields = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let field = Field::named(name).ok_or_else(|| format!("it has a key `{}`; {KNOWN}", short(name)))?;
            match value {
                _ if field == Field::Passed => {}
                Value::Null => {}
                Value::String(text) => fields.push((field, text.as_str())),
                _ => return Err(format!("`{}` is no text", short(name))),
            }
        }
        self.wish(fields.into_iter())
    }

    fn wish<'t>(&self, fields: impl Iterator<Item = (Field, &'t str)>) -> Result<NewDecision, String> {
        let mut net = None;
        let mut wish = NewDecision {
            collateral: None,
            target: ipnet::Ipv4Net::default().into(),
            action: self.defaults.action,
            rate: None,
            egress: None,
            duration: self.defaults.duration,
            reason: self.defaults.reason.clone(),
            actor: self.defaults.actor.clone(),
        };
        for (field, text) in fields {
            let text = text.trim();
            match field {
                Field::Target if net.is_some() => return Err("it names two targets; leave one".to_owned()),
                Field::Target if text.is_empty() => {}
                Field::Target => net = Some(target(text)?),
                _ if text.is_empty() => {}
                Field::Kind => {
                    wish.action = kind(text).ok_or_else(|| {
                        let text = short(text);
                        format!("type `{text}` is not known; `block` (or `ban`), `rate_limit` and `redirect` are")
                    })?;
                }
                Field::Duration => wish.duration = duration(text)?,
                Field::Reason => wish.reason = reason(text).map_err(|problem| problem.detail().to_owned())?,
                Field::Scope => {
                    if !["ip", "range"].contains(&text.to_ascii_lowercase().as_str()) {
                        let text = short(text);
                        return Err(format!("scope `{text}` cannot be blocked; `ip` and `range` can"));
                    }
                }
                Field::Passed => {}
            }
        }
        wish.target = net.ok_or("it names no address or prefix")?;
        Ok(wish)
    }
}

/// Bytes of white space a text begins with.
fn blank(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t', '\r', '\n']).len()
}

fn newlines(text: &str) -> u32 {
    text.bytes().filter(|byte| *byte == b'\n').count() as u32
}

/// What is wrong, without the text it is wrong about.
fn wrong(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        serde_json::error::Category::Eof => "it ends too soon; is the file whole?",
        _ => "check quotes, commas and brackets there",
    }
}

/// The records of a CSV text with the line each begins at; blank lines are none.
struct Records<'t> {
    text: &'t str,
    line: u32,
}

impl Iterator for Records<'_> {
    type Item = (u32, Result<Vec<String>, String>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.text.is_empty() {
                return None;
            }
            let begin = self.line;
            let plain = self.text.split('\n').next().unwrap_or_default();
            let end = if plain.contains('"') {
                quoted_end(self.text)
            } else {
                plain.len()
            };
            let (record, rest) = self.text.split_at(end);
            self.text = rest.strip_prefix('\n').unwrap_or(rest);
            self.line += 1 + newlines(record);
            let record = record.strip_suffix('\r').unwrap_or(record);
            if !record.trim().is_empty() {
                return Some((begin, cells(record)));
            }
        }
    }
}

/// Where a record with quotes ends: at the first newline outside of them.
fn quoted_end(text: &str) -> usize {
    let mut inside = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => inside = !inside,
            b'\n' if !inside => return at,
            _ => {}
        }
    }
    if !inside {
        return text.len();
    }
    // A quote that never ends must not swallow the rest of the list.
    text.find('\n').unwrap_or(text.len())
}

fn cells(record: &str) -> Result<Vec<String>, String> {
    if !record.contains('"') {
        return Ok(record.split(',').map(str::to_owned).collect());
    }
    let mut cells = Vec::new();
    let mut rest = record;
    loop {
        let (cell, behind) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
            Some(inner) => {
                let mut cell = String::new();
                let mut inner = inner;
                loop {
                    let Some(quote) = inner.find('"') else {
                        return Err("a quote is opened and not closed".to_owned());
                    };
                    cell.push_str(&inner[..quote]);
                    inner = &inner[quote + 1..];
                    match inner.strip_prefix('"') {
                        Some(more) => {
                            cell.push('"');
                            inner = more;
                        }
                        None => break (cell, inner),
                    }
                }
            }
        };
        cells.push(cell);
        if behind.is_empty() {
            return Ok(cells);
        }
        let Some(next) = behind.strip_prefix(',') else {
            return Err("something stands behind a closing quote".to_owned());
        };
        rest = next;
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
