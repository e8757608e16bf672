//! What a reader of the stream asks for: kinds, filters, and where it left off.

use crate::api::error::Problem;
use crate::api::query::Params;
use crate::types::{Event, Severity, Timestamp};
use ipnet::IpNet;

/// What there is to ask for, by the name in messages.
const KINDS: [&str; 6] = ["alert", "investigation", "decision", "action", "stats", "health"];

/// What one reader gets.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// One bit per kind.
    kinds: u8,
    /// Only events about this address or prefix.
    ip: Option<IpNet>,
    /// Only alerts of these severities; empty for all.
    severity: Vec<Severity>,
    /// Messages come together, four times a second at most.
    pub(super) batched: bool,
    /// The last event the reader saw.
    pub(super) after: Option<EventId>,
}

impl Wish {
    /// # Errors
    /// 422, which names the parameter and what it may be.
    pub(super) fn read(mut params: Params) -> Result<Self, Problem> {
        let expected = "of `alert`, `investigation`, `decision`, `action`, `stats`, `health`, several with commas";
        let wish = Self {
            kinds: params.take("types", expected, kinds)?.unwrap_or((1 << KINDS.len()) - 1),
            ip: params.ip()?,
            severity: params.words("severity", "`low`, `medium` or `high`, or several with commas")?,
            batched: params
                .take("batch", "`true` or `false`", |text| text.parse().ok())?
                .unwrap_or(false),
            after: params.take("after", "the `id` of an event of this stream", EventId::parse)?,
        };
        params.finish()?;
        Ok(wish)
    }

    /// Whether messages of this kind are wanted.
    pub(super) fn has(&self, kind: &str) -> bool {
        place(kind).is_some_and(|place| self.kinds & (1 << place) != 0)
    }

    /// Whether this event is wanted.
    pub(super) fn wants(&self, event: &Event) -> bool {
        self.has(event.kind()) && self.is_severe(event) && self.ip.is_none_or(|ip| concerns(event, ip))
    }

    fn is_severe(&self, event: &Event) -> bool {
        match event {
            Event::Alert(alert) => self.severity.is_empty() || self.severity.contains(&alert.severity),
            _ => true,
        }
    }
}

fn place(kind: &str) -> Option<usize> {
    KINDS.iter().position(|known| *known == kind)
}

fn kinds(text: &str) -> Option<u8> {
    text.split(',').try_fold(0, |bits, word| Some(bits | 1 << place(word)?))
}

/// As the lists' `ip` has it: sources inside the prefix, targets that overlap with it.
fn concerns(event: &Event, ip: IpNet) -> bool {
    let overlaps = |target: &IpNet| ip.contains(target) || target.contains(&ip);
    match event {
        Event::Alert(alert) => alert.source.is_some_and(|source| ip.contains(&source)),
        Event::Investigation(investigation) => ip.contains(&investigation.ip),
        Event::Decision(decision) => overlaps(&decision.target),
        Event::Action(action) => overlaps(&action.target),
    }
}

/// An event's name in the stream: the agent's start and the event's number since. Of another start nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EventId {
    pub(super) started: Timestamp,
    pub(super) seq: u64,
}

impl EventId {
    fn parse(text: &str) -> Option<Self> {
        let (started, seq) = text.split_once('.')?;
        Some(Self {
            started: Timestamp(started.parse().ok()?),
            seq: seq.parse().ok()?,
        })
    }
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.started.0, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_events_come_back_and_garbage_does_not() {
        let id = EventId {
            started: Timestamp(1_764_370_000_000_000_000),
            seq: 17,
        };
        assert_eq!(EventId::parse(&id.to_string()), Some(id));
        for text in [
            "",
            ".",
            "1",
            "1.",
            ".1",
            "1.2.3",
            "1.-2",
            "a.b",
            "1.99999999999999999999999",
        ] {
            assert_eq!(EventId::parse(text), None, "{text}");
        }
    }
}
