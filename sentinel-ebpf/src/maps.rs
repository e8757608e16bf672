//! Every map, on one screen. The agent sets the real capacities when it loads the object.
//!
//! Blocks and allows live in maps that fail loudly when full. Only flows make room for each other: forgetting the
//! quietest flow costs a little accuracy, forgetting a block would let an attacker back in unnoticed.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::helpers::bpf_map_lookup_elem;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf};
use sentinel_common::entry::{AllowEntry, BlockEntry};
use sentinel_common::names::{
    ALLOW_CAPACITY, BLOCK_CAPACITY, BLOCK_NET_CAPACITY, FLOW_CAPACITY, MAX_INTERFACES, RING_BYTES, SLOT_TABLE,
};
use sentinel_common::packet::PacketMeta;
use sentinel_common::settings::Settings;
use sentinel_common::slot::{Bucket, WAYS};
use sentinel_common::stat::CpuBlock;
use sentinel_common::talk::Cell;

#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);
#[map]
pub(crate) static SLOTS: Array<u32> = Array::with_max_entries(SLOT_TABLE, 0);
#[map]
pub(crate) static STATS: PerCpuArray<CpuBlock> = PerCpuArray::with_max_entries(MAX_INTERFACES, 0);

#[map]
pub(crate) static ALLOW4: LpmTrie<[u8; 4], AllowEntry> = LpmTrie::with_max_entries(ALLOW_CAPACITY, 0);
#[map]
pub(crate) static ALLOW6: LpmTrie<[u8; 16], AllowEntry> = LpmTrie::with_max_entries(ALLOW_CAPACITY, 0);

#[map]
pub(crate) static BLOCK4: HashMap<[u8; 4], BlockEntry> = HashMap::with_max_entries(BLOCK_CAPACITY, 0);
#[map]
pub(crate) static BLOCK6: HashMap<[u8; 16], BlockEntry> = HashMap::with_max_entries(BLOCK_CAPACITY, 0);
#[map]
pub(crate) static BLOCK_NET4: LpmTrie<[u8; 4], BlockEntry> = LpmTrie::with_max_entries(BLOCK_NET_CAPACITY, 0);
#[map]
pub(crate) static BLOCK_NET6: LpmTrie<[u8; 16], BlockEntry> = LpmTrie::with_max_entries(BLOCK_NET_CAPACITY, 0);

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

/// Where a packet is parsed into: element 0 for ingress, 1 for egress. Nothing of it outlives the packet.
///
/// Not on the stack, because the verifier follows every value it finds there through the rest of the program, once for
/// each way through the parser; what is in a map it takes as unknown, and walks the rest once.
#[map]
static SCRATCH: PerCpuArray<PacketMeta> = PerCpuArray::with_max_entries(2, 0);

/// This CPU's record to parse a packet into, emptied.
#[inline(always)]
pub(crate) fn scratch(element: u32) -> Option<&'static mut PacketMeta> {
    let meta = SCRATCH.get_ptr_mut(element)?;
    // SAFETY: the element is this CPU's, and of one direction's program, which does not nest in itself. It is written
    // before the reference is made, so that it holds a value.
    unsafe {
        meta.write(PacketMeta::EMPTY);
        Some(&mut *meta)
    }
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
