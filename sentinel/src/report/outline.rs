//! What a report tells, part by part, before it is HTML or pages.

use super::Report;
use super::words::{clean, count, many, millis, minute, share, step, words};
use crate::store::{BySeverity, Figures, Times};

/// A document.
#[derive(Clone, Debug)]
pub(super) struct Outline {
    pub(super) title: String,
    pub(super) period: String,
    pub(super) mode: Mode,
    pub(super) blocks: Vec<Block>,
}

/// What acting was worth when it was made.
#[derive(Clone, Debug)]
pub(super) struct Mode {
    /// Whether anything was carried out.
    pub(super) acts: bool,
    pub(super) text: String,
}

/// One part.
#[derive(Clone, Debug)]
pub(super) enum Block {
    Heading(&'static str),
    Text(String),
    /// Said of what stands above it.
    Note(String),
    Tiles(Vec<Tile>),
    Bars(Bars),
    Table(Table),
}

/// A number to see first.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) more: String,
}

/// Something over time, of several kinds on top of each other.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    pub(super) title: String,
    /// Names of the kinds, the lowest first; each has its colour.
    pub(super) kinds: &'static [&'static str],
    /// Name of each step of time, and how many of each kind.
    pub(super) steps: Vec<(String, Vec<u64>)>,
}

const SEVERITIES: &[&str] = &["low", "medium", "high"];
const WORTH: &[&str] = &["simulated", "real"];

impl Bars {
    /// The largest step, and the end of the axis: a round number above it.
    pub(super) fn top(&self) -> u64 {
        let most = self
            .steps
            .iter()
            .map(|(_, of)| of.iter().sum::<u64>())
            .max()
            .unwrap_or(0)
            .max(1);
        let mut unit: u64 = 1;
        loop {
            for round in [1, 2, 5] {
                if unit.saturating_mul(round) >= most {
                    return unit.saturating_mul(round);
                }
            }
            unit = unit.saturating_mul(10);
        }
    }
}

/// A table; numbers stand to the right.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) title: &'static str,
    /// Name, share of the width, whether it is a number.
    pub(super) columns: &'static [(&'static str, u32, bool)],
    pub(super) rows: Vec<Vec<String>>,
    /// What is told where there are none.
    pub(super) none: &'static str,
}

pub(super) fn of(report: &Report) -> Outline {
    let figures = &report.figures;
    let mut blocks = vec![Block::Tiles(tiles(figures))];
    if let Some(first) = figures.records_since.filter(|first| *first > figures.since.after(DAY)) {
        blocks.push(Block::Note(format!(
            "Records begin on {}; of the time before there is none.",
            minute(first)
        )));
    }
    if nothing(figures) {
        blocks.push(Block::Text(
            "Nothing was recorded in this period: no alert, no decision, no action.".to_owned(),
        ));
    }
    alerts(figures, &mut blocks);
    decisions(figures, &mut blocks);
    response(figures, &mut blocks);
    intelligence(figures, &mut blocks);
    audit(figures, &mut blocks);
    Outline {
        title: "Sentinel security report".to_owned(),
        period: format!("{} to {}", minute(figures.since), minute(figures.until)),
        mode: mode(report),
        blocks,
    }
}

const DAY: std::time::Duration = std::time::Duration::from_hours(24);

fn nothing(figures: &Figures) -> bool {
    figures.alerts.all.total() == 0 && figures.decisions.is_empty() && figures.actions.is_empty()
}

fn mode(report: &Report) -> Mode {
    let production = report.mode == "production";
    let text = match (&report.stopped, production) {
        (stop, _) if report.mode == super::OFFLINE => {
            let stopped = stop.as_ref().map_or(String::new(), |stop| {
                format!(" Acting was stopped since {}, and was not resumed.", minute(stop.at))
            });
            format!(
                "No agent ran when this was made: it tells what the database has, and nobody was asked what is in \
                 force.{stopped}"
            )
        }
        (Some(stop), _) => format!(
            "Acting was stopped since {} when this was made: entries only counted.",
            minute(stop.at)
        ),
        (None, true) => "Production mode when this was made: decisions are enforced. What was simulated is told apart.".to_owned(),
        (None, false) => {
            "Simulation mode when this was made: new decisions are counted and nothing is blocked by them. What was enforced before is told apart."
                .to_owned()
        }
    };
    Mode {
        acts: production && report.stopped.is_none(),
        text,
    }
}

