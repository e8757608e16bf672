//! CrowdSec: decisions of its database or of `cscli decisions list -o json`, and its allowlists.

use super::copy;
use super::{Ban, Found, MigrateError, net, shown};
use crate::config::foreign_yaml;
use crate::files;
use crate::time::go_duration;
use crate::types::{ActionKind, Timestamp};
use rusqlite::Connection;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Longest list, or file of settings, that is read, bytes.
const LIST: u64 = 256 << 20;
const SETTINGS: u64 = 1 << 20;

const MEND: &str = "name CrowdSec's database with --database (`db_config.db_path` in its config.yaml), or what \
    `cscli decisions list -o json` printed with --decisions";

/// What of the decisions is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// When it is asked.
    pub now: Timestamp,
    /// Also those that came from CrowdSec's own lists and from those one subscribed to.
    pub of_lists: bool,
}

/// A decision, wherever it stood.
struct Row {
    scope: String,
    value: String,
    kind: String,
    origin: String,
    scenario: String,
    simulated: bool,
    until: Option<Timestamp>,
}

impl Row {
    fn take_in(self, found: &mut Found, wish: Wish) {
        let what = format!("{} of {} {}", shown(&self.kind), shown(&self.scope), shown(&self.value));
        if !wish.of_lists && ["CAPI", "lists", "console"].contains(&self.origin.as_str()) {
            found.of_lists += 1;
            return;
        }
        let Some(until) = self.until else {
            return found.leave(what, "when it ends cannot be read");
        };
        if until <= wish.now {
            found.over += 1;
            return;
        }
        if self.simulated {
            return found.leave(what, "it is simulated");
        }
        if !["ip", "range"]
            .iter()
            .any(|scope| self.scope.eq_ignore_ascii_case(scope))
        {
            return found.leave(what, "only addresses and ranges are carried over");
        }
        let action = match self.kind.to_ascii_lowercase().as_str() {
            "ban" => ActionKind::BlockIp,
            "throttle" => ActionKind::RateLimit,
            _ => return found.leave(what, "nothing here does that"),
        };
        match net(&self.value) {
            Some(target) => found.ban(Ban {
                target,
                action,
                until: Some(until),
                reason: format!("crowdsec {}", shown(&self.scenario)),
            }),
            None => found.leave(what, "it is neither an address nor a prefix"),
        }
    }
}

/// Its decisions in force, and its central allowlists where it has such (CrowdSec 1.6.8 and later).
///
/// # Errors
/// [`MigrateError`].
pub fn database(path: &Path, wish: Wish) -> Result<Found, MigrateError> {
    let copy = copy::open(path, "--database (or its decisions with --decisions)", MEND)?;
    let other = |what: String| MigrateError::Other {
        path: path.into(),
        what,
        mend: MEND,
    };
    let columns = copy::columns(&copy.connection, "decisions");
    let wanted = ["until", "type", "scope", "value", "origin", "scenario", "simulated"];
    if !wanted.iter().all(|name| columns.iter().any(|known| known == name)) {
        return Err(other("it has no table of CrowdSec's decisions".to_owned()));
    }
    let read = || -> rusqlite::Result<Found> {
        let mut found = Found::default();
        decisions(&copy.connection, &mut found, wish)?;
        if !copy::columns(&copy.connection, "allow_list_items").is_empty() {
            allowlists(&copy.connection, &mut found, wish.now)?;
        }
        Ok(found)
    };
    read().map_err(|error| other(format!("it cannot be read ({error})")))
}

fn decisions(connection: &Connection, found: &mut Found, wish: Wish) -> rusqlite::Result<()> {
    let sql = "SELECT scope, value, type, origin, scenario, simulated, until FROM decisions ORDER BY id";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut read = 0;
    while let Some(row) = rows.next()? {
        read += 1;
        if read > copy::ROWS {
            found.leave("decisions", format!("only its first {} rows are read", copy::ROWS));
            break;
        }
        let until: Option<String> = row.get(6)?;
        Row {
            scope: row.get(0)?,
            value: row.get(1)?,
            kind: row.get(2)?,
            origin: row.get(3)?,
            scenario: row.get(4)?,
            simulated: row.get(5)?,
            until: until.as_deref().and_then(instant),
        }
        .take_in(found, wish);
    }
    Ok(())
}

fn allowlists(connection: &Connection, found: &mut Found, now: Timestamp) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("SELECT value, expires_at FROM allow_list_items ORDER BY id")?;
    let mut rows = statement.query([])?;
    let mut read = 0;
    while let Some(row) = rows.next()? {
        read += 1;
        if read > copy::ROWS {
            found.leave(
                "allow_list_items",
                format!("only its first {} rows are read", copy::ROWS),
            );
            break;
        }
        let (value, ends): (String, Option<String>) = (row.get(0)?, row.get(1)?);
        match ends.as_deref().map(instant) {
            Some(Some(end)) if end <= now => found.over += 1,
            Some(_) => found.leave(
                value,
                "an allowlist's entry that ends by itself: add it with `sentinel allowlist add --duration`",
            ),
            None => spare(found, &value, "a central allowlist"),
        }
    }
    Ok(())
}

