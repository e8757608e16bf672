//! `docs/metrics.md` names every family of the registry with its type and labels, and no other.

use super::tests::exposition;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Name to type and labels, of the document; `likewise` means the labels of the row above.
fn told() -> BTreeMap<String, (String, Vec<String>)> {
    let text = std::fs::read_to_string(root().join("../docs/metrics.md")).expect("docs/metrics.md");
    let mut rows = BTreeMap::new();
    let mut above = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| `sentinel_")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, kind, labels, what, ..] = cells[..] else {
            panic!("{line}")
        };
        assert!(!what.is_empty(), "{line}");
        if labels != "likewise" {
            above = labels.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        }
        let row = (kind.to_owned(), above.clone());
        let twice = rows.insert(name.trim_matches('`').to_owned(), row);
        assert!(twice.is_none(), "{name} stands there twice");
    }
    rows
}

/// The names this room registers, without prefix and suffix: a family without samples is not in the exposition.
fn registered() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("src/metrics"))
        .expect("the room")
        .flatten()
    {
        let text = std::fs::read_to_string(entry.path()).expect("source");
        if ["tests.rs", "told.rs"].iter().any(|own| entry.path().ends_with(own)) {
            continue;
        }
        for call in ["register(", "counters(", "gauges(", "seconds(", "single("] {
            for after in text.split(call).skip(1) {
                let quoted = after.trim_start().strip_prefix('"');
                names.extend(quoted.and_then(|rest| Some(rest.split_once('"')?.0.to_owned())));
            }
        }
    }
    names
}

#[test]
fn the_document_names_every_family_and_no_other() {
    let told = told();
    let bare = |name: &String| {
        let name = name.strip_prefix("sentinel_").expect("a prefix");
        let name = name.strip_suffix("_total").unwrap_or(name);
        if name == "build_info" { "build" } else { name }.to_owned()
    };
    let named: BTreeSet<String> = told.keys().map(bare).collect();
    assert_eq!(named, registered());
}

#[test]
fn types_and_labels_are_as_the_document_has_them() {
    let told = told();
    let text = exposition();
    let mut kinds = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert(name.to_owned(), kind.to_owned());
        }
    }
    for (family, kind) in &kinds {
        let name = match kind.as_str() {
            "counter" => format!("{family}_total"),
            "info" => format!("{family}_info"),
            _ => family.clone(),
        };
        let (said, labels) = told.get(&name).unwrap_or_else(|| panic!("{name} is not told"));
        assert_eq!(said, kind, "{name}");
        let sample = text
            .lines()
            .find(|line| line.starts_with(&format!("{name}{{")))
            .filter(|_| kind != "histogram");
        let has: Vec<String> = sample.map_or_else(Vec::new, |line| {
            let inside = line.split_once('{').and_then(|(_, rest)| rest.split_once('}'));
            let pairs = inside.map_or("", |(pairs, _)| pairs).split(',');
            pairs
                .filter_map(|pair| Some(pair.split_once('=')?.0.to_owned()))
                .collect()
        });
        if kind != "histogram" && (sample.is_some() || labels.is_empty()) {
            assert_eq!(labels, &has, "{name}");
        }
    }
    assert!(kinds.len() > 30, "{}", kinds.len());
}
