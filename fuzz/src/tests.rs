//! Each target on its seeds, on what was found once, and on each of them cut at every byte.

use super::*;

const TARGETS: [&Target; 11] = [
    &api::TARGET,
    &bettercap::TARGET,
    &feeds::TARGET,
    &fleet::TARGET,
    &intel::TARGET,
    &migrate::TARGET,
    &netlink::TARGET,
    &parser::TARGET,
    &pcap::TARGET,
    &ring::TARGET,
    &settings::TARGET,
];

/// Bytes of an input that are cut off one by one; of a longer one every so many.
const CUTS: usize = 400;

#[test]
fn every_target_holds_on_what_it_begins_with_and_on_every_beginning_of_it() {
    for target in TARGETS {
        let mut inputs = (target.seeds)();
        assert!(inputs.len() > 2, "{}: {} seeds", target.name, inputs.len());
        assert!(
            inputs.iter().all(|seed| !seed.is_empty()),
            "{}: a fixture is missing",
            target.name
        );
        for path in files(&format!("fuzz/corpus/{}", target.name), "") {
            inputs.push(std::fs::read(path).expect("readable"));
        }
        // These cost more, and cut they are mostly what they were before.
        let cuts = if matches!(target.name, "api" | "bettercap") {
            20
        } else {
            CUTS
        };
        for input in inputs {
            for end in (0..=input.len()).rev().step_by(input.len().div_ceil(cuts).max(1)) {
                (target.run)(&input[..end]);
            }
        }
    }
}

/// How a capture ended.
fn read(bytes: &[u8]) -> (u64, &'static str) {
    use sentinel::sensor::pcap::{Capture, CaptureError};
    let reason = |error: CaptureError| match error {
        CaptureError::Io { .. } => "io",
        CaptureError::Empty { .. } => "empty",
        CaptureError::Magic { .. } => "magic",
        CaptureError::LinkType { .. } => "link type",
        CaptureError::Record { .. } => "record",
    };
    let mut capture = match Capture::of(Path::new("cut.pcap"), Box::new(std::io::Cursor::new(bytes.to_vec()))) {
        Ok(capture) => capture,
        Err(error) => return (0, reason(error)),
    };
    loop {
        match capture.next() {
            Some(Ok(_)) => {}
            Some(Err(error)) => return (capture.records(), reason(error)),
            None => return (capture.records(), "whole"),
        }
    }
}

#[test]
fn twenty_captures_cut_at_every_byte_are_read_up_to_there_and_said_to_end_for_a_reason() {
    let captures = pcap::small();
    assert!(captures.len() >= 20, "{}", captures.len());
    let mut reasons = std::collections::BTreeMap::<&str, u64>::new();
    for capture in &captures {
        let (whole, _) = read(capture);
        let mut before = 0;
        for end in 0..=capture.len() {
            let (records, reason) = read(&capture[..end]);
            assert!(
                (before..=whole).contains(&records),
                "{records} of {whole}, {before} before"
            );
            assert!(reason != "whole" || records == whole || end < capture.len(), "{end}");
            before = records;
            *reasons.entry(reason).or_default() += 1;
        }
        assert_eq!(before, whole, "none is lost");
    }
    let cuts: u64 = reasons.values().sum();
    eprintln!("figure: cuts = {cuts}");
    for (reason, count) in &reasons {
        eprintln!("figure: {reason} = {count}");
    }
    for reason in ["empty", "magic", "link type", "record", "whole"] {
        assert!(reasons.contains_key(reason), "{reason}: {reasons:?}");
    }
}

#[test]
fn every_target_has_its_binary() {
    let manifest = String::from_utf8(file("fuzz/Cargo.toml")).expect("UTF-8");
    for target in TARGETS {
        let named = format!("name = \"{0}\"\npath = \"src/bin/{0}.rs\"\n", target.name);
        assert!(manifest.contains(&named), "{}", target.name);
    }
    assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
}
