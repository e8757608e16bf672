//! Captures through the whole house: the fixtures always, the larger labelled set where it is at hand.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use sentinel::config::{Config, Mode};
use sentinel::features::Vector;
use sentinel::files::Meter;
use sentinel::model::Model;
use sentinel::replay::{FeatureReplay, ReplayError, Speed, Summary, run};
use sentinel::sensor::pcap::Capture;
use sentinel::train::calibrate::learnt;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// Detector and source of an alert whose evidence suffices to block.
type Verdict = (String, Option<String>);

/// What a capture should yield: detector and source.
type Expected = &'static [(&'static str, Option<&'static str>)];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name)
}

fn replay(config: &Config, file: &Path) -> (Result<Summary, ReplayError>, TempDir) {
    let out = tempfile::tempdir().unwrap();
    (run(config, None, file, out.path(), Speed::Max, &Meter::default()), out)
}

/// The distinct verdicts of a class, in order.
fn verdicts(out: &TempDir, class: &str) -> Vec<Verdict> {
    let eve = fs::read_to_string(out.path().join("eve.json")).unwrap();
    let mut found: Vec<Verdict> = Vec::new();
    for line in eve.lines() {
        let event: Value = serde_json::from_str(line).unwrap();
        let alert = &event["sentinel"]["alert"];
        if event["event_type"] == "alert" && alert["class"] == class {
            let verdict = (
                alert["detector"].as_str().unwrap().to_owned(),
                alert["source"].as_str().map(str::to_owned),
            );
            if !found.contains(&verdict) {
                found.push(verdict);
            }
        }
    }
    found
}

fn check(config: &Config, file: &Path, expected: &[(&str, Option<&str>)]) {
    check_class(config, file, "behaviour", expected);
}

fn check_class(config: &Config, file: &Path, class: &str, expected: &[(&str, Option<&str>)]) {
    let (summary, out) = replay(config, file);
    let summary = summary.unwrap();
    assert!(
        summary.complete && summary.lost.is_empty(),
        "{}: {:?}",
        file.display(),
        summary.lost
    );
    let expected: Vec<Verdict> = expected.iter().map(|(d, s)| ((*d).into(), s.map(Into::into))).collect();
    assert_eq!(verdicts(&out, class), expected, "{}", file.display());
}

#[test]
fn fixtures_get_the_verdicts_they_deserve() {
    let config = Config::default();
    check(
        &config,
        &fixture("bruteforce_ssh.pcap"),
        &[("brute_force", Some("10.60.27.146"))],
    );
    check(
        &config,
        &fixture("icmp_flood.pcap"),
        &[("packet_flood", Some("10.60.21.174"))],
    );
    check(
        &config,
        &fixture("scan_syn.pcap"),
        &[("port_scan", Some("10.60.21.174"))],
    );
    check(&config, &fixture("c2_beacon.pcap"), &[]);
    check(&config, &fixture("benign.pcap"), &[]);
    check_class(
        &config,
        &fixture("c2_beacon.pcap"),
        "statistical",
        &[("beacon", Some("10.60.9.98"))],
    );
    check_class(&config, &fixture("benign.pcap"), "statistical", &[]);
}

#[test]
fn two_runs_write_the_same_bytes() {
    for name in ["bruteforce_ssh.pcap", "icmp_flood.pcap", "scan_syn.pcap", "benign.pcap"] {
        let [first, second] = [(); 2].map(|()| replay(&Config::default(), &fixture(name)).1);
        for file in ["eve.json", "decisions.json", "summary.json"] {
            let read = |out: &TempDir| fs::read(out.path().join(file)).unwrap();
            assert!(!read(&first).is_empty());
            assert!(read(&first) == read(&second), "{name}: {file} differs");
        }
    }
}

fn decisions(out: &TempDir) -> Vec<Value> {
    serde_json::from_slice(&fs::read(out.path().join("decisions.json")).unwrap()).unwrap()
}

