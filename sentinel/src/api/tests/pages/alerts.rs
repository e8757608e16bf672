//! What is known of an alert's source, on the page.

use super::*;
use crate::types::{Answer, Event, Indicator, IntelVerdict, RiskPart};

/// An answer with hostile text.
fn answer(ip: std::net::IpAddr) -> Answer {
    let mut indicator = Indicator::new("abuseipdb", ip, T0);
    indicator.judge(IntelVerdict::Malicious, 0.98, 0.9);
    indicator.category("<img src=x onerror=\"document.title='owned'\">");
    indicator.fact("totalReports", &431);
    Answer {
        source: "abuseipdb".into(),
        indicator: Some(indicator),
        result: "fresh".into(),
        reason: String::new(),
        took_ms: 312,
    }
}

#[tokio::test]
async fn what_is_known_of_a_source_is_shown_and_follows_what_is_learnt() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = House::new();
    let alert = alert(&mut Mint::Counted(0), T0);
    let mut found = crate::types::testing::investigation(&alert, Severity::Medium, 0);
    house
        .keep(vec![
            Record::Alert(Arc::new(alert)),
            Record::Investigation(Arc::new(found.clone())),
        ])
        .await;
    let (url, server) = serve(&house).await;
    browser.open(&url).await;
    browser
        .until("document.querySelector('#alert-list a.why') !== null")
        .await;
    browser
        .eval("document.querySelector('#alert-list a.why').click()")
        .await;
    let text = "document.querySelector('#detail').innerText";
    browser.until(&format!("{text}.includes('Medium risk')")).await;
    browser
        .until(&format!("{text}.includes('Sources are being asked.')"))
        .await;

    // An answer came in.
    found.state = crate::types::InvestigationState::Complete;
    found.answers = vec![answer(found.ip)];
    found.risk = crate::types::testing::risk(Severity::High, 1);
    found.risk.contradictions = vec!["greynoise says 0.02, port_scan says 0.93".into()];
    found.risk.parts.push(RiskPart {
        name: "greynoise".into(),
        says: 0.02,
        log_odds: -3.114,
        sentence: "greynoise says that it must not be blocked".into(),
    });
    found.network = Some("AS64500 Example Net".into());
    house.state.bus.publish(Event::Investigation(Arc::new(found)));
    for part in [
        "High risk",
        "−3.114",
        "They disagree: greynoise says 0.02",
        "AS64500 Example Net",
        "totalReports 431",
        "<img src=x",
    ] {
        browser.until(&format!("{text}.includes({part:?})")).await;
    }
    browser.until("document.title === 'Alerts · Sentinel'").await;
    assert_eq!(browser.complaints, Vec::<String>::new());
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}
