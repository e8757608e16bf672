//! The head: what mode it is, how it is, how much passes and is dropped.

use super::super::feed::Sample;
use super::super::paint::Paint;
use super::super::state::State;
use super::super::words::{age, bytes, clock, count, fit};
use crate::types::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline};

/// Degraded parts in the head; the list of all is a pane.
const TROUBLES: usize = 3;
/// Maps in the head.
const MAPS: usize = 3;

/// Lines of the head: banner, health, three rates, sizes, maps.
pub(super) fn height(state: &State, area: Rect) -> u16 {
    let room = if area.height >= 30 { TROUBLES } else { 1 };
    let troubles = state
        .snapshot
        .parts
        .iter()
        .filter(|part| part.trouble.is_some())
        .count();
    (1 + troubles.clamp(1, room) + 3 + 1 + 1) as u16
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, paint: Paint, now: Timestamp) {
    let health = area.height - 6;
    let [banner_at, health_at, rates_at, sizes_at, maps_at] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(health),
        Constraint::Length(3),
        Constraint::Length(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(banner(state, paint, now, area.width)), banner_at);
    frame.render_widget(
        Paragraph::new(health_lines(state, paint, health.into(), area.width)),
        health_at,
    );
    rates(frame, rates_at, &state.snapshot.history, paint);
    frame.render_widget(Paragraph::new(fit(&sizes(state), area.width.into())), sizes_at);
    frame.render_widget(Paragraph::new(fit(&maps(state), area.width.into())), maps_at);
}

/// The mode, across the whole width.
pub(super) fn banner(state: &State, paint: Paint, now: Timestamp, width: u16) -> Line<'static> {
    let snapshot = &state.snapshot;
    let mode = if snapshot.production {
        "production"
    } else {
        "simulation"
    };
    let (text, color) = match (&state.silent, state.answered) {
        (None, None) => ("ASKING  the agent has not answered yet".to_owned(), Color::Gray),
        (Some(why), None) => (format!("NO ANSWER  trying again: {why}"), Color::Magenta),
        (Some(why), Some(last)) => {
            let since = age(std::time::Duration::from_nanos((now.0 - last.0).max(0) as u64));
            let text = format!(
                "NO ANSWER for {since}, trying again; below is how it was at {}: {why}",
                clock(last)
            );
            (text, Color::Magenta)
        }
        (None, Some(_)) => match &snapshot.stopped {
            Some(stop) => (format!("STOPPED ({mode})  entries only count: {stop}"), Color::Yellow),
            None if snapshot.production => ("PRODUCTION  decisions are carried out".to_owned(), Color::Green),
            None => (
                "SIMULATION  no decision is carried out; what would be dropped is counted".to_owned(),
                Color::Cyan,
            ),
        },
    };
    let right = match state.answered {
        Some(_) if state.silent.is_none() => format!("sentinel {} up {} ", snapshot.version, age(snapshot.uptime)),
        _ => String::new(),
    };
    let width = usize::from(width);
    let room = width.saturating_sub(right.chars().count() + 2);
    let left = fit(
        &text,
        if room >= text.chars().count() {
            room
        } else {
            width.saturating_sub(2)
        },
    );
    let right = if left.chars().count() <= room {
        right
    } else {
        String::new()
    };
    let gap = width.saturating_sub(left.chars().count() + 1 + right.chars().count());
    Line::styled(format!(" {left}{}{right}", " ".repeat(gap)), paint.banner(color))
}

fn health_lines(state: &State, paint: Paint, room: usize, width: u16) -> Vec<Line<'static>> {
    let parts = &state.snapshot.parts;
    if parts.is_empty() {
        return vec![Line::from("health  nothing is known yet")];
    }
    let troubles: Vec<_> = parts
        .iter()
        .filter_map(|part| Some((part, part.trouble.as_ref()?)))
        .collect();
    if troubles.is_empty() {
        return vec![Line::from(vec![
            Span::from("health  "),
            Span::styled(format!("ok, all {} parts", parts.len()), paint.passed()),
        ])];
    }
    let mut lines: Vec<_> = troubles
        .iter()
        .take(room)
        .map(|(part, (cause, mend))| {
            let text = format!("DEGRADED {}: {cause}; {mend}", part.name);
            Line::styled(fit(&text, width.into()), paint.trouble())
        })
        .collect();
    let more = troubles.len().saturating_sub(room);
    if more > 0
        && let Some((part, (cause, _))) = troubles.get(room - 1)
    {
        let text = format!(
            "DEGRADED {} parts (5 tells all), {}: {cause}",
            troubles.len(),
            part.name
        );
        lines[room - 1] = Line::styled(fit(&text, width.into()), paint.trouble());
    }
    lines
}

