//! What is said of health, counters, the stream, the model and the world outside.

use super::op::{Op, flag, number, one_of, text};
use crate::api::dto::{HealthDto, HistoryDto, StatsDto, StatusDto};
use crate::api::{busiest, intel, model, settings, sightings, traffic};
use crate::types::{
    BusyBy, BusyPer, Checked, FleetStatus, IntelReport, Learning, Reloaded, Severity, SightingKind, TrafficLevel,
};

pub(in crate::api) fn health() -> Op {
    Op::new("system", "How every part is")
        .says("200 also where a part is degraded: a degraded agent still protects.")
        .answers::<HealthDto>(200, "The state of every part, with the mend where it is degraded.")
}

pub(in crate::api) fn live() -> Op {
    Op::new("system", "Whether the agent runs").answers::<StatusDto>(200, "It does.")
}

pub(in crate::api) fn ready() -> Op {
    Op::new("system", "Whether it protects")
        .answers::<StatusDto>(200, "The kernel programs are attached.")
        .refuses(503, "They are not, and why.")
}

pub(in crate::api) fn stats() -> Op {
    Op::new("system", "Counters").answers::<StatsDto>(200, "As they were read within the last second.")
}

pub(in crate::api) fn history() -> Op {
    Op::new("system", "Counters of the last two minutes").answers::<HistoryDto>(200, "Oldest first.")
}

pub(in crate::api) fn metrics() -> Op {
    Op::new("system", "Metrics for Prometheus")
        .says("Without credentials where `api.metrics_open` says so; by itself on loopback only.")
        .answers_as(200, &["application/openmetrics-text"], "One scrape (OpenMetrics 1.0).")
}

pub(in crate::api) fn stream() -> Op {
    Op::new("system", "Events as they happen")
        .says("A WebSocket (RFC 6455).")
        .untagged()
        .query(
            "types",
            "Kinds of messages, several with commas; all where absent.",
            text(&["alert,decision"]),
        )
        .ip("Only events about this address or prefix.")
        .words::<Severity>(
            "severity",
            "Only alerts of these severities; events of other kinds come all the same.",
        )
        .query(
            "batch",
            "Several messages in one, as a list, four times a second at most.",
            flag(),
        )
        .query(
            "after",
            "The `id` of the last event that was seen: goes on after it, as far as that is kept.",
            text(&[]),
        )
        .answers_nothing(101, "The stream begins.")
        .refuses(426, "It was not opened as a WebSocket.")
}

pub(in crate::api) fn intel() -> Op {
    Op::new("intelligence", "How sources, feeds and databases stand")
        .answers::<IntelReport>(200, "No key and no URL is in it.")
}

pub(in crate::api) fn intel_check() -> Op {
    Op::new("intelligence", "What is known of an address")
        .says("Asks the sources, which may spend their quota.")
        .takes::<intel::CheckDto>()
        .answers::<Checked>(200, "Who was asked, what they said and the risk it adds up to.")
}

pub(in crate::api) fn busiest() -> Op {
    Op::new("system", "The busiest flows, or whoever opened them")
        .word::<BusyBy>("by", "What busiest means; `rate` where absent.")
        .word::<BusyPer>("per", "Of what; `flow` where absent.")
        .query("limit", "Rows at most; 20 where absent.", number(1, 256))
        .ip("Only flows with an end in this address or prefix.")
        .answers::<busiest::BusiestDto>(200, "The busiest first.")
}

pub(in crate::api) fn sightings() -> Op {
    Op::new("system", "Who was seen beside us, on the wire or on the air")
        .says("What a sensor such as Bettercap tells of; names are what those who were seen call themselves.")
        .word::<SightingKind>("kind", "How they were seen.")
        .query("limit", "Rows at most; 100 where absent.", number(1, 1000))
        .ip("With this address, or within this prefix.")
        .answers::<sightings::SightingsDto>(200, "The latest first.")
}

pub(in crate::api) fn fleet() -> Op {
    Op::new("system", "The other sentinels, and what is told between them")
        .says("Who is there by their own word, how far they have been heard, and what waits to be told (`bus`).")
        .answers::<FleetStatus>(200, "How it is.")
}

pub(in crate::api) fn traffic() -> Op {
    Op::new("system", "The last rows of the traffic log")
        .says(
            "What was told of flows, the latest first; one that goes on has several rows. The latest four megabytes of the log \
             are looked through.",
        )
        .query("limit", "Rows at most; 100 where absent.", number(1, 1000))
        .query(
            "since",
            "Nothing older: an RFC 3339 time, or a duration such as `4h` back from now.",
            text(&["4h", "2026-01-31T12:00:00Z"]),
        )
        .ip("Only flows with an end in this address or prefix.")
        .words::<TrafficLevel>("level", "That reached any of these levels.")
        .query("sensor", "That this sensor told of.", text(&["xdp"]))
        .answers::<traffic::TrafficDto>(200, "The latest first.")
}

pub(in crate::api) fn settings() -> Op {
    Op::new("system", "The settings in force")
        .answers::<settings::SettingsDto>(200, "In the order of the settings file; secrets are masked.")
}

pub(in crate::api) fn reload() -> Op {
    Op::new("system", "Read the settings anew")
        .says("All of them are checked first; where anything is wrong nothing changes. No decision ends but those about whom the allowlist has now.")
        .answers::<Reloaded>(200, "What holds from now on, and what waits for a restart.")
        .refuses(422, "The settings have problems; `detail` has a line for each.")
}

pub(in crate::api) fn model() -> Op {
    Op::new("model", "The model that judges").answers::<model::ModelDto>(200, "What it is, and how it has been lately.")
}

pub(in crate::api) fn learn() -> Op {
    Op::new("model", "How learn mode is")
        .answers::<Learning>(200, "How far it is.")
        .refuses(409, "Not possible now.")
}

pub(in crate::api) fn learn_wish() -> Op {
    Op::new("model", "Start, accept or discard what is learnt")
        .hole("wish", "What to do.", one_of(&["start", "accept", "discard"]))
        .answers::<Learning>(200, "How it is now.")
        .refuses(404, "That is none of the three.")
        .refuses(409, "Nothing is being learnt, or too little was.")
}
