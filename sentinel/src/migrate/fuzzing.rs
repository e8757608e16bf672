//! For `fuzz`: files of other programs.

use super::crowdsec::{self, Wish};
use super::ini::Ini;
use crate::types::Timestamp;
use std::path::Path;

/// What `cscli` printed.
pub fn decisions(bytes: &[u8]) {
    let now = Timestamp(1_767_225_600_000_000_000);
    let wish = Wish { now, of_lists: true };
    if let Ok(found) = crowdsec::printed(Path::new("decisions.json"), bytes, now, wish) {
        assert!(found.bans.len() + found.left_out.len() <= bytes.len());
    }
}

/// Settings of fail2ban, two files over each other with a line of `%%` between them.
pub fn settings(text: &str) {
    let mut ini = Ini::default();
    let (first, second) = text.split_once("\n%%\n").unwrap_or((text, ""));
    ini.lay(first);
    ini.lay(second);
    for key in ["ignoreip", "a"] {
        for (_, filled) in ini.each(key) {
            assert!(filled.map_or(0, |value| value.len()) <= 64 << 10, "a value without end");
        }
    }
}