fn spare(found: &mut Found, value: &str, place: &str) {
    match net(value) {
        Some(target) if target.addr().is_loopback() => {}
        Some(target) => found.spare(target, place.to_owned()),
        None => found.leave(value, format!("{place}: it is neither an address nor a prefix")),
    }
}

/// An instant as Go's SQLite writes it: `2026-11-29 14:14:13.5+00:00`.
fn instant(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    let rfc = text.replacen(' ', "T", 1);
    let at: jiff::Timestamp = rfc.parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok().map(Timestamp)
}

/// An alert of `cscli decisions list -o json`, or a decision by itself.
#[derive(Deserialize)]
struct Item {
    decisions: Option<Vec<Listed>>,
    #[serde(flatten)]
    one: Option<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    scope: String,
    value: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    origin: String,
    #[serde(default)]
    scenario: String,
    #[serde(default)]
    simulated: bool,
    duration: String,
}

/// What `cscli decisions list -o json` printed; durations are counted from when the file was written.
///
/// # Errors
/// [`MigrateError`].
pub fn listed(path: &Path, wish: Wish) -> Result<Found, MigrateError> {
    let unreadable = |error| MigrateError::Unreadable {
        path: path.into(),
        error,
        option: "--decisions",
    };
    let written = path.metadata().and_then(|about| about.modified()).map_err(unreadable)?;
    let bytes = files::read(path, LIST).map_err(|error| unreadable(error.error))?;
    let written = written.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let written = Timestamp(i64::try_from(written.as_nanos()).unwrap_or(i64::MAX));
    printed(path, &bytes, written, wish)
}

/// What is in such a file.
///
/// # Errors
/// [`MigrateError::Other`].
pub(super) fn printed(path: &Path, bytes: &[u8], written: Timestamp, wish: Wish) -> Result<Found, MigrateError> {
    let other = |what: String| MigrateError::Other {
        path: path.into(),
        what,
        mend: MEND,
    };
    if bytes.len() as u64 > LIST {
        return Err(other(format!("it is longer than {LIST} bytes")));
    }
    let whole: Value = serde_json::from_slice(bytes).map_err(|error| {
        other(format!(
            "it is no JSON (line {}, column {})",
            error.line(),
            error.column()
        ))
    })?;
    let items = match whole {
        // No decisions.
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        _ => return Err(other("it is JSON, and no list of decisions".to_owned())),
    };
    let mut found = Found::default();
    for (number, item) in (1..).zip(items) {
        let item: Item = serde_json::from_value(item).map_err(|_| other(format!("item {number} is no decision")))?;
        let all = match (item.decisions, item.one) {
            (Some(decisions), _) => decisions,
            (None, Some(one)) => vec![one],
            (None, None) => return Err(other(format!("item {number} is no decision"))),
        };
        for one in all {
            Row {
                until: go_duration(&one.duration).map(|nanos| Timestamp(written.0.saturating_add(nanos))),
                scope: one.scope,
                value: one.value,
                kind: one.kind,
                origin: one.origin,
                scenario: one.scenario,
                simulated: one.simulated,
            }
            .take_in(&mut found, wish);
        }
    }
    Ok(found)
}

/// Whom its parsers spare: `whitelist` of the files in `parsers/s02-enrich` and `postoverflows/s01-whitelist`.
///
/// # Errors
/// [`MigrateError::Unreadable`] where there is no such folder.
pub fn spared(folder: &Path) -> Result<Found, MigrateError> {
    std::fs::read_dir(folder).map_err(|error| MigrateError::Unreadable {
        path: folder.into(),
        error,
        option: "--config-dir",
    })?;
    let mut found = Found::default();
    for place in ["parsers/s02-enrich", "postoverflows/s01-whitelist"] {
        for file in yaml_files(&folder.join(place)) {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let read = files::read(&file, SETTINGS)
                .ok()
                .filter(|bytes| bytes.len() as u64 <= SETTINGS);
            let text = read.and_then(|bytes| String::from_utf8(bytes).ok());
            let Some(text) = text else {
                found.leave(name, "it cannot be read");
                continue;
            };
            // Several documents may stand in one file.
            for document in text.split("\n---") {
                match foreign_yaml(document) {
                    Ok(value) => whitelist(&mut found, &name, &value["whitelist"]),
                    Err(_) if !document.contains("whitelist") => {}
                    Err(why) => found.leave(&name, format!("its YAML cannot be read: {why}")),
                }
            }
        }
    }
    Ok(found)
}

fn whitelist(found: &mut Found, name: &str, list: &Value) {
    for key in ["ip", "cidr"] {
        for value in list[key].as_array().map(Vec::as_slice).unwrap_or_default() {
            spare(found, value.as_str().unwrap_or_default(), name);
        }
    }
    for value in list["expression"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let text = value.as_str().unwrap_or_default();
        found.leave(
            text,
            format!("{name}: an expression about events, which an allowlist of addresses cannot hold"),
        );
    }
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|ending| ending == "yaml" || ending == "yml")
        })
        .collect();
    files.sort();
    files
}
