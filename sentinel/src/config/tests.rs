//! Layers, messages, bounds; and that no text whatever makes the reader panic.

use super::keys;
use super::load::Reader;
use super::*;
use proptest::prelude::*;
use std::path::Path;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/settings.yml");

fn read(text: &str) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader::default();
    reader.text(Path::new("s.yml"), text);
    reader.finish()
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|p| p.to_string() + "\n").collect()
}

fn env(pairs: &[(&str, &str)]) -> Result<Config, Vec<Problem>> {
    load(
        &[],
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

/// The problems of a text, one per line.
fn problems(text: &str) -> String {
    let problems = read(text).expect_err("should be refused");
    lines(&problems)
}

#[track_caller]
fn check_says(text: &str, parts: &[&str]) {
    let said = problems(text);
    for part in parts {
        assert!(said.contains(part), "{part:?} missing in:\n{said}");
    }
}

#[test]
fn the_shipped_file_is_the_default_and_names_every_key() {
    let text = std::fs::read_to_string(SHIPPED).expect("config/settings.yml");
    let mut reader = Reader::default();
    reader.text(Path::new(SHIPPED), &text);
    let origins = reader.origins().clone();
    let missing: Vec<_> = keys::all()
        .map(|key| key.path)
        .filter(|path| !origins.contains_key(path))
        .collect();
    assert!(missing.is_empty(), "config/settings.yml lacks {missing:?}");
    assert_eq!(reader.finish().expect("valid"), Config::default());
}

#[test]
fn the_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/settings.schema.json");
    let fresh = format!("{:#}\n", schema());
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, &fresh).expect("written");
    }
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(
        stored, fresh,
        "stale: run `BLESS=1 cargo test -p sentinel --lib config`"
    );
}

#[test]
fn an_empty_file_and_empty_sections_are_the_default() {
    for text in ["", "# nothing\n", "---\n", "kernel:\ndetect:\n  port_scan:\n", "{}"] {
        assert_eq!(read(text).expect(text), Config::default());
    }
}

#[test]
fn values_arrive() {
    let config = read(
        "mode: production\nenable_production_actions: true\nallowlist: [192.0.2.7, 2001:db8::/48]\n\
         kernel: {interfaces: [eth0, 'eth1'], ring_size: 1MiB, report_interval: 250ms}\n\
         detect: {brute_force: {ports: [22, 2222], max_payload: 2KiB}, baseline: {z: 4}}\n\
         response: {duration: 1h30m}\ndecision_matrix: {low: {risk: {low: block_ip}}}\napi: {listen: '[::1]:9000'}\n",
    )
    .expect("valid");
    assert_eq!(config.mode, Mode::Production);
    assert_eq!(
        config.allowlist,
        [
            "192.0.2.7/32".parse().expect("net"),
            "2001:db8::/48".parse().expect("net")
        ]
    );
    assert_eq!(config.kernel.interfaces, ["eth0", "eth1"]);
    assert_eq!(config.kernel.ring_bytes, 1 << 20);
    assert_eq!(config.kernel.report_interval.as_millis(), 250);
    assert_eq!(config.detect.brute_force.ports, [22, 2222]);
    assert_eq!(config.detect.brute_force.max_payload, 2048);
    assert_eq!(config.response.duration.as_secs(), 5400);
    assert_eq!(config.api.listen.to_string(), "[::1]:9000");
}

#[test]
fn a_switch_and_all_or_some_ports() {
    let of = |text: &str| {
        let cookies = read(&format!("kernel: {{syn_cookies: {{{text}}}}}"))
            .expect(text)
            .kernel
            .syn_cookies;
        (cookies.enabled, cookies.ports)
    };
    assert_eq!(of("ports: all"), (Switch::Auto, vec![]));
    assert_eq!(of("enabled: true, ports: [80, 443]"), (Switch::On, vec![80, 443]));
    assert_eq!(of("enabled: false"), (Switch::Off, vec![]));
    check_says(
        "kernel: {syn_cookies: {ports: []}}",
        &["is an empty list", "write `all`"],
    );
    check_says(
        "kernel: {syn_cookies: {ports: some}}",
        &["is not `all` or a list of ports"],
    );
    check_says(
        "kernel: {syn_cookies: {enabled: yes}}",
        &["is not `auto`, `true` or `false`"],
    );
    check_says("kernel: {reflex: {ports: 201}}", &["from 0 to 200"]);
    let ports = |value| {
        env(&[("SENTINEL_KERNEL__SYN_COOKIES__PORTS", value)])
            .expect(value)
            .kernel
            .syn_cookies
            .ports
    };
    assert_eq!((ports("all"), ports("22, 80")), (vec![], vec![22, 80]));
}

