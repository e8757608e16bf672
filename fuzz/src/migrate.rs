//! Files of fail2ban and CrowdSec, and bundles of decisions from another machine: the first byte says which.

use crate::{Target, file};
use sentinel::migrate::fuzzing;
use sentinel::proof::Bundle;

/// The target.
pub const TARGET: Target = Target {
    name: "migrate",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    let text = std::str::from_utf8(bytes);
    match (kind % 3, text) {
        (0, _) => fuzzing::decisions(bytes),
        (1, Ok(text)) => fuzzing::settings(text),
        (_, Ok(text)) => drop(Bundle::read(text)),
        _ => {}
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let jail = "[DEFAULT]\nignoreip = 127.0.0.1/8 ::1 %(a)s\na = %(known/a)s 203.0.113.7\n\n[sshd]\nignoreip = %(a)s\n \
                198.51.100.0/24 # more\n%%\n[sshd]\na: %(known/a)s\n";
    vec![
        [&[0][..], &file("tests/fixtures/migrate/crowdsec-1.4.6.json")].concat(),
        [&[1][..], jail.as_bytes()].concat(),
        b"\x02{\"ground_sha256\":\"00\",\"ground\":{},\"proof\":{\"version\":1}}".to_vec(),
    ]
}
