//! Loads the object: checks capacities, sizes and creates the maps, fills the settings.

use super::cookies::{self, Cookies};
use super::counters::Counters;
use super::error::{KernelError, chain, insist};
use super::flows::{FlowMemory, FlowSize, number_cpus};
use super::maps::{BlockMaps, ListMaps, Shared};
use super::pin::Pins;
use super::reflex::{self, Sources};
use super::ring::RingReader;
use super::settings::{self, SettingsMap};
use super::slots::Slots;
use super::stages::Stages;
use super::sweep::FlowSweep;
use super::takeover::{Spec, Takeover};
use super::{attach, probe};
use crate::config::{KernelConfig, Mode};
use aya::maps::{Map, MapData, RingBuf};
use aya::programs::{SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use sentinel_common::exact;
use sentinel_common::hash::Keys;
use sentinel_common::hint::factors;
use sentinel_common::names as n;
use sentinel_common::settings::{SETTING_ENFORCE, SETTING_FLOWS, SETTING_SHORT, Settings};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// The kernel object, aligned as an ELF reader wants it; empty if it was not built.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sentinel-ebpf.o"));

/// Whether this binary carries the kernel programs.
pub(super) fn has_object() -> bool {
    !OBJECT.is_empty()
}

/// The loaded programs and their maps. Dropping it detaches everything.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    pub(super) config: KernelConfig,
    pub(super) shared: Arc<Shared>,
    pub(super) slots: Slots,
    pub(super) links: attach::Links,
    pub(super) pins: Option<Pins>,
    pub(super) takeover: Option<Takeover>,
    pub(super) settings: Arc<SettingsMap>,
    ring: Option<RingBuf<MapData>>,
    ring_lost: Arc<AtomicU64>,
    pub(super) flows: Arc<FlowMemory>,
    pub(super) counters: Counters,
    pub(super) stages: Stages,
    pub(super) cookies: Cookies,
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
        let capacities = capacities(config);
        let mut takeover = pins
            .as_ref()
            .map(|pins| Takeover::plan(pins.maps(), &specs(&capacities)?))
            .transpose()?;
        let mut loader = EbpfLoader::new();
        for (name, entries) in &capacities {
            loader.map_max_entries(name, *entries);
        }
        for (name, path) in takeover.iter().flat_map(Takeover::paths) {
            loader.map_pin_path(name, path);
        }
        let mut ebpf = loader.load(OBJECT).map_err(KernelError::load)?;
        if let Some(takeover) = &takeover {
            takeover.fill()?;
        }
        let program = xdp(&mut ebpf, n::PROG_XDP)?;
        insist(|| program.load()).map_err(|error| KernelError::program(n::PROG_XDP, error))?;
        if config.egress {
            let program = classifier(&mut ebpf, n::PROG_EGRESS)?;
            insist(|| program.load()).map_err(|error| KernelError::program(n::PROG_EGRESS, error))?;
        }

        let settings = Arc::new(SettingsMap::new(take(&mut ebpf, n::MAP_SETTINGS)?));
        let before = settings.get()?;
        // What is in the maps of an earlier agent was put there by its seed and stands at its versions.
        let seed = if before.seed == 0 {
            settings::seed()
        } else {
            before.seed
        };
        let enforce = if mode == Mode::Production { SETTING_ENFORCE } else { 0 };
        let mut initial = Settings {
            report_interval_ns: config.report_interval.as_nanos() as u64,
            flags: SETTING_FLOWS | SETTING_SHORT | enforce,
            event_budget: config.event_budget,
            seed,
            keys: Keys::new(seed),
            factors6: factors(seed),
            list_versions: before.list_versions,
            block4_mask: exact::buckets(config.block_capacity) - 1,
            block6_mask: exact::buckets(config.block_capacity) - 1,
            list4_mask: list_buckets(config.list_capacity) - 1,
            list6_mask: list_buckets(config.list6_capacity) - 1,
            flow_mask: size.mask(),
            talk_mask: size.cells() - 1,
            ring_high: config.ring_bytes / 4 * 3,
            ..Settings::default()
        };
        reflex::fill(&mut initial, config);
        let cookies = cookies::load(&mut ebpf, &mut initial, config)?;
        let stages = Stages::load(&mut ebpf, config)?;
        settings.change(|settings| *settings = initial)?;
        let ring = take(&mut ebpf, n::MAP_EVENTS)?;
        // An agent that was killed while it attached may have pinned what the header does not name.
        let mut before: Vec<u32> = takeover.iter().flat_map(Takeover::watched).collect();
        before.extend(pins.iter().flat_map(Pins::interfaces));
        let slots = Slots::new(
            take(&mut ebpf, n::MAP_SLOTS)?,
            descriptor(&ebpf, n::MAP_STATS)?,
            &before,
        );
        let mut stats = take(&mut ebpf, n::MAP_STATS)?;
        number_cpus(&mut stats)?;
        let flows = Arc::new(FlowMemory::new(&mut ebpf, size)?);
        let shared = Arc::new(Shared::new(
            &mut ebpf,
            config,
            &settings,
            size.slots(),
            takeover.as_mut(),
        )?);
        let links = attach::Links::default();
        let counters = Counters::new(stats, Arc::clone(&shared), links.attached());
        Ok(Self {
            ebpf,
            config: config.clone(),
            shared,
            slots,
            links,
            pins,
            takeover,
            settings,
            ring: Some(ring),
            ring_lost: Arc::default(),
            flows,
            counters,
            stages,
            cookies,
        })
    }

    /// The only writer of the block and allow maps.
    pub fn blocks(&self) -> BlockMaps {
        BlockMaps::new(Arc::clone(&self.shared), self.links.attached())
    }

    /// The only writer of the feeds' lists.
    pub fn lists(&self) -> ListMaps {
        ListMaps::new(Arc::clone(&self.shared))
    }

    /// The ring's reader. There is one ring: a second reader finds nothing to read.
    pub fn ring(&mut self) -> RingReader {
        RingReader::new(self.ring.take(), self.config.poll_interval, Arc::clone(&self.ring_lost))
    }

    /// The flow table's sweeper. There is to be one: what it fetched it must also take off the records that follow.
    pub fn sweep(&self) -> FlowSweep {
        FlowSweep::new(Arc::clone(&self.flows), &self.config, Arc::clone(&self.shared))
    }

    /// A look into the table of sources.
    ///
    /// # Errors
    /// [`KernelError`] when the kernel does not let it be mapped.
    pub fn sources(&self) -> Result<Sources, KernelError> {
        let Some(Map::Array(sources)) = self.ebpf.map(n::MAP_SOURCES) else {
            return Err(missing(n::MAP_SOURCES));
        };
        Sources::new(sources, self.settings()?)
    }

    /// Whether SYNs to a port under flood are answered with cookies.
    pub const fn cookies(&self) -> &Cookies {
        &self.cookies
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
        self.switch(SETTING_ENFORCE, enforce)
    }

    /// Ids of our XDP programs that are loaded; none where the kernel does not say.
    pub(super) fn xdp_programs(&self) -> Vec<u32> {
        let ids = [n::PROG_XDP, n::PROG_XDP_FRAGS].into_iter().filter_map(|name| {
            let program: &Xdp = self.ebpf.program(name)?.try_into().ok()?;
            program.info().ok().map(|info| info.id())
        });
        ids.collect()
    }

    /// Sets a bit of the running programs' flags, or clears it.
    pub(super) fn switch(&self, flag: u32, on: bool) -> Result<(), KernelError> {
        self.change(|settings| {
            settings.flags = if on {
                settings.flags | flag
            } else {
                settings.flags & !flag
            };
        })
    }

    /// Changes the settings of the running programs.
    pub(super) fn change(&self, change: impl FnOnce(&mut Settings)) -> Result<(), KernelError> {
        self.settings.change(change)
    }
}

