//! Every page: drawn by day and night, on a desk and on a phone, without barriers, complaints or buttons that are refused.

use super::*;

/// Where it is, and what is there once it is drawn.
const PAGES: &[(&str, &str)] = &[
    (
        "#/",
        "document.querySelectorAll('#alert-list > li').length === 5 && document.querySelector('#chart canvas')",
    ),
    ("#/alerts", "document.querySelectorAll('#alert-list > li').length === 5"),
    (
        "#/investigations",
        "document.querySelector('#investigation-list > li') && document.querySelector('#sources .parts')",
    ),
    ("#/actions", "document.querySelector('#action-list > li')"),
    (
        "#/decisions",
        "document.querySelectorAll('#block-list > li').length === 4 && document.querySelector('#protected-list > li')",
    ),
    (
        "#/metrics",
        "document.querySelectorAll('.plot canvas').length === 4 && document.querySelector('#times')",
    ),
    (
        "#/traffic",
        "document.querySelectorAll('#traffic-list > li').length === 6",
    ),
    (
        "#/model",
        "document.querySelector('#card') && !document.querySelector('#card').innerText.includes('Loading')",
    ),
    (
        "#/reports",
        "document.querySelector('#figures') && document.querySelector('#over-time svg')",
    ),
    (
        "#/settings",
        "document.querySelectorAll('#setting-list tbody tr').length > 50",
    ),
    (
        "#/audit",
        "document.querySelectorAll('#audit-list tbody tr').length > 0",
    ),
    (
        "#/source/203.0.113.7",
        "document.querySelector('#block-list > li') && document.querySelector('.timeline li') && \
         document.querySelector('.neighbour').innerText.includes('<script>, Acme')",
    ),
];

/// A house in which every page has something to show.
async fn full() -> House {
    let house = in_production();
    busy(&house, crate::config::Mode::Production).await;
    let scan = house
        .state
        .store
        .alerts(crate::store::AlertFilter::default())
        .await
        .unwrap();
    let mut records = Vec::new();
    for alert in scan.items.iter().take(2) {
        let mut found = crate::types::testing::investigation(alert, Severity::High, 2);
        found.risk.contradictions = vec!["greynoise says 0.02, port_scan says 0.93".into()];
        records.push(Record::Investigation(Arc::new(found)));
    }
    let standing = house.state.store.active_decisions().await.unwrap();
    for decision in &standing {
        records.push(Record::Action(Arc::new(Action {
            id: Mint::Random.action(decision.at),
            decision: decision.id,
            kind: decision.action,
            target: decision.target,
            status: ActionStatus::Enforced,
            intent_at: decision.at,
            entered_at: Some(decision.at),
            outcome_at: Some(decision.at),
            expires_at: decision.expires_at,
            outcome: "in the kernel on eth0, read back".into(),
            hits: 0,
            would_hits: 0,
        })));
    }
    records.push(Record::Audit {
        at: now(),
        actor: "ann".into(),
        verb: "api.decision.add".into(),
        subject: "203.0.113.9".into(),
        detail: "blocked".into(),
    });
    house.keep(records).await;
    let mut health = Health::default();
    health.ok(Component::Store, "wal, synchronous=full");
    house.health.send_replace(Arc::new(health));
    house.attach(&[(sentinel_common::stat::Counter::PassV4, 1_000)]);
    house
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_without_barriers_by_day_by_night_and_on_a_phone() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = full().await;
    let (url, server) = serve(&house).await;
    let mut found = Vec::new();
    for (shape, width, height, dark) in [
        ("desk", 1360, 1000, false),
        ("night", 1360, 1000, true),
        ("phone", 390, 844, false),
    ] {
        browser.shape(width, height, dark).await;
        browser.open(&url).await;
        browser.until("document.querySelector('#page')").await;
        for (hash, drawn) in PAGES {
            browser.go(hash).await;
            browser.until(drawn).await;
            let name = hash.trim_start_matches("#/").split('/').next().unwrap();
            let name = if name.is_empty() { "home" } else { name };
            browser.picture(&format!("{name}-{shape}")).await;
            for barrier in browser.barriers().await {
                found.push(format!("{name}, {shape}: {barrier}"));
            }
            let beyond = browser.eval("document.documentElement.scrollWidth - innerWidth").await;
            assert!(
                beyond.as_i64().unwrap() <= 0,
                "{name} on a {shape} is {beyond} pixels too wide"
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_is_offered_nothing_that_would_be_refused() {
    let Some(mut browser) = Browser::stranger().await else {
        return no_browser();
    };
    let house = full().await;
    let (url, server) = serve(&house).await;
    let wish = crate::auth::NewToken {
        name: "wall".to_owned(),
        role: Role::Viewer,
        duration: None,
    };
    let (_, token) = house.state.auth.create(wish, "test", now()).await.unwrap();
    browser.open(&format!("{url}login")).await;
    browser.until("document.querySelector('form button:enabled')").await;
    let log_in =
        format!("document.querySelector('#token').value = '{token}'; document.querySelector('form').requestSubmit()");
    browser.eval(&log_in).await;
    browser
        .until("document.querySelector('#who')?.innerText.includes('viewer')")
        .await;
    for (hash, drawn) in PAGES {
        browser.go(hash).await;
        browser.until(drawn).await;
        let offered = browser
            .eval(
                "[...document.querySelectorAll('main button, #acting')].map((b) => b.innerText) \
                 .filter((text) => !['Log out', 'Verify the chain', 'PDF', 'HTML', 'JSON', 'Show older ones'].includes(text))",
            )
            .await;
        assert_eq!(offered, json!([]), "on {hash}");
    }
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_suffices() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = full().await;
    let (url, server) = serve(&house).await;
    browser.open(&url).await;
    browser
        .until("document.querySelectorAll('#block-list > li').length === 4")
        .await;
    // By tabulator alone: to every page, and to a button of every row.
    let mut reached = Vec::new();
    for _ in 0..60 {
        press(&mut browser, "Tab", 9).await;
        let name = browser
            .eval("document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText")
            .await;
        reached.push(name.as_str().unwrap_or_default().to_owned());
    }
    for wanted in [
        "Skip to the page",
        "Decisions & allowlist",
        "Audit",
        "Stop acting",
        "Unblock 203.0.113.7",
        "All alerts",
    ] {
        assert!(reached.iter().any(|name| name == wanted), "{wanted} among {reached:?}");
    }
    // Whoever lets go of a question is where they were.
    browser
        .eval("document.querySelector('[aria-label=\"Unblock 203.0.113.7\"]').focus()")
        .await;
    press(&mut browser, "Enter", 13).await;
    browser
        .until("document.activeElement.innerText === 'Yes, unblock'")
        .await;
    press(&mut browser, "Escape", 27).await;
    browser
        .until("document.activeElement.getAttribute('aria-label') === 'Unblock 203.0.113.7'")
        .await;
    // The search field is a key away.
    browser.go("#/alerts").await;
    // Whoever comes to a page goes on from it, once it is drawn; a key before that would be in vain.
    browser
        .until("document.querySelector('#search') && document.activeElement.id === 'page'")
        .await;
    press(&mut browser, "/", 191).await;
    browser.until("document.activeElement.id === 'search'").await;
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}

async fn press(browser: &mut Browser, key: &str, code: u32) {
    let mut down = json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": code });
    match key {
        "Enter" => down["text"] = json!("\r"),
        "/" => down["text"] = json!("/"),
        _ => {}
    }
    browser.call("Input.dispatchKeyEvent", down).await;
    let up = json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code });
    browser.call("Input.dispatchKeyEvent", up).await;
}
