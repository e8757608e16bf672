//! What is pinned at a place in a bpffs: nothing, a map, or something that is none.

use super::error::{KernelError, chain};
use aya::maps::{MapData, MapError, MapInfo};
use aya::sys::SyscallError;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

/// The map that is pinned at `path`; `None` for nothing, and for what is no map.
///
/// # Errors
/// [`KernelError::System`] where it may be one and cannot be opened.
pub(super) fn map(path: &Path) -> Result<Option<MapInfo>, KernelError> {
    match pinned(path) {
        Err(KernelError::ForeignPins { .. }) => Ok(None),
        found => found,
    }
}

/// The map that is pinned at `path`; `None` for nothing.
///
/// # Errors
/// [`KernelError::ForeignPins`] where what is there is none; [`KernelError::System`] where it cannot be opened.
pub(super) fn pinned(path: &Path) -> Result<Option<MapInfo>, KernelError> {
    let foreign = |why: String| KernelError::ForeignPins {
        path: path.display().to_string(),
        what: format!("it is no map{why}"),
    };
    if !is_there(path)? {
        return Ok(None);
    }
    let unopened = |source| KernelError::System {
        call: format!("opening {}", path.display()),
        source,
    };
    let refused = |error: MapError| match &error {
        MapError::SyscallError(SyscallError { io_error, .. }) if is_want(io_error) => {
            unopened(io::Error::from(io_error.kind()))
        }
        _ => foreign(format!(" ({})", chain(&error))),
    };
    let map = MapData::from_pin(path).map_err(refused)?;
    // A program or a link answers for itself where a map is asked what it is; the kernel says so here alone.
    let fd = map.fd().as_fd().as_raw_fd();
    let is = fs::read_link(format!("/proc/self/fd/{fd}")).map_err(|source| KernelError::System {
        call: format!("asking /proc/self/fd what is pinned at {}", path.display()),
        source,
    })?;
    if !is.to_string_lossy().ends_with(":bpf-map") {
        return Err(foreign(format!(" but {}", is.display())));
    }
    map.info().map(Some).map_err(refused)
}

/// Whether something may be pinned at `path`.
///
/// # Errors
/// [`KernelError::ForeignPins`] where a directory or a link stands there, of which bpf(2) says that it is forbidden;
/// [`KernelError::System`] where it cannot be looked.
pub(super) fn is_there(path: &Path) -> Result<bool, KernelError> {
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_file() => Ok(true),
        Ok(_) => Err(KernelError::ForeignPins {
            path: path.display().to_string(),
            what: "nothing is pinned there, and something else stands there".to_owned(),
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(KernelError::System {
            call: format!("looking for {}", path.display()),
            source,
        }),
    }
}

/// Whether opening was refused for want of something, and not for what is there.
pub(super) fn is_want(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EPERM | libc::EACCES)
    )
}
