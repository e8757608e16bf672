//! What lies over the lists: help, a row in full, a question.

use super::super::feed::DecisionRow;
use super::super::paint::Paint;
use super::super::state::{Pane, State};
use super::super::words::{bytes, count, moved, packets, place, protocol, volume};
use super::lists::{ago, hits};
use crate::cli::remaining;
use crate::types::{Busy, Timestamp};
use ratatui::Frame;
use ratatui::layout::{Constraint, Flex, Layout, Rect};
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

const HELP: &str = "\
q, Esc, Ctrl-C   quit; Ctrl-L draws anew
Tab, arrows l/r  next list, the one before; 1 to 5: that list
arrows u/d, j k  select; PgUp, PgDn, Home, End
Enter            the selected row in full
s                the next order
p                flows, or the sources that opened them
u                take the selected decision back, after a question
?                this page

Packets of a decision are those its entry dropped or limited;
\"would\" is what it would have, in simulation or while stopped.
Rates of flows are of the last seconds, both ways. Times are UTC.";

/// A box in the middle.
fn boxed(frame: &mut Frame<'_>, area: Rect, width: u16, height: u16, title: &str, lines: Vec<Line<'_>>, paint: Paint) {
    let [across] = Layout::horizontal([Constraint::Max(width)])
        .flex(Flex::Center)
        .areas(area);
    let [place] = Layout::vertical([Constraint::Max(height)])
        .flex(Flex::Center)
        .areas(across);
    frame.render_widget(Clear, place);
    let block = Block::bordered()
        .title(format!(" {title} "))
        .border_style(paint.strong());
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), place);
}

pub(super) fn help(frame: &mut Frame<'_>, area: Rect, paint: Paint) {
    let mut lines: Vec<Line<'_>> = HELP.lines().map(Line::from).collect();
    lines.push(Line::from(""));
    lines.push(Line::from("Any key goes back."));
    boxed(frame, area, 68, lines.len() as u16 + 2, "Keys", lines, paint);
}

pub(super) fn confirm(frame: &mut Frame<'_>, area: Rect, decision: &DecisionRow, paint: Paint, now: Timestamp) {
    let left = decision
        .until
        .map_or_else(String::new, |end| format!(", {} left", remaining(now, end)));
    let lines = vec![
        Line::from(format!("{} on {}", decision.action, decision.target)),
        Line::from(format!("{}, by {}{left}", decision.state, decision.actor)),
        Line::from(decision.reason.clone()),
        Line::from(""),
        Line::styled("Take it back?  y yes   n no", paint.strong()),
    ];
    boxed(frame, area, 72, 10, "Unblock", lines, paint);
}

pub(super) fn detail(frame: &mut Frame<'_>, area: Rect, state: &State, paint: Paint, now: Timestamp) {
    let Some((title, facts)) = facts(state, now) else {
        return;
    };
    let mut lines: Vec<Line<'_>> = facts
        .into_iter()
        .map(|(name, text)| Line::from(format!("{name:<12}{text}")))
        .collect();
    lines.push(Line::from(""));
    lines.push(Line::from("Any key goes back."));
    let width = area.width.min(100);
    let inside = usize::from(width).saturating_sub(2).max(1);
    let height: usize = lines.iter().map(|line| line.width().div_ceil(inside).max(1)).sum();
    // Words are not cut: a line may need one more.
    boxed(frame, area, width, height as u16 + 3, title, lines, paint);
}

type Facts = Vec<(&'static str, String)>;

fn facts(state: &State, now: Timestamp) -> Option<(&'static str, Facts)> {
    match state.pane {
        Pane::Alerts => {
            let row = state.selected_alert()?;
            let facts = vec![
                ("what", row.summary.clone()),
                ("source", row.source.clone()),
                ("detector", row.detector.to_owned()),
                ("severity", format!("{:?}", row.severity).to_lowercase()),
                ("at", format!("{} ({})", row.at, ago(now, row.at))),
                ("id", row.id.clone()),
                ("more", format!("sentinel explain alert {}", row.id)),
            ];
            Some(("Alert", facts))
        }
        Pane::Decisions => {
            let row = state.selected_decision()?;
            let until = row
                .until
                .map_or_else(String::new, |end| format!("{end} ({} left)", remaining(now, end)));
            let facts = vec![
                ("target", row.target.clone()),
                ("action", row.action.clone()),
                ("state", row.state.to_owned()),
                ("until", until),
                ("packets", hits(row)),
                ("by", row.actor.clone()),
                ("why", row.reason.clone()),
                ("at", format!("{} ({})", row.at, ago(now, row.at))),
                ("id", row.id.clone()),
                ("more", format!("sentinel explain decision {}", row.id)),
            ];
            Some(("Decision", facts))
        }
        Pane::Flows => {
            let row = state.snapshot.busy.get(state.selected(Pane::Flows)?)?;
            Some((
                if matches!(row, Busy::Flow(_)) { "Flow" } else { "Source" },
                busy(row, now),
            ))
        }
        Pane::Maps => {
            let row = state.snapshot.maps.get(state.selected(Pane::Maps)?)?;
            let facts = vec![
                ("list", row.name.clone()),
                ("held", row.entries.to_string()),
                ("room", row.capacity.to_string()),
            ];
            Some(("List", facts))
        }
        Pane::Health => {
            let row = state.snapshot.parts.get(state.selected(Pane::Health)?)?;
            let facts = match &row.trouble {
                Some((cause, mend)) => vec![
                    ("part", row.name.clone()),
                    ("state", "degraded".to_owned()),
                    ("cause", cause.clone()),
                    ("mend", mend.clone()),
                ],
                None => vec![
                    ("part", row.name.clone()),
                    ("state", "ok".to_owned()),
                    ("detail", row.detail.clone()),
                ],
            };
            Some(("Part", facts))
        }
    }
}

fn busy(row: &Busy, now: Timestamp) -> Facts {
    let numbers = moved(row);
    let mut facts = match row {
        Busy::Flow(flow) => vec![
            ("from", place(flow.source, flow.source_port)),
            ("to", place(flow.destination, flow.destination_port)),
            ("protocol", protocol(flow.proto)),
            (
                "opened",
                if flow.from_inside { "from here" } else { "from outside" }.to_owned(),
            ),
            (
                "allowlist",
                if flow.allowlisted {
                    "the far side is on it"
                } else {
                    "no"
                }
                .to_owned(),
            ),
            ("first seen", ago(now, flow.first_seen)),
            ("last seen", ago(now, flow.last_seen)),
        ],
        Busy::Source(source) => vec![
            ("source", source.source.to_string()),
            ("flows", format!("{}, {} of them closed", source.flows, source.closed)),
            ("first seen", ago(now, source.first_seen)),
            ("last seen", ago(now, source.last_seen)),
        ],
    };
    facts.extend([
        (
            "sent",
            format!(
                "{} packets, {}",
                count(numbers.packets_sent),
                bytes(numbers.bytes_sent as f64)
            ),
        ),
        (
            "received",
            format!(
                "{} packets, {}",
                count(numbers.packets_received),
                bytes(numbers.bytes_received as f64)
            ),
        ),
        (
            "together",
            format!("{} packets, {}", count(packets(numbers)), bytes(volume(numbers))),
        ),
        (
            "rate",
            format!(
                "{:.1} packets/s, {}/s",
                numbers.packets_per_second,
                bytes(numbers.bytes_per_second)
            ),
        ),
    ]);
    facts
}
