//! Loads the object: checks capacities, sizes and creates the maps, fills the settings.

use super::counters::Counters;
use super::error::KernelError;
use super::flows::{FlowMemory, FlowSize, number_cpus};
use super::maps::{BlockMaps, Shared};
use super::pin::Pins;
use super::ring::RingReader;
use super::sweep::FlowSweep;
use super::{attach, probe};
use crate::config::{KernelConfig, Mode};
use aya::maps::{Array, Map, MapData, RingBuf};
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use sentinel_common::names as n;
use sentinel_common::settings::{SETTING_ENFORCE, SETTING_FLOWS, Settings};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The kernel object, aligned as an ELF reader wants it; empty if it was not built.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sentinel-ebpf.o"));

/// Whether this binary carries the kernel programs.
pub(super) fn has_object() -> bool {
    !OBJECT.is_empty()
}

/// The loaded programs and their maps. Dropping it detaches everything.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    pub(super) config: KernelConfig,
    pub(super) shared: Arc<Shared>,
    pub(super) slots: Array<MapData, u32>,
    pub(super) links: attach::Links,
    pub(super) pins: Option<Pins>,
    settings: Mutex<Array<MapData, Settings>>,
    ring: Option<RingBuf<MapData>>,
    ring_lost: Arc<AtomicU64>,
    pub(super) flows: Arc<FlowMemory>,
    counters: Counters,
}

impl Kernel {
    /// Loads the programs and creates the maps; nothing is attached yet.
    ///
    /// # Errors
    /// [`KernelError`]; its text names the mend.
    pub fn load(config: &KernelConfig, mode: Mode) -> Result<Self, KernelError> {
        if !has_object() {
            return Err(KernelError::NoObject);
        }
        check(config)?;
        let pins = config.pin.then(|| Pins::open(&config.pin_path)).transpose()?;
        raise_memlock();
        let size = FlowSize::new(config.flow_capacity);
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(n::MAP_BLOCK4, config.block_capacity)
            .map_max_entries(n::MAP_BLOCK6, config.block_capacity)
            .map_max_entries(n::MAP_BLOCK_NET4, with_spare(config.block_net_capacity))
            .map_max_entries(n::MAP_BLOCK_NET6, with_spare(config.block_net_capacity))
            .map_max_entries(n::MAP_ALLOW4, with_spare(n::ALLOW_CAPACITY))
            .map_max_entries(n::MAP_ALLOW6, with_spare(n::ALLOW_CAPACITY))
            .map_max_entries(n::MAP_FLOWS, size.buckets())
            .map_max_entries(n::MAP_TAKEN, size.slots())
            .map_max_entries(n::MAP_TALK, size.cells())
            .map_max_entries(n::MAP_EVENTS, config.ring_bytes)
            .load(OBJECT)
            .map_err(KernelError::load)?;
        xdp(&mut ebpf, n::PROG_XDP)?
            .load()
            .map_err(|error| KernelError::program(n::PROG_XDP, error))?;
        if config.egress {
            classifier(&mut ebpf, n::PROG_EGRESS)?
                .load()
                .map_err(|error| KernelError::program(n::PROG_EGRESS, error))?;
        }

        let mut settings: Array<_, Settings> = take(&mut ebpf, n::MAP_SETTINGS)?;
        let initial = Settings {
            report_interval_ns: config.report_interval.as_nanos() as u64,
            flags: SETTING_FLOWS | if mode == Mode::Production { SETTING_ENFORCE } else { 0 },
            event_budget: config.event_budget,
            seed: RandomState::new().hash_one(n::MAP_FLOWS),
            flow_mask: size.mask(),
            talk_mask: size.cells() - 1,
            ring_high: config.ring_bytes / 4 * 3,
            ..Settings::default()
        };
        settings
            .set(0, initial, 0)
            .map_err(|error| KernelError::map(n::MAP_SETTINGS, &error))?;
        let ring = take(&mut ebpf, n::MAP_EVENTS)?;
        let slots = take(&mut ebpf, n::MAP_SLOTS)?;
        let mut stats = take(&mut ebpf, n::MAP_STATS)?;
        number_cpus(&mut stats)?;
        let flows = Arc::new(FlowMemory::new(&mut ebpf, size)?);
        let shared = Arc::new(Shared::new(&mut ebpf, config, size.slots())?);
        let links = attach::Links::default();
        let counters = Counters::new(stats, Arc::clone(&shared), links.attached());
        Ok(Self {
            ebpf,
            config: config.clone(),
            shared,
            slots,
            links,
            pins,
            settings: Mutex::new(settings),
            ring: Some(ring),
            ring_lost: Arc::default(),
            flows,
            counters,
        })
    }

