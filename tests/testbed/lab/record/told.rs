//! A recording for whoever sits before it.

use super::{Recording, Session, record};
use crate::interrupt;
use anyhow::Result;

/// `cargo xtask lab --record`.
///
/// # Errors
/// As [`record`].
pub fn recorded(recording: &Recording) -> Result<()> {
    interrupt::listen()?;
    eprintln!(
        "\n==> recording at most {} s, --seed {}; Ctrl-C ends it and keeps nothing\n",
        recording.length.as_secs(),
        recording.seed
    );
    let session = record(recording, |line| println!("{line}"))?;
    println!("\n{}", table(&session));
    println!("{}", recording.dir.display());
    println!(
        "next: sentinel model dataset {} --out TABLE.csv",
        recording.dir.display()
    );
    Ok(())
}

fn table(session: &Session) -> String {
    let mut lines = vec![format!(
        "{:<14} {:<30} {:<13} {:<15} {:>7} {:>9}",
        "family", "attack", "tool", "source", "seconds", "packets"
    )];
    lines.extend(session.attacks.iter().map(|attack| {
        format!(
            "{:<14} {:<30} {:<13} {:<15} {:>7.1} {:>9}",
            attack.family,
            attack.name,
            attack.tool,
            if attack.forged {
                "forged".to_owned()
            } else {
                attack.ip.to_string()
            },
            attack.t1 - attack.t0,
            attack.packets
        )
    }));
    let benign: Vec<String> = session
        .benign
        .iter()
        .map(|(habit, times)| format!("{habit} {times}"))
        .collect();
    lines.push(format!("benign: {}", benign.join(", ")));
    lines.push(format!(
        "{} packets captured, {} dropped by the capture; hosts {}",
        session.packets,
        session.dropped,
        if session.delayed {
            "delayed by 2 to 120 ms"
        } else {
            "not delayed: this kernel has no netem, and socat is missing"
        }
    ));
    lines.join("\n")
}
