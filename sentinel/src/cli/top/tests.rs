use super::feed::{AlertRow, DecisionRow, Map, Part, Sample, Snapshot};
use super::paint::Paint;
use super::state::{Effect, Over, Pane, State};
use super::{once, view};
use crate::types::{Busy, BusyFlow, BusyPer, BusySource, Moved, Severity, Timestamp};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use std::path::Path;
use std::time::Duration;

/// 2026-01-01T00:00:00Z.
const T0: Timestamp = Timestamp(1_767_225_600_000_000_000);
const PLAIN: Paint = Paint { color: false };

fn at(seconds: u64) -> Timestamp {
    T0.after(Duration::from_secs(seconds))
}

fn moved(bytes_sent: u64, packets_sent: u64, bytes_per_second: f64) -> Moved {
    Moved {
        packets_sent,
        bytes_sent,
        packets_received: packets_sent / 2,
        bytes_received: bytes_sent / 10,
        packets_per_second: bytes_per_second / 800.0,
        bytes_per_second,
    }
}

fn flow(source: &str, source_port: u16, moved: Moved, closed: bool) -> Busy {
    let source: std::net::IpAddr = source.parse().unwrap();
    Busy::Flow(BusyFlow {
        source,
        source_port,
        destination: if source.is_ipv6() {
            "2001:db8::10".parse().unwrap()
        } else {
            [198, 51, 100, 10].into()
        },
        destination_port: 443,
        proto: 6,
        from_inside: false,
        moved,
        first_seen: T0,
        last_seen: at(50),
        established: true,
        closed,
        allowlisted: false,
    })
}

fn decision(at_second: u64, target: &str, state: &'static str) -> DecisionRow {
    DecisionRow {
        id: format!("019b76da-a800-7000-8000-{at_second:012}"),
        at: at(at_second),
        target: target.to_owned(),
        action: "block_ip".to_owned(),
        state,
        until: Some(at(14_400 - at_second)),
        hits: if state == "active" { 12_345 } else { 0 },
        would_hits: if state == "active" { 0 } else { 678 },
        actor: "port_scan".to_owned(),
        reason: format!("{target} probed 41 ports of 198.51.100.10 within 60 s, the limit is 15"),
    }
}

/// A busy minute.
fn snapshot() -> Snapshot {
    let sample = |n: u64| Sample {
        at: at(n),
        passed: n * 1_000 + n * n * 10,
        dropped: (n / 4) * 300,
        would_drop: 0,
        bytes: n * 1_500_000,
    };
    let alert = |n: u64, severity, source: &str| AlertRow {
        id: format!("019b76da-a800-7000-9000-{n:012}"),
        at: at(n),
        severity,
        detector: "port_scan",
        source: source.to_owned(),
        summary: format!("{source} probed 41 ports of 198.51.100.10 within 60 s, the limit is 15"),
    };
    Snapshot {
        version: "0.1.0".to_owned(),
        uptime: Duration::from_secs(11_000),
        production: true,
        stopped: None,
        parts: vec![
            Part {
                name: "kernel".to_owned(),
                trouble: None,
                detail: "eth0 (native)".to_owned(),
            },
            Part {
                name: "store".to_owned(),
                trouble: Some(("the disk is full".to_owned(), "free space".to_owned())),
                detail: String::new(),
            },
        ],
        history: (0..60).map(sample).collect(),
        flows_active: 41_234,
        sources_active: 57,
        interfaces: vec!["eth0 (native)".to_owned()],
        ring_lost: 3,
        lost: vec![("ring channel_full".to_owned(), 3)],
        maps: vec![
            Map {
                name: "BLOCK4".to_owned(),
                entries: 3,
                capacity: 131_072,
            },
            Map {
                name: "FLOWS".to_owned(),
                entries: 91_750,
                capacity: 131_072,
            },
        ],
        alerts: vec![
            alert(10, Severity::Low, "203.0.113.9"),
            alert(50, Severity::High, "203.0.113.7"),
            alert(30, Severity::Medium, "2001:db8:1234:5678:9abc:def0:1234:5678"),
        ],
        alerts_total: 1_000_000,
        decisions: vec![
            decision(20, "203.0.113.9", "active"),
            decision(40, "203.0.113.0/24", "provisional"),
            decision(30, "2001:db8::bad", "simulated"),
        ],
        decisions_total: 3,
        busy: vec![
            flow("203.0.113.7", 40_000, moved(123_456_789, 98_765, 1_234_567.0), false),
            flow(
                "2001:db8:1234:5678:9abc:def0:1234:5678",
                40_001,
                moved(5_000, 50, 0.0),
                true,
            ),
        ],
        busy_total: 41_234,
    }
}

