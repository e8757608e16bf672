//! Far from what came before: each record of a source against all its records before, at once.
//!
//! In: observations. Out: what stands out of one. Looks at packets and bytes of a record (what a flow sent since its last one,
//! `kernel.report_interval` while it is busy), and at how fast flows are opened, by the time that eight of them took. Values are
//! logarithms: traffic is heavy-tailed, and its mean and deviation would be those of its largest values; their logarithms'
//! are not. Mean and deviation are Welford's: exact in one pass for the first [`MEMORY`] samples, from then on the older
//! ones fade. Statistical: it never blocks. Invariants: nothing is said before `warm_up` samples; what is odd teaches as
//! if it stood at the limit, what is accused nothing; memory is bounded. Blind spots: what rises slowly, at any pace (a
//! habit's threshold cannot be pushed so); what is within the usual spread of a source that does all sorts of things.
//! Known false positives: a first download. Deliberately elsewhere: windows, hours of the week (`baseline`).

use super::silence::Silence;
use super::{Finding, row};
use crate::config::StreamConfig;
use crate::flow::{Bounded, Cause, Observation};
use crate::types::{EvidenceClass, Family, Ktime};
use sentinel_common::addr::Addr;
use std::net::IpAddr;

/// Quantities of a record.
const N: usize = 3;
const NAMES: [&str; N] = ["packets", "bytes", "flows_per_minute"];
/// Least rise above the usual, per standard deviation asked for.
const FLOOR: [f64; N] = [10.0, 10_000.0, 30.0];
/// Samples from which on older ones fade: a host's week is not held against it for ever.
const MEMORY: u32 = 4096;
/// Least deviation believed in, natural logarithm: a very regular source is not odd at its first hiccup.
const LEAST_SPREAD: f64 = 0.35;
/// Flows whose opening is timed together: two at once are no pace.
const FLOWS: u8 = 8;
/// Least time they are taken to need, seconds: what arrives at once is no rate.
const LEAST_TIME: f64 = 0.1;

/// Mean and deviation of what came so far, in one pass (Welford, 1962; Knuth, TAOCP 2, 4.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Running {
    seen: u32,
    mean: f64,
    /// Sum of the squared differences from the mean.
    squares: f64,
}

impl Running {
    fn learn(&mut self, value: f64) {
        if self.seen < MEMORY {
            self.seen += 1;
        } else {
            self.squares *= 1.0 - 1.0 / f64::from(MEMORY);
        }
        let difference = value - self.mean;
        self.mean += difference / f64::from(self.seen);
        self.squares += difference * (value - self.mean);
    }

    /// Standard deviation of the sample, as it is.
    fn deviation(&self) -> f64 {
        (self.squares / f64::from(self.seen.saturating_sub(1).max(1))).sqrt()
    }

    fn spread(&self) -> f64 {
        self.deviation().max(LEAST_SPREAD)
    }

    /// The usual value, not its logarithm.
    fn usual(&self) -> f64 {
        self.mean.exp_m1().max(0.0)
    }

    /// The logarithm from which on a value is odd: `z` deviations above the mean, and no less than `rise` above the usual.
    fn limit(&self, z: f64, rise: f64) -> f64 {
        (self.mean + z * self.spread()).max((self.usual() + rise).ln_1p())
    }
}

/// What one source did so far.
#[derive(Clone, Debug, Default)]
struct Past {
    running: [Running; N],
    /// Flows opened since `since`.
    flows: u8,
    since: Ktime,
    silence: Silence,
    frozen_until: Ktime,
}

impl Past {
    /// What this record says of each quantity it says anything of.
    fn sample(&mut self, o: &Observation) -> [Option<f64>; N] {
        let mut sample = [None; N];
        // The first packet of a flow is a handshake or a question: it is the flow that counts then.
        if !matches!(o.cause, Cause::First | Cause::TimedOut) && o.forward_delta.packets > 0 {
            sample[0] = Some(o.forward_delta.packets as f64);
            sample[1] = Some(o.forward_delta.bytes as f64);
        }
        if o.new {
            if self.flows == 0 {
                self.since = o.at;
            }
            self.flows += 1;
            if self.flows > FLOWS {
                let minutes = o.at.since(self.since).as_secs_f64().max(LEAST_TIME) / 60.0;
                sample[2] = Some(f64::from(FLOWS) / minutes);
                (self.flows, self.since) = (1, o.at);
            }
        }
        sample
    }
}

/// What stands out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Odd {
    quantity: usize,
    z: f64,
    value: f64,
    usual: f64,
    samples: u32,
}

