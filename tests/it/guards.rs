//! What may never be blocked is refused, and the refusal names the guard.

use crate::scene::Scene;
use serde_json::json;

#[test]
fn protected_addresses_cannot_be_blocked() {
    let Some(scene) = Scene::new(&json!({ "allowlist": ["198.51.100.0/24", "2001:db8:1::/48"] })) else {
        return;
    };
    let own4 = scene.protected.v4.to_string();
    let own6 = scene.protected.v6.to_string();
    for (target, guard) in [
        ("192.0.2.254", "gateway"),
        ("2001:db8::fe", "gateway"),
        ("192.0.2.53", "resolver"),
        ("2001:db8::53", "resolver"),
        (own4.as_str(), "own_address"),
        (own6.as_str(), "own_address"),
        ("198.51.100.7", "allowlist"),
        ("2001:db8:1::7", "allowlist"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
    ] {
        let wish = json!({ "target": target, "type": "block", "duration": "1h", "reason": "test" });
        let answer = scene.agent.request("POST", "/decisions", Some(&wish)).expect("answer");
        assert_eq!(answer.status, 409, "{target}: {}", answer.text);
        assert!(answer.text.contains(guard), "{target}: {}", answer.text);
        let told = scene.agent.cli(&["decisions", "add", "--ip", target]).expect("add");
        assert_eq!(told.code, 1, "{target}: {}", told.output);
        assert!(told.output.contains(guard), "{target}: {}", told.output);
    }
    for (range, guard) in [
        ("192.0.2.0/24", "own_address"),
        ("198.51.0.0/16", "allowlist"),
        ("128.0.0.0/1", "too_wide"),
    ] {
        let told = scene.agent.cli(&["decisions", "add", "--range", range]).expect("add");
        assert_ne!(told.code, 0, "{range}: {}", told.output);
        let named = told.output.contains(guard) || told.output.contains("gateway") || told.output.contains("resolver");
        assert!(named, "{range}: {}", told.output);
    }
    assert_eq!(scene.agent.active().expect("decisions").len(), 0);
    assert!(scene.reaches(false) && scene.reaches(true));

    let told = scene.agent.cli(&["allowlist", "list"]).expect("list");
    for part in [
        "192.0.2.254",
        "gateway",
        "192.0.2.53",
        "resolver",
        "198.51.100.0/24",
        "allowlist",
        "own_address",
    ] {
        assert!(told.output.contains(part), "{part} missing:\n{}", told.output);
    }
}

#[test]
fn an_allowlisted_attacker_is_seen_and_left_alone() {
    let Some(scene) = Scene::new(&json!({ "allowlist": ["192.0.2.9"] })) else {
        return;
    };
    let source = scene.other.v4.into();
    let mut scan = scene
        .other
        .spawn(&format!(
            "nmap -n -Pn -sS -p1-20000 --max-rate 400 {}",
            scene.protected.v4
        ))
        .expect("nmap");
    let vetoed = testbed::wait::until("the veto", crate::scene::SOON * 3, || {
        let decisions = scene.agent.decisions(source)?;
        Ok(decisions.into_iter().find(|decision| decision["status"] == "vetoed"))
    });
    let vetoed = vetoed.unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(vetoed["veto"]["guard"], "allowlist", "{vetoed}");
    assert_eq!(scene.agent.block(source).expect("decisions"), None);
    assert!(scene.reaches(false), "an allowlisted host was blocked");
    scan.end();
    let metrics = scene.agent.metrics().expect("metrics");
    assert!(metrics.sum("sentinel_guard_vetoes_total", &["guard=\"allowlist\""]) >= 1.0);
}
