//! What one value cannot tell: rules between keys.

mod alerting;

use super::intel::{CUSTOM_FEEDS_MAX, IntelConfig};
use super::keys::{Draft, INTERFACES};
use super::lapi::LAPI_FEED;
use super::load::Places;
use super::probe::PROBES_MAX;
use super::problem::{Place, Problem};
use super::resolved::{Config, Hook, Mode, SeverityThresholds, Switch};
use super::value::show_duration;
use sentinel_common::names::ALLOW_CAPACITY;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// Longest path a unix socket can have (`sun_path` less its terminator, unix(7)).
const SOCKET_PATH: usize = 107;

/// Adds what is wrong between the values of `draft`.
pub(super) fn cross(draft: &Draft, origins: &Places, problems: &mut Vec<Problem>) {
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
    let severity = ["severity_thresholds.high", "severity_thresholds.medium"];
    ordered(config.severity_thresholds, severity, &mut say);
    let risk = ["risk_thresholds.high", "risk_thresholds.medium"];
    ordered(config.risk_thresholds, risk, &mut say);
    intel(&config.intel, &mut say);
    alerting::cross(&config.alerting, &mut say);
    config.export.check(&mut say);
    if config.kernel.pin && config.kernel.hook == Hook::Nftables {
        say(
            "kernel.pin",
            "is `true`, and with `kernel.hook: nftables` there are no programs to keep".into(),
            "set `kernel.pin: false`; an agent that is killed leaves its sets to the next one, each element with its end",
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
    let api = &config.api;
    if !api.listen.ip().is_loopback() && api.certificate.is_none() {
        say(
            "api.listen",
            format!(
                "{} is reachable from outside, and without TLS whoever listens in can log in",
                api.listen
            ),
            "name a certificate in `api.tls`, or listen on 127.0.0.1 or [::1] and forward the port, such as with `ssh -L`",
        );
    }
    if api.certificate.is_some() != api.private_key.is_some() {
        say(
            "api.tls",
            "has only one of `certificate` and `key`".to_owned(),
            "name both, or none for plain HTTP on loopback",
        );
    }
    if api.listen.ip().is_unspecified() && api.hosts.is_empty() {
        say(
            "api.hosts",
            format!("is empty, and {} says not by which name it is reached", api.listen),
            "name what stands in the browser's address bar, such as `[sentinel.example.org]`",
        );
    }
    let longest = config.response.max_duration;
    for (key, duration) in [
        ("response.duration", config.response.duration),
        ("response.corroborated_duration", config.response.corroborated_duration),
    ] {
        if duration > longest {
            say(
                key,
                format!(
                    "{} is longer than `response.max_duration` {}",
                    show_duration(duration),
                    show_duration(longest)
                ),
                "shorten it or raise the maximum",
            );
        }
    }
    response(config, &mut say);
    containers(config, &mut say);
    super::retention::check(&config.store.retention, &config.response.policy, &mut say);
    super::reports::check(&config.reports, &mut say);
    super::bettercap::check(&config.bettercap, &mut say);
    super::lapi::check(&config.intel.feeds.crowdsec, &mut say);
    super::traffic::check(config, &mut say);
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
    let slow = &config.detect.slow_scan;
    if slow.doors_6h < slow.doors_1h {
        say(
            "detect.slow_scan.doors_6h",
            format!(
                "{} within six hours is below {} within one",
                slow.doors_6h, slow.doors_1h
            ),
            "keep `doors_6h` ≥ `doors_1h`",
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
    apart(config, &mut say);
}

/// Nothing is written over by something else.
fn apart(config: &Config, say: &mut impl FnMut(&'static str, String, &str)) {
    let mut taken: Vec<(&str, &Path)> = vec![("store.path", &config.store.path)];
    let eve = config
        .export
        .eve
        .sink
        .enabled
        .then_some(config.export.eve.file.as_path());
    for (key, path) in [
        ("api.socket", Some(config.api.socket.as_path())),
        ("export.eve.file", eve),
        ("alerting.file.path", config.alerting.file.path.as_deref()),
    ] {
        let Some(path) = path else { continue };
        // Beside each other stand `FILE-wal`, `FILE-shm`, `FILE.lock` and `FILE.1`: what begins alike is too near.
        let near = |other: &Path| {
            let (a, b) = (path.as_os_str().as_bytes(), other.as_os_str().as_bytes());
            let beside = |long: &[u8], short: &[u8]| {
                long.strip_prefix(short).is_some_and(|rest| {
                    let number = rest
                        .strip_prefix(b".")
                        .is_some_and(|n| n.iter().all(u8::is_ascii_digit));
                    rest.is_empty()
                        || number
                        || [&b"-wal"[..], b"-shm", b"-journal", b".lock", b".ballast"].contains(&rest)
                })
            };
            beside(a, b) || beside(b, a)
        };
        if let Some((other, _)) = taken.iter().find(|(_, other)| near(other)) {
            say(
                key,
                format!("would be written over by `{other}`"),
                "give each its own path",
            );
        }
        taken.push((key, path));
    }
}

/// Thresholds, the highest first; `keys` of `high` and `medium`.
fn ordered(levels: SeverityThresholds, keys: [&'static str; 2], say: &mut impl FnMut(&'static str, String, &str)) {
    let mend = "keep high ≥ medium ≥ low";
    if levels.high < levels.medium {
        say(
            keys[0],
            format!("{} is below `medium` {}", levels.high, levels.medium),
            mend,
        );
    }
    if levels.medium < levels.low {
        say(
            keys[1],
            format!("{} is below `low` {}", levels.medium, levels.low),
            mend,
        );
    }
}

/// What threat intelligence asks for and cannot have.
fn intel(config: &IntelConfig, say: &mut impl FnMut(&'static str, String, &str)) {
    for name in &config.feeds.block {
        let lapi = name == LAPI_FEED && !config.feeds.crowdsec.url.is_empty();
        if !lapi && !config.feeds.enabled.contains(name) && !config.feeds.custom.iter().any(|own| own.name == *name) {
            say(
                "intel.feeds.block",
                format!("names `{name}`, which is not fetched"),
                "name it in `intel.feeds.enabled` as well, or in `intel.feeds.custom` if it is your own",
            );
        }
    }
    let own = &config.feeds.custom;
    if let Some(twice) = (1..own.len()).find(|&at| own[..at].iter().any(|before| before.name == own[at].name)) {
        say(
            "intel.feeds.custom",
            format!("names `{}` twice", own[twice].name),
            "give each list a name of its own",
        );
    }
    if own.len() > CUSTOM_FEEDS_MAX {
        say(
            "intel.feeds.custom",
            format!("has {} lists, and there is room for {CUSTOM_FEEDS_MAX}", own.len()),
            "put several lists into one file",
        );
    }
    let keyless = [
        (
            &config.sources.virustotal,
            "intel.sources.virustotal.enabled",
            "VT_API_KEY",
        ),
        (
            &config.sources.abuseipdb,
            "intel.sources.abuseipdb.enabled",
            "ABUSEIPDB_API_KEY",
        ),
        (
            &config.sources.ipqualityscore,
            "intel.sources.ipqualityscore.enabled",
            "IPQS_API_KEY",
        ),
    ];
    for (source, key, variable) in keyless {
        if source.enabled == Switch::On && source.key.is_none() {
            say(
                key,
                "is `true`, and the source answers nobody without a key".into(),
                &format!("set {variable} or `key_file`, or write `auto`"),
            );
        }
    }
}

/// What is said about containers without an engine that knows them.
fn containers(config: &Config, say: &mut impl FnMut(&'static str, String, &str)) {
    let containers = &config.containers;
    if containers.engine.is_none() && containers.quarantine_network.is_some() {
        say(
            "containers.quarantine_network",
            "is set, and without `containers.engine` nothing is isolated".into(),
            "set `containers.engine: unix:///var/run/docker.sock` as well, or leave both empty",
        );
    }
    let long = containers
        .engine
        .as_ref()
        .filter(|path| path.as_os_str().as_bytes().len() > SOCKET_PATH);
    if long.is_some() {
        say(
            "containers.engine",
            format!("is longer than the {SOCKET_PATH} bytes a socket's path can have"),
            "choose a shorter path",
        );
    }
}

/// Shortest time that a returned source may be held before the agent has decided.
const REAPPLY: Duration = Duration::from_millis(100);

/// Shortest window in which whoever must answer can be asked twice.
const WINDOW: Duration = Duration::from_secs(3);

/// What `response` says about its own actions.
fn response(config: &Config, say: &mut impl FnMut(&'static str, String, &str)) {
    let response = &config.response;
    if let Err(fault) = response.rate_limit.check() {
        let mend = "mend `packets`, `bytes` or `burst`; 0 packets or 0 bytes is no such limit";
        say("response.rate_limit.packets", fault, mend);
    }
    let honeypot = response.honeypot;
    if (honeypot.v4.is_some() || honeypot.v6.is_some()) && !config.kernel.egress {
        say(
            "response.honeypot.v4",
            "is set, and with `kernel.egress: false` its answers would go out under its own address and port".into(),
            "set `kernel.egress: true`, or name no honeypot",
        );
    }
    if response.block_egress && !config.kernel.egress {
        say(
            "response.block_egress",
            "is set, and with `kernel.egress: false` nothing looks at what goes out".into(),
            "set `kernel.egress: true` as well",
        );
    }
    if !response.reapply.is_zero() && response.probation.is_zero() {
        say(
            "response.probation.reapply",
            format!(
                "is {}, and with `duration: 0s` there is no probation to return on",
                show_duration(response.reapply)
            ),
            "give `response.probation.duration` a length, or set `reapply: 0s`",
        );
    }
    let window = response.policy.confirm.window;
    if !window.is_zero() && window < WINDOW {
        say(
            "response.confirm.window",
            format!("{} is too short to ask anybody", show_duration(window)),
            "write 3s or longer, or 0s for no confirmation",
        );
    }
    let probes = &config.probes;
    if probes.len() > PROBES_MAX {
        say(
            "response.confirm.probes",
            format!("names {} probes", probes.len()),
            "name at most 8",
        );
    }
    if let Some(twice) = (1..probes.len()).find(|&at| probes[..at].contains(&probes[at])) {
        say(
            "response.confirm.probes",
            format!("names {} twice", probes[twice].text),
            "name each once",
        );
    }
    if !response.reapply.is_zero() && response.reapply < REAPPLY {
        say(
            "response.probation.reapply",
            format!(
                "{} is shorter than the agent may need to decide",
                show_duration(response.reapply)
            ),
            "write 100ms or longer, or 0s for an alert only",
        );
    }
}
