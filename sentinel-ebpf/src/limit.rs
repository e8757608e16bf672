//! Rate limits: the bucket of an entry, which all CPUs and (for a prefix) all its addresses share, or one for each
//! address. The rule is `sentinel_common::rate`; what is here is how CPUs share the two instants it keeps.

use crate::maps::LIMITS;
use crate::stat::{Stat, atomic_add};
use crate::verifier::forget;
use sentinel_common::entry::{BlockEntry, FLAG_EACH};
use sentinel_common::names::LIMIT_SETS;
use sentinel_common::packet::PacketMeta;
use sentinel_common::rate::{Bucket, Rate, WAYS, tag};
use sentinel_common::settings::Settings;
use sentinel_common::stat::Counter;

/// Whether a packet is within the rate of the entry it met; if so it has been charged.
///
/// # Safety
/// `entry` points to a map value.
#[inline(always)]
pub(crate) unsafe fn conforms(
    stat: &mut Stat,
    settings: &Settings,
    entry: *mut BlockEntry,
    meta: &PacketMeta,
    bytes: u64,
    now: u64,
) -> bool {
    // SAFETY: the caller vouches for the pointer; the instants are aligned words of it.
    unsafe {
        let rate = (*entry).rate();
        if (*entry).flags & FLAG_EACH == 0 {
            return admit(
                rate,
                &raw mut (*entry).packet_tat_ns,
                &raw mut (*entry).byte_tat_ns,
                bytes,
                now,
            );
        }
        let tag = tag(settings.seed, &(*entry).decision, &meta.src.0);
        // The table is as large as the mask says, so there is such a set.
        let Some(set) = LIMITS.get_ptr_mut(tag as u32 & (LIMIT_SETS - 1)) else {
            return true;
        };
        let (at, own) = (*set).find(tag);
        let at = forget(at as u64, now) as usize & (WAYS - 1);
        let bucket = (&raw mut (*set).buckets).cast::<Bucket>().add(at);
        let busy = !own && ((*bucket).packet_tat_ns > now || (*bucket).byte_tat_ns > now);
        let conforms = admit(
            rate,
            &raw mut (*bucket).packet_tat_ns,
            &raw mut (*bucket).byte_tat_ns,
            bytes,
            now,
        );
        if conforms && !own {
            (*bucket).tag = tag;
            if busy {
                stat.count(Counter::LimitShared);
            }
        }
        conforms
    }
}

/// [`Rate::admit`] on instants that CPUs share.
///
/// # Safety
/// Both point to aligned words of map values.
#[inline(always)]
unsafe fn admit(rate: Rate, packet_tat: *mut u64, byte_tat: *mut u64, bytes: u64, now: u64) -> bool {
    // SAFETY: the caller vouches for the pointers; each access is a single aligned load, store or atomic addition.
    unsafe {
        let (packets_until, bytes_until) = (packet_tat.read_volatile(), byte_tat.read_volatile());
        if !rate.conforms(packets_until, bytes_until, now) {
            return false;
        }
        if rate.packet_ns != 0 {
            charge(packet_tat, packets_until, u64::from(rate.packet_ns), now);
        }
        if rate.byte_ns_q8 != 0 {
            charge(byte_tat, bytes_until, rate.bytes_cost(bytes), now);
        }
        true
    }
}

/// Moves an instant on by `cost`, from the clock where it has fallen behind.
///
/// # Safety
/// `tat` points to an aligned word of a map value.
#[inline(always)]
unsafe fn charge(tat: *mut u64, seen: u64, cost: u64, now: u64) {
    // SAFETY: the caller vouches for the pointer.
    unsafe {
        if seen < now {
            tat.write_volatile(now);
        }
        atomic_add(tat, cost);
    }
}
