//! Reports of a busy month with hostile texts in it, of nothing, and of much.

mod database;

use super::layout::{HEIGHT, MARGIN, Mark, WIDTH, pages};
use super::typeface::Typeface;
use super::*;
use crate::store::{
    ActionCount, ActionStep, AlertFigures, AuditFigures, BySeverity, Count, DecisionCount, DetectorCount,
    IntelSourceCount, InvestigationFigures, ResponseFigures, SourceCount, Step, TakenBack, TargetCount, Times,
};
use crate::types::Service;

const HOUR: i64 = 3_600_000_000_000;
/// 2026-11-01T00:00:00Z.
const SINCE: Timestamp = Timestamp(1_793_491_200_000_000_000);
const HOSTILE: &str = "</td><script>alert(1)</script>\u{202e}\u{1b}[31m\n'\"& ünï";

fn of(low: u64, medium: u64, high: u64) -> BySeverity {
    BySeverity { low, medium, high }
}

fn named(name: &str, count: u64) -> Count {
    Count {
        name: name.to_owned(),
        count,
    }
}

/// `rows` of everything there may be many of.
fn busy(rows: usize) -> Report {
    let until = Timestamp(SINCE.0 + 30 * 24 * HOUR);
    let times = Times {
        of: 812,
        p50_ms: 4.1,
        p99_ms: 41.0,
        max_ms: 12_345.6,
    };
    let figures = Figures {
        since: SINCE,
        until,
        records_since: Some(SINCE),
        alerts: AlertFigures {
            all: of(30_000, 900, 61),
            step_seconds: 86_400,
            over_time: (0..30)
                .map(|n| Step {
                    at: Timestamp(SINCE.0 + n * 24 * HOUR),
                    alerts: of(1000, 30, n as u64 % 5),
                })
                .collect(),
            by_detector: vec![DetectorCount {
                name: "port_scan".into(),
                alerts: of(30_000, 900, 61),
            }],
            sources: (0..10)
                .map(|n| SourceCount {
                    ip: std::net::Ipv4Addr::new(203, 0, 113, n).into(),
                    count: 100,
                    country: Some("NL".into()),
                    network: Some(HOSTILE.into()),
                })
                .collect(),
            read: 20_000,
            families: vec![named("brute_force", 12_000), named("scan", 8_000)],
            targets: vec![TargetCount {
                service: Service {
                    ip: "2001:db8::1".parse().unwrap(),
                    port: 22,
                    proto: 6,
                },
                count: 9,
            }],
        },
        investigations: InvestigationFigures {
            total: 10,
            by_state: vec![named("complete", 10)],
            by_risk: of(2, 3, 5),
            read: 10,
            sources: vec![IntelSourceCount {
                name: "greynoise".into(),
                asked: 10,
                answered: 4,
                silent: vec![named("quota", 6)],
            }],
        },
        decisions: vec![
            DecisionCount {
                kind: "block_ip".into(),
                status: "active".into(),
                simulated: false,
                origin: "detector".into(),
                count: 3,
            },
            DecisionCount {
                kind: "block_ip".into(),
                status: "active".into(),
                simulated: true,
                origin: "operator".into(),
                count: 1_234,
            },
        ],
        actions: vec![ActionCount {
            kind: "block_ip".into(),
            status: "simulated".into(),
            simulated: true,
            count: 1_234,
            packets: 0,
            would_packets: 77,
        }],
        actions_over_time: (0..30)
            .map(|n| ActionStep {
                at: Timestamp(SINCE.0 + n * 24 * HOUR),
                real: n as u64 % 4,
                simulated: 40,
            })
            .collect(),
        response: ResponseFigures {
            read: 900,
            to_outcome: Some(times),
            to_first_packet: None,
        },
        vetoes: vec![named("allowlist", 7)],
        taken_back: (0..rows)
            .map(|_| TakenBack {
                at: Some(until),
                target: "2001:db8:1234:5678:9abc:def0:1234:5678/128".into(),
                kind: "redirect_to_honeypot".into(),
                status: "lifted".into(),
                simulated: false,
                reason: HOSTILE.repeat(20),
                outcome: Some("x".repeat(400)),
            })
            .collect(),
        audit: AuditFigures {
            intact: 5,
            head: "ab".repeat(32),
            broken: None,
            of_period: 5,
            pruned: 0,
        },
    };
    Report::new(figures, "simulation", None)
}

fn empty() -> Report {
    let until = Timestamp(SINCE.0 + HOUR);
    let alerts = AlertFigures {
        step_seconds: 3600,
        over_time: vec![Step {
            at: SINCE,
            alerts: BySeverity::default(),
        }],
        ..AlertFigures::default()
    };
    let figures = Figures {
        since: SINCE,
        until,
        alerts,
        ..Figures::default()
    };
    Report::new(figures, "production", None)
}