fn tiles(figures: &Figures) -> Vec<Tile> {
    let alerts = figures.alerts.all;
    let sum = |wanted: &dyn Fn(&crate::store::DecisionCount) -> bool| -> u64 {
        figures.decisions.iter().filter(|d| wanted(d)).map(|d| d.count).sum()
    };
    let (packets, would): (u64, u64) = figures
        .actions
        .iter()
        .fold((0, 0), |(a, b), action| (a + action.packets, b + action.would_packets));
    let audit = &figures.audit;
    vec![
        Tile {
            name: "Alerts",
            value: count(alerts.total()),
            more: format!("{} of high severity", count(alerts.high)),
        },
        Tile {
            name: "Decisions",
            value: count(sum(&|_| true)),
            more: format!(
                "{} real, {} simulated in force",
                count(sum(&|d| d.status == "active" && !d.simulated)),
                count(sum(&|d| d.status == "active" && d.simulated))
            ),
        },
        Tile {
            name: "Packets acted on",
            value: count(packets),
            more: format!("{} more only counted", count(would)),
        },
        Tile {
            name: "Evidence to entry",
            value: figures.response.to_outcome.map_or("–".to_owned(), |t| millis(t.p50_ms)),
            more: figures
                .response
                .to_outcome
                .map_or("no decision to measure".to_owned(), |t| {
                    format!("median; 99 of 100 within {}", millis(t.p99_ms))
                }),
        },
        Tile {
            name: "Audit",
            value: if audit.broken.is_none() { "intact" } else { "BROKEN" }.to_owned(),
            more: many(audit.intact, "line checked", "lines checked"),
        },
    ]
}

fn three(of: BySeverity) -> [String; 4] {
    [of.high, of.medium, of.low, of.total()].map(count)
}

fn alerts(figures: &Figures, blocks: &mut Vec<Block>) {
    let alerts = &figures.alerts;
    blocks.push(Block::Heading("What was seen"));
    if alerts.all.total() == 0 {
        blocks.push(Block::Text("No detector raised an alert.".to_owned()));
        return;
    }
    let by_day = alerts.step_seconds > 3600;
    blocks.push(Block::Bars(Bars {
        title: format!("Alerts by {}, by severity", if by_day { "day" } else { "hour" }),
        kinds: SEVERITIES,
        steps: alerts
            .over_time
            .iter()
            .map(|one| {
                (
                    step(one.at, by_day),
                    vec![one.alerts.low, one.alerts.medium, one.alerts.high],
                )
            })
            .collect(),
    }));
    let rows = alerts.by_detector.iter().map(|one| {
        let [high, medium, low, all] = three(one.alerts);
        vec![words(&one.name), high, medium, low, all]
    });
    blocks.push(Block::Table(Table {
        title: "By detector",
        columns: &[
            ("Detector", 40, false),
            ("High", 15, true),
            ("Medium", 15, true),
            ("Low", 15, true),
            ("All", 15, true),
        ],
        rows: rows.collect(),
        none: "",
    }));
    let rows = alerts.sources.iter().map(|one| {
        vec![
            one.ip.to_string(),
            one.country.as_deref().map_or("–".to_owned(), clean),
            one.network.as_deref().map_or("–".to_owned(), clean),
            count(one.count),
            share(one.count, alerts.all.total()),
        ]
    });
    blocks.push(Block::Table(Table {
        title: "Sources that raised most alerts",
        columns: &[
            ("Address", 30, false),
            ("Country", 10, false),
            ("Network", 32, false),
            ("Alerts", 14, true),
            ("Share", 14, true),
        ],
        rows: rows.collect(),
        none: "No alert named a source.",
    }));
    let families = alerts
        .families
        .iter()
        .map(|one| vec![words(&one.name), count(one.count), share(one.count, alerts.read)]);
    blocks.push(Block::Table(Table {
        title: "By kind of attack",
        columns: &[("Kind", 60, false), ("Alerts", 20, true), ("Share", 20, true)],
        rows: families.collect(),
        none: "None could be read.",
    }));
    let targets = alerts.targets.iter().map(|one| {
        let place = match one.service.ip {
            std::net::IpAddr::V6(ip) => format!("[{ip}]:{}", one.service.port),
            std::net::IpAddr::V4(ip) => format!("{ip}:{}", one.service.port),
        };
        vec![place, protocol(one.service.proto), count(one.count)]
    });
    blocks.push(Block::Table(Table {
        title: "Services that were attacked most",
        columns: &[("Service", 55, false), ("Protocol", 20, false), ("Alerts", 25, true)],
        rows: targets.collect(),
        none: "No alert named a service.",
    }));
    if alerts.read < alerts.all.total() {
        blocks.push(Block::Note(format!(
            "Kinds of attack and services are read of the latest {} alerts of the period.",
            count(alerts.read)
        )));
    }
}

