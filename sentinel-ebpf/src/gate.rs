//! The order of decisions: settings, allow, the entries of decisions, feed lists, reflex, SYN cookies, pass.
//!
//! Native XDP sees packets as they arrive. Generic XDP and tc come after GRO has merged some, so packets count for less
//! there; bytes are right.

use crate::account;
use crate::allow::allowed;
use crate::cookie;
use crate::entry;
use crate::exact;
use crate::frame;
use crate::hint;
use crate::hook::{Hook, leave};
use crate::list;
use crate::maps::{SETTINGS, scratch};
use crate::redirect;
use crate::reflex;
use crate::short;
use crate::stat::Stat;
use crate::verdict::forgotten;
use crate::verifier::forget;
use core::hint::cold_path;
use sentinel_common::flow::Direction;
use sentinel_common::hint::{HINT_ALLOW, HINT_ENTRY, HINT_LIST, HINT_LIST_NET, NO_EPOCH};
use sentinel_common::names::STAGE_REDIRECT;
use sentinel_common::packet::{PacketMeta, ParseError};
use sentinel_common::settings::{SETTING_ENFORCE, Settings};
use sentinel_common::stat::Counter;
use sentinel_common::verdict::Verdict;

/// Body of the ingress programs, wherever they hang.
#[inline(always)]
pub(crate) fn ingress<H: Hook>(hook: &H) -> i32 {
    let settings = SETTINGS.get();
    let Some(mut stat) = Stat::of(hook.ifindex()) else {
        leave(H::code(Verdict::Pass));
        return H::code(Verdict::Pass);
    };
    let frame = hook.frame();
    // Diagnostics are to tell of every packet.
    if !cfg!(feature = "kernel-debug") {
        let None = short::verdict(hook, &mut stat, settings, frame);
    }
    cold_path();
    whole(&hook.anew(), stat.anew(), settings)
}

/// What becomes of packets that do not take the short way.
#[inline(always)]
fn whole<H: Hook>(hook: &H, mut stat: Stat, settings: &Settings) -> i32 {
    let Some(meta) = scratch(0) else {
        return H::code(Verdict::Pass);
    };
    let (frame, ifindex) = (hook.frame(), hook.ifindex());
    let bytes = hook.bytes();
    if let Err(error) = frame::parse(frame, meta) {
        stat.count(match error {
            ParseError::NotIp => Counter::NotIp,
            ParseError::Truncated => Counter::Truncated,
            ParseError::Malformed | ParseError::Mapped => Counter::Malformed,
            ParseError::TooDeep => Counter::TooDeep,
        });
        if error.hides_source() && settings.flags & SETTING_ENFORCE != 0 {
            stat.count(Counter::DropHidden);
            stat.add(Counter::DropHiddenBytes, bytes);
            return H::code(Verdict::DropExact);
        }
        stat.count(Counter::PassOther);
        stat.add(Counter::PassOtherBytes, bytes);
        return H::code(Verdict::Pass);
    }
    if meta.too_deep {
        stat.count(Counter::TooDeep);
    }
    let now = stat.now();
    let hints = hint::of(settings, &meta.src, meta.ip_version);
    stat.set_clear(NO_EPOCH);
    let told = if hints == 0 && reflex::calm(meta, now) {
        // Most packets of most hosts: nothing is listed, nobody is limited, no port is under flood.
        count(&mut stat, Verdict::Pass, meta.ip_version, bytes);
        PASSES | told::<H>(Verdict::Pass)
    } else {
        if hints != 0 {
            // Before anything is looked for: what is written meanwhile has another number.
            let Some(epoch) = hint::epoch() else {
                return H::code(Verdict::Pass);
            };
            stat.set_clear(epoch);
        }
        let Some(verdict) = judge(&mut stat, settings, meta, hints, bytes, ifindex, now) else {
            count(&mut stat, Verdict::DropExact, meta.ip_version, bytes);
            #[cfg(feature = "kernel-debug")]
            debug(hook, meta, Verdict::DropExact);
            return H::code(Verdict::DropExact);
        };
        let verdict = forgotten(verdict, now);
        if matches!(verdict, Verdict::Redirect) {
            hook.hand_over(STAGE_REDIRECT);
            redirect::failed(&mut stat, meta, bytes);
            return H::code(Verdict::DropExact);
        }
        if !verdict.drops() {
            cookie::consider(hook, &mut stat, settings, meta, verdict, ifindex, now);
        }
        count(&mut stat, verdict, meta.ip_version, bytes);
        #[cfg(feature = "kernel-debug")]
        debug(hook, meta, verdict);
        let passes = if verdict.drops() { 0 } else { PASSES };
        let allowed = if matches!(verdict, Verdict::PassAllowed) {
            ALLOWED
        } else {
            0
        };
        passes | allowed | told::<H>(verdict)
    };
    // What accounting needs to know of the verdict, so that the verifier walks it once and not once for each.
    let told = forget(told, now);
    if told & PASSES != 0 {
        let allowed = told & ALLOWED != 0;
        let clear = stat.clear();
        let learned = account::packet(
            &mut stat,
            settings,
            meta,
            Direction::Ingress,
            Some(allowed),
            clear,
            ifindex,
            now,
        );
        reflex::note(&mut stat, settings, meta, learned, allowed, ifindex, now);
    }
    (told >> CODE_SHIFT) as i32
}