/// The object with maps as small as they come, for programs that read none.
pub(super) fn bare() -> Result<Ebpf, KernelError> {
    if !has_object() {
        return Err(KernelError::NoObject);
    }
    let mut loader = EbpfLoader::new();
    let page = probe::page_size();
    for (name, _) in capacities(&crate::config::Config::default().kernel) {
        loader.map_max_entries(name, if name == n::MAP_EVENTS { page } else { 1 });
    }
    loader.load(OBJECT).map_err(KernelError::load)
}

/// The capacities that the configuration asks for, of the maps that have no fixed one.
pub(super) fn capacities(config: &KernelConfig) -> Vec<(&'static str, u32)> {
    let size = FlowSize::new(config.flow_capacity);
    vec![
        (n::MAP_BLOCK4, exact::buckets(config.block_capacity)),
        (n::MAP_BLOCK6, exact::buckets(config.block_capacity)),
        (n::MAP_ENTRY4, exact::cells(exact::buckets(config.block_capacity))),
        (n::MAP_ENTRY6, exact::cells(exact::buckets(config.block_capacity))),
        (n::MAP_BLOCK_NET4, with_spare(config.block_net_capacity)),
        (n::MAP_BLOCK_NET6, with_spare(config.block_net_capacity)),
        (n::MAP_ALLOW4, with_spare(n::ALLOW_CAPACITY)),
        (n::MAP_ALLOW6, with_spare(n::ALLOW_CAPACITY)),
        (n::MAP_LIST4, list_buckets(config.list_capacity)),
        (n::MAP_LIST6, list_buckets(config.list6_capacity)),
        (n::MAP_LIST_NET4, with_spare(config.list_net_capacity)),
        (n::MAP_LIST_NET6, with_spare(config.list_net_capacity)),
        (n::MAP_FLOWS, size.buckets()),
        (n::MAP_TAKEN, size.slots()),
        (n::MAP_TALK, size.cells()),
        (n::MAP_EVENTS, config.ring_bytes),
        (n::MAP_REDIRECTS, config.redirect_capacity),
    ]
}

