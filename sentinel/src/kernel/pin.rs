//! Pinned attachments: links kept in bpffs, so that the programs outlive the agent.
//!
//! One file per attachment, `<kind>-<mode>-<ifindex>`. A new agent swaps its program into the pinned link
//! (`BPF_LINK_UPDATE`, Linux 5.7): between the old program and the new one no packet goes unjudged.

use super::error::{KernelError, chain};
use super::interface;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What a pinned link attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Ingress, in a native or generic mode.
    Xdp(&'static str),
    /// Egress.
    Egress,
}

/// A directory of pinned links.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// The directory, made where it is missing.
    ///
    /// # Errors
    /// [`KernelError::NoBpffs`] where it does not lie in a bpffs; [`KernelError::System`] where it cannot be made.
    pub(super) fn open(directory: &Path) -> Result<Self, KernelError> {
        let failed = |source| KernelError::System {
            call: format!("making {}", directory.display()),
            source,
        };
        let parent = directory.parent().unwrap_or(directory);
        let bpffs = statfs(parent).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC);
        if !bpffs {
            return Err(KernelError::NoBpffs {
                path: parent.display().to_string(),
            });
        }
        match fs::create_dir(directory) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(error)),
            _ => Ok(Self {
                directory: directory.into(),
            }),
        }
    }

    fn path(&self, kind: Kind, ifindex: u32) -> PathBuf {
        self.directory.join(match kind {
            Kind::Xdp(mode) => format!("xdp-{mode}-{ifindex}"),
            Kind::Egress => format!("egress-tcx-{ifindex}"),
        })
    }

    /// The link an earlier agent pinned, if it did.
    ///
    /// # Errors
    /// [`KernelError::System`] where it is there and cannot be opened.
    pub(super) fn find(&self, kind: Kind, ifindex: u32) -> Result<Option<FdLink>, KernelError> {
        let path = self.path(kind, ifindex);
        match PinnedLink::from_pin(&path) {
            Ok(link) => Ok(Some(FdLink::from(link))),
            Err(LinkError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(broken(&path, &error)),
        }
    }

    /// Pins a link that is new, and lets go of it: the file holds it from now on.
    ///
    /// # Errors
    /// [`KernelError::System`] where the file cannot be made.
    pub(super) fn keep(&self, link: FdLink, kind: Kind, ifindex: u32) -> Result<(), KernelError> {
        let path = self.path(kind, ifindex);
        link.pin(&path).map(drop).map_err(|error| broken(&path, &error))
    }

    /// Removes a pin; the attachment goes with its last holder.
    pub(super) fn drop_pin(&self, kind: Kind, ifindex: u32) {
        let _ = fs::remove_file(self.path(kind, ifindex));
    }

    /// Removes the pins of interfaces that are not among `watched`: gone, re-created, or no longer asked for.
    pub(super) fn prune(&self, watched: &[u32]) {
        let Ok(files) = fs::read_dir(&self.directory) else {
            return;
        };
        for file in files.flatten() {
            let name = file.file_name();
            let index = name
                .to_str()
                .and_then(|name| name.rsplit('-').next()?.parse::<u32>().ok());
            if index.is_none_or(|index| !watched.contains(&index)) {
                let _ = fs::remove_file(file.path());
            }
        }
    }
}

/// Whether an earlier agent left pinned attachments on an interface.
pub(super) fn left_behind(directory: &Path, name: &str) -> bool {
    let Ok(ifindex) = interface::index(name) else {
        return false;
    };
    let pins = Pins {
        directory: directory.into(),
    };
    ["native", "generic"]
        .iter()
        .any(|mode| pins.path(Kind::Xdp(mode), ifindex).exists())
}

fn broken(path: &Path, error: &(dyn std::error::Error + 'static)) -> KernelError {
    let source = std::io::Error::other(chain(error));
    KernelError::System {
        call: format!("{} (`sentinel detach` removes what is pinned)", path.display()),
        source,
    }
}

/// Removes everything pinned under `directory`; returns whether there was anything.
///
/// # Errors
/// [`KernelError::System`] where something is there and cannot be removed.
pub fn unpin(directory: &Path) -> Result<bool, KernelError> {
    match fs::remove_dir_all(directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(KernelError::System {
            call: format!("removing {}", directory.display()),
            source,
        }),
    }
}
