//! The only shapes on the wire. Nouns go out as their serde form; what is added stands here.

use super::lists::counting;
use crate::config::{Config, Mode};
use crate::report::kept::Kept;
use crate::store::Page;
use crate::types::{
    Acting, Action, ActionKind, Component, Condition, Decision, DecisionStatus, Event, Health, Hits, Live, MapUse,
    Protected, Stats, Stop, Target, Timestamp,
};
use sentinel_common::stat::Counter;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// A page of a list.
#[derive(Debug, Serialize)]
pub(super) struct PageDto<T> {
    pub(super) items: Vec<T>,
    pub(super) next_cursor: Option<String>,
    pub(super) total: u64,
}

impl<T> PageDto<T> {
    pub(super) fn of<S>(page: Page<S>, shape: impl FnMut(S) -> T) -> Self {
        Self {
            items: page.items.into_iter().map(shape).collect(),
            next_cursor: page.next_cursor,
            total: page.total,
        }
    }
}

impl<T: ToSchema> PartialSchema for PageDto<T> {
    fn schema() -> RefOr<Schema> {
        let items = ArrayBuilder::new().items(Ref::from_schema_name(T::name()));
        let cursor = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("Asks for the page after this one; `null` at the end."));
        let total = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(0))
            .description(Some("Items that match, over all pages, now."));
        ObjectBuilder::new()
            .property("items", items)
            .property("next_cursor", cursor)
            .property("total", total)
            .required("items")
            .required("next_cursor")
            .required("total")
            .into()
    }
}

impl<T: ToSchema> ToSchema for PageDto<T> {
    fn name() -> Cow<'static, str> {
        format!("{}Page", T::name()).into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(schemas);
    }
}

/// A decision with what the kernel counted for it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CountedDecision)]
pub(super) struct DecisionDto {
    #[serde(flatten)]
    pub(super) decision: Decision,
    pub(super) hits: u64,
    pub(super) hit_bytes: u64,
    pub(super) would_hits: u64,
    pub(super) would_hit_bytes: u64,
    pub(super) first_hit: Option<Timestamp>,
    pub(super) last_hit: Option<Timestamp>,
    /// The stop that holds it back, where one does: its entry only counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) held_back: Option<Stop>,
    /// What came of it in the kernel, as its action tells; only where it was asked for just now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<String>,
}

impl DecisionDto {
    pub(super) fn new(decision: Decision, hits: Hits, acting: &Acting) -> Self {
        let acts =
            decision.status == DecisionStatus::Active && !decision.simulated && decision.action != ActionKind::LogOnly;
        Self {
            held_back: acting.stopped.clone().filter(|_| acts),
            decision,
            hits: hits.packets,
            hit_bytes: hits.bytes,
            would_hits: hits.would_packets,
            would_hit_bytes: hits.would_bytes,
            first_hit: hits.first_hit,
            last_hit: hits.last_hit,
            outcome: None,
        }
    }
}

/// `POST /decisions`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewDecision)]
pub(super) struct NewDecisionDto {
    /// Address or prefix.
    #[schema(value_type = Target)]
    pub(super) target: String,
    /// `block`, `rate_limit`, `redirect` or `isolate`; other programs' words for them are known as well.
    #[schema(examples("block", "rate_limit", "redirect", "isolate"))]
    #[serde(rename = "type", default = "block")]
    pub(super) kind: String,
    /// Of a rate limit: packets a second; 0 for no such limit.
    pub(super) packets: Option<u32>,
    /// Of a rate limit: frame bytes a second, as a number or such as `1MiB`; 0 for no such limit.
    pub(super) bytes: Option<SizeDto>,
    /// Of a rate limit: how much traffic at that rate may come at once, such as `1s`; the configured one where absent.
    #[schema(examples("1s", "500ms"))]
    pub(super) burst: Option<String>,
    /// Of a rate limit on a prefix: each address has the rate for itself.
    pub(super) each: Option<bool>,
    /// Of a rate limit: only of what opens connections; those that stand go on.
    pub(super) openings: Option<bool>,
    /// About a prefix: how many peers that behaved well lately may lose service by it; as configured where absent.
    pub(super) collateral: Option<u32>,
    /// Of a block: drop what goes out to the target, too; as configured where absent.
    pub(super) egress: Option<bool>,
    /// `4h`; the configured duration of blocks where absent.
    #[schema(examples("4h", "1h30m"))]
    pub(super) duration: Option<String>,
    /// In the operator's words.
    #[serde(default)]
    pub(super) reason: String,
}

