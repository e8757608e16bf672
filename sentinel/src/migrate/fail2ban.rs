//! fail2ban from 0.11 on: bans of its database, and `ignoreip` of its settings.

use super::copy;
use super::ini::Ini;
use super::{Ban, Found, MigrateError, net, shown};
use crate::files;
use crate::types::{ActionKind, Timestamp};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// Longest file of settings that is read, bytes.
const SETTINGS: u64 = 4 << 20;
const SECOND: i64 = 1_000_000_000;

const MEND: &str = "name fail2ban's database with --database (`fail2ban-client get dbfile` tells where it is)";

/// Its bans that hold at `now`.
///
/// # Errors
/// [`MigrateError`].
pub fn bans(path: &Path, now: Timestamp) -> Result<Found, MigrateError> {
    let copy = copy::open(path, "--database", MEND)?;
    let other = |what: String| MigrateError::Other {
        path: path.into(),
        what,
        mend: MEND,
    };
    let columns = copy::columns(&copy.connection, "bips");
    let wanted = ["ip", "jail", "timeofban", "bantime"];
    if !wanted.iter().all(|name| columns.iter().any(|known| known == name)) {
        let old = !copy::columns(&copy.connection, "bans").is_empty();
        return Err(other(if old {
            "it is of a fail2ban before 0.11, which did not keep how long its bans last".to_owned()
        } else {
            "it has no table of fail2ban's bans (`bips`)".to_owned()
        }));
    }
    read(&copy.connection, now).map_err(|error| other(format!("it cannot be read ({error})")))
}

fn read(connection: &Connection, now: Timestamp) -> rusqlite::Result<Found> {
    let mut found = Found::default();
    let mut statement =
        connection.prepare("SELECT ip, jail, timeofban, bantime FROM bips ORDER BY timeofban, ip, jail")?;
    let mut rows = statement.query([])?;
    let mut read = 0;
    while let Some(row) = rows.next()? {
        read += 1;
        if read > copy::ROWS {
            found.leave("bips", format!("only its first {} rows are read", copy::ROWS));
            break;
        }
        let (id, jail): (String, String) = (row.get(0)?, row.get(1)?);
        let (since, length): (i64, i64) = (row.get(2)?, row.get(3)?);
        let until = (length >= 0).then(|| Timestamp(since.saturating_add(length).saturating_mul(SECOND)));
        if until.is_some_and(|end| end <= now) {
            found.over += 1;
            continue;
        }
        match net(&id) {
            Some(target) => found.ban(Ban {
                target,
                action: ActionKind::BlockIp,
                until,
                reason: format!("fail2ban {}", shown(&jail)),
            }),
            None => found.leave(
                id,
                format!("jail {}: it is neither an address nor a prefix", shown(&jail)),
            ),
        }
    }
    Ok(found)
}

/// Whom its settings spare: `ignoreip` of all jails, by the files in the order of jail.conf(5).
///
/// # Errors
/// [`MigrateError::Unreadable`] where there is no such folder.
pub fn spared(folder: &Path) -> Result<Found, MigrateError> {
    let unreadable = |path: &Path, error| MigrateError::Unreadable {
        path: path.into(),
        error,
        option: "--config-dir",
    };
    std::fs::read_dir(folder).map_err(|error| unreadable(folder, error))?;
    let mut ini = Ini::default();
    let mut any = false;
    for file in layers(folder) {
        let bytes = match files::read(&file, SETTINGS) {
            Ok(bytes) => bytes,
            Err(error) if error.error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(&file, error.error)),
        };
        any = true;
        ini.lay(&String::from_utf8_lossy(&bytes));
    }
    if !any {
        return Err(MigrateError::Other {
            path: folder.into(),
            what: "there is neither a `jail.conf` nor a `jail.local`".to_owned(),
            mend: "name the folder of fail2ban's settings with --config-dir",
        });
    }
    let mut found = Found::default();
    for (section, value) in ini.each("ignoreip") {
        let Ok(value) = value else {
            found.leave(
                format!("ignoreip of [{}]", shown(section)),
                "with its names filled in it is too long",
            );
            continue;
        };
        for one in value.split([' ', ',', '\n', '\t', ';']).filter(|one| !one.is_empty()) {
            match net(one) {
                // The agent never touches it anyway.
                Some(target) if target.addr().is_loopback() => {}
                Some(target) => found.spare(target, format!("ignoreip of [{}]", shown(section))),
                None => found.leave(
                    one,
                    format!(
                        "ignoreip of [{}]: a name, which an allowlist of addresses cannot hold",
                        shown(section)
                    ),
                ),
            }
        }
    }
    for (section, command) in ini.each("ignorecommand") {
        let command = command.unwrap_or_else(|_| "(too long)".to_owned());
        if !command.trim().is_empty() {
            let why = format!(
                "ignorecommand of [{}]: a program decides there whom to spare",
                shown(section)
            );
            found.leave(command, why);
        }
    }
    Ok(found)
}

/// Files in the order in which they lie over each other.
fn layers(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for ending in ["conf", "local"] {
        files.push(folder.join(format!("jail.{ending}")));
        let more = std::fs::read_dir(folder.join("jail.d")).into_iter().flatten();
        let mut more: Vec<PathBuf> = more
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|found| found == ending))
            .collect();
        more.sort();
        files.extend(more);
    }
    files
}