#[test]
fn every_problem_is_said_at_once_with_line_and_key() {
    let text = "mode: prodcution\nkernel:\n  ring_size: 3MiB\n  egres: true\n  report_interval: 5\n\
                detect:\n  port_scan:\n    ports: 0\n  prot_scan: {}\nstore: 7\nallowlist: [192.0.2.1/24, nonsense]\n";
    let said = problems(text);
    check_says(
        text,
        &[
            "s.yml:1:7: `mode`: `prodcution` is not known; did you mean `production`?",
            "s.yml:3:14: `kernel.ring_size`: 3145728 bytes are not a power of two; write `4MiB`",
            "s.yml:4:3: `kernel.egres`: `egres` is not a key; did you mean `egress`?",
            "s.yml:5:20: `kernel.report_interval`: `5` lacks a unit",
            "s.yml:8:12: `detect.port_scan.ports`: `0` is not a whole number from 2 to 65535",
            "s.yml:9:3: `detect.prot_scan`: `prot_scan` is not a key; did you mean `port_scan`?",
            "s.yml:10:8: `store`: is a single value where a section belongs",
            "s.yml:11:13: `allowlist`: 192.0.2.1/24 has bits set to the right of its prefix; write `192.0.2.0/24`",
            "s.yml:11:27: `allowlist`: `nonsense` is not an address or a prefix",
        ],
    );
    assert_eq!(said.lines().count(), 9, "{said}");
}

#[test]
fn rules_between_keys() {
    check_says(
        "mode: production",
        &["s.yml:1:7: `mode`", "enable_production_actions: true"],
    );
    check_says(
        "severity_thresholds: {high: 0.4}",
        &["`severity_thresholds.high`: 0.4 is below `medium` 0.5"],
    );
    check_says(
        "severity_thresholds: {low: 0.6}",
        &["built-in default: `severity_thresholds.medium`"],
    );
    check_says(
        "api: {listen: '0.0.0.0:8000'}",
        &["`api.listen`: 0.0.0.0:8000 is reachable from outside"],
    );
    check_says(
        "response: {duration: 31d}",
        &["longer than `response.max_duration` 30d"],
    );
    check_says(
        "response: {rate_limit: {packets: 0, bytes: 0}}",
        &["`response.rate_limit.packets`: limits neither packets nor bytes"],
    );
    check_says(
        "response: {rate_limit: {burst: 5ms}}",
        &["`response.rate_limit.burst`: `5ms` is out of range; write a duration from 10ms to 1h"],
    );
    check_says(
        "response: {corroborated_duration: 60d}",
        &["`response.corroborated_duration`: 60d is longer than `response.max_duration` 30d"],
    );
    check_says(
        "kernel: {hook: nftables, pin: true}",
        &["`kernel.pin`", "set `kernel.pin: false`"],
    );
    check_says(
        "risk_thresholds: {medium: 0.9}",
        &["`risk_thresholds.high`: 0.8 is below `medium` 0.9"],
    );
    check_says(
        "intel: {feeds: {block: [tor_exits]}}",
        &["`intel.feeds.block`: names `tor_exits`, which is not fetched"],
    );
    check_says(
        "intel: {sources: {virustotal: {enabled: true}}}",
        &["`intel.sources.virustotal.enabled`", "set VT_API_KEY or `key_file`"],
    );
    check_says(
        "response: {honeypot: {v4: ':2222'}}\nkernel: {egress: false}",
        &["`response.honeypot.v4`", "set `kernel.egress: true`"],
    );
    check_says(
        "response: {block_egress: true}\nkernel: {egress: false}",
        &["`response.block_egress`", "nothing looks at what goes out"],
    );
    check_says(
        "response: {probation: {duration: 0s, reapply: 10m}}",
        &["`response.probation.reapply`: is 10m", "no probation to return on"],
    );
    check_says(
        "response: {probation: {reapply: 5ms}}",
        &["5ms is shorter than the agent may need to decide"],
    );
    check_says(
        "detect: {syn_flood: {half_open: 2000}}",
        &["1000 of all sources is below 2000 of one"],
    );
    check_says("kernel: {interfaces: [a, b, a]}", &["names a twice"]);
    check_says(
        "api: {socket: data/sentinel.db}",
        &["`api.socket`: would be written over by `store.path`"],
    );
    check_says(
        "alerting: {file: {path: data/sentinel.db-wal}}",
        &["`alerting.file.path`: would be written over by `store.path`"],
    );
    check_says(
        "alerting: {file: {path: data/eve.json.1}}",
        &["`alerting.file.path`: would be written over by `export.eve.file`"],
    );
    check_says(
        &format!("api: {{socket: /{}}}", "x".repeat(120)),
        &["longer than the 107 bytes"],
    );
}

