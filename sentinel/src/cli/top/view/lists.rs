//! The lists: alerts, decisions, flows, maps, parts.

use super::super::feed::{AlertRow, DecisionRow, Map, Part};
use super::super::paint::Paint;
use super::super::state::{Pane, State};
use super::super::words::{age, bytes, clock, count, fit, moved, packets, place, protocol, stage, volume};
use crate::cli::remaining;
use crate::types::{Busy, BusyPer, Severity, Timestamp};
use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::Span;
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table};

/// In front of the selected row.
const MARK: &str = "> ";

/// Columns: heading, and how many cells of the screen; 0 takes what is left.
type Columns = Vec<(&'static str, u16)>;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &mut State, pane: Pane, paint: Paint, now: Timestamp) {
    let here = pane == state.pane;
    let title = format!(" {} ", title(state, pane));
    let style = if here { paint.strong() } else { paint.faint() };
    let block = Block::new()
        .borders(Borders::TOP)
        .title(Span::styled(title, style))
        .border_style(paint.faint());
    let (columns, rows) = table(state, pane, paint, now, area.width);
    if rows.is_empty() {
        frame.render_widget(Paragraph::new(empty(state, pane)).block(block), area);
        return;
    }
    let widths: Vec<Constraint> = columns
        .iter()
        .map(|(_, width)| {
            if *width == 0 {
                Constraint::Fill(1)
            } else {
                Constraint::Length(*width)
            }
        })
        .collect();
    let head = Row::new(columns.iter().map(|(name, _)| *name)).style(paint.faint());
    let selected = if here { paint.selected() } else { Style::new() };
    let table = Table::new(rows, widths)
        .header(head)
        .column_spacing(1)
        .block(block)
        .row_highlight_style(selected)
        .highlight_symbol(if here { MARK } else { "  " });
    frame.render_stateful_widget(table, area, &mut state.place(pane).table);
}

fn title(state: &State, pane: Pane) -> String {
    let snapshot = &state.snapshot;
    let of = |shown: usize, total: u64, what: &str| {
        if (shown as u64) < total {
            format!("{shown} of {} {what}", count(total))
        } else {
            format!("{} {what}", count(total))
        }
    };
    let order = state.order(pane);
    match pane {
        Pane::Alerts => format!(
            "{}, {order}",
            of(snapshot.alerts.len(), snapshot.alerts_total, "alerts")
        ),
        Pane::Decisions => {
            let what = "decisions that are not over";
            format!(
                "{}, {order}",
                of(snapshot.decisions.len(), snapshot.decisions_total, what)
            )
        }
        Pane::Flows => {
            let what = match state.per {
                BusyPer::Flow => "flows",
                BusyPer::Source => "sources",
            };
            format!("{}, most {order}", of(snapshot.busy.len(), snapshot.busy_total, what))
        }
        Pane::Maps => format!("{} lists and tables of the kernel, {order}", snapshot.maps.len()),
        Pane::Health => format!("{} parts, {order} first", snapshot.parts.len()),
    }
}

fn empty(state: &State, pane: Pane) -> &'static str {
    if state.answered.is_none() {
        return "  nothing is known yet";
    }
    match pane {
        Pane::Alerts => "  no alert",
        Pane::Decisions => "  no decision",
        Pane::Flows => "  no flow was seen lately",
        Pane::Maps | Pane::Health => "  nothing was told",
    }
}

fn table(state: &State, pane: Pane, paint: Paint, now: Timestamp, width: u16) -> (Columns, Vec<Row<'static>>) {
    let snapshot = &state.snapshot;
    match pane {
        Pane::Alerts => {
            let columns = alert_columns(&snapshot.alerts, width);
            let rows = snapshot
                .alerts
                .iter()
                .map(|row| alert(row, &columns, width, paint))
                .collect();
            (columns, rows)
        }
        Pane::Decisions => {
            let columns = decision_columns(&snapshot.decisions, width);
            let rows = snapshot
                .decisions
                .iter()
                .map(|row| decision(row, &columns, width, now))
                .collect();
            (columns, rows)
        }
        Pane::Flows => busy(state, width),
        Pane::Maps => {
            let columns = vec![("List", 24), ("Held", 8), ("Room", 8), ("Full", 6), ("", 0)];
            let rows = snapshot.maps.iter().map(map).collect();
            (columns, rows)
        }
        Pane::Health => {
            let columns = vec![("Part", 12), ("State", 8), ("Why, and what to do", 0)];
            let rows = snapshot.parts.iter().map(|row| part(row, paint)).collect();
            (columns, rows)
        }
    }
}

/// The widest of some texts, at least their heading and at most so much.
fn widest<'t>(texts: impl Iterator<Item = &'t str>, least: usize, most: usize) -> u16 {
    texts
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0)
        .clamp(least, most) as u16
}

fn addresses(width: u16) -> usize {
    if width >= 110 { 39 } else { 22 }
}

/// What is left for the last column.
fn rest(columns: &Columns, width: u16) -> usize {
    let taken: usize = columns.iter().map(|(_, cells)| usize::from(*cells) + 1).sum();
    usize::from(width).saturating_sub(taken - 1 + MARK.len())
}