/// Bit of what is remembered of a verdict: the packet passes.
const PASSES: u64 = 1;
/// Bit of it: its source is allowlisted.
const ALLOWED: u64 = 2;
/// Where the hook's code stands.
const CODE_SHIFT: u32 = 32;

/// The hook's code of a verdict, in its place.
#[inline(always)]
fn told<H: Hook>(verdict: Verdict) -> u64 {
    u64::from(H::code(verdict) as u32) << CODE_SHIFT
}

#[cfg(feature = "kernel-debug")]
#[inline(always)]
fn debug<H: Hook>(hook: &H, meta: &PacketMeta, verdict: Verdict) {
    if let Some(ctx) = hook.xdp() {
        crate::debug::judged(ctx, meta, verdict);
    }
}

/// What becomes of a packet from `meta.src`: allow, the entries of decisions, feed lists, the reflex, pass. `None`
/// where its own entry drops it, which is what blocked packets mostly meet, and short work.
#[inline(always)]
fn judge(
    stat: &mut Stat,
    settings: &Settings,
    meta: &PacketMeta,
    hints: u32,
    bytes: u64,
    ifindex: u32,
    now: u64,
) -> Option<Verdict> {
    let mut verdict = Verdict::Pass;
    if hints != 0 {
        if hints & HINT_ALLOW != 0 && allowed(&meta.src, meta.ip_version, now) {
            stat.set_clear(NO_EPOCH);
            return Some(Verdict::PassAllowed);
        }
        if hints & HINT_ENTRY != 0 {
            let exact = exact::find(settings, &meta.src, meta.ip_version);
            if let Some(exact) = exact
                && entry::strikes(settings, exact, bytes, now)
            {
                return None;
            }
            verdict = entry::judge(stat, settings, meta, exact, bytes, ifindex, now);
        }
        if hints & (HINT_LIST | HINT_LIST_NET) != 0 && list::may_add(settings, verdict) {
            verdict = list::stricter(verdict, list::judge(stat, settings, meta, hints, bytes, now));
        }
        if !list::may_add(settings, verdict) {
            return Some(verdict);
        }
        verdict = forgotten(verdict, now);
    }
    // What only counts hides no limit either.
    Some(list::stricter(verdict, reflex::limit(settings, meta, bytes, now)))
}

/// Counts a verdict: once by what became of the packet and its family, and once by reason.
#[inline(always)]
pub(crate) fn count(stat: &mut Stat, verdict: Verdict, ip_version: u8, bytes: u64) {
    let v4 = ip_version == 4;
    let (packets, octets) = match verdict {
        Verdict::Redirect if v4 => (Counter::RedirectV4, Counter::RedirectV4Bytes),
        Verdict::Redirect => (Counter::RedirectV6, Counter::RedirectV6Bytes),
        Verdict::Answer if v4 => (Counter::AnswerV4, Counter::AnswerV4Bytes),
        Verdict::Answer => (Counter::AnswerV6, Counter::AnswerV6Bytes),
        _ if verdict.drops() && v4 => (Counter::DropV4, Counter::DropV4Bytes),
        _ if verdict.drops() => (Counter::DropV6, Counter::DropV6Bytes),
        _ if v4 => (Counter::PassV4, Counter::PassV4Bytes),
        _ => (Counter::PassV6, Counter::PassV6Bytes),
    };
    stat.count(packets);
    stat.add(octets, bytes);
    let reason = match verdict {
        Verdict::Pass | Verdict::Redirect | Verdict::Answer => return,
        Verdict::PassAllowed => Counter::PassAllowed,
        Verdict::WouldDrop => Counter::WouldDrop,
        Verdict::WouldLimit => Counter::WouldLimit,
        Verdict::WouldRedirect => Counter::WouldRedirect,
        Verdict::DropExact => Counter::DropExact,
        Verdict::DropPrefix => Counter::DropPrefix,
        Verdict::DropList => Counter::DropList,
        Verdict::DropLimit => Counter::DropLimit,
        Verdict::DropReflex => Counter::DropReflex,
        Verdict::DropCookie => Counter::CookieInvalid,
    };
    stat.count(reason);
}