    /// The only writer of the block and allow maps.
    pub fn blocks(&self) -> BlockMaps {
        BlockMaps::new(Arc::clone(&self.shared), self.links.attached())
    }

    /// The ring's reader. There is one ring: a second reader finds nothing to read.
    pub fn ring(&mut self) -> RingReader {
        RingReader::new(self.ring.take(), self.config.poll_interval, Arc::clone(&self.ring_lost))
    }

    /// The flow table's sweeper. There is to be one: what it fetched it must also take off the records that follow.
    pub fn sweep(&self) -> FlowSweep {
        FlowSweep::new(Arc::clone(&self.flows), &self.config, Arc::clone(&self.shared))
    }

    /// The kernel programs' diagnostics.
    #[cfg(feature = "kernel-debug")]
    pub fn log(&mut self) -> super::KernelLog {
        super::KernelLog::new(&mut self.ebpf)
    }

    /// A handle that reads the counters.
    pub fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// Records the ring's reader dropped because the channel behind it was full.
    pub fn ring_lost(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.ring_lost)
    }

    /// Whether verdicts are carried out from the next packet on; without, every entry only counts.
    ///
    /// # Errors
    /// [`KernelError::Map`] when the settings cannot be written; they then stand as they were.
    pub fn set_enforce(&self, enforce: bool) -> Result<(), KernelError> {
        self.change(|settings| {
            settings.flags = if enforce {
                settings.flags | SETTING_ENFORCE
            } else {
                settings.flags & !SETTING_ENFORCE
            };
        })
    }

    /// Changes the settings of the running programs.
    pub(super) fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<(), KernelError> {
        let mut map = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |error| KernelError::map(n::MAP_SETTINGS, &error);
        let mut settings = map.get(&0, 0).map_err(failed)?;
        change(&mut settings);
        map.set(0, settings, 0).map_err(failed)
    }
}

/// An XDP program of the object.
pub(super) fn xdp<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp, KernelError> {
    let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    program.try_into().map_err(|error| KernelError::program(name, error))
}

/// A tc program of the object.
pub(super) fn classifier<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, KernelError> {
    let program = ebpf.program_mut(name).ok_or_else(|| missing(name))?;
    program.try_into().map_err(|error| KernelError::program(name, error))
}

/// A map of the object, typed.
pub(super) fn take<T: TryFrom<Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &str,
) -> Result<T, KernelError> {
    let map = ebpf.take_map(name).ok_or_else(|| missing(name))?;
    T::try_from(map).map_err(|error| KernelError::Object {
        what: format!("map {name}: {error}"),
    })
}

pub(super) fn missing(what: &str) -> KernelError {
    KernelError::Object {
        what: format!("{what} is missing"),
    }
}

/// Entries to make a map of prefixes with. Older kernels (5.10 among them) refuse to renew an entry of a full one, so
/// it gets one more than the writer ever fills.
const fn with_spare(capacity: u32) -> u32 {
    capacity.saturating_add(1)
}

/// Capacities the kernel would refuse with a bare EINVAL.
fn check(config: &KernelConfig) -> Result<(), KernelError> {
    let page = probe::page_size();
    if !config.ring_bytes.is_power_of_two() || config.ring_bytes < page {
        return Err(KernelError::Capacity {
            key: "ring_bytes",
            value: config.ring_bytes,
            rule: "it must be a power of two of at least one page",
        });
    }
    for (key, value) in [
        ("block_capacity", config.block_capacity),
        ("block_net_capacity", config.block_net_capacity),
        ("flow_capacity", config.flow_capacity),
    ] {
        if value == 0 {
            return Err(KernelError::Capacity {
                key,
                value,
                rule: "it must be at least 1",
            });
        }
    }
    if config.report_interval < Duration::from_millis(1) {
        return Err(KernelError::Capacity {
            key: "report_interval",
            value: 0,
            rule: "it must be at least 1ms",
        });
    }
    Ok(())
}

/// Before Linux 5.11 maps count against the locked-memory limit. Where raising it is refused, creating the maps
/// says so.
fn raise_memlock() {
    use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}