fn known(snapshot: Snapshot) -> State {
    let mut state = State::new();
    state.take(Ok(snapshot), at(60));
    state
}

fn drawn(state: &mut State, paint: Paint, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, state, paint, at(60))).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let row = |y: u16| {
        let line: String = (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect();
        line.trim_end().to_owned()
    };
    (0..buffer.area.height).map(|y| row(y) + "\n").collect()
}

fn screen(state: &mut State, width: u16, height: u16) -> String {
    text(&drawn(state, PLAIN, width, height))
}

#[track_caller]
fn golden(name: &str, told: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/cli/top/testdata")
        .join(name);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, told).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        told == want,
        "{name} differs; look, then BLESS=1:\n{told}\nbut it was\n{want}"
    );
}

fn press(state: &mut State, keys: &str) -> Vec<Effect> {
    let code = |c: char| match c {
        '\n' => KeyCode::Enter,
        '\t' => KeyCode::Tab,
        '\u{1b}' => KeyCode::Esc,
        '↓' => KeyCode::Down,
        '↑' => KeyCode::Up,
        c => KeyCode::Char(c),
    };
    let mut press = |c| state.press(KeyEvent::new(code(c), KeyModifiers::NONE));
    keys.chars()
        .map(&mut press)
        .filter(|effect| *effect != Effect::Nothing)
        .collect()
}

#[test]
fn screens_are_golden() {
    golden("80x24.txt", &screen(&mut known(snapshot()), 80, 24));
    golden("120x40.txt", &screen(&mut known(snapshot()), 120, 40));
    let mut state = known(snapshot());
    for (keys, name) in [
        ("2", "decisions.txt"),
        ("3", "flows.txt"),
        ("4", "maps.txt"),
        ("5", "health.txt"),
        ("?", "help.txt"),
    ] {
        press(&mut state, keys);
        golden(name, &screen(&mut state, 80, 24));
    }
    press(&mut state, "x2u");
    golden("unblock.txt", &screen(&mut state, 80, 24));
    press(&mut state, "n1\n");
    golden("alert.txt", &screen(&mut state, 80, 24));
    golden("once.txt", &once::text(&known(snapshot()), at(60)));
}

