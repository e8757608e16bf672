//! The screen, drawn from what is known: head, lists, and what lies over them.

mod head;
mod lists;
mod over;

pub(super) use head::latest;
pub(super) use lists::{ago, hits};

use super::paint::Paint;
use super::state::{Over, Pane, State};
use crate::types::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

/// Below this nothing of use fits.
const LEAST: (u16, u16) = (60, 14);
/// With so many lines for the lists three of them stand below each other.
const TALL: u16 = 24;

/// Draws everything. `now` is what countdowns count to.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State, paint: Paint, now: Timestamp) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!(
            "{} by {} is too small: at least {} by {}",
            area.width, area.height, LEAST.0, LEAST.1
        );
        frame.render_widget(
            Paragraph::new(vec![head::banner(state, paint, now, area.width), Line::from(text)]),
            area,
        );
        return;
    }
    let head = head::height(state, area);
    let [top, tabs, body, foot] = Layout::vertical([
        Constraint::Length(head),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    head::draw(frame, top, state, paint, now);
    frame.render_widget(Paragraph::new(tab_line(state, paint)), tabs);
    let stacked = [Pane::Alerts, Pane::Decisions, Pane::Flows];
    if body.height >= TALL && stacked.contains(&state.pane) {
        let parts: [Rect; 3] = Layout::vertical([Constraint::Fill(1); 3]).areas(body);
        for (pane, area) in stacked.into_iter().zip(parts) {
            lists::draw(frame, area, state, pane, paint, now);
        }
    } else {
        lists::draw(frame, body, state, state.pane, paint, now);
    }
    frame.render_widget(Paragraph::new(foot_line(state, paint, foot.width)), foot);
    match state.over.clone() {
        Over::Nothing => {}
        Over::Help => over::help(frame, area, paint),
        Over::Detail => over::detail(frame, area, state, paint, now),
        Over::Confirm(decision) => over::confirm(frame, area, &decision, paint, now),
    }
}

fn tab_line(state: &State, paint: Paint) -> Line<'static> {
    let mut spans = Vec::new();
    for (at, pane) in Pane::ALL.into_iter().enumerate() {
        let name = format!("{} {}", at + 1, pane.name());
        spans.push(if pane == state.pane {
            Span::styled(format!("[{name}]"), paint.strong())
        } else {
            Span::styled(format!(" {name} "), paint.faint())
        });
    }
    Line::from(spans)
}

fn foot_line(state: &State, paint: Paint, width: u16) -> Line<'static> {
    if let Some(note) = &state.note {
        return Line::styled(super::words::fit(note, width.into()), paint.strong());
    }
    let keys = match state.pane {
        Pane::Alerts => "s sort  Enter detail",
        Pane::Decisions => "s sort  u unblock  Enter detail",
        Pane::Flows => "s sort  p sources  Enter detail",
        Pane::Maps => "s sort",
        Pane::Health => "Enter detail",
    };
    Line::styled(format!("q quit  ? help  Tab list  arrows row  {keys}"), paint.faint())
}
