//! Interfaces by name and index.
//!
//! That one cannot be asked for is another thing than that there is none: protection is taken off for the latter.

use super::{KernelError, probe};
use nix::errno::Errno;
use nix::net::if_::{if_nameindex, if_nametoindex};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The index of an interface.
///
/// # Errors
/// [`KernelError::NoInterface`], naming those that exist; [`KernelError::System`] when it cannot be asked for.
pub(super) fn index(name: &str) -> Result<u32, KernelError> {
    if_nametoindex(name).map_err(|errno| match errno {
        Errno::ENODEV | Errno::ENXIO | Errno::EINVAL | Errno::ENAMETOOLONG => KernelError::NoInterface {
            name: name.to_owned(),
            existing: names().join(", "),
            hint: probe::own_interfaces(),
        },
        errno => KernelError::System {
            call: format!("asking for the index of {name}"),
            source: errno.into(),
        },
    })
}

/// All interfaces of this network namespace, by index.
///
/// # Errors
/// [`KernelError::System`] when they cannot be listed.
pub(super) fn all() -> Result<BTreeMap<u32, String>, KernelError> {
    let list = if_nameindex().map_err(|errno| KernelError::System {
        call: "listing the interfaces".to_owned(),
        source: errno.into(),
    })?;
    let named = |one: &nix::net::if_::Interface| (one.index(), one.name().to_string_lossy().into_owned());
    Ok(list.iter().map(named).collect())
}

/// The name an index has now, if there is such an interface and it can be asked for.
pub(super) fn name(index: u32) -> Option<String> {
    all().ok()?.remove(&index)
}

/// The names of all interfaces, for people; none where they cannot be listed.
pub(super) fn names() -> Vec<String> {
    all().unwrap_or_default().into_values().collect()
}

/// Refuses an interface whose frames have no Ethernet header (tun, WireGuard, PPP): every frame of it would pass
/// unread, which would look like protection and be none.
///
/// # Errors
/// [`KernelError::NotEthernet`]; [`KernelError::System`] when the interface cannot be asked.
pub(super) fn require_ethernet(name: &str) -> Result<(), KernelError> {
    let failed = || KernelError::System {
        call: format!("asking {name} for its hardware type"),
        source: std::io::Error::last_os_error(),
    };
    // SAFETY: a zeroed request is a valid one; the name is copied with its end in place; the descriptor is ours and
    // closed at the end; the kernel fills in the address, of which the family is read.
    let kind = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        let room = request.ifr_name.len() - 1;
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(room)) {
            *to = from as libc::c_char;
        }
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(failed());
        }
        let socket = OwnedFd::from_raw_fd(fd);
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR as _, &raw mut request) < 0 {
            return Err(failed());
        }
        request.ifr_ifru.ifru_hwaddr.sa_family
    };
    if matches!(kind, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK) {
        return Ok(());
    }
    Err(KernelError::NotEthernet {
        interface: name.to_owned(),
        kind,
    })
}