fn protocol(number: u8) -> String {
    match number {
        1 | 58 => "ICMP".to_owned(),
        6 => "TCP".to_owned(),
        17 => "UDP".to_owned(),
        other => format!("IP protocol {other}"),
    }
}

const fn worth(simulated: bool) -> &'static str {
    if simulated { "simulated" } else { "real" }
}

fn decisions(figures: &Figures, blocks: &mut Vec<Block>) {
    blocks.push(Block::Heading("What was decided and done"));
    let rows = figures.decisions.iter().map(|one| {
        vec![
            words(&one.kind),
            words(&one.status),
            worth(one.simulated).to_owned(),
            words(&one.origin),
            count(one.count),
        ]
    });
    blocks.push(Block::Table(Table {
        title: "Decisions taken in the period, as they stand now",
        columns: &[
            ("What", 30, false),
            ("Stands", 20, false),
            ("Worth", 17, false),
            ("Taken by", 17, false),
            ("Decisions", 16, true),
        ],
        rows: rows.collect(),
        none: "No decision was taken.",
    }));
    if !figures.actions.is_empty() {
        let by_day = figures.alerts.step_seconds > 3600;
        let steps = figures.actions_over_time.iter();
        blocks.push(Block::Bars(Bars {
            title: format!("Actions begun by {}", if by_day { "day" } else { "hour" }),
            kinds: WORTH,
            steps: steps
                .map(|one| (step(one.at, by_day), vec![one.simulated, one.real]))
                .collect(),
        }));
    }
    let rows = figures.actions.iter().map(|one| {
        vec![
            words(&one.kind),
            words(&one.status),
            worth(one.simulated).to_owned(),
            count(one.count),
            count(one.packets),
            count(one.would_packets),
        ]
    });
    blocks.push(Block::Table(Table {
        title: "Actions begun in the period, as far as they got",
        columns: &[
            ("What", 24, false),
            ("Got to", 15, false),
            ("Worth", 14, false),
            ("Actions", 13, true),
            ("Packets acted on", 17, true),
            ("Only counted", 17, true),
        ],
        rows: rows.collect(),
        none: "Nothing was done.",
    }));
    if !figures.actions.is_empty() {
        blocks.push(Block::Note(
            "Packets are those last written down; of what is in force the kernel has counted more since.".to_owned(),
        ));
    }
    let rows = figures
        .vetoes
        .iter()
        .map(|one| vec![words(&one.name), count(one.count)]);
    blocks.push(Block::Table(Table {
        title: "Guards that refused a decision",
        columns: &[("Guard", 75, false), ("Decisions refused", 25, true)],
        rows: rows.collect(),
        none: "No guard had to refuse one.",
    }));
    let rows = figures.taken_back.iter().map(|one| {
        let why = one
            .outcome
            .as_deref()
            .filter(|text| !text.is_empty())
            .unwrap_or("nothing is told of it");
        vec![
            one.at.map_or("–".to_owned(), minute),
            host(&one.target),
            format!("{}, {}", words(&one.kind), worth(one.simulated)),
            format!("{}: {}", words(&one.status), clean(why)),
            clean(&one.reason),
        ]
    });
    blocks.push(Block::Table(Table {
        title: "Taken back before its time, the latest",
        columns: &[
            ("When", 15, false),
            ("About", 17, false),
            ("What", 16, false),
            ("How it ended", 25, false),
            ("Why it had been taken", 27, false),
        ],
        rows: rows.collect(),
        none: "Nothing was taken back before its time.",
    }));
}

