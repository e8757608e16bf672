//! Has the database forget what is too old or too much, and tells how large it is.

use crate::config::RetentionConfig;
use crate::metrics::{Metrics, PrunedLabels};
use crate::store::{Pruned, Record, Retain, Space, Store, StoreError};
use crate::time;
use crate::types::{Clock, Component, Condition, Health, Ktime, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Time after the start until the first removal: the start itself has enough to write.
const FIRST: Duration = Duration::from_secs(30);
/// Time between two.
const EVERY: Duration = Duration::from_mins(10);

/// A wall clock that is further ahead than this of where it was is not believed at once.
const LEAP_NS: i64 = 3_600_000_000_000;
/// And it is after so long: a clock that was wrong at the start is set once, and a mistake is taken back sooner.
const DOUBT_NS: u64 = 24 * 3_600_000_000_000;

/// What time it is for what is removed by its age. A clock that is set a year ahead, be it for a minute, must not empty the
/// database; one that is set back only has more kept.
#[derive(Debug)]
struct Reckoning {
    trusted: Clock,
    leapt: Option<Ktime>,
}

impl Reckoning {
    fn now(&mut self, clock: Clock, boot: Ktime) -> Timestamp {
        if clock.offset_ns.saturating_sub(self.trusted.offset_ns) <= LEAP_NS {
            (self.trusted, self.leapt) = (clock, None);
            return clock.wall(boot);
        }
        let since = *self.leapt.get_or_insert_with(|| {
            tracing::warn!("the clock was set ahead; for a day what is removed by its age goes by what it was before");
            boot
        });
        if boot.0.saturating_sub(since.0) >= DOUBT_NS {
            (self.trusted, self.leapt) = (clock, None);
        }
        self.trusted.wall(boot)
    }
}

/// The room.
pub struct Retention {
    /// What is kept, and for how long.
    pub config: RetentionConfig,
    /// Where.
    pub store: Store,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
    /// Where it is told how that goes.
    pub health: watch::Sender<Arc<Health>>,
}

impl Retention {
    /// Until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        let mut reckoning = Reckoning {
            trusted: time::clock(),
            leapt: None,
        };
        let mut wait = FIRST;
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = EVERY;
            let now = reckoning.now(time::clock(), time::boot_now());
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.remove(now) => {}
            }
        }
    }

    async fn remove(&self, now: Timestamp) {
        match self.store.retain(rule(&self.config, now)).await {
            Ok(pruned) => self.tell(&pruned, now).await,
            Err(StoreError::Closed) => {}
            Err(error) => self.note(Condition::Degraded {
                cause: format!("what is too old could not be removed from the database: {error}"),
                mend: "see the state of `store`; it is tried again within ten minutes".into(),
            }),
        }
    }

    async fn tell(&self, pruned: &Pruned, now: Timestamp) {
        let keeping = &self.metrics.keeping;
        for ((table, reason), rows) in &pruned.rows {
            keeping
                .pruned
                .get_or_create(&PrunedLabels { table, reason })
                .inc_by(*rows);
        }
        let unread: u64 = pruned.unread.values().sum();
        if unread > 0 {
            let labels = PrunedLabels {
                table: "alerts",
                reason: "unread",
            };
            keeping.pruned.get_or_create(&labels).inc_by(unread);
        }
        if pruned.of("age") > 0 {
            tracing::info!(rows = ?pruned.rows, "what was too old was removed from the database");
        }
        if let Some(line) = line(pruned, self.config.max_bytes, now) {
            tracing::warn!(rows = ?pruned.rows, unread = ?pruned.unread, "the database was too large: the oldest was removed");
            if let Err(error) = self.store.commit(vec![line]).await {
                tracing::warn!(%error, "the audit does not have yet what was removed for the size");
            }
        }
        match self.store.space().await {
            Ok(space) => {
                keeping.bytes.set(space.bytes as i64);
                keeping.free.set(space.free as i64);
                self.note(condition(&space, pruned, self.config.max_bytes));
            }
            Err(error) => tracing::warn!(%error, "how large the database is could not be read"),
        }
    }

    fn note(&self, condition: Condition) {
        self.health
            .send_if_modified(|health| Health::note(health, Component::Retention, condition));
    }
}

/// What may go now.
fn rule(config: &RetentionConfig, now: Timestamp) -> Retain {
    let before = |kept: Duration| (!kept.is_zero()).then(|| now.before(kept));
    Retain {
        now,
        alerts: before(config.alerts),
        investigations: before(config.investigations),
        decisions: before(config.decisions),
        audit: before(config.audit),
        max_bytes: (config.max_bytes > 0).then_some(config.max_bytes),
    }
}

