//! What the screen knows between two looks: where the reader is, what is sorted how, and what a key does.

use super::feed::{AlertRow, DecisionRow, Map, Snapshot, Wish};
use crate::types::{Busy, BusyBy, BusyPer, Severity, Timestamp};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;
use std::cmp::Reverse;

/// A list that can be looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pane {
    Alerts,
    Decisions,
    Flows,
    Maps,
    Health,
}

impl Pane {
    pub(super) const ALL: [Self; 5] = [Self::Alerts, Self::Decisions, Self::Flows, Self::Maps, Self::Health];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Alerts => "Alerts",
            Self::Decisions => "Decisions",
            Self::Flows => "Flows",
            Self::Maps => "Maps",
            Self::Health => "Health",
        }
    }

    /// Orders, the usual one first.
    pub(super) const fn orders(self) -> &'static [&'static str] {
        match self {
            Self::Alerts => &["newest", "severity", "source"],
            Self::Decisions => &["newest", "ends first", "hits", "target"],
            Self::Flows => &["rate", "bytes", "packets"],
            Self::Maps => &["fullest", "name"],
            Self::Health => &["worst"],
        }
    }
}

/// What lies over the lists.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Over {
    Nothing,
    Help,
    /// The selected row in full.
    Detail,
    /// Whether this decision is really to be taken back.
    Confirm(Box<DecisionRow>),
}

/// What a key asks of the loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Nothing,
    Quit,
    /// Draw everything anew: something else wrote on the terminal.
    Redraw,
    /// Look now: something else is wished for.
    Look,
    /// Take this decision back: its name and its target.
    Unblock(String, String),
}

/// A list's place.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// The row the reader is on, by what it is and not by where it stands.
    key: Option<String>,
    order: usize,
    pub(super) table: TableState,
}

