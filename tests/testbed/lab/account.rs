//! Where flow records went, to the unit, and what the agent spent on them.

use crate::agent::Agent;
use crate::metrics::Metrics;
use crate::wait;
use anyhow::{Context, Result};
use std::time::Duration;

/// The kernel's counters are published once a second.
const QUIET: Duration = Duration::from_millis(2500);
const SETTLED: Duration = Duration::from_mins(1);

/// Counters at one moment, or between two.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Account {
    /// Flows the kernel began to account for.
    pub(super) flows: f64,
    /// Records put on the ring.
    pub(super) sent: f64,
    /// Records the ring had no room for.
    pub(super) lost: f64,
    /// Records put off by the budget.
    pub(super) deferred: f64,
    /// Records decoded from the ring.
    pub(super) ring: f64,
    /// Records fetched from the flow map.
    pub(super) sweep: f64,
    /// Records that went through flow table and detectors.
    pub(super) scored: f64,
    /// Records dropped between ring and decoder: batches for which the channel had no room.
    pub(super) channel: f64,
    /// Records the decoder refused.
    pub(super) refused: f64,
    /// Processor time of the agent, seconds.
    pub(super) cpu: f64,
}

impl Account {
    fn read(agent: &Agent, m: &Metrics) -> Result<Self> {
        Ok(Self {
            flows: m.sum("sentinel_kernel_flows_total", &["result=\"new\""]),
            sent: m.sum("sentinel_ringbuf_events_total", &[]),
            lost: m.sum("sentinel_ringbuf_lost_total", &[]),
            deferred: m.sum("sentinel_ringbuf_deferred_total", &[]),
            ring: m.sum("sentinel_flow_records_total", &["origin=\"ring\""]),
            sweep: m.sum("sentinel_flow_records_total", &["origin=\"sweep\""]),
            scored: m.sum("sentinel_flow_score_seconds_count", &[]),
            channel: m.sum("sentinel_events_dropped_total", &["stage=\"ring\""]),
            refused: m.sum("sentinel_events_dropped_total", &["stage=\"decode\""]),
            cpu: cpu(agent)?,
        })
    }

    /// Waits until nothing moves any more, and reads.
    pub(super) fn settled(agent: &Agent) -> Result<Self> {
        let mut before = Self::default();
        let mut since = std::time::Instant::now();
        wait::until("the counters to come to rest", SETTLED, || {
            let now = Self::read(agent, &agent.metrics()?)?;
            if (now.sent, now.scored, now.flows) != (before.sent, before.scored, before.flows) {
                (before, since) = (now, std::time::Instant::now());
            }
            std::thread::sleep(Duration::from_millis(200));
            Ok((since.elapsed() > QUIET).then_some(now))
        })
    }

    pub(super) fn since(&self, before: &Self) -> Self {
        Self {
            flows: self.flows - before.flows,
            sent: self.sent - before.sent,
            lost: self.lost - before.lost,
            deferred: self.deferred - before.deferred,
            ring: self.ring - before.ring,
            sweep: self.sweep - before.sweep,
            scored: self.scored - before.scored,
            channel: self.channel - before.channel,
            refused: self.refused - before.refused,
            cpu: self.cpu - before.cpu,
        }
    }

    /// Records of which nobody knows where they went: those sent and not decoded, refused or counted as dropped, and
    /// those decoded or fetched and not scored. Zero, or something is wrong.
    pub(super) fn uncounted(&self) -> f64 {
        let on_the_way = self.sent - self.ring - self.refused - self.channel;
        let in_the_house = self.ring + self.sweep - self.scored;
        on_the_way.abs() + in_the_house.abs()
    }
}

/// User and system time of the agent, seconds (`man 5 proc`, fields 14 and 15, in ticks of 10 ms).
fn cpu(agent: &Agent) -> Result<f64> {
    let pid = agent.pid().context("the agent is not running")?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("/proc/PID/stat has no name")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / 100.0)
}

/// A line of `/proc/PID/status`, MiB.
pub(super) fn memory(agent: &Agent, line: &str) -> Result<f64> {
    let pid = agent.pid().context("the agent is not running")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let rest = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
    let kib: f64 = rest
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .with_context(|| format!("no {line} in /proc/PID/status"))?
        .parse()?;
    Ok(kib / 1024.0)
}
