//! Interfaces by name and index.

use super::KernelError;
use nix::net::if_::{if_nameindex, if_nametoindex};

/// The index of an interface.
///
/// # Errors
/// [`KernelError::NoInterface`], naming those that exist.
pub(super) fn index(name: &str) -> Result<u32, KernelError> {
    if_nametoindex(name).map_err(|_| KernelError::NoInterface {
        name: name.to_owned(),
        existing: names().join(", "),
    })
}

/// The names of all interfaces of this network namespace.
pub(super) fn names() -> Vec<String> {
    let Ok(all) = if_nameindex() else { return Vec::new() };
    all.iter()
        .map(|one| one.name().to_string_lossy().into_owned())
        .collect()
}