#[test]
fn simulation_counts_what_production_drops() {
    let simulated = replay(&Config::default(), &fixture("icmp_flood.pcap"));
    let production = Config {
        mode: Mode::Production,
        ..Config::default()
    };
    let enforced = replay(&production, &fixture("icmp_flood.pcap"));
    let (shadow, real) = (&decisions(&simulated.1)[0], &decisions(&enforced.1)[0]);
    assert_eq!(
        (shadow["target"].as_str(), shadow["simulated"].as_bool()),
        (Some("10.60.21.174/32"), Some(true))
    );
    assert!(
        shadow["would_hits"].as_u64() > Some(100) && shadow["hits"] == 0,
        "{shadow}"
    );
    assert!(real["hits"].as_u64() > Some(100) && real["would_hits"] == 0, "{real}");
    let (simulated, enforced) = (simulated.0.unwrap(), enforced.0.unwrap());
    assert_eq!(
        simulated.verdicts["would_limit"],
        shadow["would_hits"].as_u64().unwrap()
    );
    assert_eq!(enforced.verdicts["drop_limit"], real["hits"].as_u64().unwrap());
    for summary in [simulated, enforced] {
        assert_eq!(
            summary.verdicts.values().sum::<u64>(),
            summary.packets,
            "every packet has one verdict"
        );
    }
}

#[test]
fn the_allowlist_wins() {
    let config = Config {
        mode: Mode::Production,
        allowlist: vec!["10.60.21.0/24".parse().unwrap()],
        ..Config::default()
    };
    let (summary, out) = replay(&config, &fixture("icmp_flood.pcap"));
    let summary = summary.unwrap();
    assert!(summary.vetoes["allowlist"] > 0 && !summary.verdicts.contains_key("drop_limit"));
    assert!(
        decisions(&out)
            .iter()
            .all(|d| d["status"] == "vetoed" && d["veto"]["guard"] == "allowlist")
    );
}

#[test]
fn flows_carry_suricata_s_names_and_add_up() {
    let (summary, out) = replay(&Config::default(), &fixture("benign.pcap"));
    let eve = fs::read_to_string(out.path().join("eve.json")).unwrap();
    let events: Vec<Value> = eve.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let flows: Vec<_> = events.iter().filter(|e| e["event_type"] == "flow").collect();
    let summary = summary.unwrap();
    assert_eq!(flows.len() as u64, summary.flows);
    let packets = |f: &&Value| {
        let count = |name: &str| f["flow"][name].as_u64().unwrap();
        count("pkts_toserver") + count("pkts_toclient")
    };
    let unread: u64 = summary.unread.values().sum();
    assert_eq!(flows.iter().map(packets).sum::<u64>() + unread, summary.packets);
    let ssh = flows.iter().find(|f| f["dest_port"] == 22).unwrap();
    assert!(ssh["community_id"].as_str().unwrap().starts_with("1:"));
    assert_eq!(events.last().unwrap()["event_type"], "stats");
}

/// The fixture as pcapng, with stamps in steps of 10^-`resolution` s.
fn as_pcapng(name: &str, resolution: u8, path: &Path) {
    let mut reader = PcapReader::new(File::open(fixture(name)).unwrap()).unwrap();
    let mut writer = PcapNgWriter::new(File::create(path).unwrap()).unwrap();
    let mut interface = InterfaceDescriptionBlock::new(reader.header().datalink, 0);
    interface
        .options
        .push(InterfaceDescriptionOption::IfTsResol(resolution));
    writer.write_pcapng_block(interface).unwrap();
    while let Some(packet) = reader.next_raw_packet() {
        let packet = packet.unwrap();
        let micros = u64::from(packet.ts_sec) * 1_000_000 + u64::from(packet.ts_frac);
        // The writer takes nanoseconds for units, so that units are given as nanoseconds.
        let units = micros * 10_u64.pow(u32::from(resolution) - 6);
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: std::time::Duration::from_nanos(units),
            original_len: packet.orig_len,
            data: packet.data,
            options: Vec::new(),
        };
        writer.write_pcapng_block(block).unwrap();
    }
}

#[test]
fn pcapng_tells_the_same_story() {
    let dir = tempfile::tempdir().unwrap();
    let (_, plain) = replay(&Config::default(), &fixture("scan_syn.pcap"));
    for resolution in [6, 9] {
        let path = dir.path().join("scan_syn.pcap");
        as_pcapng("scan_syn.pcap", resolution, &path);
        let (summary, out) = replay(&Config::default(), &path);
        assert!(summary.unwrap().complete);
        for file in ["eve.json", "decisions.json", "summary.json"] {
            let read = |out: &TempDir| fs::read_to_string(out.path().join(file)).unwrap();
            assert_eq!(read(&out), read(&plain), "{file} at 10^-{resolution}");
        }
    }
}

