//! Where what outlives the agent is kept: `links/` and `maps/` in a directory of a bpffs.
//!
//! One file per attachment, `<hook>-<ifindex>`. A new agent swaps its program into the pinned link
//! (`BPF_LINK_UPDATE`, Linux 5.7): between the old program and the new one no packet goes unjudged. What becomes of
//! the maps is told in `takeover`. Where only the maps are forgotten, tables of programs move to `links/`, to those who
//! call through them: the kernel empties one that nobody holds. Files that are not ours are never touched.

use super::error::{KernelError, chain};
use super::{interface, load, pinned, takeover};
use aya::maps::MapType;
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What a pinned link attaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// XDP, native.
    Native,
    /// XDP, generic.
    Generic,
    /// tcx ingress.
    Ingress,
    /// tcx egress.
    Egress,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Native, Self::Generic, Self::Ingress, Self::Egress];

    const fn name(self) -> &'static str {
        match self {
            Self::Native => "xdp-native",
            Self::Generic => "xdp-generic",
            Self::Ingress => "tcx-ingress",
            Self::Egress => "tcx-egress",
        }
    }
}

/// A directory of pins.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// The directory, made where it is missing, for our user alone.
    ///
    /// # Errors
    /// [`KernelError::NoBpffs`] where it does not lie in a bpffs; [`KernelError::ForeignPins`] where it belongs to
    /// somebody else; [`KernelError::System`] where it cannot be made.
    pub(super) fn open(directory: &Path) -> Result<Self, KernelError> {
        let parent = directory.parent().unwrap_or(directory);
        if !in_bpffs(directory) {
            return Err(KernelError::NoBpffs {
                path: parent.display().to_string(),
            });
        }
        let pins = Self {
            directory: directory.into(),
        };
        for directory in [directory.to_owned(), pins.links(), pins.maps()] {
            let failed = |source| KernelError::System {
                call: format!("making {}", directory.display()),
                source,
            };
            match fs::DirBuilder::new().mode(0o700).create(&directory) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(failed(error)),
                _ => {}
            }
            let owner = fs::symlink_metadata(&directory).map_err(failed)?;
            if owner.uid() != nix::unistd::geteuid().as_raw() || !owner.is_dir() || owner.mode() & 0o022 != 0 {
                return Err(KernelError::ForeignPins {
                    path: directory.display().to_string(),
                    what: "it is not a directory that our user alone can write to".to_owned(),
                });
            }
        }
        Ok(pins)
    }

    fn links(&self) -> PathBuf {
        self.directory.join("links")
    }

    /// Where the maps are.
    pub(super) fn maps(&self) -> PathBuf {
        self.directory.join("maps")
    }

    fn path(&self, kind: Kind, ifindex: u32) -> PathBuf {
        self.links().join(format!("{}-{ifindex}", kind.name()))
    }

    /// The link an earlier agent pinned, if it did.
    ///
    /// # Errors
    /// [`KernelError::System`] where it cannot be opened; [`KernelError::ForeignPins`] where it is no link.
    pub(super) fn find(&self, kind: Kind, ifindex: u32) -> Result<Option<FdLink>, KernelError> {
        let path = self.path(kind, ifindex);
        if !pinned::is_there(&path)? {
            return Ok(None);
        }
        match PinnedLink::from_pin(&path) {
            Ok(link) => Ok(Some(FdLink::from(link))),
            Err(LinkError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => Ok(None),
            Err(LinkError::SyscallError(error)) if pinned::is_want(&error.io_error) => Err(KernelError::System {
                call: format!("opening {}", path.display()),
                source: error.io_error,
            }),
            Err(error) => Err(KernelError::ForeignPins {
                path: path.display().to_string(),
                what: format!("it is no attachment ({})", chain(&error)),
            }),
        }
    }

    /// Pins a link that is new, and lets go of it: the file holds it from now on.
    ///
    /// # Errors
    /// [`KernelError::System`] where the file cannot be made.
    pub(super) fn keep(&self, link: FdLink, kind: Kind, ifindex: u32) -> Result<(), KernelError> {
        let path = self.path(kind, ifindex);
        link.pin(&path).map(drop).map_err(|error| KernelError::System {
            call: format!("pinning {}", path.display()),
            source: std::io::Error::other(chain(&error)),
        })
    }

    /// Removes a pin; the attachment goes with its last holder.
    pub(super) fn drop_pin(&self, kind: Kind, ifindex: u32) {
        let _ = fs::remove_file(self.path(kind, ifindex));
    }

    /// Removes every pin of an interface.
    pub(super) fn drop_all(&self, ifindex: u32) {
        for kind in Kind::ALL {
            self.drop_pin(kind, ifindex);
        }
    }

    /// Removes the pins of interfaces that are not among `watched`: gone, re-created, or no longer asked for. Ours are
    /// the only programs left then, so that nobody calls through tables whose maps were forgotten.
    ///
    /// What cannot be removed, or looked for, stays and is said to.
    pub(super) fn prune(&self, watched: &[u32]) {
        let stays = |path: &Path, error: &dyn std::fmt::Display| {
            tracing::warn!(
                path = %path.display(),
                %error,
                "what is pinned here may go on filtering interfaces that are no longer watched: `sentinel detach`, \
                 then start again"
            );
        };
        let links = match entries(&self.links()) {
            Ok(links) => links,
            Err(error) => {
                stays(&self.links(), &error);
                return;
            }
        };
        for path in links {
            if link_of(&path).is_some_and(|ifindex| !watched.contains(&ifindex))
                && let Err(error) = fs::remove_file(&path)
                && error.kind() != ErrorKind::NotFound
            {
                stays(&path, &error);
            }
        }
        for path in self.tables() {
            let _ = fs::remove_file(path);
        }
    }

    /// Indexes of the interfaces with pinned attachments.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = u32> {
        self.ours().into_iter().map(|(_, ifindex)| ifindex)
    }

    /// Tables of programs among the links.
    fn tables(&self) -> Vec<PathBuf> {
        let names = load::map_names();
        let files = fs::read_dir(self.links()).into_iter().flatten().flatten();
        files
            .map(|file| file.path())
            .filter(|path| is_our_table(path, &names).unwrap_or(false))
            .collect()
    }

    /// Leaves a table of programs to the attached programs that call through it.
    fn leave_table(&self, path: &Path) -> std::io::Result<()> {
        let name = table_name(path).unwrap_or_default();
        let free = (0..u32::MAX)
            .map(|n| self.links().join(format!("{name}-{n}")))
            .find(|path| !path.exists());
        free.map_or(Ok(()), |free| fs::rename(path, free))
    }

    /// The pinned links that are ours by name, each with its interface's index.
    fn ours(&self) -> Vec<(PathBuf, u32)> {
        let files = fs::read_dir(self.links()).into_iter().flatten().flatten();
        files
            .filter_map(|file| Some((file.path(), ifindex_of(file.file_name().to_str()?)?)))
            .collect()
    }
}

