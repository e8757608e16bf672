//! Settings: YAML and the environment into a configuration, or every problem at once.

use crate::{Target, file};
use sentinel::config::fuzzing;

/// The target.
pub const TARGET: Target = Target {
    name: "settings",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        fuzzing::settings(text);
    }
}

/// Each section of the shipped settings, and the traps of YAML.
fn seeds() -> Vec<Vec<u8>> {
    let whole = String::from_utf8(file("config/settings.yml")).unwrap_or_default();
    let bare: String = whole
        .lines()
        .map(|line| line.split_once(" #").map_or(line, |(kept, _)| kept))
        .filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty())
        .fold(String::new(), |text, line| text + line + "\n");
    let mut sections: Vec<String> = Vec::new();
    for line in bare.lines() {
        match sections.last_mut() {
            Some(section) if line.starts_with(' ') => section.push_str(line),
            _ => sections.push(line.to_owned()),
        }
        if let Some(section) = sections.last_mut() {
            section.push('\n');
        }
    }
    let traps = [
        "a: &a [*a, *a]\n",
        "mode: !!binary aGk=\n",
        "mode: simulation\nmode: production\n",
        "<<: {mode: production}\n",
        "%YAML 1.2\n---\nmode: production\n---\nmode: simulation\n",
        "mode: simulation\n%%\nSENTINEL_MODE=production\nSENTINEL_KERNEL__INTERFACES=eth0,eth1\nSENTINEL_X=1\n",
    ];
    let traps = traps.map(str::to_owned).into_iter();
    sections.into_iter().chain(traps).map(String::into_bytes).collect()
}