#[test]
fn the_mode_cannot_be_missed_and_no_colour_alone_tells_it() {
    let banner = |state: &mut State| screen(state, 80, 24).lines().next().unwrap().to_owned();
    let mut state = known(snapshot());
    assert!(banner(&mut state).starts_with(" PRODUCTION "));
    let simulation = Snapshot {
        production: false,
        ..snapshot()
    };
    assert!(banner(&mut known(simulation)).starts_with(" SIMULATION  no decision is carried out"));
    let stopped = Snapshot {
        stopped: Some("acting was stopped by root".to_owned()),
        ..snapshot()
    };
    assert!(banner(&mut known(stopped)).starts_with(" STOPPED (production)  entries only count: acting was"));
    assert!(banner(&mut State::new()).starts_with(" ASKING "));

    state.take(Err("nobody listens".to_owned()), at(60));
    let told = banner(&mut state);
    assert!(
        told.starts_with(" NO ANSWER for 0s, trying again; below is how it was at 00:01:00"),
        "{told}"
    );
    assert!(!told.contains("PRODUCTION"), "what nobody says any more is not said");
    state.take(Ok(snapshot()), at(70));
    assert!(banner(&mut state).starts_with(" PRODUCTION "));

    let plain = drawn(&mut state, PLAIN, 120, 40);
    let colored = drawn(&mut state, Paint { color: true }, 120, 40);
    assert_eq!(text(&plain), text(&colored));
    let colors = |buffer: &Buffer| {
        let cells = buffer.content.iter();
        cells
            .filter(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
            .count()
    };
    assert_eq!(colors(&plain), 0);
    assert!(colors(&colored) > 120);
}

#[test]
fn any_size_is_survived() {
    for pane in Pane::ALL {
        for over in [
            Over::Nothing,
            Over::Help,
            Over::Detail,
            Over::Confirm(Box::new(decision(1, "192.0.2.1", "active"))),
        ] {
            let mut state = known(snapshot());
            (state.pane, state.over) = (pane, over);
            for (width, height) in [
                (1, 1),
                (20, 3),
                (59, 24),
                (60, 14),
                (61, 15),
                (80, 30),
                (200, 60),
                (400, 14),
            ] {
                drawn(&mut state, PLAIN, width, height);
            }
        }
    }
    assert!(screen(&mut known(snapshot()), 59, 24).contains("too small"));
}

#[test]
fn what_the_network_sent_steers_no_terminal() {
    let hostile = "a\u{1b}[2J\u{202e}b\r\n\u{9b}31m";
    let mut told = snapshot();
    let safe = super::words::line(hostile);
    told.alerts[0].summary = safe.clone();
    told.decisions[0].reason = safe;
    let mut state = known(told);
    for _ in 0..2 {
        let text = screen(&mut state, 200, 50);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'));
        assert!(text.contains("a\\u{1b}[2J\\u{202e}b"), "{text}");
        press(&mut state, "\t");
    }
}

#[test]
fn a_selection_stays_on_its_row_and_a_decision_is_taken_back_after_a_question() {
    let mut state = known(snapshot());
    assert!(press(&mut state, "u").is_empty());
    assert!(state.note.as_ref().unwrap().contains("select a decision first"));
    // Newest first: the prefix, the simulated one, the oldest.
    press(&mut state, "2↓↓");
    assert_eq!(state.selected_decision().unwrap().target, "203.0.113.9");
    let mut more = snapshot();
    more.decisions.push(decision(55, "203.0.113.77", "active"));
    state.take(Ok(more), at(61));
    assert_eq!(
        state.selected_decision().unwrap().target,
        "203.0.113.9",
        "a new one came in above"
    );
    press(&mut state, "sss");
    assert_eq!(
        (
            state.order(Pane::Decisions),
            state.selected_decision().unwrap().target.as_str()
        ),
        ("target", "203.0.113.9")
    );

    // A stray key is no answer, no is no, and only yes asks the agent.
    assert!(press(&mut state, "ux\n").is_empty());
    assert!(matches!(&state.over, Over::Confirm(decision) if decision.target == "203.0.113.9"));
    assert!(press(&mut state, "n").is_empty());
    assert_eq!(state.over, Over::Nothing);
    let asked = press(&mut state, "uy");
    let id = "019b76da-a800-7000-8000-000000000020".to_owned();
    assert_eq!(asked, [Effect::Unblock(id, "203.0.113.9".to_owned())]);
    assert!(
        !state.note.as_ref().unwrap().contains("taken back"),
        "that is the agent's to say"
    );

    let gone = Snapshot {
        decisions: Vec::new(),
        ..snapshot()
    };
    state.take(Ok(gone), at(62));
    assert!(state.selected_decision().is_none());
    assert!(press(&mut state, "u").is_empty());
}

#[test]
fn keys_turn_sort_and_end() {
    let mut state = known(snapshot());
    press(&mut state, "\t\t");
    assert_eq!(state.pane, Pane::Flows);
    assert_eq!(press(&mut state, "s"), [Effect::Look]);
    assert_eq!(state.wish().by, crate::types::BusyBy::Bytes);
    assert_eq!(press(&mut state, "p"), [Effect::Look]);
    assert_eq!(state.wish().per, BusyPer::Source);
    let mut sources = snapshot();
    sources.busy = vec![Busy::Source(BusySource {
        source: [203, 0, 113, 7].into(),
        flows: 12,
        closed: 4,
        moved: moved(1, 1, 1.0),
        first_seen: T0,
        last_seen: at(59),
    })];
    state.take(Ok(sources), at(60));
    assert!(screen(&mut state, 80, 24).contains("203.0.113.7"));
    press(&mut state, "1s");
    let told = screen(&mut state, 80, 24);
    let (high, low) = (told.find("HIGH").unwrap(), told.find("low ").unwrap());
    assert!(high < low, "{told}");
    assert_eq!(press(&mut state, "?q"), [], "any key leaves the help");
    assert_eq!(press(&mut state, "q"), [Effect::Quit]);
    let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
    assert_eq!(state.press(control('c')), Effect::Quit);
    assert_eq!(state.press(control('l')), Effect::Redraw);
}
