//! What happened in a period, counted: the figures of a report, of one instant.
//!
//! What has a column is counted whole. What stands in the rows' JSON alone is read of the latest rows, and told so.

mod shapes;

pub use shapes::{
    ActionCount, ActionStep, AlertFigures, AuditFigures, BySeverity, Count, DecisionCount, DetectorCount, Figures,
    IntelSourceCount, InvestigationFigures, ResponseFigures, SourceCount, Step, TakenBack, TargetCount, Times,
};

use super::alerts::HOUR;
use super::ends::BESIDE;
use super::insert::ordered;
use super::{AuditVerdict, StoreError, audit, ends};
use crate::types::{Answer, Family, Service, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// Sources, targets and reasons told; those with most.
const TOP: usize = 10;
/// Latest alerts that are read for families and targets.
const READ_ALERTS: usize = 20_000;
/// Latest investigations that are read for what their sources answered.
const READ_INVESTIGATIONS: usize = 5_000;
/// Latest decisions of detectors that response times are taken of.
const READ_DECISIONS: usize = 10_000;
/// What was taken back that is told one by one; the latest.
const TOLD: usize = 20;
/// A day, ns: what alerts over time are told by where the period is longer than [`BY_HOUR`].
const DAY: i64 = 24 * HOUR;
/// Longest period that is told by the hour, ns.
const BY_HOUR: i64 = 3 * DAY;

impl AuditFigures {
    fn of(verdict: AuditVerdict, of_period: u64) -> Self {
        Self {
            intact: verdict.intact.max(0) as u64,
            head: verdict.head,
            broken: verdict.broken,
            of_period,
            pruned: verdict.pruned.max(0) as u64,
        }
    }
}

/// Counts a period, which begins with the full hour that `since` is in.
pub(super) fn of(connection: &Connection, since: Timestamp, until: Timestamp) -> Result<Figures, StoreError> {
    // All of one instant.
    let snapshot = connection.unchecked_transaction().map_err(StoreError::Read)?;
    let since = Timestamp(since.0 / HOUR * HOUR);
    let period = Period {
        connection: &snapshot,
        since,
        until,
    };
    period.figures().map_err(StoreError::Read)
}

struct Period<'a> {
    connection: &'a Connection,
    since: Timestamp,
    until: Timestamp,
}

fn counted(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, Option<i64>>(column)?.unwrap_or(0).max(0) as u64)
}

/// The commonest first, and by name.
fn sorted(counts: BTreeMap<String, u64>) -> Vec<Count> {
    let mut all: Vec<Count> = counts.into_iter().map(|(name, count)| Count { name, count }).collect();
    all.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.name.cmp(&b.name)));
    all
}