#[test]
fn a_decoy_is_a_port_with_or_without_an_address() {
    let config = read(
        "response: {honeypot: {v4: '192.0.2.7:2222', v6: ':2223'}, rate_limit: {packets: 0, bytes: 64KiB, burst: 250ms}, \
         probation: {duration: 2h, reapply: 10m}}\n\
         decision_matrix: {high: {risk: {high: redirect_to_honeypot}}, low: {risk: {low: rate_limit}}}",
    )
    .expect("valid");
    let response = config.response;
    let v4 = Decoy {
        address: Some(std::net::Ipv4Addr::new(192, 0, 2, 7)),
        port: 2222,
    };
    let v6 = Decoy {
        address: None,
        port: 2223,
    };
    assert_eq!((response.honeypot.v4, response.honeypot.v6), (Some(v4), Some(v6)));
    let rate = response.rate_limit;
    assert_eq!((rate.packets, rate.bytes, rate.burst_ms), (0, 65_536, 250));
    assert_eq!((response.probation.as_secs(), response.reapply.as_secs()), (7200, 600));
    for (text, part) in [
        ("v4: '2222'", "write a port such as `:2222`"),
        ("v4: ':0'", "no decoy"),
        ("v4: ':65536'", "no decoy"),
        ("v4: '[2001:db8::7]:22'", "no decoy"),
        ("v4: 'decoy:22'", "no decoy"),
        ("v4: '127.0.0.1:22'", "127.0.0.1 cannot be reached from outside"),
        ("v4: '0.0.0.0:22'", "write `:22`"),
        ("v4: '224.0.0.1:22'", "cannot be reached"),
        ("v6: '2001:db8::7:22'", "`[2001:db8::7]:2222`"),
        ("v6: '[::1]:22'", "::1 cannot be reached"),
        ("v6: '192.0.2.7:22'", "no decoy"),
    ] {
        check_says(&format!("response: {{honeypot: {{{text}}}}}"), &[part]);
    }
}

#[test]
fn hostile_yaml_is_refused_with_a_line() {
    check_says(
        "mode: simulation\nmode: simulation\n",
        &["s.yml:2:1: `mode`: stands here again after line 1"],
    );
    check_says("mode: &a simulation", &["an anchor"]);
    check_says("mode: !x simulation", &["a tag"]);
    check_says("a: *b", &["s.yml:1"]);
    check_says(
        "mode: simulation\n---\nmode: simulation\n",
        &["more than one YAML document"],
    );
    check_says("- mode", &["is a list where sections belong"]);
    check_says("mode: [", &["is not valid YAML"]);
    check_says("? [a]\n: b\n", &["for a name of a key"]);
    check_says(&"[".repeat(10_000), &["s.yml:1"]);
    check_says("mode:\n", &["s.yml:1:1: `mode`: has no value"]);
    check_says(
        "ring_size: 1MiB",
        &["did you mean `kernel.ring_size`? Check the indentation"],
    );
    let said = problems("\"a\\e[31mb\": 1\n");
    assert!(!said.contains('\x1b'), "{said:?}");
}

#[test]
fn environment_overrides_and_is_named() {
    let config = env(&[
        ("SENTINEL_API__LISTEN", "127.0.0.1:8123"),
        ("SENTINEL_DETECT__PORT_SCAN__PORTS", "40"),
        ("SENTINEL_ALLOWLIST", "192.0.2.0/24, 2001:db8::1"),
        ("SENTINEL_KERNEL__INTERFACES", "[eth0,eth1]"),
        ("UNRELATED", "x"),
    ])
    .expect("valid");
    assert_eq!(config.api.listen.port(), 8123);
    assert_eq!(config.detect.port_scan.ports, 40);
    assert_eq!(config.allowlist.len(), 2);
    assert_eq!(config.kernel.interfaces, ["eth0", "eth1"]);

    let problems = env(&[
        ("SENTINEL_API__LISTN", "x"),
        ("SENTINEL_KERNEL", "x"),
        ("SENTINEL_STORE__COMMIT_DEADLINE", "soon"),
        ("SENTINEL_MODE", "production"),
    ])
    .expect_err("refused");
    let said = lines(&problems);
    for part in [
        "environment variable SENTINEL_API__LISTN: `api.listn`: names no key; did you mean SENTINEL_API__LISTEN?",
        "environment variable SENTINEL_KERNEL: `kernel`: names a section",
        "environment variable SENTINEL_STORE__COMMIT_DEADLINE: `store.commit_deadline`: `soon` is not a duration",
        "environment variable SENTINEL_MODE: `mode`: is `production`",
    ] {
        assert!(said.contains(part), "{part:?} missing in:\n{said}");
    }
}

