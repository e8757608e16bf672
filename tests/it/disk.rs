//! A full disk delays the record, never the block.

use crate::scene::{SOON, agent_or_skip};
use serde_json::{Value, json};
use std::io::Write;
use std::time::Instant;
use testbed::agent::Agent;
use testbed::net::Network;
use testbed::wait;

#[test]
fn a_full_disk_is_said_and_enforcement_goes_on() {
    let Some(binary) = agent_or_skip() else { return };
    let mut network = Network::new().expect("network");
    let protected = network.host("protected", 1).expect("host");
    let other = network.host("other", 9).expect("host");
    let mut agent = Agent::prepare(&binary, &protected, &json!({})).expect("folder");
    agent.database_on_tmpfs("3m").expect("settings");
    agent.launch().unwrap_or_else(|error| panic!("{error:#}"));
    let add = |ip: &str| {
        agent.request(
            "POST",
            "/decisions",
            Some(&json!({ "target": ip, "duration": "1h", "reason": "test" })),
        )
    };

    let before = add("203.0.113.1").expect("answer");
    assert_eq!(before.status, 201, "{}", before.text);
    let filler = agent.disk().expect("running").join("filler");
    let mut file = std::fs::File::create(&filler).expect("filler");
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);

    // Many decisions: more than what the journal still has room for.
    let ping = format!("ping -c 1 -W 0.2 {}", protected.v4);
    let refused = add(&other.v4.to_string()).expect("answer");
    let mut unkept = 0;
    for n in 2..60 {
        let told = add(&format!("203.0.113.{n}")).expect("answer");
        match told.status {
            201 => assert_eq!(unkept, 0, "kept, while earlier ones are not: {}", told.text),
            503 => assert!(told.text.contains("the disk has not kept it yet"), "{}", told.text),
            other => panic!("{other}: {}", told.text),
        }
        if told.status == 503 && unkept == 0 {
            let began = Instant::now();
            wait::until("the full disk to be said", SOON, || {
                let health = agent.get("/health")?;
                let said = agent.metrics()?.sum("sentinel_degraded", &["component=\"store\""]) > 0.5;
                Ok((said && health["components"]["store"]["state"] == "degraded").then_some(()))
            })
            .unwrap_or_else(|error| panic!("{error:#}: {:?}", agent.get("/health")));
            eprintln!(
                "figure: until a full disk is said = {:.0} ms",
                began.elapsed().as_secs_f64() * 1e3
            );
        }
        unkept += u32::from(told.status == 503);
    }
    assert!(unkept > 0, "all of them are told as kept by a full disk");
    assert_ne!(
        other.run(&ping, SOON).expect("ping").code,
        0,
        "not blocked while the disk is full: {}",
        refused.text
    );
    let degraded = wait::until("the full disk to be said", SOON, || {
        let health = agent.request("GET", "/health", None)?.json()?;
        Ok((health["components"]["store"]["state"] == "degraded").then_some(health))
    });
    let degraded = degraded.unwrap_or_else(|error| panic!("{error:#}: {:?}", agent.get("/health")));
    assert!(
        !degraded["components"]["store"]["mend"]
            .as_str()
            .unwrap_or_default()
            .is_empty(),
        "{degraded}"
    );

    std::fs::remove_file(&filler).expect("freed");
    let freed = Instant::now();
    wait::until("the store to recover", SOON * 3, || {
        let health = agent.request("GET", "/health", None)?.json()?;
        Ok((health["components"]["store"]["state"] == "ok").then_some(()))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}", agent.get("/health")));
    eprintln!(
        "figure: until it takes records again = {:.0} ms",
        freed.elapsed().as_secs_f64() * 1e3
    );
    // Nothing acknowledged is lost: what came before the full disk, and what waited for it to end.
    for ip in ["203.0.113.1".to_owned(), other.v4.to_string()] {
        let ip = ip.parse().expect("address");
        wait::until("the decision to be in the database", SOON, || {
            let stored: Vec<Value> = agent.decisions(ip)?;
            Ok((!stored.is_empty()).then_some(()))
        })
        .unwrap_or_else(|error| panic!("{ip}: {error:#}"));
    }
    assert_eq!(agent.stop().expect("stops").code, 0);
}
