//! Counters in, a snapshot out: once a second, for dashboard, `/stats`, metrics and health.

use super::Gauges;
use crate::kernel::KernelError;
use crate::time;
use crate::types::{Component, Condition, Health, InterfaceStats, MapUse, Stats};
use sentinel_common::stat::Counter;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often.
const EVERY: Duration = Duration::from_secs(1);

/// Items dropped in user space so far, by (stage, reason).
pub type Losses = BTreeMap<(&'static str, &'static str), u64>;

/// Interfaces with their counters, and how full each list is.
pub type Reading = (Vec<InterfaceStats>, BTreeMap<String, MapUse>);

/// The room.
pub struct Counting {
    /// Reads the kernel's counters.
    pub counters: Box<dyn Fn() -> Result<Reading, KernelError> + Send>,
    /// Whether there are no programs in the kernel, but sets of nftables.
    pub blind: bool,
    /// Whether another sensor is listened to.
    pub hears: bool,
    /// Table sizes.
    pub gauges: Arc<Gauges>,
    /// Reads what was dropped in user space.
    pub losses: Box<dyn Fn() -> Losses + Send>,
    /// Where the snapshot goes.
    pub stats: watch::Sender<Arc<Stats>>,
    /// Where the state of kernel and ring goes.
    pub health: watch::Sender<Arc<Health>>,
}

impl Counting {
    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut timer = tokio::time::interval(EVERY);
        let mut lost_before = 0;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = timer.tick() => {}
            }
            match self.snapshot() {
                Ok(stats) => {
                    let lost = stats.total(Counter::EventLost) + stats.lost.values().sum::<u64>();
                    if self.blind {
                        self.report(Component::Kernel, blind_condition(self.hears));
                    } else {
                        self.report(Component::Kernel, kernel_condition(&stats));
                        self.report(Component::Ring, ring_condition(lost - lost_before));
                    }
                    lost_before = lost;
                    self.stats.send_replace(Arc::new(stats));
                }
                Err(error) => self.report(
                    Component::Kernel,
                    Condition::Degraded {
                        cause: error.to_string(),
                        mend: "see the log and `sentinel doctor`".into(),
                    },
                ),
            }
        }
    }

    fn snapshot(&self) -> Result<Stats, KernelError> {
        let (interfaces, maps) = (self.counters)()?;
        Ok(Stats {
            at: time::wall_now(),
            interfaces,
            maps,
            flows_active: self.gauges.flows.load(Ordering::Relaxed),
            sources_active: self.gauges.sources.load(Ordering::Relaxed),
            unprotected: Duration::from_nanos(self.gauges.unprotected_ns.load(Ordering::Relaxed)),
            lost: (self.losses)(),
        })
    }

    fn report(&self, part: Component, condition: Condition) {
        self.health
            .send_if_modified(|health| Health::note(health, part, condition));
    }
}

/// Decisions are carried out, and nobody here looks at packets.
fn blind_condition(hears: bool) -> Condition {
    Condition::Degraded {
        cause: if hears {
            "`kernel.hook: nftables`: no packet is seen, so nothing is detected but what Bettercap hears, and no feed is blocked"
        } else {
            "`kernel.hook: nftables`: no packet is seen, so nothing is detected and no feed is blocked; decisions made by hand \
             are carried out"
        }
        .into(),
        mend: "set `kernel.hook: xdp` or `auto` where BPF can be loaded (`sentinel doctor` tells)".into(),
    }
}

/// Native everywhere is as it should be; generic and tc work, slower, and are said unless asked for.
fn kernel_condition(stats: &Stats) -> Condition {
    let unwanted = |mode: &str| -> Vec<String> {
        let of_mode = stats.interfaces.iter().filter(|i| i.xdp_mode == mode && !i.wanted());
        of_mode
            .map(|i| {
                i.fallback
                    .as_ref()
                    .map_or_else(|| i.name.clone(), |why| format!("{} ({why})", i.name))
            })
            .collect()
    };
    let troubles: Vec<_> = stats.interfaces.iter().filter_map(|i| i.trouble.as_ref()).collect();
    if let Some(first) = troubles.first() {
        let causes: Vec<&str> = troubles.iter().map(|trouble| trouble.cause.as_str()).collect();
        return Condition::Degraded {
            cause: causes.join("; "),
            mend: first.mend.clone(),
        };
    }
    let (on_tc, generic) = (unwanted("tc"), unwanted("generic"));
    if !on_tc.is_empty() {
        return Condition::Degraded {
            cause: format!(
                "packets are judged on tc, at a higher cost and without redirection to the honeypot, on {}",
                on_tc.join(", ")
            ),
            mend: "free the interface's XDP hook and restart, or set `kernel.hook: tc` if this is wanted".into(),
        };
    }
    if !generic.is_empty() {
        return Condition::Degraded {
            cause: format!(
                "XDP runs in generic mode on {}: it protects, at a higher cost per packet",
                generic.join(", ")
            ),
            mend: "use a driver with native XDP, or set `kernel.force_generic: true` if this is wanted".into(),
        };
    }
    let names: Vec<String> = stats
        .interfaces
        .iter()
        .map(|i| format!("{} ({})", i.name, i.xdp_mode))
        .collect();
    Condition::Ok {
        detail: names.join(", "),
    }
}

fn ring_condition(lost: u64) -> Condition {
    if lost == 0 {
        return Condition::Ok {
            detail: "no record lost in the last second".into(),
        };
    }
    Condition::Degraded {
        cause: format!("{lost} flow records lost in the last second; enforcement is not affected"),
        mend: "raise `kernel.ring_size` or lower `kernel.event_budget`".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{InterfaceStats, Trouble};
    use sentinel_common::stat::COUNTERS;

    fn condition(mode: &'static str, fallback: Option<&str>, trouble: Option<Trouble>) -> Condition {
        kernel_condition(&Stats {
            interfaces: vec![InterfaceStats {
                name: "eth0".into(),
                xdp_mode: mode,
                fallback: fallback.map(str::to_owned),
                trouble,
                egress: true,
                counters: [0; COUNTERS],
            }],
            ..Stats::default()
        })
    }

    #[test]
    fn what_is_less_than_native_is_said_with_the_reason_unless_it_was_asked_for() {
        for (mode, fallback) in [
            ("native", None),
            ("generic", Some("wanted: `kernel.force_generic: true`")),
            ("tc", Some("wanted: `kernel.hook: tc`")),
        ] {
            let condition = condition(mode, fallback, None);
            assert!(matches!(condition, Condition::Ok { .. }), "{condition:?}");
        }
        let gone = Trouble {
            cause: "there is no interface `eth0`".into(),
            mend: "plug it in".into(),
        };
        for (mode, fallback, trouble, says) in [
            (
                "generic",
                Some("native: not supported"),
                None,
                "eth0 (native: not supported)",
            ),
            ("tc", Some("another XDP program"), None, "eth0 (another XDP program)"),
            ("none", None, Some(gone), "no interface `eth0`"),
        ] {
            match condition(mode, fallback, trouble) {
                Condition::Degraded { cause, mend } => {
                    assert!(cause.contains(says) && !mend.is_empty(), "{cause}");
                }
                Condition::Ok { detail } => panic!("{detail}"),
            }
        }
    }
}
