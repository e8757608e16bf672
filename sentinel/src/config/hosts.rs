//! Values of `api.hosts`.

use super::value::{Fault, fault, quote};
use std::net::IpAddr;

/// What a list of hosts is.
pub(super) const LIST: &str = "a list of names such as `[sentinel.example.org]`";

/// Whether a name or an address is that of this machine.
pub(super) fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

/// A name or an address, without scheme and port, as a browser spells it in `Host`.
pub(super) fn host(text: &str) -> Result<String, Fault> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let name = text.len() <= 253 && text.split('.').all(label);
    if text.parse::<IpAddr>().is_ok() || name {
        return Ok(text.to_ascii_lowercase());
    }
    Err(fault(
        format!("{} is not the name or the address of a host", quote(text)),
        "write what stands between `https://` and the port, such as `sentinel.example.org`",
    ))
}