fn alert_columns(rows: &[AlertRow], width: u16) -> Columns {
    let source = widest(rows.iter().map(|row| row.source.as_str()), 6, addresses(width));
    let detector = widest(rows.iter().map(|row| row.detector), 8, 24);
    vec![
        ("Time", 8),
        ("Severity", 8),
        ("Source", source),
        ("Detector", detector),
        ("What", 0),
    ]
}

fn alert(row: &AlertRow, columns: &Columns, width: u16, paint: Paint) -> Row<'static> {
    let severity = match row.severity {
        Severity::High => "HIGH",
        Severity::Medium => "medium",
        Severity::Low => "low",
    };
    Row::new([
        Span::from(clock(row.at)),
        Span::styled(severity, paint.severity(row.severity)),
        Span::from(fit(&row.source, columns[2].1.into())),
        Span::from(fit(row.detector, columns[3].1.into())),
        Span::from(fit(&row.summary, rest(columns, width))),
    ])
}

fn decision_columns(rows: &[DecisionRow], width: u16) -> Columns {
    let target = widest(rows.iter().map(|row| row.target.as_str()), 6, addresses(width));
    let action = widest(rows.iter().map(|row| row.action.as_str()), 6, 22);
    vec![
        ("Target", target),
        ("Action", action),
        ("State", 11),
        ("Left", 6),
        ("Packets", 10),
        ("Why", 0),
    ]
}

fn decision(row: &DecisionRow, columns: &Columns, width: u16, now: Timestamp) -> Row<'static> {
    Row::new([
        fit(&row.target, columns[0].1.into()),
        fit(&row.action, columns[1].1.into()),
        row.state.to_owned(),
        row.until.map_or_else(String::new, |end| remaining(now, end)),
        hits(row),
        fit(&row.reason, rest(columns, width)),
    ])
}

/// What its entry counted: dropped, or what would have been.
pub(in crate::cli::top) fn hits(row: &DecisionRow) -> String {
    if matches!(row.state, "simulated" | "held back") {
        format!("would {}", count(row.would_hits))
    } else {
        count(row.hits)
    }
}

fn busy(state: &State, width: u16) -> (Columns, Vec<Row<'static>>) {
    let rows = &state.snapshot.busy;
    let numbers = |busy: &Busy| {
        let moved = moved(busy);
        [
            bytes(volume(moved)),
            count(packets(moved)),
            format!("{}/s", bytes(moved.bytes_per_second)),
        ]
    };
    if state.per == BusyPer::Source {
        let columns = vec![
            ("Source", 39),
            ("Flows", 6),
            ("Bytes", 9),
            ("Packets", 7),
            ("Rate", 11),
            ("", 0),
        ];
        let row = |busy: &Busy| {
            let Busy::Source(source) = busy else {
                return Row::default();
            };
            let [bytes, packets, rate] = numbers(busy);
            Row::new([
                source.source.to_string(),
                count(source.flows),
                bytes,
                packets,
                rate,
                String::new(),
            ])
        };
        return (columns, rows.iter().map(row).collect());
    }
    let wide = width >= 100;
    let ends = match width {
        130.. => 47,
        100.. => 29,
        _ => 21,
    };
    let mut columns = vec![
        ("From", ends),
        ("To", ends),
        ("Proto", 5),
        ("Bytes", 8),
        ("Pkts", 8),
        ("Rate", 10),
        ("", 0),
    ];
    // Both do not fit: the one that is sorted by.
    let left_out = if state.order(Pane::Flows) == "packets" { 3 } else { 4 };
    if !wide {
        columns.remove(left_out);
    }
    let row = |busy: &Busy| {
        let Busy::Flow(flow) = busy else {
            return Row::default();
        };
        let [bytes, packets, rate] = numbers(busy);
        let mut cells = vec![
            fit(&place(flow.source, flow.source_port), ends.into()),
            fit(&place(flow.destination, flow.destination_port), ends.into()),
            protocol(flow.proto),
            bytes,
            packets,
            rate,
            stage(flow).to_owned(),
        ];
        if !wide {
            cells.remove(left_out);
        }
        Row::new(cells)
    };
    (columns, rows.iter().map(row).collect())
}

fn map(row: &Map) -> Row<'static> {
    const BAR: usize = 20;
    let full = ((row.share() * BAR as f64).round() as usize).min(BAR);
    Row::new([
        row.name.clone(),
        count(row.entries),
        count(row.capacity),
        format!("{:.1} %", row.share() * 100.0),
        format!("[{}{}]", "#".repeat(full), "-".repeat(BAR - full)),
    ])
}

fn part(row: &Part, paint: Paint) -> Row<'static> {
    match &row.trouble {
        Some((cause, mend)) => Row::new([
            Span::from(row.name.clone()),
            Span::styled("DEGRADED", paint.trouble()),
            Span::from(format!("{cause}; {mend}")),
        ]),
        None => Row::new([
            Span::from(row.name.clone()),
            Span::from("ok"),
            Span::from(row.detail.clone()),
        ]),
    }
}

/// How long ago.
pub(in crate::cli::top) fn ago(now: Timestamp, at: Timestamp) -> String {
    let passed = std::time::Duration::from_nanos((now.0 - at.0).max(0) as u64);
    format!("{} ago", age(passed))
}
