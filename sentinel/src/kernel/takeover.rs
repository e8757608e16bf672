//! Taking over the maps of the agent before, so that a restart forgets nothing and leaves no packet unjudged.
//!
//! A header is pinned first and read first: maps of another layout or meaning are refused. Then every map has one of
//! three fates. *Kept*: the pinned map itself goes on (blocks, allows, lists, counters), or, where its capacity was
//! changed, a new one with the old one's entries in it. *Renewed*: pinned, and made anew at each start, so that it
//! changes together with the programs that read it. *Private*: not pinned; begins empty with each agent. New maps are
//! pinned beside the old ones and take their names once the new programs are attached.

use super::error::{KernelError, chain};
use super::pinned::{map, pinned};
use super::rawmap;
use super::slots::Watching;
use aya::maps::{Array, Map, MapData, MapError};
use sentinel_common::names as n;
use sentinel_common::pin::PinHeader;
use sentinel_common::reflex::Alarm;
use sentinel_common::settings::Settings;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// `BPF_MAP_TYPE_*` of `linux/bpf.h`.
const HASH: u32 = 1;
const PROG_ARRAY: u32 = 3;
const LRU_HASH: u32 = 9;
const LPM_TRIE: u32 = 11;

/// How often over the entries of a map are walked while they are moved, at most.
const WALKS: u64 = 4;

/// Maps that begin empty with each agent: the ring, whose reader died with what it had not read; flows and what belongs
/// to them, which the new agent's table would take for new ones with a past; and scratch space.
const PRIVATE: &[&str] = &[
    n::MAP_EVENTS,
    n::MAP_FLOWS,
    n::MAP_TAKEN,
    n::MAP_TALK,
    n::MAP_SCRATCH,
    n::MAP_COOKIE_WORK,
    "AYA_LOGS",
];
/// Maps that say what the configuration says, written before the programs that read them are attached. So are all
/// program arrays, which the kernel empties when nobody holds them: pinned, they outlive the agent.
const RENEWED: &[&str] = &[n::MAP_SETTINGS, n::MAP_HONEYPOTS, n::MAP_COOKIE_PORTS];

/// Maps that are made anew, because the loader empties those that are reached without a look-up, and go on with what
/// stood in the old ones.
const CARRIED: &[&str] = &[n::MAP_SLOTS, n::MAP_ALARM];

/// What becomes of a map when an agent starts with `kernel.pin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Renewed,
    Carried,
    Private,
}

fn fate(name: &str, kind: u32) -> Fate {
    if CARRIED.contains(&name) {
        Fate::Carried
    } else if RENEWED.contains(&name) || kind == PROG_ARRAY {
        Fate::Renewed
    } else if name.starts_with('.') || PRIVATE.contains(&name) {
        Fate::Private
    } else {
        Fate::Kept
    }
}

/// A map as the object defines it, with the capacity the configuration asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub(super) name: String,
    pub(super) kind: u32,
    pub(super) key_size: u32,
    pub(super) value_size: u32,
    pub(super) max_entries: u32,
    pub(super) flags: u32,
}

/// An old map whose entries go into the one that is made at its place.
struct Move {
    name: String,
    old: MapData,
    key_size: u32,
    value_size: u32,
    capacities: (u32, u32),
}

/// A map laid out by us whose successor has another capacity: its memory, and the elements in it.
pub(super) struct Outgrown {
    pub(super) map: MapData,
    pub(super) elements: u32,
}

/// Maps whose elements only who laid them out can move.
const OURS: &[&str] = &[
    n::MAP_BLOCK4,
    n::MAP_BLOCK6,
    n::MAP_ENTRY4,
    n::MAP_ENTRY6,
    n::MAP_LIST4,
    n::MAP_LIST6,
];

