//! For `fuzz`: words of other nodes. A node that was broken into has the key, so their signatures are good.

use super::accept::{is_held, order};
use super::clocks::Clocks;
use super::word::{Deaf, Signer};
use crate::config::FleetConfig;
use crate::types::{Secret, Timestamp};
use std::time::Duration;

/// Hears two words, one a line, the second after the first.
pub fn words(text: &str) {
    let Some(signer) = Signer::new(&Secret::new("a key of this fleet, 32 characters")) else {
        return;
    };
    let wall = Timestamp(1_767_225_600_000_000_000);
    let clocks = Clocks {
        wall,
        desk: wall.after(Duration::from_hours(1)),
    };
    let mut config = FleetConfig {
        private: true,
        ..FleetConfig::default()
    };
    config.accept.allowlist = true;
    config.accept.prefixes = true;
    let mut before = None;
    for body in text.lines().take(2) {
        assert_eq!(
            signer.hear(body, &"0".repeat(64), wall, wall).err(),
            Some(Deaf::Unsigned)
        );
        let Ok((said, _)) = signer.hear(body, &signer.sign(body), wall, clocks.desk) else {
            continue;
        };
        let _ = order(&said, &config, clocks);
        if let Some(before) = before.replace(said.clone()) {
            is_held(&said, &before);
        }
    }
}
