//! Words of other nodes, from the Redis.

use crate::Target;
use sentinel::fleet::fuzzing;

/// The target.
pub const TARGET: Target = Target {
    name: "fleet",
    run,
    seeds,
};

fn run(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        fuzzing::words(text);
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let word = |what: &str| {
        format!(
            "{{\"form\":1,\"node\":\"edge-2\",\"version\":1767225600000000000,\"ends\":\"2026-01-02T00:00:00Z\",{what}}}"
        )
    };
    let decided = word(
        "\"kind\":\"decided\",\"id\":\"019b76da-a800-7000-8000-000000000001\",\"target\":\"203.0.113.7/32\",\
         \"action\":\"block_ip\",\"egress\":false,\"until\":\"2026-01-01T04:00:00Z\",\"by\":\"detector\",\"actor\":\"port_scan\",\
         \"reason\":\"scanned 100 ports\",\"severity\":\"high\",\"risk\":\"high\",\"confidence\":0.9",
    );
    let released = word(
        "\"kind\":\"released\",\"target\":\"203.0.113.7/32\",\"actor\":\"ann\",\"by_person\":true,\
         \"until\":\"2026-01-01T04:00:00Z\"",
    );
    let allowed = word(
        "\"kind\":\"allowed\",\"target\":\"2001:db8::/64\",\"actor\":\"ann\",\"comment\":\"office\",\"until\":null",
    );
    let disallowed = word("\"kind\":\"disallowed\",\"target\":\"2001:db8::/64\",\"actor\":\"ann\"");
    let newer = "{\"form\":2,\"anything\":[]}".to_owned();
    [
        format!("{released}\n{decided}"),
        decided,
        released,
        allowed,
        disallowed,
        newer,
    ]
    .map(String::into_bytes)
    .into()
}