/// What the audit has of what went for the size; by age it goes as the settings say, which the audit has.
fn line(pruned: &Pruned, most: u64, at: Timestamp) -> Option<Record> {
    if pruned.of("size") == 0 {
        return None;
    }
    let rows = pruned.rows.iter().filter(|((_, reason), _)| *reason == "size");
    let mut told: Vec<String> = rows.map(|((table, _), rows)| format!("{rows} {table}")).collect();
    let unread = &pruned.unread;
    told.extend(unread.iter().map(|(reader, rows)| {
        let reader: String = reader.chars().filter(|c| !c.is_control()).take(64).collect();
        format!("{rows} alerts that {reader} had not read")
    }));
    Some(Record::Audit {
        at,
        actor: "sentinel".into(),
        verb: "store.prune".into(),
        subject: "the oldest rows".into(),
        detail: format!(
            "the database was larger than `store.retention.max_size`, {most} bytes: {}",
            told.join(", ")
        ),
    })
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn condition(space: &Space, pruned: &Pruned, most: u64) -> Condition {
    let size = format!("{}, {} of it free", mib(space.bytes), mib(space.free));
    if pruned.too_large {
        return Condition::Degraded {
            cause: format!(
                "the database is larger than `store.retention.max_size`, {}: it is {size}, and what is left may not go",
                mib(most)
            ),
            mend: "raise `store.retention.max_size`, set it to 0, or shorten `store.retention.audit`".into(),
        };
    }
    if !space.shrinks {
        return Condition::Degraded {
            cause: format!("the database keeps its size when rows are removed; it is {size}"),
            mend: "free twice its size on its disk and restart Sentinel, which makes it anew once".into(),
        };
    }
    let of = |map: Vec<String>| {
        if map.is_empty() {
            "nothing".to_owned()
        } else {
            map.join(", ")
        }
    };
    let oldest = space.oldest.iter().map(|(table, at)| {
        let day: String = at.to_string().chars().take(10).collect();
        format!("{table} since {day}")
    });
    let removed = space.removed.iter().map(|(what, rows)| format!("{what} {rows}"));
    Condition::Ok {
        detail: format!(
            "{size}; {}; removed so far: {}",
            of(oldest.collect()),
            of(removed.collect())
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pruned(rows: &[(&'static str, &'static str, u64)]) -> Pruned {
        Pruned {
            rows: rows
                .iter()
                .map(|(table, reason, rows)| ((*table, *reason), *rows))
                .collect(),
            ..Pruned::default()
        }
    }

    #[test]
    fn nothing_goes_of_what_is_kept_for_ever() {
        let day = Duration::from_hours(24);
        let config = RetentionConfig {
            alerts: day,
            decisions: Duration::ZERO,
            max_bytes: 0,
            ..RetentionConfig::default()
        };
        let now = Timestamp(i64::MAX / 2);
        let rule = rule(&config, now);
        assert_eq!(rule.alerts, Some(now.before(day)));
        assert_eq!((rule.decisions, rule.audit, rule.max_bytes), (None, None, None));
    }

    #[test]
    fn what_went_for_the_size_is_told_and_what_went_by_age_needs_no_telling() {
        assert!(line(&pruned(&[("alerts", "age", 7)]), 1, Timestamp(0)).is_none());
        let mut one = pruned(&[("alerts", "age", 7), ("alerts", "size", 9), ("decisions", "size", 2)]);
        one.unread.insert("siem\n".into(), 4);
        let Some(Record::Audit { detail, .. }) = line(&one, 100, Timestamp(0)) else {
            panic!("no line");
        };
        assert!(
            detail.ends_with("100 bytes: 9 alerts, 2 decisions, 4 alerts that siem had not read"),
            "{detail}"
        );
    }

    #[test]
    fn what_cannot_be_held_is_degraded_with_the_mend() {
        let space = Space {
            bytes: 3 << 20,
            shrinks: true,
            ..Space::default()
        };
        let mut one = pruned(&[]);
        assert!(matches!(condition(&space, &one, 1 << 20), Condition::Ok { .. }));
        one.too_large = true;
        let Condition::Degraded { cause, mend } = condition(&space, &one, 1 << 20) else {
            panic!("ok");
        };
        assert!(
            cause.contains("1.0 MiB") && cause.contains("3.0 MiB") && mend.contains("max_size"),
            "{cause}"
        );
        let stuck = Space {
            shrinks: false,
            ..space
        };
        let condition = condition(&stuck, &pruned(&[]), 0);
        assert!(matches!(condition, Condition::Degraded { mend, .. } if mend.contains("restart")));
    }

    #[test]
    fn a_clock_set_ahead_removes_nothing_for_a_day_and_one_set_back_nothing_at_all() {
        const HOUR: i64 = LEAP_NS;
        let clock = |hours: i64| Clock {
            offset_ns: hours * HOUR,
        };
        let boot = |hours: i64| Ktime((hours * HOUR) as u64);
        let mut reckoning = Reckoning {
            trusted: clock(1000),
            leapt: None,
        };
        let mut at = |offset, hours| reckoning.now(clock(offset), boot(hours)).0 / HOUR;
        assert_eq!(at(1001, 1), 1002, "an hour is not much");
        assert_eq!(at(1001 + 8760, 2), 1003, "a year is");
        assert_eq!(at(1001, 3), 1004, "it was taken back");
        assert_eq!((at(9761, 4), at(9761, 27)), (1005, 1028));
        assert_eq!(at(9761, 28), 9789, "a day later it is believed");
        assert_eq!(at(1001, 29), 1030, "back is believed at once");
    }
}