/// A takeover under way: from before the maps are made until the programs are attached. One that is dropped before
/// leaves everything as it found it.
pub(super) struct Takeover {
    maps: PathBuf,
    header: PinHeader,
    /// Whether there was an agent before.
    continues: bool,
    /// Where each map is pinned while the takeover is under way.
    paths: Vec<(String, PathBuf)>,
    moves: Vec<Move>,
    /// Those of [`OURS`] that are made anew.
    outgrown: Vec<(String, Outgrown)>,
    /// Files that were not there before.
    made: Vec<PathBuf>,
    /// Settings of the run before.
    inherited: Option<Settings>,
}

impl Takeover {
    /// Reads what is there and decides about every map; nothing of the old agent's is changed.
    ///
    /// # Errors
    /// [`KernelError::PinnedLayout`], [`KernelError::ForeignPins`]; [`KernelError::System`] where bpffs refuses.
    pub(super) fn plan(maps: PathBuf, specs: &[Spec]) -> Result<Self, KernelError> {
        let own = PinHeader::new(env!("CARGO_PKG_VERSION"));
        let found = header(&maps)?;
        if let Some(other) = found.filter(|other| !own.fits(other)) {
            return Err(layout(&maps, &other, None));
        }
        let mut plan = Self {
            header: found.unwrap_or(own),
            continues: found.is_some(),
            paths: Vec::new(),
            moves: Vec::new(),
            outgrown: Vec::new(),
            made: Vec::new(),
            inherited: None,
            maps,
        };
        for spec in specs {
            plan.add(spec)?;
        }
        if plan.continues {
            let path = plan.maps.join(n::pinned_as(n::MAP_SETTINGS));
            plan.inherited = element::<Settings>(&path)?;
        } else {
            plan.create_header()?;
        }
        Ok(plan)
    }

    fn add(&mut self, spec: &Spec) -> Result<(), KernelError> {
        let fate = fate(&spec.name, spec.kind);
        if fate == Fate::Private {
            return Ok(());
        }
        let file = n::pinned_as(&spec.name);
        let path = self.maps.join(file);
        let fresh = self.maps.join(format!("{file}-new"));
        // What a takeover that was cut short left may be in use by programs it attached.
        rename(&fresh, &self.maps.join(format!("{file}-old")))?;
        let Some(info) = pinned(&path)? else {
            self.made.push(path.clone());
            self.paths.push((spec.name.clone(), path));
            return Ok(());
        };
        if !self.continues {
            return Err(KernelError::ForeignPins {
                path: path.display().to_string(),
                what: format!("there is no {} beside it, which an agent pins first", n::MAP_HEADER),
            });
        }
        let kind = info.map_type().map_or(0, |kind| kind as u32);
        let same = kind == spec.kind
            && info.key_size() == spec.key_size
            && info.value_size() == spec.value_size
            && info.map_flags() == spec.flags;
        if !same {
            return Err(layout(&self.maps, &self.header, Some(&spec.name)));
        }
        if fate == Fate::Kept && info.max_entries() == spec.max_entries {
            self.paths.push((spec.name.clone(), path));
            return Ok(());
        }
        let old = || MapData::from_pin(&path).map_err(|error| broken(&path, &error));
        if fate == Fate::Kept && OURS.contains(&spec.name.as_str()) {
            let outgrown = Outgrown {
                map: old()?,
                elements: info.max_entries(),
            };
            self.outgrown.push((spec.name.clone(), outgrown));
        } else if fate == Fate::Carried || fate == Fate::Kept && matches!(kind, HASH | LRU_HASH | LPM_TRIE) {
            self.moves.push(Move {
                name: spec.name.clone(),
                old: old()?,
                key_size: spec.key_size,
                value_size: spec.value_size,
                capacities: (info.max_entries(), spec.max_entries),
            });
        } else if fate == Fate::Kept {
            // What is kept and cannot be moved must not begin empty behind settings that go on.
            return Err(layout(&self.maps, &self.header, Some(&spec.name)));
        }
        self.made.push(fresh.clone());
        self.paths.push((spec.name.clone(), fresh));
        Ok(())
    }

    /// The table of that name in its old size, where that is not the new one's; once.
    pub(super) fn outgrown(&mut self, name: &str) -> Option<Outgrown> {
        let at = self.outgrown.iter().position(|(other, _)| other == name)?;
        Some(self.outgrown.swap_remove(at).1)
    }

