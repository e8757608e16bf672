//! `sentinel health`: whether the running agent protects this host; what a container engine or a script asks.

use super::Global;
use super::client::Client;
use super::exit::Failure;
use super::output::{Format, escape_line};
use reqwest::Method;
use serde_json::Value;

/// Tells how every part is; fails where nobody answers or nothing judges packets yet.
pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let output = global.output();
    let client = Client::connect(&global.load()?.api.socket)?;
    let health = client.call(Method::GET, "/health", &[], None)?;
    let ready = client.call(Method::GET, "/health/ready", &[], None);
    if output.format() == Format::Json {
        output.json(&health);
    } else {
        for line in lines(&health) {
            output.line(&escape_line(&line));
        }
    }
    ready.map(drop)
}

/// One line for the whole, and one for each part that works with less than it should.
fn lines(health: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut lines = vec![format!("{}, mode {}", text(&health["status"]), text(&health["mode"]))];
    let parts = health["components"].as_object().into_iter().flatten();
    for (part, condition) in parts.filter(|(_, condition)| condition["state"] == "degraded") {
        let (cause, mend) = (text(&condition["cause"]), text(&condition["mend"]));
        lines.push(format!("{part}: {cause}; mend: {mend}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_degraded_is_told_with_its_mend() {
        let health = json!({"status": "degraded", "mode": "simulation", "components": {
            "kernel": {"state": "ok", "detail": "native"},
            "store": {"state": "degraded", "cause": "disk full", "mend": "free space"},
        }});
        assert_eq!(
            lines(&health),
            ["degraded, mode simulation", "store: disk full; mend: free space"]
        );
    }
}
