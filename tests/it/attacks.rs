//! Every attack is blocked in the kernel (or said aloud, where its sources are forged), and benign traffic never is.

use crate::scene::{SOON, agent_or_skip};
use serde_json::json;
use testbed::lab::{ATTACKS, Attack, Lab, pass};
use testbed::wait;

fn check(attacks: &[Attack]) {
    let Some(binary) = agent_or_skip() else { return };
    let mut lab = Lab::new(&binary, &json!({})).unwrap_or_else(|error| panic!("{error:#}"));
    let passed = pass(&mut lab, attacks, |seen| {
        eprintln!(
            "{}: {:?} ms, {} drops",
            seen.attack, seen.first_drop_ms, seen.kernel_drops
        );
    });
    let (seen, benign) = passed.unwrap_or_else(|error| panic!("{error:#}\n{}", lab.agent.log()));

    let wrong: Vec<_> = seen
        .iter()
        .filter(|s| !s.ok)
        .map(|s| format!("{}: {:?}", s.attack, s.failure))
        .collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), lab.agent.log());
    for seen in &seen {
        explains(&lab, seen);
    }
    for traffic in &benign {
        assert_eq!(traffic.failures, 0, "{traffic:?}");
        assert!(traffic.transfers >= 2, "{traffic:?}");
    }
    for address in [lab.client.v4.into(), lab.client.v6.into()] {
        let about = lab.agent.deeds(address).expect("decisions");
        assert!(about.is_empty(), "benign client: {about:?}");
    }

    // The programs' own count agrees that packets were dropped, and by which rule.
    let dropped: u64 = seen.iter().map(|s| s.kernel_drops).sum();
    let metrics = wait::until("the programs to count as many drops as the decisions", SOON, || {
        let metrics = lab.agent.metrics()?;
        let counted = metrics.sum("sentinel_xdp_packets_total", &["action=\"drop\""]) as u64;
        Ok((counted >= dropped && dropped > 0).then_some(metrics))
    });
    let metrics = metrics.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(
        metrics.has("sentinel_detect_to_drop_seconds_count"),
        "detection to drop is measured"
    );
    let stopped = lab.agent.stop().expect("stops");
    assert_eq!(stopped.code, 0, "{}", stopped.output);
}

/// Alert and decision say why, in words and numbers, over HTTP and on the command line.
fn explains(lab: &Lab, seen: &testbed::lab::Seen) {
    let alert = &seen.alert;
    let evidence = alert["evidence"].as_array().expect("evidence");
    assert!(!evidence.is_empty(), "{alert}");
    let past = |e: &serde_json::Value| e["value"].as_f64() >= e["threshold"].as_f64();
    assert!(evidence.iter().any(past), "no number is past its limit: {alert}");
    let summary = alert["summary"].as_str().expect("summary");
    assert!(
        summary.chars().any(|c| c.is_ascii_digit()),
        "the sentence has no number: {summary}"
    );
    let id = alert["id"].as_str().expect("id");
    let told = lab.agent.cli(&["explain", "alert", id]).expect("explain");
    assert_eq!(told.code, 0, "{}", told.output);
    assert!(
        told.output.contains(summary) && told.output.contains("Limit"),
        "{}",
        told.output
    );
    if seen.kernel_drops > 0 {
        assert_eq!(seen.decision["alert"], alert["id"], "{}", seen.decision);
        assert!(
            !seen.decision["reason"].as_str().unwrap_or_default().is_empty(),
            "{}",
            seen.decision
        );
        let told = lab.agent.cli(&["decisions", "list"]).expect("list");
        assert!(told.output.contains(&seen.attacker), "{}", told.output);
    }
}

fn of(family: bool) -> Vec<Attack> {
    ATTACKS.iter().filter(|attack| attack.v6 == family).copied().collect()
}

#[test]
fn ipv4_attacks_are_blocked_and_benign_traffic_is_not() {
    check(&of(false));
}

#[test]
fn ipv6_attacks_are_blocked_and_benign_traffic_is_not() {
    check(&of(true));
}