    fn create_header(&mut self) -> Result<(), KernelError> {
        let path = self.maps.join(n::MAP_HEADER);
        // Goes last, for without it the rest would not be known as ours.
        self.made.push(path.clone());
        let failed = |error: &MapError| KernelError::map(n::MAP_HEADER, error);
        let mut map = Array::<MapData, PinHeader>::create(1, 0).map_err(|error| failed(&error))?;
        map.set(0, self.header, 0).map_err(|error| failed(&error))?;
        map.pin(&path).map_err(|error| broken(&path, &error))
    }

    /// Where the loader finds each map, or pins the new one.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.paths.iter().map(|(name, path)| (name.as_str(), path.as_path()))
    }

    /// Fills the maps that were made with another capacity than the old ones had. Entries keep their counters; what
    /// the old programs count from here until they are replaced is lost to those of moved maps.
    ///
    /// # Errors
    /// [`KernelError::Shrunk`] where the entries do not fit; [`KernelError::Map`] where the kernel refuses.
    pub(super) fn fill(&self) -> Result<(), KernelError> {
        self.fill_settings()?;
        for one in &self.moves {
            let path = self.maps.join(format!("{}-new", n::pinned_as(&one.name)));
            let new = MapData::from_pin(&path).map_err(|error| broken(&path, &error))?;
            let sizes = (one.key_size as usize, one.value_size as usize);
            let (old, wanted) = one.capacities;
            match rawmap::copy(one.old.fd().as_fd(), new.fd().as_fd(), sizes, WALKS * u64::from(old)) {
                Ok(_) if CARRIED.contains(&one.name.as_str()) => {}
                Ok(entries) => {
                    tracing::info!(
                        map = one.name,
                        entries,
                        from = old,
                        to = wanted,
                        "capacity changed, entries kept"
                    );
                }
                Err(error) if matches!(error.raw_os_error(), Some(libc::E2BIG | libc::ENOSPC)) => {
                    return Err(KernelError::Shrunk {
                        map: one.name.clone(),
                        old,
                        wanted,
                    });
                }
                Err(error) => {
                    return Err(KernelError::Map {
                        map: one.name.clone(),
                        cause: format!("its entries cannot be moved: {error}"),
                    });
                }
            }
        }
        Ok(())
    }

    /// The new settings begin as the old ones stand: what describes kept maps (their seed, sizes and versions) has to go
    /// on with them.
    fn fill_settings(&self) -> Result<(), KernelError> {
        let path = self.paths().find(|(name, _)| *name == n::MAP_SETTINGS);
        let (Some(before), Some((_, path))) = (self.inherited, path) else {
            return Ok(());
        };
        let failed = |error: &MapError| broken(path, error);
        let data = MapData::from_pin(path).map_err(|error| failed(&error))?;
        let mut map = Array::<_, Settings>::try_from(Map::Array(data)).map_err(|error| failed(&error))?;
        map.set(0, before, 0).map_err(|error| failed(&error))
    }

    /// What the old programs raised until they were replaced holds on.
    fn carry_alarm(&self) -> Result<(), KernelError> {
        let Some(old) = self.moves.iter().find(|one| one.name == n::MAP_ALARM) else {
            return Ok(());
        };
        let path = self.maps.join(n::pinned_as(n::MAP_ALARM));
        let failed = |error: &MapError| broken(&path, error);
        let open = |data| Array::<_, Alarm>::try_from(Map::Array(data)).map_err(|error| failed(&error));
        let old = old
            .old
            .fd()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| broken(&path, &error))?;
        let old = open(MapData::from_fd(old).map_err(|error| failed(&error))?)?;
        let mut map = open(MapData::from_pin(&path).map_err(|error| failed(&error))?)?;
        let (before, now) = (
            old.get(&0, 0).map_err(|error| failed(&error))?,
            map.get(&0, 0).map_err(|error| failed(&error))?,
        );
        let both = now.later_of(&before);
        if both == now {
            return Ok(());
        }
        map.set(0, both, 0).map_err(|error| failed(&error))
    }

    /// The interfaces the agent before watched.
    pub(super) const fn watched(&self) -> Watching {
        self.header.watched
    }

    /// The new programs are attached: the new maps take the old ones' names, and the header says who they are.
    ///
    /// # Errors
    /// [`KernelError::System`] where bpffs refuses; the programs work all the same.
    pub(super) fn commit(&mut self, watched: Watching) -> Result<(), KernelError> {
        self.made.clear();
        for (name, path) in &mut self.paths {
            let file = n::pinned_as(name);
            let settled = self.maps.join(file);
            if *path != settled {
                rename(path, &settled)?;
                *path = settled;
            }
            let _ = fs::remove_file(self.maps.join(format!("{file}-old")));
        }
        self.carry_alarm()?;
        self.moves.clear();
        self.header = PinHeader {
            watched,
            ..PinHeader::new(env!("CARGO_PKG_VERSION"))
        };
        let path = self.maps.join(n::MAP_HEADER);
        let failed = |error: &MapError| broken(&path, error);
        let data = MapData::from_pin(&path).map_err(|error| failed(&error))?;
        let mut map = Array::<_, PinHeader>::try_from(Map::Array(data)).map_err(|error| failed(&error))?;
        map.set(0, self.header, 0).map_err(|error| failed(&error))
    }
}

