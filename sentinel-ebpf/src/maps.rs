//! Every map, on one screen. The agent sets the real capacities when it loads the object.
//!
//! Blocks and allows live in maps that fail loudly when full. Only flows make room for each other: forgetting the
//! quietest flow costs a little accuracy, forgetting a block would let an attacker back in unnoticed.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::helpers::bpf_map_lookup_elem;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf};
use core::cell::UnsafeCell;
use sentinel_common::entry::{AllowEntry, BlockEntry};
use sentinel_common::exact;
use sentinel_common::hint::{WORDS4, WORDS6};
use sentinel_common::list::{Bucket4, Bucket6, ListHits, MAX_LISTS, NetSlot, Standing};
use sentinel_common::names::{
    ALLOW_CAPACITY, BLOCK_NET_CAPACITY, FLOW_CAPACITY, LIMIT_SETS, LIST_NET_CAPACITY, MAX_INTERFACES,
    REDIRECT_CAPACITY, RING_BYTES, SLOT_TABLE, SOURCE_BUCKETS, STAGES as STAGE_COUNT,
};
use sentinel_common::packet::PacketMeta;
use sentinel_common::rate;
use sentinel_common::redirect::{Honeypot, RedirectKey, Redirected};
use sentinel_common::reflex::{self, Alarm, CELLS, Port};
use sentinel_common::settings::Settings;
use sentinel_common::slot::{Bucket, WAYS};
use sentinel_common::stat::CpuBlock;
use sentinel_common::talk::Cell;

/// A map of one value whose address is known when the program is loaded: there is nothing to look up, and nothing that
/// could be missing. Each has a section of its own, after which the map is called, and is exported, lest the compiler
/// concludes that what nothing here writes stays zero.
#[repr(transparent)]
pub(crate) struct Global<T>(UnsafeCell<T>);

// SAFETY: what stands in a map is shared by all CPUs and the agent, whatever its type says: single words are read and
// written whole, and who writes what is said with each.
unsafe impl<T> Sync for Global<T> {}