/// The records of every source against those before.
#[derive(Debug)]
pub(super) struct Stream {
    sources: Bounded<Addr, Past>,
    config: StreamConfig,
}

impl Stream {
    pub(super) fn new(config: &StreamConfig, sources: usize) -> Self {
        Self {
            sources: Bounded::new(sources),
            config: config.clone(),
        }
    }

    pub(super) const fn memory_bound(sources: usize) -> usize {
        Bounded::<Addr, Past>::memory_bound(sources)
    }

    /// What this source does until then neither teaches nor is told.
    pub(super) fn freeze(&mut self, source: IpAddr, until: Ktime) {
        if let Some(past) = self.sources.touch(&Addr::from(source)) {
            past.frozen_until = past.frozen_until.max(until);
        }
    }

    /// Takes in an observation; who may be forged gets no entry unless he is `lasting`.
    pub(super) fn observe(&mut self, o: &Observation, lasting: bool) -> Option<Odd> {
        let source = Addr::from(o.source);
        if !lasting && self.sources.peek(&source).is_none() {
            return None;
        }
        let StreamConfig { warm_up, z } = self.config;
        let past = self.sources.touch_or(source, Past::default);
        let sample = past.sample(o);
        if o.at < past.frozen_until {
            return None;
        }
        let mut oddest: Option<Odd> = None;
        for (quantity, value) in sample.into_iter().enumerate() {
            let Some(value) = value else { continue };
            let running = &mut past.running[quantity];
            let logarithm = value.max(0.0).ln_1p();
            if running.seen < warm_up {
                running.learn(logarithm);
                continue;
            }
            let limit = running.limit(z, FLOOR[quantity] * z);
            if logarithm >= limit {
                let odd = Odd {
                    quantity,
                    z: (logarithm - running.mean) / running.spread(),
                    value,
                    usual: running.usual(),
                    samples: running.seen,
                };
                oddest = Some(oddest.filter(|other| other.z >= odd.z).unwrap_or(odd));
            }
            running.learn(logarithm.min(limit));
        }
        oddest.filter(|_| past.silence.broken(o.at))
    }

    /// From 0.25 at the limit to 0.5 far beyond: a medium at most with the default thresholds.
    pub(super) fn ratio(&self, odd: &Odd) -> f64 {
        1.0 - 0.5 * self.config.z / odd.z
    }

    pub(super) fn finding(&self, o: &Observation, odd: &Odd) -> Finding {
        let name = NAMES[odd.quantity];
        let words = name.replace('_', " ");
        let Odd { z, value, usual, .. } = *odd;
        let unit = if odd.quantity == 2 { "flows/min" } else { "per record" };
        let said = if odd.quantity == 2 {
            format!("opens {value:.0} {words}")
        } else {
            format!("sent {value:.0} {words} in one record")
        };
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::Unknown,
            technique: format!("sudden {words}").into(),
            ratio: self.ratio(odd),
            class: EvidenceClass::Statistical,
            evidence: vec![
                row("z_score", z, self.config.z, "standard deviations"),
                row(name, value, usual, unit),
                row(
                    "samples",
                    f64::from(odd.samples),
                    f64::from(self.config.warm_up),
                    "before this one",
                ),
            ],
            summary: format!(
                "{} {said} against {usual:.0} in the {} before: {z:.1} standard deviations above (the limit is {})",
                o.source, odd.samples, self.config.z
            ),
        }
    }

    pub(super) fn load(&self) -> (usize, u64) {
        (self.sources.len(), self.sources.evicted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn one_pass_says_what_two_passes_say(values in prop::collection::vec(0.0_f64..40.0, 2..400)) {
            let mut running = Running::default();
            for value in &values {
                running.learn(*value);
            }
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
            prop_assert!((running.mean - mean).abs() < 1e-9, "{} {mean}", running.mean);
            prop_assert!((running.deviation() - variance.sqrt()).abs() < 1e-7, "{} {}", running.deviation(), variance.sqrt());
        }
    }

    #[test]
    fn what_is_old_fades_and_nothing_is_lost_of_precision() {
        let mut running = Running::default();
        for n in 0..20 * MEMORY {
            running.learn(1.0 + f64::from(n % 2));
        }
        assert!((running.mean - 1.5).abs() < 1e-3 && (running.deviation() - 0.5).abs() < 1e-3);
        for n in 0..20 * MEMORY {
            running.learn(8.0 + f64::from(n % 2));
        }
        assert!((running.mean - 8.5).abs() < 1e-3, "{}", running.mean);
        assert!((running.deviation() - 0.5).abs() < 1e-2, "{}", running.deviation());
    }
}
