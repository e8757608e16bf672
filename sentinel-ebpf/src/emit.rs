//! Records: reserved in the ring, filled there, submitted without waking anyone.
//!
//! Flow records have a budget, and those of new flows go without when the ring fills up: the flow tells later. Records
//! of sources ([`record`]) have neither, because there are few and nothing else tells of them.

use crate::maps::EVENTS;
use crate::stat::Stat;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{CAUSE_EVICTED, CAUSE_FIRST, STATE_REPORTED};
use sentinel_common::settings::Settings;
use sentinel_common::slot::{Head, Slot};
use sentinel_common::stat::Counter;

/// Puts a record on the ring, whatever the budget; false, and counted, where the ring is full.
///
/// `fill` writes every field and all padding, in place: larger records do not fit the stack.
#[inline(always)]
pub(crate) fn record<T: 'static>(stat: &mut Stat, fill: impl FnOnce(&mut T)) -> bool {
    let Some(mut entry) = EVENTS.reserve::<T>(0) else {
        stat.count(Counter::EventLost);
        return false;
    };
    // SAFETY: the reservation is the size of the record and aligned to 8; records are integers and byte arrays, of
    // which any bytes are a value, and every one of them is written.
    fill(unsafe { &mut *entry.as_mut_ptr() });
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    stat.count(Counter::EventSent);
    true
}

/// Puts a record of a slot on the ring; counts why, where it cannot. `number` is the slot's, over all CPUs.
#[inline(always)]
pub(crate) fn flow(
    stat: &mut Stat,
    settings: &Settings,
    head: &Head,
    slot: &Slot,
    number: u32,
    cause: u32,
    now: u64,
) -> bool {
    let new = head.state & STATE_REPORTED as u16 == 0 && matches!(cause, CAUSE_FIRST | CAUSE_EVICTED);
    if new && stat.ring_tight(now, settings.ring_high) {
        stat.count(Counter::EventThinned);
        return false;
    }
    if !stat.spend(now, settings.event_budget) {
        stat.count(Counter::EventDeferred);
        return false;
    }
    record(stat, |to: &mut FlowRecord| {
        to.header = FlowRecord::HEADER;
        slot.tell(head, now, to);
        to.cause = cause;
        to.slot = number;
    })
}
