//! Records: reserved in the ring, filled there, submitted without waking anyone; those of flows within a budget.

use crate::maps::EVENTS;
use crate::stat::Stat;
use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use core::mem::size_of;
use sentinel_common::event::{FlowRecord, Header, KIND_FLOW, VERSION};
use sentinel_common::flow::{FlowKey, FlowValue};
use sentinel_common::settings::{BUDGET_WINDOW_SHIFT, Settings};
use sentinel_common::stat::Counter;

/// Puts a record of `value` on the ring and marks the flow reported; counts why, where it cannot.
///
/// The record is marked reported before it is copied, so that its own copy says so.
#[inline(always)]
pub(crate) fn flow(stat: &mut Stat, settings: &Settings, key: &FlowKey, value: &mut FlowValue, cause: u32, now: u64) {
    if !stat.spend(now >> BUDGET_WINDOW_SHIFT, u64::from(settings.event_budget)) {
        stat.count(Counter::EventDeferred);
        return;
    }
    let Some(mut entry) = EVENTS.reserve::<FlowRecord>(0) else {
        stat.count(Counter::EventLost);
        return;
    };
    value.mark_reported(now);
    let record = entry.as_mut_ptr();
    // SAFETY: the reservation is the size of the record and aligned to 8; every field and all padding is written
    // in place, because a second copy of 280 bytes would not fit the 512-byte stack.
    unsafe {
        (*record).header = Header {
            kind: KIND_FLOW,
            version: VERSION,
            len: size_of::<FlowRecord>() as u32,
        };
        (*record).now_ns = now;
        (*record).key = *key;
        (*record).value = *value;
        (*record).cause = cause;
        (*record).pad = 0;
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    stat.count(Counter::EventSent);
}

/// Puts a record on the ring that no budget holds back; false, and counted, where the ring is full. `fill` writes every
/// field and all padding, in place.
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