impl Period<'_> {
    fn figures(&self) -> rusqlite::Result<Figures> {
        let verdict = audit::walk(self.connection)?;
        let (actions, actions_over_time) = self.actions()?;
        let lines = self.one("SELECT count(*) FROM audit WHERE at >= ?1 AND at < ?2")?;
        Ok(Figures {
            since: self.since,
            until: self.until,
            records_since: self.records_since()?,
            alerts: self.alerts()?,
            investigations: self.investigations()?,
            decisions: self.decisions()?,
            actions,
            actions_over_time,
            response: self.response()?,
            vetoes: self.vetoes()?,
            taken_back: self.taken_back()?,
            audit: AuditFigures::of(verdict, lines),
        })
    }

    /// Rows of the period.
    fn rows<T>(&self, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<Vec<T>> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map([self.since.0, self.until.0], read)?;
        rows.collect()
    }

    fn one(&self, sql: &str) -> rusqlite::Result<u64> {
        let mut statement = self.connection.prepare_cached(sql)?;
        statement.query_row([self.since.0, self.until.0], |row| counted(row, 0))
    }

    fn records_since(&self) -> rusqlite::Result<Option<Timestamp>> {
        self.connection
            .prepare_cached(
                "SELECT min(at) FROM (SELECT min(at) AS at FROM alerts UNION ALL SELECT min(at) FROM decisions
                 UNION ALL SELECT min(at) FROM audit)",
            )?
            .query_row([], |row| Ok(row.get::<_, Option<i64>>(0)?.map(Timestamp)))
    }

    /// How long a step of time is, ns, and how many there are. They begin with the period, the last one may be short.
    fn steps(&self) -> (i64, i64) {
        let long = self.until.0 - self.since.0;
        let step = if long > BY_HOUR { DAY } else { HOUR };
        (step, ((long + step - 1) / step).max(1))
    }

    fn alerts(&self) -> rusqlite::Result<AlertFigures> {
        let (step, steps) = self.steps();
        let mut figures = AlertFigures {
            step_seconds: (step / 1_000_000_000) as u64,
            over_time: (0..steps)
                .map(|n| Step {
                    at: Timestamp(self.since.0 + n * step),
                    alerts: BySeverity::default(),
                })
                .collect(),
            ..AlertFigures::default()
        };
        let mut detectors: BTreeMap<String, BySeverity> = BTreeMap::new();
        let hours = self.rows(
            &format!(
                "SELECT hour, severity, detector, alerts FROM alert_hours
                 WHERE hour >= ?1 / {HOUR} AND hour * {HOUR} < ?2 AND alerts > 0"
            ),
            |row| {
                let (severity, detector): (String, String) = (row.get(1)?, row.get(2)?);
                Ok((row.get::<_, i64>(0)?, severity, detector, counted(row, 3)?))
            },
        )?;
        for (hour, severity, detector, count) in hours {
            figures.all.add(&severity, count);
            detectors.entry(detector).or_default().add(&severity, count);
            let at = ((hour * HOUR - self.since.0) / step).clamp(0, steps - 1);
            if let Some(step) = figures.over_time.get_mut(at as usize) {
                step.alerts.add(&severity, count);
            }
        }
        let count = |(name, alerts)| DetectorCount { name, alerts };
        figures.by_detector = detectors.into_iter().map(count).collect();
        figures
            .by_detector
            .sort_by_key(|detector| std::cmp::Reverse(detector.alerts.total()));
        figures.sources = self.sources()?;
        self.latest_alerts(&mut figures)?;
        Ok(figures)
    }

    /// The first alert by arrival that may be of the period, the last that may be older, and the first that may be younger.
    fn bounds(&self) -> rusqlite::Result<(i64, i64, i64)> {
        self.connection
            .prepare_cached(&format!(
                "SELECT coalesce((SELECT min(first) FROM alert_hours WHERE hour >= ?1), 0),
                        coalesce((SELECT max(last) FROM alert_hours WHERE hour < ?1), 0),
                        coalesce((SELECT min(first) FROM alert_hours WHERE (hour + 1) * {HOUR} > ?2), {})",
                i64::MAX
            ))?
            .query_row([self.since.0 / HOUR, self.until.0], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })
    }

    fn sources(&self) -> rusqlite::Result<Vec<SourceCount>> {
        let (first, last, after) = self.bounds()?;
        let mut statement = self.connection.prepare_cached(
            "SELECT source, count(*) AS n FROM alerts INDEXED BY alerts_source
             WHERE source IS NOT NULL AND seq >= ?1 AND (seq > ?2 OR at >= ?3) AND (seq < ?4 OR at < ?5)
             GROUP BY source ORDER BY n DESC, source LIMIT ?6",
        )?;
        let top = statement.query_map(
            params![first, last, self.since.0, after, self.until.0, TOP as i64],
            |row| {
                let octets: [u8; 16] = row.get(0)?;
                Ok((Ipv6Addr::from(octets).to_canonical(), counted(row, 1)?))
            },
        )?;
        let top = top.collect::<rusqlite::Result<Vec<_>>>()?;
        top.into_iter()
            .map(|(ip, count)| {
                let (country, network) = self.origin_of(ip)?;
                Ok(SourceCount {
                    ip,
                    count,
                    country,
                    network,
                })
            })
            .collect()
    }

    fn origin_of(&self, ip: IpAddr) -> rusqlite::Result<(Option<String>, Option<String>)> {
        #[derive(Default, Deserialize)]
        struct Origin {
            country: Option<String>,
            network: Option<String>,
        }
        let latest: Option<String> = self
            .connection
            .prepare_cached("SELECT json FROM investigations WHERE ip = ?1 ORDER BY seq DESC LIMIT 1")?
            .query_row([ordered(ip)], |row| row.get(0))
            .optional()?;
        let origin: Origin = latest
            .and_then(|json| serde_json::from_str(&json).ok())
            .unwrap_or_default();
        Ok((origin.country, origin.network))
    }

    /// Families and targets, of the latest alerts.
    fn latest_alerts(&self, figures: &mut AlertFigures) -> rusqlite::Result<()> {
        #[derive(Deserialize)]
        struct Told {
            family: Family,
            targets: Vec<Service>,
        }
        let (first, ..) = self.bounds()?;
        let (mut families, mut targets) = (BTreeMap::new(), BTreeMap::new());
        let mut statement = self.connection.prepare_cached(
            "SELECT json FROM alerts NOT INDEXED WHERE seq >= ?1 AND at >= ?2 AND at < ?3 ORDER BY seq DESC LIMIT ?4",
        )?;
        let mut rows = statement.query(params![first, self.since.0, self.until.0, READ_ALERTS as i64])?;
        while let Some(row) = rows.next()? {
            // One that cannot be read is none.
            let Ok(told) = serde_json::from_str::<Told>(row.get_ref(0)?.as_str()?) else {
                continue;
            };
            figures.read += 1;
            *families.entry(told.family.as_str().to_owned()).or_default() += 1;
            for service in told.targets {
                *targets.entry(service).or_insert(0) += 1;
            }
        }
        figures.families = sorted(families);
        let count = |(service, count)| TargetCount { service, count };
        figures.targets = targets.into_iter().map(count).collect();
        figures
            .targets
            .sort_by_key(|target| (std::cmp::Reverse(target.count), target.service));
        figures.targets.truncate(TOP);
        Ok(())
    }

    fn investigations(&self) -> rusqlite::Result<InvestigationFigures> {
        #[derive(Deserialize)]
        struct Told {
            answers: Vec<Answer>,
        }
        let mut figures = InvestigationFigures::default();
        let mut states = BTreeMap::new();
        let all = self.rows(
            "SELECT level, state, count(*) FROM investigations WHERE at >= ?1 AND at < ?2 GROUP BY level, state",
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, counted(row, 2)?)),
        )?;
        for (level, state, count) in all {
            figures.total += count;
            figures.by_risk.add(&level, count);
            *states.entry(state).or_default() += count;
        }
        figures.by_state = sorted(states);
        let mut sources: BTreeMap<String, (u64, u64, BTreeMap<String, u64>)> = BTreeMap::new();
        let latest = self.rows(
            &format!(
                "SELECT json FROM investigations NOT INDEXED WHERE at >= ?1 AND at < ?2
                 ORDER BY seq DESC LIMIT {READ_INVESTIGATIONS}"
            ),
            |row| Ok(serde_json::from_str::<Told>(row.get_ref(0)?.as_str()?).ok()),
        )?;
        for told in latest.into_iter().flatten() {
            figures.read += 1;
            for answer in told.answers {
                let (asked, answered, silent) = sources.entry(answer.source).or_default();
                *asked += 1;
                if answer.indicator.is_some() {
                    *answered += 1;
                } else {
                    *silent.entry(answer.result).or_default() += 1;
                }
            }
        }
        let count = |(name, (asked, answered, silent))| IntelSourceCount {
            name,
            asked,
            answered,
            silent: sorted(silent),
        };
        figures.sources = sources.into_iter().map(count).collect();
        Ok(figures)
    }

    fn decisions(&self) -> rusqlite::Result<Vec<DecisionCount>> {
        let sql = format!(
            "SELECT action, {} AS state, {SIMULATED} AS simulated, origin, count(*) FROM decisions AS d
             WHERE at >= ?1 AND at < ?2 GROUP BY action, state, simulated, origin
             ORDER BY action, state, simulated, origin",
            ends::status_of("d")
        );
        self.rows(&sql, |row| {
            Ok(DecisionCount {
                kind: row.get(0)?,
                status: row.get(1)?,
                simulated: row.get(2)?,
                origin: row.get(3)?,
                count: counted(row, 4)?,
            })
        })
    }

    fn actions(&self) -> rusqlite::Result<(Vec<ActionCount>, Vec<ActionStep>)> {
        let (step, steps) = self.steps();
        let sql = format!(
            "SELECT a.kind, CASE WHEN a.status IN ('intent', 'enforced', 'simulated') AND NOT a.{BESIDE}
                        THEN coalesce((SELECT CASE g.status WHEN 'expired' THEN 'expired' ELSE 'reverted' END
                            FROM ends e JOIN endings g ON g.batch = e.batch WHERE e.decision = a.decision), a.status)
                        ELSE a.status END AS state,
                    coalesce((SELECT {SIMULATED} FROM decisions AS d WHERE d.id = a.decision), 0) AS simulated,
                    count(*),
                    sum(coalesce((SELECT hits FROM ends WHERE decision = a.decision), {}, 0)),
                    sum(coalesce((SELECT would_hits FROM ends WHERE decision = a.decision), {}, 0)),
                    (a.at - ?1) / {step} AS step
             FROM actions AS a WHERE a.at >= ?1 AND at < ?2 GROUP BY a.kind, state, simulated, step
             ORDER BY a.kind, state, simulated, step",
            field("hits"),
            field("would_hits")
        );
        let each = self.rows(&sql, |row| {
            let count = ActionCount {
                kind: row.get(0)?,
                status: row.get(1)?,
                simulated: row.get(2)?,
                count: counted(row, 3)?,
                packets: counted(row, 4)?,
                would_packets: counted(row, 5)?,
            };
            Ok((count, row.get::<_, i64>(6)?))
        })?;
        let mut over_time: Vec<ActionStep> = (0..steps)
            .map(|n| ActionStep {
                at: Timestamp(self.since.0 + n * step),
                real: 0,
                simulated: 0,
            })
            .collect();
        let mut all: Vec<ActionCount> = Vec::new();
        for (one, at) in each {
            if let Some(step) = over_time.get_mut(at.clamp(0, steps - 1) as usize) {
                let begun = if one.simulated {
                    &mut step.simulated
                } else {
                    &mut step.real
                };
                *begun += one.count;
            }
            // In order: those of one kind follow each other.
            match all.last_mut() {
                Some(last) if (&last.kind, &last.status, last.simulated) == (&one.kind, &one.status, one.simulated) => {
                    last.count += one.count;
                    last.packets += one.packets;
                    last.would_packets += one.would_packets;
                }
                _ => all.push(one),
            }
        }
        Ok((all, over_time))
    }

    fn response(&self) -> rusqlite::Result<ResponseFigures> {
        let each = self.rows(
            &format!(
                "SELECT (SELECT at FROM alerts WHERE id = d.alert),
                        (SELECT {} FROM actions WHERE decision = d.id AND status IN ('enforced', 'simulated')
                            AND NOT {BESIDE} ORDER BY seq LIMIT 1),
                        (SELECT {} FROM tallies WHERE decision = d.id)
                 FROM decisions AS d NOT INDEXED WHERE at >= ?1 AND at < ?2 AND origin = 'detector' AND alert IS NOT NULL
                     AND status NOT IN ('vetoed', 'logged') ORDER BY seq DESC LIMIT {READ_DECISIONS}",
                field("entered_at"),
                field("hits.first_hit")
            ),
            |row| {
                let time = |column: usize| -> rusqlite::Result<Option<i64>> {
                    let text: Option<String> = row.get(column)?;
                    Ok(text.and_then(|text| text.parse::<Timestamp>().ok()).map(|at| at.0))
                };
                Ok((row.get::<_, Option<i64>>(0)?, time(1)?, time(2)?))
            },
        )?;
        let took = |until: &dyn Fn(&Instants) -> Option<i64>| {
            let all = each.iter().filter_map(|one| Some(until(one)? - one.0?));
            // A first packet before the alert met the entry of an earlier decision.
            times(all.filter(|ns| *ns >= 0).collect())
        };
        Ok(ResponseFigures {
            read: each.len() as u64,
            to_outcome: took(&|one| one.1),
            to_first_packet: took(&|one| one.2),
        })
    }

    fn vetoes(&self) -> rusqlite::Result<Vec<Count>> {
        let sql = format!(
            "SELECT coalesce({}, 'unknown') AS guard, count(*) AS n FROM decisions
             WHERE status = 'vetoed' AND at >= ?1 AND at < ?2 GROUP BY guard ORDER BY n DESC, guard",
            field("veto.guard")
        );
        self.rows(&sql, |row| {
            Ok(Count {
                name: row.get(0)?,
                count: counted(row, 1)?,
            })
        })
    }

    fn taken_back(&self) -> rusqlite::Result<Vec<TakenBack>> {
        let state = ends::status_of("d");
        let sql = format!(
            "SELECT coalesce((SELECT g.at FROM ends e JOIN endings g ON g.batch = e.batch WHERE e.decision = d.id),
                        {}),
                    {}, action, {state} AS state, {SIMULATED}, {},
                    coalesce((SELECT g.cause FROM ends e JOIN endings g ON g.batch = e.batch WHERE e.decision = d.id),
                        (SELECT {} FROM actions WHERE decision = d.id AND NOT {BESIDE}
                            ORDER BY seq DESC LIMIT 1))
             FROM decisions AS d NOT INDEXED
             WHERE at >= ?1 AND at < ?2 AND {state} IN ('deleted', 'lifted', 'rolled_back', 'failed')
             ORDER BY seq DESC LIMIT {TOLD}",
            field("ended_at"),
            field("target"),
            field("reason"),
            field("outcome")
        );
        self.rows(&sql, |row| {
            let at = match row.get_ref(0)? {
                rusqlite::types::ValueRef::Integer(at) => Some(Timestamp(at)),
                rusqlite::types::ValueRef::Text(text) => std::str::from_utf8(text).ok().and_then(|t| t.parse().ok()),
                _ => None,
            };
            Ok(TakenBack {
                at,
                target: row.get::<_, Option<String>>(1)?.unwrap_or_default(),
                kind: row.get(2)?,
                status: row.get(3)?,
                simulated: row.get(4)?,
                reason: row.get::<_, Option<String>>(5)?.unwrap_or_default(),
                outcome: row.get(6)?,
            })
        })
    }
}

/// When the alert of a decision was, its action's outcome, and its first packet; ns since 1970.
type Instants = (Option<i64>, Option<i64>, Option<i64>);

/// Whether the decision of a row is simulated, 0 or 1. One that cannot be read is not known to be.
const SIMULATED: &str = "coalesce(CASE WHEN json_valid(json) THEN json_extract(json, '$.simulated') END, 0)";

/// A field of a row's JSON; of one that is damaged, none.
fn field(path: &str) -> String {
    format!("CASE WHEN json_valid(json) THEN json_extract(json, '$.{path}') END")
}

/// Of nanoseconds.
fn times(mut each: Vec<i64>) -> Option<Times> {
    each.sort_unstable();
    let at = |share: f64| {
        let place = ((each.len() as f64 * share).ceil() as usize).max(1) - 1;
        each.get(place).map(|ns| *ns as f64 / 1e6)
    };
    Some(Times {
        of: each.len() as u64,
        p50_ms: at(0.5)?,
        p99_ms: at(0.99)?,
        max_ms: at(1.0)?,
    })
}