#[test]
fn what_cannot_be_read_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let whole = fs::read(fixture("scan_syn.pcap")).unwrap();
    let patched = |offset: usize, bytes: &[u8]| {
        let mut copy = whole.clone();
        copy[offset..offset + bytes.len()].copy_from_slice(bytes);
        copy
    };
    let cases: [(&str, Vec<u8>, &str, u64); 8] = [
        ("empty", Vec::new(), "is empty", 0),
        ("gzip cut short", vec![0x1f, 0x8b, 8, 0], "record 1 cannot be read", 0),
        ("text", b"hello, world".to_vec(), "give a pcap or pcapng file", 0),
        ("header cut short", whole[..20].to_vec(), "record 1 cannot be read", 0),
        ("wireless", patched(20, &[105, 0, 0, 0]), "link type 105", 0),
        (
            "cut in a record",
            whole[..whole.len() - 3].to_vec(),
            "record 831 cannot be read: the file ends inside it",
            830,
        ),
        (
            "absurd length",
            patched(24 + 8, &[0xff, 0xff, 0xff, 0x7f]),
            "its length is absurd",
            0,
        ),
        (
            "pcapng cut short",
            vec![0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a],
            "record 1 cannot be read",
            0,
        ),
    ];
    for (name, bytes, expected, processed) in cases {
        let path = dir.path().join("capture");
        fs::write(&path, bytes).unwrap();
        let (result, out) = replay(&Config::default(), &path);
        let error = result.unwrap_err();
        let cause = std::error::Error::source(&error).map_or_else(String::new, ToString::to_string);
        let told = format!("{error}: {cause}");
        assert!(told.contains(expected), "{name}: {told}");
        if let ReplayError::Broken { summary, .. } = &error {
            assert_eq!(summary.packets, processed, "{name}");
            assert!(!summary.complete);
            let kept: Value = serde_json::from_slice(&fs::read(out.path().join("summary.json")).unwrap()).unwrap();
            assert_eq!(
                kept["packets"].as_u64(),
                Some(processed),
                "{name}: what was read is kept"
            );
            assert!(error.to_string().contains("packets were processed"), "{name}: {error}");
        } else {
            assert_eq!(processed, 0, "{name}: {error}");
        }
    }
    let (missing, _) = replay(&Config::default(), &dir.path().join("nowhere"));
    assert!(missing.unwrap_err().to_string().contains("check the path"));
    fs::write(dir.path().join("capture"), &whole).unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let blocked = run(
        &Config::default(),
        None,
        &dir.path().join("capture"),
        &dir.path().join("file"),
        Speed::Max,
        &Meter::default(),
    );
    assert!(matches!(blocked, Err(ReplayError::Output { .. })));
}

#[test]
fn a_capture_cut_or_flipped_anywhere_never_panics() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("capture");
    let whole = fs::read(fixture("scan_syn.pcap")).unwrap();
    let short = &whole[..24 + 12 * 86];
    for cut in 0..short.len() {
        fs::write(&path, &short[..cut]).unwrap();
        let _ = replay(&Config::default(), &path);
    }
    for at in 0..short.len() {
        let mut flipped = short.to_vec();
        flipped[at] ^= 0xff;
        fs::write(&path, flipped).unwrap();
        let _ = replay(&Config::default(), &path);
    }
}

/// The labelled captures, where they are at hand: beside the checkout, or where `SENTINEL_CAPTURES` says.
fn labelled() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/replay");
    let dir = std::env::var_os("SENTINEL_CAPTURES").map_or_else(beside, PathBuf::from);
    dir.is_dir().then_some(dir)
}