impl Drop for Takeover {
    /// Nothing was attached that would read what was made.
    fn drop(&mut self) {
        for path in &self.made {
            let _ = fs::remove_file(path);
        }
    }
}

/// The header pinned among `maps`, if there is one.
///
/// # Errors
/// [`KernelError::ForeignPins`] where what is there is none.
pub(super) fn header(maps: &Path) -> Result<Option<PinHeader>, KernelError> {
    let path = maps.join(n::MAP_HEADER);
    let found = element::<PinHeader>(&path)?;
    if found.is_some_and(|header| header.magic != sentinel_common::pin::MAGIC) {
        return Err(KernelError::ForeignPins {
            path: path.display().to_string(),
            what: "it is no header of ours".to_owned(),
        });
    }
    Ok(found)
}

/// Whether this agent can take over the maps behind a header.
pub(super) fn fits(header: &PinHeader) -> bool {
    PinHeader::new("").fits(header)
}

/// The name of the map behind a file in `maps/`, if it is ours: a map, named as one of the object's (or as one that takes
/// or left its place), beside a header.
///
/// # Errors
/// [`KernelError::System`] where it may be one of ours and cannot be opened.
pub(super) fn owned(path: &Path, names: &[String], headed: bool) -> Result<Option<String>, KernelError> {
    let Some(file) = path.file_name().and_then(|file| file.to_str()) else {
        return Ok(None);
    };
    let name = file.trim_end_matches("-new").trim_end_matches("-old");
    let known = name == n::MAP_HEADER || names.iter().any(|own| n::pinned_as(own) == name);
    if !(headed && known) {
        return Ok(None);
    }
    Ok(map(path)?.map(|_| name.to_owned()))
}

/// The one element of a pinned array.
fn element<T: aya::Pod>(path: &Path) -> Result<Option<T>, KernelError> {
    let Some(info) = pinned(path)? else { return Ok(None) };
    let foreign = |what: &str| KernelError::ForeignPins {
        path: path.display().to_string(),
        what: what.to_owned(),
    };
    if info.value_size() as usize != size_of::<T>() {
        return Err(foreign(
            "its value has another size: another version of sentinel made it, or another program",
        ));
    }
    let data = MapData::from_pin(path).map_err(|error| broken(path, &error))?;
    let map = Array::<_, T>::try_from(Map::Array(data)).map_err(|_| foreign("it is no array"))?;
    map.get(&0, 0).map(Some).map_err(|_| foreign("it cannot be read"))
}