/// The maps as the object defines them, with those capacities.
fn specs(capacities: &[(&str, u32)]) -> Result<Vec<Spec>, KernelError> {
    let object = aya_obj::Object::parse(OBJECT).map_err(|error| KernelError::Object { what: chain(&error) })?;
    let spec = |(name, map): (String, aya_obj::Map)| Spec {
        kind: map.map_type(),
        key_size: map.key_size(),
        value_size: map.value_size(),
        max_entries: capacities
            .iter()
            .find(|(other, _)| *other == name)
            .map_or_else(|| map.max_entries(), |(_, entries)| *entries),
        flags: map.map_flags(),
        name,
    };
    Ok(object.maps.into_iter().map(spec).collect())
}

/// Names of the object's maps; none where there is no object.
pub(super) fn map_names() -> Vec<String> {
    specs(&[]).map_or_else(
        |_| Vec::new(),
        |specs| specs.into_iter().map(|spec| spec.name).collect(),
    )
}

/// A descriptor of a map of the object, of our own.
fn descriptor(ebpf: &Ebpf, name: &str) -> Result<OwnedFd, KernelError> {
    let Some(Map::PerCpuArray(data)) = ebpf.map(name) else {
        return Err(missing(name));
    };
    let failed = |source| KernelError::System {
        call: format!("duplicating the descriptor of {name}"),
        source,
    };
    data.fd().as_fd().try_clone_to_owned().map_err(failed)
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

/// Buckets of four for a table of exact addresses: a power of two, half full at capacity.
pub(super) fn list_buckets(capacity: u32) -> u32 {
    capacity.div_ceil(2).next_power_of_two()
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
        ("list_capacity", config.list_capacity),
        ("list6_capacity", config.list6_capacity),
        ("list_net_capacity", config.list_net_capacity),
        ("flow_capacity", config.flow_capacity),
        ("redirect_capacity", config.redirect_capacity),
    ] {
        if value == 0 {
            return Err(KernelError::Capacity {
                key,
                value,
                rule: "it must be at least 1",
            });
        }
    }
    if config.block_capacity > exact::MOST {
        return Err(KernelError::Capacity {
            key: "block_capacity",
            value: config.block_capacity,
            rule: "it must be at most 16777216",
        });
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
