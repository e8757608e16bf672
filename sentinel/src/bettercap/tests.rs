//! What is made of answers, good and bad.

pub(crate) mod scripted;

use self::scripted::{Mood, SUBNET, Scripted};
use super::*;
use crate::config::BettercapConfig;
use crate::types::Secret;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// With a limit that is reached soon, for what hangs.
pub(crate) fn config(url: String, password: &str) -> BettercapConfig {
    BettercapConfig {
        url,
        username: "joe".to_owned(),
        password: Some(Secret::new(password)),
        timeout: Duration::from_millis(500),
        arp_ban: true,
        ..BettercapConfig::default()
    }
}

/// With a limit that no answer reaches, however busy the machine is.
pub(crate) fn patient(url: String, password: &str) -> BettercapConfig {
    BettercapConfig {
        timeout: Duration::from_secs(20),
        ..config(url, password)
    }
}

fn session(server: &Scripted) -> Session {
    Session::new(&patient(format!("ws://{}", server.at), "hunter2")).unwrap()
}

fn addresses(of: &[&str]) -> BTreeSet<Ipv4Addr> {
    of.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_session_is_read_and_commands_are_run() {
    let server = Scripted::new();
    let session = session(&server);
    let state = session.state().await.unwrap();
    assert_eq!(state.own.to_string(), "192.0.2.2");
    assert_eq!(state.gateway.to_string(), "192.0.2.1");
    assert_eq!(state.network.unwrap().to_string(), "192.0.2.0/24");
    assert_eq!(
        (state.running, state.targets.as_str(), state.odd),
        (false, SUBNET, None)
    );
    assert_eq!((state.listed(), state.hosts.len()), (None, 2));
    let targets = addresses(&["192.0.2.8", "192.0.2.7"]);
    session.run(&Command::Targets(&targets)).await.unwrap();
    session.run(&Command::BanOn).await.unwrap();
    let state = session.state().await.unwrap();
    assert_eq!((state.running, state.listed()), (true, Some(targets)));
    session.run(&Command::BanOff).await.unwrap();
    session.run(&Command::Before(SUBNET)).await.unwrap();
    assert_eq!(
        server.told(),
        [
            "set arp.spoof.targets 192.0.2.7,192.0.2.8",
            "arp.ban on",
            "arp.ban off",
            "set arp.spoof.targets <entire subnet>"
        ]
    );
    let again = session.run(&Command::BanOff).await;
    assert!(
        matches!(again, Err(BettercapError::Refused { status: 400, .. })),
        "{again:?}"
    );
}

#[tokio::test]
async fn every_bad_answer_is_an_error_that_names_the_mend_and_no_secret() {
    let server = Scripted::new();
    let session = session(&server);
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(17 << 20));
    for (status, body, words) in [
        (401, "hunter2 is wrong".to_owned(), "`bettercap.username`"),
        (200, "<html>hunter2".to_owned(), "no such JSON"),
        (200, "{}".to_owned(), "no such JSON"),
        (200, long, "too long"),
        (302, String::new(), "does not tell its session"),
        (500, String::new(), "does not tell its session"),
    ] {
        server.with(|stage| stage.mood = Mood::Says(status, body));
        let error = session.state().await.unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("hunter2"), "{status}: {error}");
    }
    server.with(|stage| stage.mood = Mood::Says(200, "{\"success\":false}".into()));
    assert!(session.run(&Command::BanOn).await.is_err(), "200 is no yes");
    server.with(|stage| stage.mood = Mood::Slow(Duration::from_mins(1)));
    let hasty = Session::new(&config(format!("ws://{}", server.at), "hunter2")).unwrap();
    let began = Instant::now();
    let error = hasty.state().await.unwrap_err().to_string();
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(error.contains("does not answer"), "{error}");
    let stranger = Session::new(&patient(format!("http://{}", server.at), "no")).unwrap();
    server.with(|stage| stage.mood = Mood::Good);
    assert_eq!(stranger.state().await, Err(BettercapError::Login));
    let nobody = Session::new(&patient("ws://127.0.0.1:1".to_owned(), "no")).unwrap();
    assert_eq!(nobody.state().await, Err(BettercapError::Nobody));
    // Refused by this host's kernel, whoever is there.
    let unreached = Session::new(&patient("ws://255.255.255.255:1".to_owned(), "no")).unwrap();
    let error = unreached.state().await.unwrap_err();
    assert_eq!(error, BettercapError::Away("it could not be reached from here"));
    assert!(!format!("{session:?}").contains("hunter2"));
}

#[test]
fn what_would_be_another_command_is_never_said() {
    for good in [
        SUBNET,
        "192.0.2.7, 192.0.2.8",
        "192.0.2.1-20",
        "aa:bb:cc:dd:ee:ff,alias_1",
    ] {
        assert!(sayable(good), "{good}");
    }
    for bad in ["", " ", "192.0.2.7; !rm -rf /", "a\nb", "{env.x}", &"1".repeat(2000)] {
        assert!(!sayable(bad), "{bad}");
    }
}

#[test]
fn settings_that_cannot_work_are_told() {
    assert!(Session::new(&BettercapConfig::default()).is_err());
    let mut tls = config("wss://127.0.0.1:1".to_owned(), "no");
    tls.ca_file = Some("/nonexistent/ca.pem".into());
    assert!(
        Session::new(&tls)
            .unwrap_err()
            .to_string()
            .contains("`bettercap.ca_file`")
    );
}