impl<T> Global<T> {
    /// The value.
    #[inline(always)]
    pub(crate) fn get(&'static self) -> &'static T {
        // SAFETY: as in `pointer`; nobody writes through what this gives.
        unsafe { &*self.pointer() }
    }

    /// The value, to be written.
    #[inline(always)]
    pub(crate) const fn pointer(&'static self) -> *mut T {
        self.0.get()
    }
}

#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.SETTINGS")]
pub(crate) static SETTINGS: Global<Settings> = Global(UnsafeCell::new(Settings::EMPTY));
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.SLOTS")]
pub(crate) static SLOTS: Global<[u32; SLOT_TABLE as usize]> = Global(UnsafeCell::new([0; SLOT_TABLE as usize]));
#[map]
pub(crate) static STATS: PerCpuArray<CpuBlock> = PerCpuArray::with_max_entries(MAX_INTERFACES, 0);

#[map]
pub(crate) static ALLOW4: LpmTrie<[u8; 4], AllowEntry> = LpmTrie::with_max_entries(ALLOW_CAPACITY, 0);
#[map]
pub(crate) static ALLOW6: LpmTrie<[u8; 16], AllowEntry> = LpmTrie::with_max_entries(ALLOW_CAPACITY, 0);

#[map]
pub(crate) static BLOCK4: Array<exact::Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static BLOCK6: Array<exact::Bucket> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static ENTRY4: Array<exact::Cell> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static ENTRY6: Array<exact::Cell> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static BLOCK_NET4: LpmTrie<[u8; 4], BlockEntry> = LpmTrie::with_max_entries(BLOCK_NET_CAPACITY, 0);
#[map]
pub(crate) static BLOCK_NET6: LpmTrie<[u8; 16], BlockEntry> = LpmTrie::with_max_entries(BLOCK_NET_CAPACITY, 0);

#[map]
pub(crate) static HINT4: Array<u64> = Array::with_max_entries(WORDS4, BPF_F_MMAPABLE);
#[map]
pub(crate) static HINT6: Array<u64> = Array::with_max_entries(WORDS6, BPF_F_MMAPABLE);
#[map]
pub(crate) static EPOCH: Array<u32> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static LIST4: Array<Bucket4> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static LIST6: Array<Bucket6> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub(crate) static LIST_NET4: LpmTrie<[u8; 4], NetSlot> = LpmTrie::with_max_entries(LIST_NET_CAPACITY, 0);
#[map]
pub(crate) static LIST_NET6: LpmTrie<[u8; 16], NetSlot> = LpmTrie::with_max_entries(LIST_NET_CAPACITY, 0);
#[map]
pub(crate) static LISTS: Array<Standing> = Array::with_max_entries(2, 0);
#[map]
pub(crate) static LIST_HITS: PerCpuArray<ListHits> = PerCpuArray::with_max_entries(MAX_LISTS, 0);

/// Each CPU writes its own part only; the agent reads all of it through its memory, and writes nothing.
#[map]
pub(crate) static FLOWS: Array<Bucket> = Array::with_max_entries(FLOW_CAPACITY / WAYS as u32, BPF_F_MMAPABLE);
/// Of each slot, what the agent fetched by itself. Only the agent writes.
#[map]
pub(crate) static TAKEN: Array<u64> = Array::with_max_entries(FLOW_CAPACITY, BPF_F_MMAPABLE);
/// Words that all CPUs share, each written by one aligned store.
#[map]
pub(crate) static TALK: Array<Cell> = Array::with_max_entries(FLOW_CAPACITY / 2, BPF_F_MMAPABLE);
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

#[map]
pub(crate) static SOURCES: Array<reflex::Bucket> = Array::with_max_entries(SOURCE_BUCKETS, BPF_F_MMAPABLE);
#[map]
pub(crate) static LIMITED: Array<[u8; CELLS]> = Array::with_max_entries(1, 0);
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.ALARM")]
pub(crate) static ALARM: Global<Alarm> = Global(UnsafeCell::new(Alarm::EMPTY));
#[map]
pub(crate) static PORTS: Array<Port> = Array::with_max_entries(1 << 16, 0);
#[map]
pub(crate) static COOKIE_PORTS: Array<u64> = Array::with_max_entries(1 << 10, 0);
#[map]
pub(crate) static COOKIE_MUTE: Array<u64> = Array::with_max_entries(SLOT_TABLE / 64, 0);
/// Buckets of addresses under rate-limited prefixes: see `sentinel_common::rate::Set` for what happens when it is full.
#[map]
pub(crate) static LIMITS: Array<rate::Set> = Array::with_max_entries(LIMIT_SETS, 0);

#[map]
pub(crate) static HONEYPOTS: Array<Honeypot> = Array::with_max_entries(2, 0);
/// Conversations with the honeypot. LRU: a source that opens too many loses the oldest, whose answers then reach it
/// under the honeypot's own port.
#[map]
pub(crate) static REDIRECTS: LruHashMap<RedirectKey, Redirected> = LruHashMap::with_max_entries(REDIRECT_CAPACITY, 0);
/// Programs that packets are handed to, by `STAGE_*`; one array for each kind of program.
#[map]
pub(crate) static STAGES: ProgramArray = ProgramArray::with_max_entries(STAGE_COUNT, 0);
#[map]
pub(crate) static STAGES_FRAGS: ProgramArray = ProgramArray::with_max_entries(STAGE_COUNT, 0);
#[map]
pub(crate) static STAGES_EGRESS: ProgramArray = ProgramArray::with_max_entries(STAGE_COUNT, 0);

/// Where a packet is parsed into: element 0 for ingress, 1 for egress. Nothing of it outlives the packet.
///
/// Not on the stack, because the verifier follows every value it finds there through the rest of the program, once for
/// each way through the parser; what is in a map it takes as unknown, and walks the rest once.
#[map]
static SCRATCH: PerCpuArray<PacketMeta> = PerCpuArray::with_max_entries(2, 0);

/// This CPU's record to parse a packet into, emptied but for the addresses, which the parser writes whenever it
/// succeeds.
#[inline(always)]
pub(crate) fn scratch(element: u32) -> Option<&'static mut PacketMeta> {
    const { assert!(size_of::<PacketMeta>() == 72 && align_of::<PacketMeta>() == 8) };
    let meta = SCRATCH.get_ptr_mut(element)?;
    let words = meta.cast::<u64>();
    // SAFETY: the element is this CPU's, and of one direction's program, which does not nest in itself. Zeros are
    // `PacketMeta::EMPTY`. Written word by word: the compiler would call a loop over bytes.
    unsafe {
        words.add(4).write_volatile(0);
        words.add(5).write_volatile(0);
        words.add(6).write_volatile(0);
        words.add(7).write_volatile(0);
        words.add(8).write_volatile(0);
        Some(&mut *meta)
    }
}

/// This CPU's record as the program before this one left it.
#[inline(always)]
pub(crate) fn parsed(element: u32) -> Option<&'static PacketMeta> {
    let meta = SCRATCH.get_ptr(element)?;
    // SAFETY: as above; the program that handed the packet over has written the record, or else it is zero, which is
    // a value too.
    Some(unsafe { &*meta })
}

/// The element of an array whose number stands at `key`.
#[inline(always)]
pub(crate) fn at<T>(map: &Array<T>, key: *const u32) -> Option<*mut T> {
    // SAFETY: the first argument is the map's definition, which the loader replaces by the map; the key is one.
    let value = unsafe { bpf_map_lookup_elem(core::ptr::from_ref(map).cast_mut().cast(), key.cast()) };
    if value.is_null() { None } else { Some(value.cast()) }
}

/// The longest prefix that covers `key`, as a pointer: aya's own look-up gives a shared reference, through which
/// counters must not be written.
#[inline(always)]
pub(crate) fn longest<K, V>(map: &LpmTrie<K, V>, key: &Key<K>) -> Option<*mut V> {
    // SAFETY: the first argument is the map's definition, which the loader replaces by the map; the key is the map's.
    let value = unsafe {
        bpf_map_lookup_elem(
            core::ptr::from_ref(map).cast_mut().cast(),
            core::ptr::from_ref(key).cast(),
        )
    };
    if value.is_null() { None } else { Some(value.cast()) }
}