/// The map's name in that of a file that may be a table of programs.
fn table_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()?.split('-').next()
}

/// Whether a table of programs is pinned there.
///
/// # Errors
/// [`KernelError::System`] where it may be one and cannot be opened.
fn is_table(path: &Path) -> Result<bool, KernelError> {
    let found = pinned::map(path)?;
    Ok(found.is_some_and(|info| info.map_type().is_ok_and(|kind| kind == MapType::ProgramArray)))
}

/// Whether a directory lies, or would lie, in a bpffs.
pub fn in_bpffs(directory: &Path) -> bool {
    let parent = directory.parent().unwrap_or(directory);
    statfs(parent).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}

/// The interface index in the name of a pinned link, if it is one of ours.
fn ifindex_of(name: &str) -> Option<u32> {
    Kind::ALL.iter().find_map(|kind| {
        let index = name.strip_prefix(kind.name())?.strip_prefix('-')?;
        index.parse().ok()
    })
}

/// Whether an earlier agent left pinned attachments on an interface.
pub(super) fn left_behind(directory: &Path, name: &str) -> bool {
    let Ok(ifindex) = interface::index(name) else {
        return false;
    };
    let pins = Pins {
        directory: directory.into(),
    };
    [Kind::Native, Kind::Generic, Kind::Ingress]
        .iter()
        .any(|kind| pins.path(*kind, ifindex).exists())
}

/// What stands in a directory of pins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Indexes of the interfaces with pinned attachments, in order.
    pub interfaces: Vec<u32>,
    /// Names of pinned maps of ours.
    pub maps: Vec<String>,
    /// Agent, layout and policy that the maps' header names, if there is one that can be read.
    pub made_by: Option<(String, u64, u32)>,
    /// Whether this agent can take the maps over.
    pub fits: bool,
    /// Files that are not ours.
    pub foreign: Vec<PathBuf>,
}