/// A prefix of one address as that address.
fn host(target: &str) -> String {
    let alone = if target.contains(':') { "/128" } else { "/32" };
    clean(target.strip_suffix(alone).unwrap_or(target))
}

fn response(figures: &Figures, blocks: &mut Vec<Block>) {
    let response = &figures.response;
    blocks.push(Block::Heading("How fast the answer was"));
    let row = |name: &str, times: Option<Times>| {
        times.map(|t| {
            vec![
                name.to_owned(),
                count(t.of),
                millis(t.p50_ms),
                millis(t.p99_ms),
                millis(t.max_ms),
            ]
        })
    };
    let rows = [
        row("until the entry was read back", response.to_outcome),
        row("until the first packet met it", response.to_first_packet),
    ];
    blocks.push(Block::Table(Table {
        title: "From complete evidence",
        columns: &[
            ("", 36, false),
            ("Decisions", 16, true),
            ("Median", 16, true),
            ("99 of 100", 16, true),
            ("Longest", 16, true),
        ],
        rows: rows.into_iter().flatten().collect(),
        none: "No decision of a detector has both times written down.",
    }));
    if response.read > 0 {
        blocks.push(Block::Note(format!(
            "Of the latest {} by detectors, those with both times written down. The attacker's own pause is in the time until \
             the first packet.",
            many(response.read, "decision", "decisions")
        )));
    }
}

fn intelligence(figures: &Figures, blocks: &mut Vec<Block>) {
    let found = &figures.investigations;
    blocks.push(Block::Heading("What was found out about sources"));
    if found.total == 0 {
        blocks.push(Block::Text("No source was looked into.".to_owned()));
        return;
    }
    let [high, medium, low, all] = three(found.by_risk);
    blocks.push(Block::Text(format!(
        "{all} investigations: {high} of high risk, {medium} of medium and {low} of low risk."
    )));
    let rows = found
        .by_state
        .iter()
        .map(|one| vec![words(&one.name), count(one.count), share(one.count, found.total)]);
    blocks.push(Block::Table(Table {
        title: "How far they got",
        columns: &[("State", 60, false), ("Investigations", 20, true), ("Share", 20, true)],
        rows: rows.collect(),
        none: "",
    }));
    let rows = found.sources.iter().map(|one| {
        let silent = one
            .silent
            .iter()
            .take(3)
            .map(|why| format!("{} {}", words(&why.name), count(why.count)));
        let silent = silent.collect::<Vec<_>>().join(", ");
        vec![
            words(&one.name),
            count(one.asked),
            share(one.answered, one.asked),
            if silent.is_empty() { "–".to_owned() } else { silent },
        ]
    });
    blocks.push(Block::Table(Table {
        title: "Who answered",
        columns: &[
            ("Source", 26, false),
            ("Asked", 14, true),
            ("Answered", 14, true),
            ("No answer, and why", 46, false),
        ],
        rows: rows.collect(),
        none: "No source outside is configured.",
    }));
    if found.read < found.total {
        blocks.push(Block::Note(format!(
            "Who answered is read of the latest {} investigations of the period.",
            count(found.read)
        )));
    }
}

fn audit(figures: &Figures, blocks: &mut Vec<Block>) {
    let audit = &figures.audit;
    blocks.push(Block::Heading("Audit"));
    blocks.push(Block::Text(match &audit.broken {
        None => format!(
            "{} of all times recomputed and found as they were written, {} of them of this period. Hash of the last one \
             (SHA-256 over all before it):",
            many(audit.intact, "line was", "lines were"),
            count(audit.of_period)
        ),
        Some(what) => format!(
            "The audit is not as it was written: {}. {} before that are intact. Hash of the last intact one:",
            clean(what),
            many(audit.intact, "line", "lines")
        ),
    }));
    blocks.push(Block::Text(if audit.intact == 0 {
        "none: the audit is empty".to_owned()
    } else {
        audit.head.clone()
    }));
    if audit.pruned > 0 {
        blocks.push(Block::Note(format!(
            "Retention removed the first {}; the chain is whole from line {} on.",
            many(audit.pruned, "line", "lines"),
            audit.pruned.saturating_add(1)
        )));
    }
    blocks.push(Block::Note(
        "Keep this hash elsewhere: a later audit that does not pass through it was replaced.".to_owned(),
    ));
}