fn rename(from: &Path, to: &Path) -> Result<(), KernelError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(KernelError::System {
            call: format!("renaming {}", from.display()),
            source: error,
        }),
        _ => Ok(()),
    }
}

fn layout(maps: &Path, other: &PinHeader, map: Option<&str>) -> KernelError {
    let own = PinHeader::new(env!("CARGO_PKG_VERSION"));
    let version = |header: &PinHeader| {
        format!(
            "sentinel {} (layout {:016x}, policy {})",
            header.agent(),
            header.layout,
            header.policy
        )
    };
    KernelError::PinnedLayout {
        path: maps.display().to_string(),
        theirs: version(other),
        ours: version(&own),
        map: map.map_or(String::new(), |map| format!(": {map} has another shape")),
    }
}

fn broken(path: &Path, error: &(dyn std::error::Error + 'static)) -> KernelError {
    KernelError::System {
        call: format!("{} (`sentinel detach` removes what is pinned)", path.display()),
        source: io::Error::other(chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{load, probe};
    use std::process::Command;

    /// A seed made anew over tables that are kept would find nothing in them.
    #[test]
    fn settings_that_cannot_be_read_are_not_taken_for_none() {
        let bpffs = tempfile::tempdir().unwrap();
        let mount = || {
            Command::new("mount")
                .args(["-t", "bpf", "bpf"])
                .arg(bpffs.path())
                .status()
        };
        if !probe::missing_capabilities().is_empty() || !mount().is_ok_and(|status| status.success()) {
            eprintln!("skipped: no capabilities");
            return;
        }
        let maps = bpffs.path().join("maps");
        fs::create_dir(&maps).unwrap();
        let mut first = Takeover::plan(maps.clone(), &[]).expect("made its header");
        first.made.clear();
        assert!(Takeover::plan(maps.clone(), &[]).is_ok_and(|next| next.inherited.is_none()));
        fs::create_dir(maps.join(n::pinned_as(n::MAP_SETTINGS))).unwrap();
        let refused = Takeover::plan(maps, &[]).is_err();
        let _ = Command::new("umount").arg("-l").arg(bpffs.path()).status();
        assert!(refused);
    }

    /// A map that is new to the object has to be thought about: kept ones are in `sentinel_common::pin`'s layout.
    #[test]
    fn every_map_has_the_fate_it_was_meant_to_have() {
        let kept = [
            n::MAP_STATS,
            n::MAP_ALLOW4,
            n::MAP_ALLOW6,
            n::MAP_BLOCK4,
            n::MAP_BLOCK6,
            n::MAP_ENTRY4,
            n::MAP_ENTRY6,
            n::MAP_BLOCK_NET4,
            n::MAP_BLOCK_NET6,
            n::MAP_HINT4,
            n::MAP_HINT6,
            n::MAP_EPOCH,
            n::MAP_LIST4,
            n::MAP_LIST6,
            n::MAP_LIST_NET4,
            n::MAP_LIST_NET6,
            n::MAP_LISTS,
            n::MAP_LIST_HITS,
            n::MAP_SOURCES,
            n::MAP_LIMITED,
            n::MAP_PORTS,
            n::MAP_COOKIE_MUTE,
            n::MAP_LIMITS,
            n::MAP_REDIRECTS,
        ];
        let renewed = [
            n::MAP_SETTINGS,
            n::MAP_HONEYPOTS,
            n::MAP_COOKIE_PORTS,
            n::MAP_STAGES,
            n::MAP_STAGES_FRAGS,
            n::MAP_STAGES_EGRESS,
        ];
        for name in load::map_names() {
            let kind = if name.starts_with("STAGES") { PROG_ARRAY } else { HASH };
            let meant = if kept.contains(&name.as_str()) {
                Fate::Kept
            } else if renewed.contains(&name.as_str()) {
                Fate::Renewed
            } else if [n::MAP_SLOTS, n::MAP_ALARM].contains(&name.as_str()) {
                Fate::Carried
            } else {
                Fate::Private
            };
            assert_eq!(fate(&name, kind), meant, "{name}");
        }
    }
}
