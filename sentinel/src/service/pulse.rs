//! Which of the rooms still come round.

use crate::types::Beat;
use std::time::Duration;
use tokio::time::Instant;

/// One room's sign of life, as it was last seen.
#[derive(Debug)]
pub struct Pulse {
    name: &'static str,
    beat: Beat,
    seen: u64,
    since: Instant,
}

impl Pulse {
    /// Of a room.
    pub fn new(name: &'static str, beat: Beat) -> Self {
        let seen = beat.count();
        Self {
            name,
            beat,
            seen,
            since: Instant::now(),
        }
    }

    /// Feels it; the room's name and for how long it has been silent, where that is longer than `patience`.
    pub(super) fn silent(&mut self, patience: Duration, now: Instant) -> Option<(&'static str, Duration)> {
        let count = self.beat.count();
        if count != self.seen {
            (self.seen, self.since) = (count, now);
        }
        let silent = now.duration_since(self.since);
        (silent > patience).then_some((self.name, silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_room_is_silent_once_it_has_not_come_round_for_too_long() {
        let beat = Beat::default();
        let mut pulse = Pulse::new("desk", beat.clone());
        let patience = Duration::from_secs(30);
        for _ in 0..10 {
            tokio::time::advance(Duration::from_secs(29)).await;
            beat.strike();
            assert_eq!(pulse.silent(patience, Instant::now()), None);
        }
        tokio::time::advance(Duration::from_secs(31)).await;
        let said = pulse.silent(patience, Instant::now());
        assert_eq!(said, Some(("desk", Duration::from_secs(31))));
        beat.strike();
        assert_eq!(pulse.silent(patience, Instant::now()), None, "it came back");
    }
}
