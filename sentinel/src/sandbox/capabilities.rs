//! Which capabilities (capabilities(7)) a thread keeps.

use super::{Part, Reach};
use caps::{CapSet, Capability, CapsHashSet};
use std::fmt;
use std::path::Path;

/// What attaching takes: before Linux 5.8 `CAP_SYS_ADMIN` stood for two of the others.
const ATTACHING: [Capability; 3] = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];
/// What reading other users' environments takes.
const READING: [Capability; 2] = [Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH];

/// What every thread keeps.
#[derive(Clone, Debug, Default)]
pub struct Keeps {
    kept: CapsHashSet,
    /// A place that root reaches by a capability only, since it is another user's.
    others: Option<String>,
}

impl Keeps {
    /// `maps`: this kernel asks for `CAP_BPF` with every access to a map (before 5.19). `nft`: changes go through nftables.
    pub fn for_what(maps: bool, nft: bool) -> Self {
        let mut keeps = CapsHashSet::new();
        if maps {
            keeps.insert(if held(Capability::CAP_BPF) {
                Capability::CAP_BPF
            } else {
                Capability::CAP_SYS_ADMIN
            });
        }
        if nft {
            keeps.insert(Capability::CAP_NET_ADMIN);
        }
        Self {
            kept: keeps,
            others: None,
        }
    }

    /// Files of another user, which root reaches by a capability only, are still to be reached.
    pub(super) fn with_files(mut self, reach: &Reach) -> Self {
        if held(Capability::CAP_DAC_OVERRIDE)
            && let Some(path) = without_privileges(|| refused(reach)).flatten()
        {
            self.kept.insert(Capability::CAP_DAC_OVERRIDE);
            self.others = Some(path);
        }
        self
    }

    /// Takes the others from the calling thread.
    pub(super) fn apply(&self, part: Part) -> anyhow::Result<()> {
        let mut kept = self.kept.clone();
        match part {
            Part::Worker => {}
            Part::Guard if held(Capability::CAP_BPF) => kept.extend(ATTACHING),
            Part::Guard => kept.extend([Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN]),
            Part::Reader => kept = READING.into(),
        }
        let permitted = caps::read(None, CapSet::Permitted)?;
        kept.retain(|one| permitted.contains(one));
        // What programs that are run get of it: `nft` needs what it is run for.
        let passed_on = if part == Part::Worker {
            self.kept.clone()
        } else {
            CapsHashSet::new()
        };
        let passed_on: CapsHashSet = passed_on.intersection(&kept).copied().collect();
        caps::clear(None, CapSet::Ambient)?;
        caps::set(None, CapSet::Effective, &kept)?;
        caps::set(None, CapSet::Permitted, &kept)?;
        caps::set(None, CapSet::Inheritable, &passed_on)?;
        for one in passed_on {
            caps::raise(None, CapSet::Ambient, one)?;
        }
        Ok(())
    }
}

/// `no capabilities`, or which.
impl fmt::Display for Keeps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kept.is_empty() {
            return f.write_str("no capabilities");
        }
        let mut names: Vec<String> = self.kept.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        f.write_str(&names.join(", "))?;
        match &self.others {
            Some(path) => write!(f, " ({path} is another user's)"),
            None => Ok(()),
        }
    }
}

fn held(one: Capability) -> bool {
    caps::has_cap(None, CapSet::Permitted, one).unwrap_or(false)
}

/// On a thread of its own, which has none. `None` where there is no such thread.
pub(super) fn without_privileges<T: Send>(ask: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            caps::clear(None, CapSet::Effective).ok()?;
            caps::clear(None, CapSet::Permitted).ok()?;
            Some(ask())
        });
        asking.join().ok().flatten()
    })
}

/// The first place that is not to be had.
fn refused(reach: &Reach) -> Option<String> {
    use nix::unistd::{AccessFlags, access};
    let no = |path: &Path, how: AccessFlags| path.exists() && access(path, how).is_err();
    let inside = |dir: &Path| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
        files
            .map(|entry| entry.path())
            .find(|path| no(path, AccessFlags::R_OK | AccessFlags::W_OK))
    };
    let write = reach.write.iter().find_map(|dir| {
        let dir = super::paths::standing(dir)?;
        if no(&dir, AccessFlags::W_OK | AccessFlags::X_OK) {
            return Some(dir);
        }
        inside(&dir)
    });
    let files = reach.read.iter().chain(&reach.files);
    let read = files.into_iter().find(|path| no(path, AccessFlags::R_OK)).cloned();
    write.or(read).map(|path| path.display().to_string())
}