#[test]
fn layers_in_order() {
    let dir = tempfile::tempdir().expect("dir");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let first = file(
        "a.yml",
        "flow: {max_flows: 2000, max_sources: 2000}\napi: {listen: '127.0.0.1:1'}\n",
    );
    file("a.local.yml", "flow: {max_sources: 3000}\n");
    let second = file("b.yml", "flow: {max_flows: 4000}\n");
    let config = load(&[first.clone(), second], []).expect("valid");
    assert_eq!((config.flow.max_flows, config.flow.max_sources), (4000, 3000));
    let config = load(&[first], [("SENTINEL_FLOW__MAX_FLOWS".into(), "5000".into())]).expect("valid");
    assert_eq!((config.flow.max_flows, config.api.listen.port()), (5000, 1));

    // One that is there and leads nowhere is not one that is not there.
    let linked = file("c.yml", "mode: simulation\n");
    std::os::unix::fs::symlink("gone", dir.path().join("c.local.yml")).expect("a link");
    let problems = load(&[linked], []).expect_err("a link that leads nowhere");
    assert_eq!(problems[0].place, Place::File(dir.path().join("c.local.yml")));

    let missing = dir.path().join("none.yml");
    let problems = load(std::slice::from_ref(&missing), []).expect_err("missing file");
    assert_eq!(problems[0].place, Place::File(missing));
    assert!(
        problems[0].to_string().contains("name an existing file with -c"),
        "{}",
        problems[0]
    );
}

#[test]
fn durations_and_sizes() {
    for (text, millis) in [
        ("100ms", 100),
        ("30s", 30_000),
        ("4h", 14_400_000),
        ("1d", 86_400_000),
        ("1m30s", 90_000),
    ] {
        assert_eq!(parse_duration(text).map(|d| d.as_millis()), Ok(millis), "{text}");
    }
    for text in [
        "",
        "5",
        "s",
        "5 s",
        "-1s",
        "1.5s",
        "99999999999999999999s",
        "18446744073709551615d",
        "5x",
        "1s2",
    ] {
        assert!(parse_duration(text).is_err(), "{text:?}");
    }
    for (text, shown) in [("60s", "1m"), ("90s", "90s"), ("2000ms", "2s"), ("1h30m", "90m")] {
        assert_eq!(value::show_duration(parse_duration(text).expect(text)), shown);
    }
    check_says(
        "kernel: {ring_size: 1KiB}",
        &["out of range; write a size from 64KiB to 1GiB"],
    );
    check_says("kernel: {ring_size: 1XiB}", &["is not a size"]);
    check_says(
        "kernel: {poll_interval: 0s}",
        &["out of range; write a duration from 100us to 1s"],
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}|[\\[\\]{}:,#&*!|>'\"%@`~ \n\ta-z0-9-]{0,200}") {
        let _ = read(&text);
        let _ = env(&[("SENTINEL_KERNEL__RING_SIZE", &text), ("SENTINEL_ALLOWLIST", &text), ("SENTINEL_API__LISTEN", &text)]);
        let _ = parse_duration(&text);
    }

    #[test]
    fn no_mutation_of_the_shipped_file_makes_it_panic(
        cuts in prop::collection::vec((any::<prop::sample::Index>(), "[\\[\\]{}:,#&*!|>'\"% \n\ta-z0-9-]{0,3}", 0usize..20), 1..8)
    ) {
        let mut text: Vec<char> = include_str!("../../../config/settings.yml").chars().collect();
        for (at, insert, remove) in cuts {
            let at = at.index(text.len().max(1)).min(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        if let Err(problems) = read(&text) {
            prop_assert!(problems.iter().all(|p| !p.message.is_empty() && !p.mend.is_empty()));
        }
    }
}
