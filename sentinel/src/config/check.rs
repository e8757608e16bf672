//! What one value cannot tell: rules between keys.

use super::keys::{Draft, INTERFACES};
use super::load::Origins;
use super::problem::{Place, Problem};
use super::resolved::Mode;
use super::value::show_duration;
use sentinel_common::names::ALLOW_CAPACITY;
use std::os::unix::ffi::OsStrExt;

/// Longest path a unix socket can have (`sun_path` less its terminator, unix(7)).
const SOCKET_PATH: usize = 107;

/// Adds what is wrong between the values of `draft`.
pub(super) fn cross(draft: &Draft, origins: &Origins, problems: &mut Vec<Problem>) {
    let mut say = |key: &'static str, message: String, mend: &str| {
        problems.push(Problem {
            place: origins.get(key).cloned().unwrap_or(Place::Default),
            key: key.to_owned(),
            message,
            mend: mend.to_owned(),
        });
    };
    let config = &draft.config;
    if config.mode == Mode::Production && !draft.enable_production_actions {
        say(
            "mode",
            "is `production`, which drops packets, without the second key".into(),
            "set `enable_production_actions: true` as well, or go back to `mode: simulation`",
        );
    }
    let levels = config.severity_thresholds;
    if levels.high < levels.medium {
        say(
            "severity_thresholds.high",
            format!("{} is below `medium` {}", levels.high, levels.medium),
            "keep high ≥ medium ≥ low",
        );
    }
    if levels.medium < levels.low {
        say(
            "severity_thresholds.medium",
            format!("{} is below `low` {}", levels.medium, levels.low),
            "keep high ≥ medium ≥ low",
        );
    }
    let ring = config.kernel.ring_bytes;
    if !ring.is_power_of_two() {
        let near = super::value::show_size(u64::from(ring).next_power_of_two());
        say(
            "kernel.ring_size",
            format!("{ring} bytes are not a power of two"),
            &format!("write `{near}`"),
        );
    }
    if !config.api.listen.ip().is_loopback() {
        say(
            "api.listen",
            format!(
                "{} is reachable from outside, and the API has no log-in yet",
                config.api.listen
            ),
            "listen on 127.0.0.1 or [::1] and forward the port, such as with `ssh -L`",
        );
    }
    if config.response.duration > config.response.max_duration {
        let longest = show_duration(config.response.max_duration);
        say(
            "response.duration",
            format!(
                "{} is longer than `response.max_duration` {longest}",
                show_duration(config.response.duration)
            ),
            "shorten it or raise the maximum",
        );
    }
    let flood = &config.detect.syn_flood;
    if flood.half_open_all < flood.half_open {
        say(
            "detect.syn_flood.half_open_all",
            format!(
                "{} of all sources is below {} of one",
                flood.half_open_all, flood.half_open
            ),
            "keep `half_open_all` ≥ `half_open`",
        );
    }
    if config.allowlist.len() > ALLOW_CAPACITY as usize {
        say(
            "allowlist",
            format!(
                "{} entries are more than the kernel's map holds ({ALLOW_CAPACITY})",
                config.allowlist.len()
            ),
            "join addresses into prefixes",
        );
    }
    let names = &config.kernel.interfaces;
    if names.len() > INTERFACES {
        say(
            "kernel.interfaces",
            format!("names {} interfaces", names.len()),
            "name at most 16",
        );
    }
    if let Some((_, twice)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        say(
            "kernel.interfaces",
            format!("names {twice} twice"),
            "name each interface once",
        );
    }
    if config.api.socket.as_os_str().as_bytes().len() > SOCKET_PATH {
        say(
            "api.socket",
            format!("is longer than the {SOCKET_PATH} bytes a socket's path can have"),
            "choose a shorter path",
        );
    }
    if config.api.socket == config.store.path {
        say(
            "api.socket",
            "is the same file as `store.path`".into(),
            "give each its own path",
        );
    }
}