/// Changes a second between samples, oldest first. A restart begins anew.
fn per_second(history: &[Sample], of: impl Fn(&Sample) -> u64) -> Vec<u64> {
    let rate = |pair: &[Sample]| {
        let over = (pair[1].at.0 - pair[0].at.0) as f64 / 1e9;
        let grown = of(&pair[1]).saturating_sub(of(&pair[0])) as f64;
        if over > 0.0 { (grown / over).round() as u64 } else { 0 }
    };
    history.windows(2).map(rate).collect()
}

/// The latest of a rate.
pub(in crate::cli::top) fn latest(history: &[Sample], of: impl Fn(&Sample) -> u64) -> u64 {
    per_second(&history[history.len().saturating_sub(2)..], of)
        .last()
        .copied()
        .unwrap_or(0)
}

fn rates(frame: &mut Frame<'_>, area: Rect, history: &[Sample], paint: Paint) {
    type Of = fn(&Sample) -> u64;
    let rows: [(&str, Of, Style); 3] = [
        ("passed", |s| s.passed, paint.passed()),
        ("dropped", |s| s.dropped, paint.dropped()),
        ("would drop", |s| s.would_drop, paint.would()),
    ];
    let lines: [Rect; 3] = Layout::vertical([Constraint::Length(1); 3]).areas(area);
    for ((name, of, style), line) in rows.into_iter().zip(lines) {
        let [label_at, spark_at, most_at] =
            Layout::horizontal([Constraint::Length(24), Constraint::Min(0), Constraint::Length(14)]).areas(line);
        let rates = per_second(history, of);
        let now = count(rates.last().copied().unwrap_or(0));
        let label = Line::from(vec![
            Span::from(format!("{name:<11}")),
            Span::styled(format!("{now:>5} pkt/s  "), paint.strong()),
        ]);
        frame.render_widget(Paragraph::new(label), label_at);
        let shown = &rates[rates.len().saturating_sub(spark_at.width.into())..];
        let most = shown.iter().copied().max().unwrap_or(0);
        frame.render_widget(Sparkline::default().data(shown).max(most.max(1)).style(style), spark_at);
        let most = format!("  most {:>5}", count(most));
        frame.render_widget(Paragraph::new(Span::styled(most, paint.faint())), most_at);
    }
}

fn sizes(state: &State) -> String {
    let snapshot = &state.snapshot;
    // What the ring lost is told by itself.
    let queues = snapshot.lost.iter().filter(|(what, _)| !what.starts_with("ring "));
    format!(
        "{}/s  flows {}  sources {}  lost: ring {}, queues {}  on {}",
        bytes(latest(&snapshot.history, |s| s.bytes) as f64),
        count(snapshot.flows_active),
        count(snapshot.sources_active),
        count(snapshot.ring_lost),
        count(queues.map(|(_, items)| items).sum()),
        if snapshot.interfaces.is_empty() {
            "no interface".to_owned()
        } else {
            snapshot.interfaces.join(", ")
        }
    )
}

fn maps(state: &State) -> String {
    let mut maps: Vec<_> = state.snapshot.maps.iter().collect();
    maps.sort_by(|a, b| b.share().total_cmp(&a.share()).then_with(|| a.name.cmp(&b.name)));
    let told: Vec<_> = maps
        .iter()
        .take(MAPS)
        .map(|map| format!("{} {:.0} % of {}", map.name, map.share() * 100.0, count(map.capacity)))
        .collect();
    if told.is_empty() {
        "maps  nothing is known".to_owned()
    } else {
        format!("maps  {}", told.join("  "))
    }
}
