//! A report of a real database, read out of its PDF by another program, against that database.

use super::*;
use crate::store::{AlertFilter, Record, Store};
use crate::types::testing::alert;
use crate::types::{Mint, Severity};
use std::sync::Arc;

#[tokio::test]
async fn the_pages_tell_what_the_store_holds() {
    let directory = tempfile::tempdir().unwrap();
    let (store, writer) = Store::open(&directory.path().join("s.db")).unwrap();
    let writer = std::thread::spawn(move || writer.run());
    let mut mint = Mint::Counted(0);
    let mut records: Vec<Record> = Vec::new();
    for n in 0..1_337 {
        let at = SINCE.after(Duration::from_secs(n * 60));
        let mut one = alert(&mut mint, at);
        one.severity = [Severity::Low, Severity::Medium, Severity::High][(n % 7).min(2) as usize];
        one.source = Some(std::net::Ipv4Addr::from(0xcb00_7100 + (n % 3) as u32).into());
        one.summary = "</td><script>alert(1)</script> =cmd|'/C calc'!A0 \u{1b}[31m\u{202e}".into();
        one.technique = "BT (x) Tj ET".into();
        records.push(Record::Alert(Arc::new(one)));
    }
    records.push(Record::Audit {
        at: SINCE,
        actor: "alice".into(),
        verb: "decisions.add".into(),
        subject: "203.0.113.7".into(),
        detail: "done".into(),
    });
    store.commit(records).await.unwrap();
    let until = SINCE.after(Duration::from_hours(48));
    let figures = store.figures(SINCE, until).await.unwrap();
    let all = store.alerts(AlertFilter::default()).await.unwrap().total;
    assert_eq!(figures.alerts.all.total(), all);
    let severity = |wanted| AlertFilter {
        severity: vec![wanted],
        ..AlertFilter::default()
    };
    let high = store.alerts(severity(Severity::High)).await.unwrap().total;
    let head = store.verify_audit().await.unwrap().head;
    let report = Report::new(figures, "simulation", None);
    let pdf = report.write(Format::Pdf).unwrap();
    store.close();
    writer.join().unwrap();
    let Some(told) = pdf_text(&pdf) else { return };
    let line = |begins: &str| -> Vec<String> {
        let line = told.lines().find(|line| line.trim_start().starts_with(begins));
        line.unwrap_or_else(|| panic!("no {begins} in:\n{told}"))
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(all, 1_337);
    let by_detector = line("port scan");
    assert_eq!(
        (by_detector.last().unwrap().as_str(), &by_detector[2]),
        ("1,337", &words::count(high))
    );
    assert_eq!(line("203.0.113.0").iter().rev().nth(2).unwrap(), "446");
    assert_eq!(line("198.51.100.10:22").last().unwrap(), "1,337");
    assert!(told.replace(['\n', ' '], "").contains(&head), "{head}");
    assert!(told.contains("Simulation mode"));
}
