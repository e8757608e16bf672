//! Values of `containers:`.

use super::value::{Fault, fault, quote};
use std::path::{Path, PathBuf};

/// What a list of protected containers is.
pub(super) const LIST: &str = "a list of containers such as `[db, \"label:tier=core\"]`";

/// The socket of an engine; `None` for nothing.
pub(super) fn socket(text: &str) -> Result<Option<PathBuf>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let path = text.strip_prefix("unix://").map(Path::new);
    match path.filter(|path| path.is_absolute() && !text.contains('\0')) {
        Some(path) => Ok(Some(path.to_owned())),
        None => Err(fault(
            format!("{} is not the URL of a Unix socket", quote(text)),
            "write `unix:///var/run/docker.sock`; an engine that is reached by TCP is not this host's",
        )),
    }
}

/// Letters, digits and `_.-`, not one of those three first: how engines spell names.
fn is_name(text: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    text.chars().all(rest) && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// The name of a network; `None` for nothing.
pub(super) fn network(text: &str) -> Result<Option<String>, Fault> {
    match text {
        "" => Ok(None),
        "host" | "none" | "default" | "bridge" => Err(fault(
            format!("{} is no place to be kept apart in", quote(text)),
            "make one with `docker network create --internal quarantine` and write `quarantine`, or leave it empty",
        )),
        name if is_name(name) => Ok(Some(name.to_owned())),
        other => Err(fault(
            format!("{} is not the name of a network", quote(other)),
            "write the name that `docker network ls` shows",
        )),
    }
}

/// One protected container.
pub(super) fn protected(text: &str) -> Result<String, Fault> {
    let good = match text.strip_prefix("label:") {
        Some(label) => !label.split('=').next().unwrap_or_default().trim().is_empty(),
        None => is_name(text),
    };
    if good && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(fault(
        format!("{} is neither the name of a container nor a label", quote(text)),
        "write a name such as `db`, `label:KEY` or `label:KEY=VALUE`",
    ))
}