/// The screen.
#[derive(Debug)]
pub(super) struct State {
    pub(super) pane: Pane,
    places: [Place; 5],
    pub(super) per: BusyPer,
    pub(super) over: Over,
    pub(super) snapshot: Snapshot,
    /// When the agent last answered; never before the first answer.
    pub(super) answered: Option<Timestamp>,
    /// Why it did not, the last time.
    pub(super) silent: Option<String>,
    /// What came of the last command.
    pub(super) note: Option<String>,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            pane: Pane::Alerts,
            places: Default::default(),
            per: BusyPer::Flow,
            over: Over::Nothing,
            snapshot: Snapshot::default(),
            answered: None,
            silent: None,
            note: None,
        }
    }

    pub(super) fn place(&mut self, pane: Pane) -> &mut Place {
        &mut self.places[pane as usize]
    }

    /// The order of a list, by name.
    pub(super) fn order(&self, pane: Pane) -> &'static str {
        let orders = pane.orders();
        orders[self.places[pane as usize].order % orders.len()]
    }

    /// What is to be asked for.
    pub(super) fn wish(&self) -> Wish {
        Wish {
            per: self.per,
            by: match self.order(Pane::Flows) {
                "bytes" => BusyBy::Bytes,
                "packets" => BusyBy::Packets,
                _ => BusyBy::Rate,
            },
        }
    }

    /// Takes in what a look brought.
    pub(super) fn take(&mut self, told: Result<Snapshot, String>, now: Timestamp) {
        match told {
            Ok(snapshot) => {
                self.snapshot = snapshot;
                (self.answered, self.silent) = (Some(now), None);
                self.arrange();
            }
            Err(why) => self.silent = Some(why),
        }
    }

    /// Sorts the lists and finds the rows again that the reader is on.
    pub(super) fn arrange(&mut self) {
        match self.order(Pane::Alerts) {
            "severity" => self
                .snapshot
                .alerts
                .sort_by_key(|row| (Reverse(weight(row.severity)), Reverse(row.at))),
            "source" => self
                .snapshot
                .alerts
                .sort_by(|a, b| (&a.source, b.at).cmp(&(&b.source, a.at))),
            _ => self.snapshot.alerts.sort_by_key(|row| Reverse(row.at)),
        }
        let decisions = &mut self.snapshot.decisions;
        match self.places[Pane::Decisions as usize].order % Pane::Decisions.orders().len() {
            1 => decisions.sort_by_key(|row| (row.until.unwrap_or(Timestamp(i64::MAX)), row.id.clone())),
            2 => decisions.sort_by_key(|row| (Reverse(row.hits.max(row.would_hits)), row.id.clone())),
            3 => decisions.sort_by(|a, b| (&a.target, &a.id).cmp(&(&b.target, &b.id))),
            _ => decisions.sort_by_key(|row| Reverse(row.at)),
        }
        let maps = &mut self.snapshot.maps;
        match self.places[Pane::Maps as usize].order % Pane::Maps.orders().len() {
            1 => maps.sort_by(|a, b| a.name.cmp(&b.name)),
            _ => maps.sort_by(|a, b| b.share().total_cmp(&a.share()).then_with(|| a.name.cmp(&b.name))),
        }
        self.snapshot
            .parts
            .sort_by(|a, b| (a.trouble.is_none(), &a.name).cmp(&(b.trouble.is_none(), &b.name)));
        for pane in Pane::ALL {
            self.find(pane);
        }
    }

    /// The names of a list's rows, in order.
    fn keys(&self, pane: Pane) -> Vec<String> {
        let Snapshot {
            alerts,
            decisions,
            busy,
            maps,
            parts,
            ..
        } = &self.snapshot;
        match pane {
            Pane::Alerts => alerts.iter().map(|row| row.id.clone()).collect(),
            Pane::Decisions => decisions.iter().map(|row| row.id.clone()).collect(),
            Pane::Flows => busy.iter().map(busy_key).collect(),
            Pane::Maps => maps.iter().map(|row: &Map| row.name.clone()).collect(),
            Pane::Health => parts.iter().map(|row| row.name.clone()).collect(),
        }
    }

    /// Keeps the selection on its row, and where that is gone on its line.
    fn find(&mut self, pane: Pane) {
        let keys = self.keys(pane);
        let place = &mut self.places[pane as usize];
        let old = place.table.selected().unwrap_or(0);
        let at = place.key.as_ref().and_then(|key| keys.iter().position(|k| k == key));
        let at = at.unwrap_or(old).min(keys.len().saturating_sub(1));
        // Who did not move stays at the top, where what is new comes in.
        place
            .table
            .select((!keys.is_empty()).then_some(if place.key.is_none() { 0 } else { at }));
        if place.key.is_some() {
            place.key = keys.get(at).cloned();
        }
    }

    fn go(&mut self, by: isize) {
        let keys = self.keys(self.pane);
        let place = &mut self.places[self.pane as usize];
        let at = place.table.selected().unwrap_or(0);
        let at = at.saturating_add_signed(by).min(keys.len().saturating_sub(1));
        place.table.select((!keys.is_empty()).then_some(at));
        place.key = keys.get(at).cloned();
    }

    /// The decision that is selected, where decisions are looked through.
    pub(super) fn selected_decision(&self) -> Option<&DecisionRow> {
        let at = self.places[Pane::Decisions as usize].table.selected()?;
        self.snapshot.decisions.get(at)
    }

    /// The alert that is selected.
    pub(super) fn selected_alert(&self) -> Option<&AlertRow> {
        let at = self.places[Pane::Alerts as usize].table.selected()?;
        self.snapshot.alerts.get(at)
    }

    /// Place of the selected row of a list.
    pub(super) fn selected(&self, pane: Pane) -> Option<usize> {
        self.places[pane as usize].table.selected()
    }

    /// What a key does.
    pub(super) fn press(&mut self, key: KeyEvent) -> Effect {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c' | 'd') => Effect::Quit,
                KeyCode::Char('l') => Effect::Redraw,
                _ => Effect::Nothing,
            };
        }
        match std::mem::replace(&mut self.over, Over::Nothing) {
            Over::Nothing => self.press_plain(key.code),
            Over::Confirm(decision) => match key.code {
                KeyCode::Char('y' | 'Y') => {
                    self.note = Some(format!("asking the agent to free {}…", decision.target));
                    Effect::Unblock(decision.id, decision.target)
                }
                KeyCode::Char('n' | 'N' | 'q') | KeyCode::Esc => {
                    self.note = Some(format!("{} stays as it is", decision.target));
                    Effect::Nothing
                }
                // A stray key is no answer.
                _ => {
                    self.over = Over::Confirm(decision);
                    Effect::Nothing
                }
            },
            Over::Help | Over::Detail => Effect::Nothing,
        }
    }

    fn press_plain(&mut self, code: KeyCode) -> Effect {
        const PAGE: isize = 10;
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Effect::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.over = Over::Help,
            KeyCode::Tab | KeyCode::Right | KeyCode::Char('l') => self.turn(1),
            KeyCode::BackTab | KeyCode::Left => self.turn(Pane::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='5') => self.pane = Pane::ALL[digit as usize - '1' as usize],
            KeyCode::Down | KeyCode::Char('j') => self.go(1),
            KeyCode::Up | KeyCode::Char('k') => self.go(-1),
            KeyCode::PageDown => self.go(PAGE),
            KeyCode::PageUp => self.go(-PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN + 1),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX),
            KeyCode::Enter if self.selected(self.pane).is_some() => self.over = Over::Detail,
            KeyCode::Char('s') => {
                self.place(self.pane).order += 1;
                self.arrange();
                if self.pane == Pane::Flows {
                    return Effect::Look;
                }
            }
            KeyCode::Char('p') if self.pane == Pane::Flows => {
                self.per = match self.per {
                    BusyPer::Flow => BusyPer::Source,
                    BusyPer::Source => BusyPer::Flow,
                };
                self.snapshot.busy.clear();
                self.arrange();
                return Effect::Look;
            }
            KeyCode::Char('u') => self.ask_to_unblock(),
            _ => {}
        }
        Effect::Nothing
    }

    fn turn(&mut self, by: usize) {
        self.pane = Pane::ALL[(self.pane as usize + by) % Pane::ALL.len()];
    }

    fn ask_to_unblock(&mut self) {
        if self.pane != Pane::Decisions {
            self.note = Some("select a decision first: 2, then arrows, then u".to_owned());
        } else if let Some(decision) = self.selected_decision() {
            self.over = Over::Confirm(Box::new(decision.clone()));
        } else {
            self.note = Some("there is no decision to take back".to_owned());
        }
    }
}

const fn weight(severity: Severity) -> u8 {
    match severity {
        Severity::Low => 0,
        Severity::Medium => 1,
        Severity::High => 2,
    }
}

fn busy_key(busy: &Busy) -> String {
    match busy {
        Busy::Flow(flow) => format!(
            "{} {} {} {} {}",
            flow.source, flow.source_port, flow.destination, flow.destination_port, flow.proto
        ),
        Busy::Source(source) => source.source.to_string(),
    }
}