/// Files of a directory; none where there is no such directory.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, KernelError> {
    let failed = |source| KernelError::System {
        call: format!("looking into {}", directory.display()),
        source,
    };
    match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        files => {
            let files = files.map_err(failed)?;
            files.map(|file| file.map(|file| file.path()).map_err(failed)).collect()
        }
    }
}

/// The interface index in the name of a file that is one of our links by it.
fn link_of(path: &Path) -> Option<u32> {
    path.file_name()?.to_str().and_then(ifindex_of)
}

/// Whether a file that lies among the links is an attachment, or a table of programs of ours.
///
/// # Errors
/// As of [`is_table`].
fn is_ours(path: &Path, names: &[String]) -> Result<bool, KernelError> {
    Ok(link_of(path).is_some() || is_our_table(path, names)?)
}

fn is_our_table(path: &Path, names: &[String]) -> Result<bool, KernelError> {
    let named = table_name(path).is_some_and(|name| names.iter().any(|own| own == name));
    Ok(named && is_table(path)?)
}

/// Looks at a directory of pins without changing anything.
///
/// # Errors
/// [`KernelError::System`] where it cannot be looked into, which is not that nothing is there.
pub fn leftovers(directory: &Path) -> Result<Leftovers, KernelError> {
    let pins = Pins {
        directory: directory.into(),
    };
    let mut found = Leftovers::default();
    let links = entries(&pins.links())?;
    let indexes: BTreeSet<u32> = links.iter().filter_map(|path| link_of(path)).collect();
    found.interfaces = indexes.into_iter().collect();
    let header = match takeover::header(&pins.maps()) {
        Ok(header) => {
            found.fits = header.as_ref().is_none_or(takeover::fits);
            header
        }
        Err(error @ KernelError::System { .. }) => return Err(error),
        // Somebody else's lies in its place.
        Err(_) => None,
    };
    found.made_by = header.map(|header| (header.agent().to_owned(), header.layout, header.policy));
    let names = load::map_names();
    for file in entries(&pins.maps())? {
        match takeover::owned(&file, &names, found.made_by.is_some())? {
            Some(name) => found.maps.push(name),
            None => found.foreign.push(file),
        }
    }
    found.maps.sort();
    found.maps.dedup();
    for path in links {
        if !is_ours(&path, &names)? {
            found.foreign.push(path);
        }
    }
    let strange = |path: &PathBuf| *path != pins.links() && *path != pins.maps();
    found.foreign.extend(entries(directory)?.into_iter().filter(strange));
    Ok(found)
}

/// Removes what agents pinned under `directory`, programs and the tables they call through only with `links`;
/// directories go if nothing foreign is in them. Returns whether there was anything.
///
/// # Errors
/// [`KernelError::System`] where something of ours cannot be removed, or it cannot be looked whether there is something.
pub fn unpin(directory: &Path, links: bool) -> Result<bool, KernelError> {
    let pins = Pins {
        directory: directory.into(),
    };
    let names = load::map_names();
    let headed = match takeover::header(&pins.maps()) {
        Err(error @ KernelError::System { .. }) => return Err(error),
        header => header.is_ok_and(|header| header.is_some()),
    };
    let mut ours: Vec<PathBuf> = Vec::new();
    if links {
        for path in entries(&pins.links())? {
            if is_ours(&path, &names)? {
                ours.push(path);
            }
        }
    }
    for path in entries(&pins.maps())? {
        if takeover::owned(&path, &names, headed)?.is_some() {
            ours.push(path);
        }
    }
    // The header goes last: without it the rest would not be known as ours.
    ours.sort_by_key(|path| path.ends_with(sentinel_common::names::MAP_HEADER));
    for path in &ours {
        let removed = if links || !is_table(path)? {
            fs::remove_file(path)
        } else {
            pins.leave_table(path)
        };
        match removed {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(KernelError::System {
                    call: format!("removing {}", path.display()),
                    source: error,
                });
            }
            _ => {}
        }
    }
    for directory in [pins.maps(), pins.links(), directory.to_owned()] {
        // One that is not empty stays, with what is not ours in it.
        let _ = fs::remove_dir(directory);
    }
    Ok(!ours.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ours_are_ours() {
        for kind in Kind::ALL {
            assert_eq!(ifindex_of(&format!("{}-17", kind.name())), Some(17));
        }
        for foreign in [
            "xdp-native",
            "xdp-native-",
            "xdp-native-x",
            "xdp-17",
            "other",
            "tcx-egress-1-2",
        ] {
            assert_eq!(ifindex_of(foreign), None, "{foreign}");
        }
    }
}
