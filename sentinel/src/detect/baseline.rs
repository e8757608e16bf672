//! Far from habit: what a source does per window against its own usual, and against the hour of the week.
//!
//! Looks for whatever is unusual: volume, flows, distinct ports, fan-out; for inside hosts also in longer windows, and
//! peers they never had (insiders: MITRE ATT&CK T1046, T1048, T1039). Statistical: it never blocks. Blind spots: what
//! always was so; a rise of less than `drift` a day; a host seen for the first time. Known false positives: a first large
//! download, a new role for a host, a public holiday.

use super::habit::Level;
use super::season::Season;
use super::silence::Silence;
use super::sketch::{Sketch, digest};
use super::stream::Stream;
use super::{Detector, Finding, Voice, row, span};
use crate::config::BaselineConfig;
use crate::flow::{Bounded, Observation};
use crate::types::{Clock, Detector as Name, EvidenceClass, Family, Ktime};
use sentinel_common::addr::Addr;
use std::net::IpAddr;
use std::time::Duration;

/// Quantities per window.
const N: usize = 6;
const NAMES: [&str; N] = [
    "packets",
    "bytes",
    "flows",
    "distinct_ports",
    "distinct_peers",
    "new_peers",
];
/// Least rise above the usual, per standard deviation asked for.
const FLOOR: [f64; N] = [50.0, 50_000.0, 5.0, 3.0, 3.0, 2.0];
/// Packets of a flow that may still be forged one by one, each from another source.
const FORGED: u64 = 2;
/// Length of a day.
const DAY: Duration = Duration::from_hours(24);

/// Habit of one source.
#[derive(Clone, Debug, Default)]
struct Habit {
    window: u64,
    current: [f64; N],
    /// What it takes to be odd in the running window.
    limits: [f64; N],
    ports: u128,
    peers: u128,
    levels: [Level; N],
    seen: u32,
    since: Ktime,
    followed: Ktime,
    said: bool,
    silence: Silence,
    frozen_until: Ktime,
}

/// Linear counting in 128 bits: exact for a few items, saturating at several hundred.
fn estimate(bits: u128) -> f64 {
    let zeros = f64::from(bits.count_zeros().max(1));
    128.0 * (128.0 / zeros).ln()
}

impl Habit {
    fn add(&mut self, o: &Observation, new_peer: bool) {
        self.ports |= 1 << (u32::from(o.target.port).wrapping_mul(0x9e37_79b1) >> 25);
        self.peers |= 1 << (digest(&Addr::from(o.target.ip)) >> 57);
        self.current[0] += o.forward_delta.packets as f64;
        self.current[1] += o.forward_delta.bytes as f64;
        self.current[2] += f64::from(u8::from(o.new));
        self.current[3] = estimate(self.ports);
        self.current[4] = estimate(self.peers);
        self.current[5] += f64::from(u8::from(new_peer));
    }

    /// What the running window holds, as logarithms.
    fn values(&self) -> [f32; N] {
        self.current.map(|value| value.max(0.0).ln_1p() as f32)
    }

    /// Works out, once a window, what it takes to be odd in it.
    fn limit(&mut self, shape: &[f32; N], z: f64) {
        let z = asked(z, self.seen);
        for i in 0..N {
            let threshold = self.levels[i].threshold(z as f32, FLOOR[i] * z);
            self.limits[i] = f64::from(threshold + shape[i]).exp_m1();
        }
    }

    fn usual(&self, quantity: usize, shape: &[f32; N]) -> f64 {
        f64::from(self.levels[quantity].mean() + shape[quantity])
            .exp_m1()
            .max(0.0)
    }

    /// The quantity furthest past its limit.
    fn oddest(&self, shape: &[f32; N], z: f64) -> Option<Odd> {
        let (values, z) = (self.values(), asked(z, self.seen));
        let odd = |quantity: usize| {
            let level = &self.levels[quantity];
            let threshold = level.threshold(z as f32, FLOOR[quantity] * z);
            let past = (values[quantity] - shape[quantity] - threshold) / level.spread();
            Odd {
                quantity,
                z: z + f64::from(past.max(0.0)),
                limit: z,
                value: self.current[quantity],
                usual: self.usual(quantity, shape),
            }
        };
        (0..N)
            .filter(|i| self.current[*i] >= self.limits[*i])
            .map(odd)
            .max_by(|a, b| a.z.total_cmp(&b.z))
    }
}