#[test]
fn the_labelled_set_gets_its_verdicts() {
    let Some(dir) = labelled() else {
        println!("skipped: no labelled captures (set SENTINEL_CAPTURES to their directory)");
        return;
    };
    let config = Config::default();
    let expected: [(&str, Expected); 22] = [
        ("01_portscan_syn.pcap", &[("port_scan", Some("172.16.0.8"))]),
        ("02_portscan_masscan.pcap", &[("port_scan", Some("172.31.15.102"))]),
        ("03_portscan_udp.pcap", &[("port_scan", Some("192.168.1.10"))]),
        // A flood over random ports, cut after 0.1 s: too short to be told from a scan, but the source is right.
        ("04_synflood_single_src.pcap", &[("port_scan", Some("172.16.0.5"))]),
        ("05_synflood_spoofed.pcap", &[("syn_flood", None)]),
        ("06_bruteforce_ftp.pcap", &[("brute_force", Some("10.234.125.254"))]),
        ("07_dnstunnel_iodine.pcap", &[]),
        ("08_icmp_tunnel.pcap", &[]),
        ("10_c2_empire_same_network.pcap", &[]),
        ("11_ipv6_http_atomic_frag_benign.pcap", &[]),
        ("12_vlan_http_benign.pcap", &[]),
        ("13_qinq_benign.pcap", &[]),
        ("14_ipv4_fragments_benign.pcap", &[]),
        ("15_malformed_icmp.pcap", &[]),
        ("16_malformed_badpackets.pcap", &[]),
        ("17_benign_https_browse.pcap", &[]),
        ("18_benign_http.pcap", &[]),
        ("19_benign_http_ipv6.pcap", &[]),
        ("20_bruteforce_ssh_lab.pcap", &[("brute_force", Some("10.60.27.146"))]),
        ("21_icmp_flood_lab.pcap", &[("packet_flood", Some("10.60.21.174"))]),
        ("22_slowloris_lab.pcap", &[("slow_dos", Some("10.60.4.124"))]),
        ("23_c2_beacon_lab.pcap", &[]),
    ];
    for (name, verdicts) in expected {
        check(&config, &dir.join(name), verdicts);
    }
    let oddities: [(&str, Expected); 8] = [
        ("07_dnstunnel_iodine.pcap", &[("dns_tunnel", Some("10.0.2.30"))]),
        ("08_icmp_tunnel.pcap", &[("icmp_tunnel", Some("192.168.154.132"))]),
        // Eight connections are too few for a rhythm.
        ("10_c2_empire_same_network.pcap", &[]),
        ("12_vlan_http_benign.pcap", &[]),
        ("17_benign_https_browse.pcap", &[]),
        ("18_benign_http.pcap", &[]),
        ("19_benign_http_ipv6.pcap", &[]),
        ("23_c2_beacon_lab.pcap", &[("beacon", Some("10.60.9.98"))]),
    ];
    for (name, verdicts) in oddities {
        check_class(&config, &dir.join(name), "statistical", verdicts);
    }
}

/// The vectors of a capture's flows.
fn vectors(name: &str) -> Vec<Vector> {
    let mut capture = Capture::open(&fixture(name)).unwrap();
    let mut replay = FeatureReplay::new(&Config::default());
    while let Some(frame) = capture.next() {
        let frame = frame.unwrap();
        replay.frame(frame.at_ns, frame.bytes);
    }
    replay.finish();
    replay.records().iter().map(|record| record.vector).collect()
}

/// The model that ships, with the thresholds of a network where flows are like those of the benign capture.
fn calibrated() -> Arc<Model> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/models/default.model");
    let shipped = Model::decode(&fs::read(path).unwrap()).unwrap();
    // As often as a level needs that one flow in a thousand may reach.
    let benign: Vec<Vector> = vectors("benign.pcap").into_iter().cycle().take(10_000).collect();
    Arc::new(learnt(&shipped, &benign).unwrap())
}

#[test]
fn the_shipped_model_finds_the_scan_leaves_the_benign_alone_and_says_the_same_each_time() {
    let model = calibrated();
    let results = |name: &str| {
        let out = tempfile::tempdir().unwrap();
        run(
            &Config::default(),
            Some(Arc::clone(&model)),
            &fixture(name),
            out.path(),
            Speed::Max,
            &Meter::default(),
        )
        .unwrap();
        let read = |file| fs::read_to_string(out.path().join(file)).unwrap();
        ["eve.json", "decisions.json", "summary.json"].map(read)
    };
    let scan = results("scan_syn.pcap");
    assert!(scan == results("scan_syn.pcap"), "byte for byte");
    let alerts = |results: &[String; 3]| -> Vec<Value> {
        let events = results[0]
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        events
            .filter(|event| event["sentinel"]["alert"]["detector"] == "model")
            .collect()
    };
    let found = alerts(&scan);
    assert!(!found.is_empty(), "{}", scan[2]);
    for event in found {
        let why = &event["sentinel"]["alert"]["explanation"];
        let shares = why["shares"]
            .as_array()
            .unwrap()
            .iter()
            .map(|share| share["share"].as_f64().unwrap());
        let sum = why["base"].as_f64().unwrap() + shares.sum::<f64>();
        assert!((sum - why["score"].as_f64().unwrap()).abs() < 1e-9, "{why}");
    }
    let benign = results("benign.pcap");
    assert!(alerts(&benign).is_empty(), "{}", benign[2]);
}