fn html(report: &Report) -> String {
    String::from_utf8(report.write(Format::Html).unwrap()).unwrap()
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    for report in [busy(20), empty()] {
        for format in Format::ALL {
            let (first, second) = (report.write(format).unwrap(), report.write(format).unwrap());
            assert!(first == second, "{}", format.name());
            assert!(first.len() > 500, "{}", format.name());
        }
    }
    assert!(busy(20).write(Format::Pdf).unwrap().starts_with(b"%PDF-"));
}

#[test]
fn json_is_the_report_with_its_version() {
    let json: serde_json::Value = serde_json::from_slice(&busy(1).write(Format::Json).unwrap()).unwrap();
    assert_eq!(json["version"], VERSION);
    assert_eq!(
        (&json["mode"], &json["since"]),
        (&"simulation".into(), &"2026-11-01T00:00:00.000000Z".into())
    );
    assert_eq!(
        (&json["alerts"]["all"]["high"], &json["alerts"]["over_time"][4]["high"]),
        (&61.into(), &4.into())
    );
    assert_eq!(json["decisions"][1]["simulated"], true);
    assert_eq!(json["alerts"]["targets"][0]["port"], 22);
    assert_eq!(json["audit"]["head"], "ab".repeat(32));
}

#[test]
fn what_came_from_the_network_is_text_and_nothing_else() {
    let page = html(&busy(20));
    assert!(
        page.contains("&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;"),
        "told as text"
    );
    for never in [
        "<script",
        "</td><s",
        "\u{202e}",
        "\u{1b}",
        "javascript:",
        "http://",
        "https://",
        "url(",
        "@import",
    ] {
        assert!(!page.contains(never), "{never:?}");
    }
    // The one style is allowed by its digest, as browsers write it.
    assert!(
        page.contains("style-src 'sha256-fJKYI1omyMgK2q0tc/jMw/feJmcjRFvl01zhnGccI9g='"),
        "{}",
        &page[..600]
    );
    // Whatever is opened is closed, in order.
    let mut open = Vec::new();
    for tag in page
        .split('<')
        .skip(1)
        .filter_map(|rest| rest.split(['>', ' ', '\n']).next())
    {
        match tag.strip_prefix('/') {
            Some(name) if !name.is_empty() => assert_eq!(open.pop(), Some(name.to_owned())),
            _ if matches!(tag, "!doctype" | "meta" | "line" | "line/") => {}
            _ => open.push(tag.to_owned()),
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

/// What somebody on the network may have written, or have had written, into what reports tell.
fn hostile(n: usize) -> String {
    const PARTS: [&str; 12] = [
        "</td><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "=cmd|' /C calc'!A0",
        "@SUM(1+9)*cmd|' /C calc'!A0",
        "\u{1b}[2J\u{1b}]0;owned\u{7}",
        "\u{202e}gnp.exe\u{2066}",
        ") Tj ET Q endstream endobj 1 0 obj << /OpenAction << /S /JavaScript /JS (app.alert(1)) >> >>",
        "(\\) \\( %%EOF xref trailer <</Root 1 0 R>>",
        "\u{0}\u{8}\r\n\u{85}\u{2028}\u{2029}\u{feff}",
        "]]>--><!--<![CDATA[",
        "&lt;b&gt; \"' javascript:alert(1) url(//evil.example)",
        "\u{e000}\u{10ffff}漢字🔥 e\u{301}",
    ];
    // Each beside another one, and repeated: at a bound of their length they are cut somewhere else each time.
    format!(
        "{}{}{n}",
        PARTS[n % PARTS.len()].repeat(1 + n % 9),
        PARTS[(n * 7 + n / 12) % PARTS.len()]
    )
}

#[test]
fn hundreds_of_hostile_texts_come_out_as_text() {
    let mut report = busy(0);
    report.figures.taken_back = (0..500)
        .map(|n| TakenBack {
            at: Some(SINCE),
            target: hostile(n),
            kind: hostile(n + 1),
            status: hostile(n + 2),
            simulated: false,
            reason: hostile(n + 3),
            outcome: Some(hostile(n + 4)),
        })
        .collect();
    report.figures.alerts.families = (0..50).map(|n| named(&hostile(n), 1)).collect();
    report.figures.vetoes = (0..50).map(|n| named(&hostile(n), 1)).collect();
    report.figures.audit.broken = Some(hostile(6));
    let page = html(&report);
    for never in [
        "<script", "<img", "<!--", "<![CDATA", "<b>", "\u{1b}", "\u{0}", "\u{7}", "\u{202e}", "\u{2066}", "\u{feff}",
    ] {
        assert!(!page.contains(never), "{never:?} in HTML");
    }
    // JSON says it as it was, escaped: that it is read back the same is what makes it harmless.
    let json = report.write(Format::Json).unwrap();
    let text = std::str::from_utf8(&json).unwrap();
    assert!(
        !text.chars().any(|c| c.is_ascii_control() && c != '\n'),
        "no control character is written as it is"
    );
    let told: serde_json::Value = serde_json::from_slice(&json).unwrap();
    for (n, one) in told["taken_back"].as_array().unwrap().iter().enumerate() {
        assert_eq!(one["reason"], hostile(n + 3));
    }
    // No text is written into a page as an operator or a string, only as numbers of glyphs.
    let pdf = report.write(Format::Pdf).unwrap();
    let has = |part: &[u8]| pdf.windows(part.len()).any(|window| window == part);
    for never in [
        "/OpenAction",
        "/JavaScript",
        "/JS",
        "/AA",
        "/Launch",
        "/URI",
        "/EmbeddedFile",
    ] {
        assert!(!has(never.as_bytes()), "{never} in PDF");
    }
    assert_eq!(pdf.windows(5).filter(|window| window == b"%%EOF").count(), 1);
    let Some(told) = pdf_text(&pdf) else { return };
    for said in ["alert(1)", "=cmd|", "endstream endobj", "app.alert(1)"] {
        assert!(told.contains(said), "{said:?} is told as text");
    }
    let strange = |c: char| c.is_control() && c != '\n' && c != '\u{c}' || ('\u{202a}'..='\u{202e}').contains(&c);
    assert_eq!(told.chars().find(|c| strange(*c)), None, "as it is read out of the PDF");
}

/// What Debian's pdftotext reads out of a document; `None` where it is not installed, and that is said.
fn pdf_text(pdf: &[u8]) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("r.pdf");
    std::fs::write(&file, pdf).unwrap();
    let mut command = std::process::Command::new("pdftotext");
    match command.arg("-layout").arg(&file).arg("-").output() {
        Ok(output) => {
            assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            println!("skipped: pdftotext: {error}; install poppler-utils");
            None
        }
    }
}

/// Every page rendered by Debian's pdftoppm; `REPORT_PAGES=DIR` leaves the pictures there to be looked at.
#[test]
fn every_page_can_be_drawn_by_somebody_else() {
    for (name, report) in [("busy", busy(20)), ("empty", empty())] {
        let made = tempfile::tempdir().unwrap();
        let directory = std::env::var_os("REPORT_PAGES").map_or(made.path().to_owned(), Into::into);
        let file = directory.join(format!("{name}.pdf"));
        std::fs::write(&file, report.write(Format::Pdf).unwrap()).unwrap();
        let mut command = std::process::Command::new("pdftoppm");
        let drawn = command
            .args(["-r", "70", "-png"])
            .arg(&file)
            .arg(directory.join(name))
            .output();
        let Ok(drawn) = drawn else {
            println!("skipped: pdftoppm is not there; install poppler-utils");
            return;
        };
        assert!(drawn.status.success() && drawn.stderr.is_empty(), "{drawn:?}");
        let drawn = std::fs::read_dir(&directory).unwrap().filter(|entry| {
            let file = entry.as_ref().unwrap().file_name().into_string().unwrap();
            file.starts_with(&format!("{name}-"))
        });
        let face = Typeface::new().unwrap();
        assert_eq!(drawn.count(), pages(&outline::of(&report), &face).len(), "{name}");
    }
}

#[test]
fn all_that_a_report_is_to_tell_stands_in_all_three() {
    let report = busy(3);
    let page = html(&report);
    let pdf = pdf_text(&report.write(Format::Pdf).unwrap());
    for said in [
        "Alerts by day, by severity",
        "Actions begun by day",
        "By detector",
        "By kind of attack",
        "Sources that raised most alerts",
        "Services that were attacked most",
        "From complete evidence",
        "Who answered",
        "Taken back before its time",
        "Guards that refused a decision",
        "30,961",
        "203.0.113.0",
        "41.0 ms",
        "abababababababababababababababab",
    ] {
        assert!(page.contains(said), "{said} in HTML");
        if let Some(pdf) = &pdf {
            assert!(pdf.contains(said), "{said} in PDF:\n{pdf}");
        }
    }
    for class in ["high", "medium", "low", "real", "simulated"] {
        assert!(page.contains(&format!("<rect class=\"{class}\"")), "{class} is drawn");
    }
    let mut pruned = report;
    pruned.figures.audit.pruned = 70;
    assert!(html(&pruned).contains("Retention removed the first 70 lines; the chain is whole from line 71 on."));
}

#[test]
fn simulation_is_never_told_as_done() {
    let page = html(&busy(0));
    assert!(page.contains("Simulation mode when this was made"));
    assert!(page.contains("<td>block ip</td><td>active</td><td>real</td><td>detector</td><td class=\"number\">3</td>"));
    assert!(page.contains("<td>simulated</td><td>operator</td><td class=\"number\">1,234</td>"));
    assert!(page.contains("3 real, 1,234 simulated in force"));
    assert!(page.contains("77 more only counted"));
    let stop = Stop {
        at: SINCE,
        actor: "alice".into(),
        reason: HOSTILE.into(),
    };
    let offline = html(&Report::new(busy(0).figures, OFFLINE, Some(stop.clone())));
    assert!(offline.contains("in force. Acting was stopped since 2026-11-01 00:00 UTC, and was not resumed."));
    let stopped = Report::new(busy(0).figures, "production", Some(stop));
    assert!(html(&stopped).contains("Acting was stopped since 2026-11-01 00:00 UTC"));
    assert!(html(&empty()).contains("Production mode"));
    let offline = html(&Report::new(busy(0).figures, OFFLINE, None));
    assert!(offline.contains("No agent ran when this was made") && !offline.contains("mode acts"));
}

#[test]
fn an_empty_period_says_so_and_a_broken_audit_too() {
    let page = html(&empty());
    for said in [
        "Nothing was recorded in this period",
        "No detector raised an alert",
        "No decision was taken",
        "the audit is empty",
    ] {
        assert!(page.contains(said), "{said}");
    }
    let mut broken = busy(0);
    broken.figures.audit.broken = Some("row 4 is missing".into());
    let page = html(&broken);
    assert!(page.contains("BROKEN") && page.contains("The audit is not as it was written: row 4 is missing"));
    let mut late = busy(0);
    late.figures.records_since = Some(Timestamp(SINCE.0 + 100 * HOUR));
    assert!(html(&late).contains("Records begin on 2026-11-05 04:00 UTC"));
}

#[test]
fn nothing_on_a_page_lies_outside_of_it() {
    let face = Typeface::new().unwrap();
    for (rows, least) in [(0, 2), (20, 3), (300, 12)] {
        let pages = pages(&outline::of(&busy(rows)), &face);
        assert!((least..40).contains(&pages.len()), "{} pages", pages.len());
        for mark in pages.iter().flatten() {
            let (left, right, bottom) = match mark {
                Mark::Text {
                    x, y, size, bold, text, ..
                } => (*x, x + face.face(*bold).width(text, *size), *y),
                Mark::Area {
                    x, y, width, height, ..
                } => (*x, x + width, y + height),
            };
            assert!(
                left >= MARGIN - 0.1 && right <= WIDTH - MARGIN + 0.1,
                "{mark:?} ends at {right}"
            );
            assert!(bottom <= HEIGHT - MARGIN - 10.0, "{mark:?} would reach the foot");
        }
    }
}

#[test]
fn letters_that_there_are_none_of_are_replaced() {
    let face = Typeface::new().unwrap();
    assert_eq!(face.regular.known("Grüße 漢 …"), "Grüße ? …");
    let lines = face.regular.lines(&"m".repeat(5000), 8.0, 100.0, 4);
    assert_eq!(lines.len(), 4);
    assert!(lines[3].ends_with('…') && lines.iter().all(|line| face.regular.width(line, 8.0) <= 100.0));
}

#[test]
fn impossible_periods_are_refused_with_the_mend() {
    let now = Timestamp(SINCE.0 + HOUR);
    assert_eq!(begins(now, SINCE).unwrap(), SINCE);
    for since in [
        now,
        now.after(Duration::from_secs(1)),
        now.before(Duration::from_hours(24 * 3661)),
    ] {
        let said = begins(now, since).unwrap_err().to_string();
        assert!(said.contains("30d"), "{said}");
    }
}

#[test]
fn numbers_and_times_read_as_people_write_them() {
    use super::words::{clean, count, millis, share};
    assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    assert_eq!([4.13, 123.4, 12_345.6].map(millis), ["4.1 ms", "123 ms", "12.3 s"]);
    assert_eq!((share(1, 3), share(0, 0)), ("33.3 %".to_owned(), "–".to_owned()));
    assert_eq!(clean("a\u{202e}b\nc"), "ab c");
    assert_eq!(clean(&"x".repeat(1000)).chars().count(), 220);
}
