//! Far from the source's own habit: exponentially weighted mean and variance of what it does per window.

use super::{Detector, Finding, Voice, row, span};
use crate::config::BaselineConfig;
use crate::flow::{Bounded, Observation};
use crate::types::{Detector as Name, EvidenceClass, Family, Ktime};
use sentinel_common::addr::Addr;
use std::net::IpAddr;
use std::time::Duration;

/// Weight of a new window.
const ALPHA: f64 = 0.1;
/// Quantities: packets, bytes, flows, distinct ports.
const N: usize = 4;
const NAMES: [&str; N] = ["packets", "bytes", "flows", "distinct_ports"];
/// Least standard deviation believed in, so that a very regular source is not odd at its first hiccup.
const FLOOR: [f64; N] = [50.0, 50_000.0, 5.0, 3.0];
/// Least standard deviation as a share of the mean.
const FLOOR_SHARE: f64 = 0.25;

/// Packets of a flow that may still be forged one by one, each from another source.
const FORGED: u64 = 2;

/// Habit of one source.
#[derive(Clone, Copy, Debug, Default)]
struct Habit {
    window: u64,
    current: [f64; N],
    ports: u128,
    mean: [f64; N],
    variance: [f64; N],
    seen: u32,
    said: bool,
    frozen_until: Ktime,
}

impl Habit {
    /// Ends the running window: what it held becomes habit, unless the source is under suspicion.
    fn close(&mut self, at: Ktime) {
        if at >= self.frozen_until && !self.said {
            for i in 0..N {
                let difference = self.current[i] - self.mean[i];
                if self.seen == 0 {
                    self.mean[i] = self.current[i];
                } else {
                    // West, "Updating mean and variance estimates", 1979, with a fixed weight.
                    let step = ALPHA * difference;
                    self.mean[i] += step;
                    self.variance[i] = (1.0 - ALPHA) * (self.variance[i] + difference * step);
                }
            }
            self.seen = self.seen.saturating_add(1);
        }
        self.current = [0.0; N];
        self.ports = 0;
        self.said = false;
    }

    /// The quantity furthest above habit, in standard deviations.
    fn oddest(&self) -> (usize, f64) {
        let mut best = (0, f64::MIN);
        for (i, floor) in FLOOR.into_iter().enumerate() {
            let deviation = self.variance[i].sqrt().max(floor).max(FLOOR_SHARE * self.mean[i]);
            let z = (self.current[i] - self.mean[i]) / deviation;
            if z > best.1 {
                best = (i, z);
            }
        }
        best
    }
}

/// Compares every source with itself. Statistical: it never suffices for a block, and is at most medium.
///
/// Only windows in which the source did something count. Habit is frozen while another detector accuses the source,
/// and a window that was itself odd teaches nothing.
#[derive(Debug)]
pub struct Baseline {
    habits: Bounded<Addr, Habit>,
    window: Duration,
    warm_up: u32,
    z: f64,
    freeze: Duration,
}

impl Baseline {
    /// No habits known yet.
    pub fn new(config: &BaselineConfig, freeze: Duration, sources: usize) -> Self {
        Self {
            habits: Bounded::new(sources),
            window: config.window,
            warm_up: config.warm_up,
            z: config.z.max(0.1),
            freeze,
        }
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        Bounded::<Addr, Habit>::memory_bound(sources)
    }

    /// Another detector accuses this source: what it does teaches nothing for a while.
    pub fn freeze(&mut self, source: IpAddr, at: Ktime) {
        let until = at.after(self.freeze);
        let habit = self.habits.touch_or(Addr::from(source), Habit::default);
        habit.frozen_until = habit.frozen_until.max(until);
    }
}

/// Whether the source may be here for long enough to have habits: it was answered, or says more than forged sources do.
fn lasting(o: &Observation) -> bool {
    o.window.talked > 0 || o.window.completed > 0 || o.window.flows > 1 || o.forward.packets > FORGED || o.from_inside
}

impl Detector for Baseline {
    fn name(&self) -> Name {
        Name::Baseline
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        let source = Addr::from(o.source);
        if !lasting(o) && self.habits.peek(&source).is_none() {
            return None;
        }
        let window_ns = (self.window.as_nanos() as u64).max(1);
        let index = o.at.0 / window_ns;
        let habit = self.habits.touch_or(source, || Habit {
            window: index,
            ..Habit::default()
        });
        if index > habit.window {
            habit.close(o.at);
            habit.window = index;
        }
        habit.current[0] += o.forward_delta.packets as f64;
        habit.current[1] += o.forward_delta.bytes as f64;
        habit.current[2] += f64::from(u8::from(o.new));
        // A sketch of 128 bits (linear counting): exact for a few ports, saturating at several hundred.
        habit.ports |= 1 << (u32::from(o.target.port).wrapping_mul(0x9e37_79b1) >> 25);
        let zeros = f64::from(habit.ports.count_zeros().max(1));
        habit.current[3] = 128.0 * (128.0 / zeros).ln();
        if habit.seen < self.warm_up || habit.said || o.at < habit.frozen_until {
            return None;
        }
        let (i, z) = habit.oddest();
        if z < self.z {
            return None;
        }
        habit.said = true;
        let (current, mean) = (habit.current[i], habit.mean[i]);
        // From 0.25 at the limit to 0.5 far beyond: a medium at most with the default thresholds.
        let ratio = 1.0 - 0.5 * self.z / z;
        if !voice.may_wonder(o.source, Name::Baseline, Family::Unknown, ratio, o.at) {
            return None;
        }
        let (name, window) = (NAMES[i], span(self.window));
        let words = name.replace('_', " ");
        Some(Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::Unknown,
            technique: format!("unusual {words}").into(),
            ratio,
            class: EvidenceClass::Statistical,
            evidence: vec![
                row("z_score", z, self.z, "standard deviations"),
                row(name, current, mean, format!("{words}/{window}")),
            ],
            summary: format!(
                "{} is at {current:.0} {words} in {window} against a habit of {mean:.0}: {z:.1} standard deviations above \
                 (the limit is {})",
                o.source, self.z
            ),
        })
    }

    fn load(&self) -> (usize, u64) {
        (self.habits.len(), self.habits.evicted())
    }
}