/// `POST /reports`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewReport)]
pub(super) struct NewReportDto {
    /// How far back it reaches: `30d`, or an RFC 3339 time.
    #[schema(examples("30d"))]
    pub(super) since: String,
    /// `json`, `html` or `pdf`.
    #[schema(examples("json", "html", "pdf"))]
    pub(super) format: String,
}

/// Reports that were made by themselves.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reports)]
pub(super) struct ReportsDto {
    /// The latest first.
    pub(super) items: Vec<KeptReportDto>,
    /// How many there are.
    pub(super) total: usize,
}

/// A report that was made by itself.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeptReport)]
pub(super) struct KeptReportDto {
    /// Of the file, and of its path under `/reports/`.
    #[schema(examples("sentinel-weekly-2026-11-23.pdf"))]
    pub(super) name: String,
    /// First day it is of.
    #[schema(examples("2026-11-23"))]
    pub(super) day: String,
    /// `json`, `html` or `pdf`.
    pub(super) format: &'static str,
    /// Bytes.
    pub(super) bytes: u64,
    /// When it was written.
    pub(super) made_at: Timestamp,
}

impl From<Kept> for KeptReportDto {
    fn from(kept: Kept) -> Self {
        Self {
            name: kept.name,
            day: kept.day,
            format: kept.format.name(),
            bytes: kept.bytes,
            made_at: kept.made_at,
        }
    }
}

/// A size as a number of bytes or as people write it.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Size)]
pub(super) enum SizeDto {
    /// Bytes.
    Bytes(u64),
    /// Such as `1MiB`.
    Text(String),
}

fn block() -> String {
    "block".to_owned()
}

/// What was taken back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Deleted)]
pub(super) struct DeletedDto {
    /// All of them, or with `first=N` so many of them.
    pub(super) deleted: Vec<Decision>,
    /// How many there are.
    pub(super) total: usize,
    /// Decisions in force around what they were on, the narrowest first: it is not free for all that. Not told where
    /// everything was taken back.
    pub(super) covering: Vec<Decision>,
    /// The stop that holds those back, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) held_back: Option<Stop>,
    /// What all of them did beside the kernel and what was not yet undone when this was answered: containers that are not
    /// connected again, neighbours that Bettercap does not let go.
    pub(super) beside: Vec<Action>,
}

/// `GET /protected`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProtectedList)]
pub(super) struct ProtectedDto<'a> {
    #[schema(value_type = Vec<Protected>)]
    pub(super) items: &'a [Protected],
    pub(super) total: usize,
}

/// `GET /health`, and the `health` message of the stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(super) struct HealthDto {
    #[schema(value_type = String)]
    status: &'static str,
    #[schema(value_type = String)]
    mode: &'static str,
    #[schema(value_type = String)]
    version: &'static str,
    uptime_seconds: u64,
    /// Whether a person stopped all acting.
    acting: Acting,
    #[schema(value_type = BTreeMap<String, Condition>)]
    components: BTreeMap<Component, Condition>,
}

impl HealthDto {
    pub(super) fn new(health: &Health, acting: Acting, config: &Config, started: Timestamp, now: Timestamp) -> Self {
        Self {
            status: if health.degraded() { "degraded" } else { "ok" },
            mode: mode(config),
            version: VERSION,
            uptime_seconds: seconds(started, now),
            acting,
            components: health.components.clone(),
        }
    }
}

/// `GET /stats`, and the `stats` message of the stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Stats)]
pub(super) struct StatsDto {
    /// When the counters were read.
    at: Timestamp,
    /// When this was answered, by the wall clock: what times of alerts are to be compared with.
    now: Timestamp,
    /// The same by the clock that decisions and entries of the allowlist end by, which no step of the wall clock moves.
    desk_now: Timestamp,
    uptime_seconds: u64,
    #[schema(value_type = String)]
    mode: &'static str,
    #[schema(value_type = String)]
    version: &'static str,
    /// Whether a person stopped all acting.
    acting: Acting,
    /// Sums over the interfaces, by counter.
    #[schema(value_type = BTreeMap<String, u64>)]
    totals: BTreeMap<&'static str, u64>,
    interfaces: Vec<InterfaceDto>,
    maps: BTreeMap<String, MapUse>,
    flows_active: u64,
    sources_active: u64,
    lost: Vec<LostDto>,
    /// In the stream: counters of decisions that moved since the message before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hits: Option<HashMap<String, Hits>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Interface)]
struct InterfaceDto {
    name: String,
    /// `native`, `generic`, `tc` or `none`.
    #[schema(value_type = String)]
    xdp_mode: &'static str,
    /// Why it is not native.
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<String>,
    egress: bool,
    #[schema(value_type = BTreeMap<String, u64>)]
    counters: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Lost)]
