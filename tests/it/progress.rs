//! How far long work has come is told on a terminal, and nowhere else.

use crate::scene::SOON;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;
use testbed::agent_binary;
use testbed::pty::Terminal;

/// A few seconds of a capture, at its own pace.
fn replay(binary: &Path, out: &Path) -> String {
    let capture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/bruteforce_ssh.pcap");
    format!(
        "'{}' replay '{}' --out '{}'",
        binary.display(),
        capture.display(),
        out.display()
    )
}

fn shell(line: &str) -> Output {
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir("/").env("RUST_LOG", "error");
    command.output().expect("sh")
}

fn binary() -> Option<PathBuf> {
    let found = agent_binary();
    if found.is_none() {
        testbed::skip("the agent is not built");
    }
    found
}

#[test]
fn a_terminal_is_shown_a_line_that_goes_again_and_results_are_the_same_without_one() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out");
    let line = replay(&binary, &out);
    for format in ["human", "json", "raw"] {
        let plain = shell(&format!("{line} -o {format}"));
        assert!(plain.status.success(), "{plain:?}");
        assert_eq!(String::from_utf8_lossy(&plain.stderr), "", "no terminal, no line");

        let result = folder.path().join("stdout");
        let shown = format!(
            "sh -c \"cd /; {line} -o {format} --speed real > '{}'\"",
            result.display()
        );
        let mut terminal = Terminal::open(&shown, &[("RUST_LOG", "error".as_ref())]).expect("a terminal");
        terminal
            .until("Replaying [", SOON)
            .unwrap_or_else(|error| panic!("{error:#}"));
        let status = terminal.ended(SOON).unwrap_or_else(|error| panic!("{error:#}"));
        assert!(status.success(), "{}", terminal.words());
        assert_eq!(std::fs::read(&result).expect("written"), plain.stdout, "{format}");
        let raw = terminal.raw();
        assert!(raw.contains("of 57.49 KiB"), "all of it is known: {raw:?}");
        // The last thing that happens to the line is that it is cleared.
        let (_, last) = raw.rsplit_once("Replaying [").expect("it was drawn");
        assert!(last.contains("\u{1b}[2K"), "{raw:?}");
        // One line of the terminal, which is taken back where it stands.
        assert!(!raw.contains("\u{1b}[1A"), "{raw:?}");
        assert!(!raw.contains("\u{1b}[?25l"), "the cursor is left alone");
    }
}

#[test]
fn ctrl_c_and_errors_leave_nothing_behind() {
    let Some(binary) = binary() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let line = format!("{} --speed real", replay(&binary, folder.path()));
    let mut terminal = Terminal::open(&line, &[]).expect("a terminal");
    terminal
        .until("Replaying [", SOON)
        .unwrap_or_else(|error| panic!("{error:#}"));
    // As a person does where the first is not heeded: on a starved machine it may be typed before it is listened to.
    let status = (0..20).find_map(|_| {
        // One that is over takes no keys.
        let _ = terminal.press("\u{3}");
        terminal.ended(Duration::from_millis(500)).ok()
    });
    let status = status.unwrap_or_else(|| panic!("it goes on: {}", terminal.words()));
    assert_eq!(status.code(), Some(130), "it died of the interrupt");
    assert!(!terminal.raw().contains("\u{1b}[?25l"));

    let table = folder.path().join("broken.csv");
    std::fs::write(&table, "no,table\n1,2\n").expect("written");
    let model = folder.path().join("m.model");
    let line = format!(
        "'{}' model train --features '{}' --out '{}'",
        binary.display(),
        table.display(),
        model.display()
    );
    let mut terminal = Terminal::open(&line, &[]).expect("a terminal");
    let status = terminal.ended(SOON).unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(status.code(), Some(1));
    let raw = terminal.raw();
    assert!(
        raw.contains("broken.csv") && !raw.contains("Reading [\u{1b}"),
        "{raw:?}"
    );
}
