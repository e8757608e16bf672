//! Another policy while the judge sits.

use super::Judge;
use crate::config::ResponseConfig;

impl Judge {
    /// Judges by another policy from now on. What is in force stays, with the end it has.
    pub fn renew(&mut self, config: &ResponseConfig) {
        self.config = config.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Mode};
    use crate::decide::Guards;
    use crate::types::{ActionKind, Mint, NewDecision, Timestamp};
    use std::time::Duration;

    #[test]
    fn another_policy_ends_nothing() {
        // Nor does one that would not allow as much.
        let mut config = Config::default().response;
        config.policy.confirm.window = Duration::ZERO;
        let mut judge = Judge::new(&config, Mode::Production, Mint::Random);
        let (guards, now) = (Guards::new(Vec::new()), Timestamp(1_000_000_000_000));
        let wish = NewDecision {
            target: "203.0.113.0/24".parse().expect("an address"),
            action: ActionKind::BlockIp,
            duration: Duration::from_hours(4),
            reason: "test".to_owned(),
            actor: "test".to_owned(),
            rate: None,
            egress: None,
            collateral: None,
        };
        let decision = judge.operator(&wish, &guards, now).expect("decided");
        config.duration = Duration::from_mins(1);
        config.max_duration = Duration::from_mins(2);
        config.widest_v4 = 32;
        config.policy.ceiling.active = 0;
        judge.renew(&config);
        assert_eq!(judge.recheck(&guards, now), []);
        assert_eq!(judge.active().collect::<Vec<_>>(), [&decision]);
        assert!(judge.expire(now.after(Duration::from_hours(3))).is_empty());
        let ended = judge.expire(now.after(Duration::from_hours(4)));
        assert_eq!(ended.len(), 1, "it ends when it was told to");
    }
}