struct LostDto {
    #[schema(value_type = String)]
    stage: &'static str,
    #[schema(value_type = String)]
    reason: &'static str,
    items: u64,
}

impl StatsDto {
    /// `now` and `desk_now` are the two clocks of its fields.
    pub(super) fn new(
        stats: &Stats,
        acting: Acting,
        config: &Config,
        started: Timestamp,
        [now, desk_now]: [Timestamp; 2],
    ) -> Self {
        let labelled = |read: &dyn Fn(Counter) -> u64| Counter::ALL.iter().map(|c| (c.label(), read(*c))).collect();
        Self {
            at: stats.at,
            now,
            desk_now,
            uptime_seconds: seconds(started, desk_now),
            mode: mode(config),
            version: VERSION,
            acting,
            totals: labelled(&|c| stats.total(c)),
            interfaces: stats
                .interfaces
                .iter()
                .map(|i| InterfaceDto {
                    name: i.name.clone(),
                    xdp_mode: i.xdp_mode,
                    fallback: i.fallback.clone(),
                    egress: i.egress,
                    counters: labelled(&|c| i.get(c)),
                })
                .collect(),
            maps: stats.maps.clone(),
            flows_active: stats.flows_active,
            sources_active: stats.sources_active,
            lost: stats
                .lost
                .iter()
                .map(|((stage, reason), items)| LostDto {
                    stage,
                    reason,
                    items: *items,
                })
                .collect(),
            hits: None,
        }
    }
}

/// What `GET /health/live` and `/health/ready` say in a word.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Status)]
pub(super) struct StatusDto {
    /// `live` or `ready`.
    #[schema(value_type = String)]
    pub(super) status: &'static str,
}

/// One item of `GET /stats/history`: totals since the start, at one instant.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Sample)]
pub(super) struct SampleDto {
    pub(super) at: Timestamp,
    pub(super) passed: u64,
    pub(super) dropped: u64,
    pub(super) would_drop: u64,
    pub(super) bytes: u64,
}

/// `GET /stats/history`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = History)]
pub(super) struct HistoryDto {
    /// Two minutes, oldest first.
    pub(super) items: Vec<SampleDto>,
}

/// A message of the stream that is no event of the bus.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum MessageDto {
    /// First of all.
    Hello {
        /// Of the agent.
        version: &'static str,
        /// `simulation` or `production`.
        mode: &'static str,
        /// When the agent started: a reader that sees another one starts afresh.
        started: Timestamp,
        /// Name of the latest event; a reader that comes back names the last one it saw: `?after=`.
        last: String,
    },
    /// The reader was too slow for this many events, or away for too long.
    Lagged {
        /// How many, null where the agent was started anew meanwhile; fetch the lists again.
        missed: Option<u64>,
    },
    /// Once a second.
    Stats {
        /// As `GET /stats`.
        data: StatsDto,
    },
    /// At the start and at every change.
    Health {
        /// As `GET /health`.
        data: HealthDto,
    },
}

/// An event of the bus as JSON text: `id`, `seq`, `type`, `data`.
pub(super) fn event(
    live: &Live,
    id: &str,
    hits: &HashMap<crate::types::DecisionId, Hits>,
    acting: &Acting,
) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct EventDto<'a, T> {
        id: &'a str,
        seq: u64,
        #[serde(rename = "type")]
        kind: &'static str,
        data: &'a T,
    }
    let (seq, kind) = (live.seq, live.event.kind());
    match &live.event {
        Event::Alert(data) => serde_json::to_string(&EventDto { id, seq, kind, data }),
        Event::Investigation(data) => serde_json::to_string(&EventDto { id, seq, kind, data }),
        Event::Action(action) => {
            let data = &counting((**action).clone(), hits, acting);
            serde_json::to_string(&EventDto { id, seq, kind, data })
        }
        Event::Decision(decision) => {
            let counted = hits.get(&decision.id).copied().unwrap_or_default();
            let data = &DecisionDto::new((**decision).clone(), counted, acting);
            serde_json::to_string(&EventDto { id, seq, kind, data })
        }
    }
}

/// Of the agent.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The configured mode's name.
pub(super) fn mode(config: &Config) -> &'static str {
    match config.mode {
        Mode::Simulation => "simulation",
        Mode::Production => "production",
    }
}

fn seconds(started: Timestamp, now: Timestamp) -> u64 {
    Duration::from_nanos(now.0.saturating_sub(started.0).max(0) as u64).as_secs()
}