/// As many standard deviations as are exceeded as rarely as `z` of them would be if level and spread were known, and not
/// estimated from `seen` windows: Student's t, by the first terms of its expansion (Abramowitz and Stegun, 26.7.5).
fn asked(z: f64, seen: u32) -> f64 {
    let (n, z2) = (f64::from(seen.max(1)), z * z);
    let first = (z2 + 1.0) / 4.0;
    let second = ((5.0 * z2 + 16.0) * z2 + 3.0) / 96.0;
    let third = (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / 384.0;
    z * (1.0 + (first + (second + third / n) / n) / n)
}

/// What stands out.
#[derive(Clone, Copy, Debug)]
struct Odd {
    quantity: usize,
    z: f64,
    /// As many it takes.
    limit: f64,
    value: f64,
    usual: f64,
}

/// Habits at one length of window.
#[derive(Debug)]
struct Scale {
    habits: Bounded<Addr, Habit>,
    /// Of inside hosts, and of everybody else.
    seasons: [Season<N>; 2],
    window: Duration,
    inside_only: bool,
}

/// Compares every source with itself and with the hour of the week. Statistical: it never suffices for a block.
///
/// By `mode`, its windows with its habits, its records with those before ([`Stream`]), or both. Of habits: only windows in which the source did something count. What another detector accuses, and what is itself odd, teaches
/// nothing. After `settle` the threshold of each source moves by at most `drift` a day, in either direction, and an hour of
/// the week by as much: a slow rise in volume moves what is found by no more than (1 + `drift`)^2 a day, 32 % in 14 days
/// by default. Who was told of is not told of again for an hour, then two, up to a day.
#[derive(Debug)]
pub struct Baseline {
    scales: [Scale; 2],
    /// Peers of inside hosts in the last one to two weeks.
    peers: Bounded<Addr, Sketch<2, 16>>,
    stream: Option<Stream>,
    config: BaselineConfig,
    freeze: Duration,
    clock: Clock,
}

impl Baseline {
    /// No habits known yet.
    pub fn new(config: &BaselineConfig, freeze: Duration, sources: usize) -> Self {
        let week = (7.0 * config.drift) as f32;
        let scale = |window: Duration, capacity: usize, inside_only: bool| Scale {
            habits: Bounded::new(capacity),
            seasons: [Season::new(week), Season::new(week)],
            window,
            inside_only,
        };
        Self {
            scales: [
                scale(config.window, sources, false),
                scale(config.long_window, Self::inside(sources), true),
            ],
            peers: Bounded::new(Self::inside(sources)),
            stream: config.mode.stream().then(|| Stream::new(&config.stream, sources)),
            config: config.clone(),
            freeze,
            clock: Clock::default(),
        }
    }

    /// Inside hosts: a sixteenth of `flow.max_sources`.
    const fn inside(sources: usize) -> usize {
        if sources / 16 > 16 { sources / 16 } else { 16 }
    }

    pub(super) const fn memory_bound(config: &BaselineConfig, sources: usize) -> usize {
        let stream = if config.mode.stream() {
            Stream::memory_bound(sources)
        } else {
            0
        };
        let habit = if config.mode.habit() {
            Self::habits_bound(sources)
        } else {
            0
        };
        habit + stream
    }

    const fn habits_bound(sources: usize) -> usize {
        Bounded::<Addr, Habit>::memory_bound(sources)
            + Bounded::<Addr, Habit>::memory_bound(Self::inside(sources))
            + Bounded::<Addr, Sketch<2, 16>>::memory_bound(Self::inside(sources))
            + 4 * Season::<N>::memory_bound()
    }

    /// Sets for how long the accused teach nothing, for accusations to come.
    pub(super) const fn set_freeze(&mut self, freeze: Duration) {
        self.freeze = freeze;
    }

    #[cfg(test)]
    pub(super) const fn frozen_for(&self) -> Duration {
        self.freeze
    }

    /// Sets the relation of the two clocks anew: hours are those of the wall clock, UTC.
    pub(super) fn set_clock(&mut self, clock: Clock) {
        self.clock = clock;
    }

    /// Another detector accuses this source: what it does teaches nothing for a while.
    pub fn freeze(&mut self, source: IpAddr, at: Ktime) {
        let until = at.after(self.freeze);
        for scale in &mut self.scales {
            if let Some(habit) = scale.habits.touch(&Addr::from(source)) {
                habit.frozen_until = habit.frozen_until.max(until);
            }
        }
        if let Some(stream) = &mut self.stream {
            stream.freeze(source, until);
        }
    }

    /// What stands out of its windows.
    fn habit(&mut self, o: &Observation) -> Option<Finding> {
        let new_peer = o.from_inside && o.new && {
            let week = o.at.0 / (7 * DAY.as_nanos() as u64);
            let known = self.peers.touch_or(Addr::from(o.source), Sketch::default);
            known.add(&Addr::from(o.target.ip), week)
        };
        let mut found = None;
        for scale in &mut self.scales {
            let odd = scale.observe(o, new_peer, &self.config, self.clock);
            found = found.or(odd.map(|odd| (odd, scale.window)));
        }
        let (odd, window) = found?;
        // From 0.25 at the limit to 0.5 far beyond: a medium at most with the default thresholds.
        let ratio = 1.0 - 0.5 * odd.limit / odd.z;
        Some(Self::finding(o, odd, window, ratio))
    }

    fn finding(o: &Observation, odd: Odd, window: Duration, ratio: f64) -> Finding {
        let (name, window) = (NAMES[odd.quantity], span(window));
        let words = name.replace('_', " ");
        let Odd {
            z, limit, value, usual, ..
        } = odd;
        Finding {
            at: o.at,
            source: Some(o.source),
            targets: vec![o.target],
            family: Family::Unknown,
            technique: format!("unusual {words}").into(),
            ratio,
            class: EvidenceClass::Statistical,
            evidence: vec![
                row("z_score", z, limit, "standard deviations"),
                row(name, value, usual, format!("{words}/{window}")),
            ],
            summary: format!(
                "{} is at {value:.0} {words} in {window} against a habit of {usual:.0} at this hour: {z:.1} standard deviations \
                 above (the limit is {limit:.1})",
                o.source
            ),
        }
    }
}

/// Whether the source may be here for long enough to have habits: it was answered, or says more than forged sources do.
fn lasting(o: &Observation) -> bool {
    o.window.talked > 0 || o.window.completed > 0 || o.window.flows > 1 || o.forward.packets > FORGED || o.from_inside
}

impl Scale {
    fn observe(&mut self, o: &Observation, new_peer: bool, config: &BaselineConfig, clock: Clock) -> Option<Odd> {
        let source = Addr::from(o.source);
        if self.inside_only && !o.from_inside || !lasting(o) && self.habits.peek(&source).is_none() {
            return None;
        }
        let window_ns = (self.window.as_nanos() as u64).max(1);
        let index = o.at.0 / window_ns;
        let season = &mut self.seasons[usize::from(!o.from_inside)];
        let habit = self.habits.touch_or(source, || Habit {
            window: index,
            since: o.at,
            followed: o.at,
            ..Habit::default()
        });
        if index > habit.window {
            let began = Ktime(habit.window.saturating_mul(window_ns));
            let when = clock.wall(began);
            let settled = o.at.since(habit.since) >= config.settle;
            if o.at >= habit.frozen_until && (settled || !habit.said) {
                let (values, shape) = (habit.values(), season.at(when));
                season.learn(when, &values);
                for i in 0..N {
                    habit.levels[i].learn(values[i] - shape[i], habit.seen);
                }
                habit.seen = habit.seen.saturating_add(1);
            }
            if settled {
                let z = config.z as f32;
                let days = o.at.since(habit.followed).as_secs_f64() / DAY.as_secs_f64();
                for (level, floor) in habit.levels.iter_mut().zip(FLOOR) {
                    level.follow(z, floor * config.z, config.drift * days);
                    level.settle(z, floor * config.z);
                }
                habit.followed = o.at;
            }
            habit.current = [0.0; N];
            (habit.ports, habit.peers, habit.said, habit.window) = (0, 0, false, index);
            habit.limit(&season.at(clock.wall(o.at)), config.z);
        }
        habit.add(o, new_peer);
        if habit.seen < config.warm_up || habit.said || o.at < habit.frozen_until {
            return None;
        }
        if habit
            .current
            .iter()
            .zip(habit.limits)
            .all(|(value, limit)| *value < limit)
        {
            return None;
        }
        let odd = habit.oddest(&season.at(clock.wall(o.at)), config.z)?;
        habit.said = true;
        habit.silence.broken(o.at).then_some(odd)
    }
}

impl Detector for Baseline {
    fn name(&self) -> Name {
        Name::Baseline
    }

    fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        let habit = self.config.mode.habit().then(|| self.habit(o)).flatten();
        let stream = self.stream.as_mut().and_then(|stream| {
            let odd = stream.observe(o, lasting(o))?;
            Some(stream.finding(o, &odd))
        });
        let finding = habit.or(stream)?;
        voice
            .may_wonder(o.source, Name::Baseline, Family::Unknown, finding.ratio, o.at)
            .then_some(finding)
    }

    fn load(&self) -> (usize, u64) {
        let [short, long] = &self.scales;
        let (records, gone) = self.stream.as_ref().map_or((0, 0), Stream::load);
        (
            short.habits.len() + long.habits.len() + self.peers.len() + records,
            short.habits.evicted() + long.habits.evicted() + self.peers.evicted() + gone,
        )
    }
}
