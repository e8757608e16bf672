//! The stop and the allowlist, on the page.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_click_stops_everything_and_the_banner_says_so() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = in_production();
    busy(&house, crate::config::Mode::Production).await;
    house.attach(&[]);
    let (url, server) = serve(&house).await;
    browser.open(&url).await;
    browser
        .until("document.querySelectorAll('#block-list > li').length === 4")
        .await;
    browser
        .until("document.querySelector('#acting').innerText === 'Stop acting'")
        .await;
    browser.eval("document.querySelector('#acting').click()").await;
    browser
        .until("document.querySelector('#mode').innerText.includes('dashboard stopped it')")
        .await;
    browser
        .until("document.querySelector('#mode').innerText.toUpperCase().startsWith('STOPPED')")
        .await;
    let held =
        "[...document.querySelectorAll('#block-list .chip')].filter(c => c.innerText === 'Held back').length === 4";
    browser.until(held).await;
    assert!(house.state.acting.borrow().stopped.is_some());
    let said = browser.eval("document.querySelector('#mode').innerText").await;
    assert!(said.to_string().contains("Entries in the kernel only count"), "{said}");
    browser.picture("stopped").await;
    browser.eval("document.querySelector('#acting').click()").await;
    browser
        .until("document.querySelector('#mode').innerText.toUpperCase().startsWith('PRODUCTION')")
        .await;
    assert!(house.state.acting.borrow().stopped.is_none());
    assert_eq!(browser.complaints, Vec::<String>::new());
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_prefix_around_still_blocks_is_not_told_as_free() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = in_production();
    house.attach(&[]);
    let (url, server) = serve(&house).await;
    for target in ["203.0.113.0/24", "203.0.113.7"] {
        let wish = json!({ "target": target, "duration": "1h", "reason": "a test" });
        let (status, told) = ask(&house.router(Door::Unix), send("POST", "/decisions", &wish)).await;
        assert_eq!(status, 201);
        let id = told["id"].as_str().unwrap().parse().unwrap();
        let decision = house.state.store.decision(id).await.unwrap().unwrap();
        let enforced = Decision {
            simulated: false,
            ..decision
        };
        let kept = vec![Record::Decision(Arc::new(enforced))];
        house.state.store.commit(kept).await.unwrap();
    }
    browser.open(&url).await;
    browser.until("document.querySelector('#page')").await;
    browser.go("#/decisions").await;
    let undo = "document.querySelector('[aria-label=\"Unblock 203.0.113.7\"]')";
    let yes = "[...document.querySelectorAll('button')].find((b) => b.innerText === 'Yes, unblock')";
    let notice = "document.querySelector('#covered')";
    for step in [undo, yes] {
        browser.until(step).await;
        browser.eval(&format!("{step}.click()")).await;
    }
    browser.until(notice).await;
    browser.picture("covered").await;
    assert_eq!(browser.barriers().await, Vec::<Value>::new());
    let said = browser.eval(&format!("{notice}.innerText")).await;
    let said = said.as_str().unwrap();
    assert!(
        said.starts_with("203.0.113.7 is not free, but covered by 203.0.113.0/24."),
        "{said}"
    );
    // Whoever takes the prefix back: it is free then, and that is over.
    let (status, _) = ask(
        &house.router(Door::Unix),
        send("DELETE", "/decisions?target=203.0.113.0/24", &json!({})),
    )
    .await;
    assert_eq!(status, 200);
    browser.until(&format!("!{notice}")).await;
    assert_eq!(browser.complaints, Vec::<String>::new());
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_is_not_connected_again_yet_is_not_told_as_free() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = in_production();
    house.attach(&[]);
    let (url, server) = serve(&house).await;
    let mut mint = Mint::Random;
    let seen = alert(&mut mint, now());
    let isolation = Decision {
        action: ActionKind::IsolateContainer,
        ..decision(&mut mint, &seen, now())
    };
    let cut = action(&mut mint, &isolation);
    let records = vec![
        Record::Decision(Arc::new(isolation)),
        Record::Action(Arc::new(cut.clone())),
        Record::Undo {
            action: cut.id,
            json: "{}".into(),
        },
    ];
    house.keep(records).await;
    browser.open(&url).await;
    browser.until("document.querySelector('#page')").await;
    browser.go("#/decisions").await;
    let undo = "document.querySelector('[aria-label=\"Release 203.0.113.7\"]')";
    let yes = "[...document.querySelectorAll('button')].find((b) => b.innerText === 'Yes, release')";
    let notice = "document.querySelector('#following')";
    for step in [undo, yes] {
        browser.until(step).await;
        browser.eval(&format!("{step}.click()")).await;
    }
    browser.until(notice).await;
    assert_eq!(browser.barriers().await, Vec::<Value>::new());
    let said = browser.eval(&format!("{notice}.innerText")).await;
    let said = said.as_str().unwrap();
    assert!(
        said.starts_with("The container that had 203.0.113.7 is not connected again yet."),
        "{said}"
    );
    let back = Arc::new(Action {
        status: ActionStatus::Reverted,
        ..cut
    });
    house.keep(vec![Record::Action(Arc::clone(&back))]).await;
    house.state.bus.publish(Event::Action(back));
    browser.until(&format!("!{notice}")).await;
    assert_eq!(browser.complaints, Vec::<String>::new());
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_puts_somebody_on_the_allowlist_and_takes_them_off() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = House::new();
    let (url, server) = serve(&house).await;
    browser.open(&url).await;
    // The page's scripts are at work once they have asked how things stand.
    browser.until("document.querySelector('#page')").await;
    browser.go("#/decisions").await;
    browser
        .until("document.querySelector('#mode')?.innerText.toUpperCase().includes('SIMULATION')")
        .await;
    browser
        .eval(
            "document.querySelector('#a-target').value = '203.0.113.7'; \
             document.querySelector('#a-comment').value = '<img src=x onerror=\"document.title=1\">'; \
             document.querySelector('#allow-form').requestSubmit()",
        )
        .await;
    let rows = "document.querySelectorAll('#allow-list > li').length";
    browser.until(&format!("{rows} === 1")).await;
    browser
        .until("document.querySelector('#allow-list').innerText.includes('<img src=x')")
        .await;
    browser
        .until("document.querySelector('#allow-said').innerText.includes('is on the allowlist')")
        .await;
    assert_eq!(house.state.store.allowlist().await.unwrap().len(), 1);
    browser
        .eval("document.querySelector('#allow-list button').click()")
        .await;
    browser.until("document.querySelector('#allow-list .danger')").await;
    browser
        .eval("document.querySelector('#allow-list .danger').click()")
        .await;
    browser.until(&format!("{rows} === 0")).await;
    assert_eq!(house.state.store.allowlist().await.unwrap(), []);
    browser
        .eval("document.querySelector('#a-target').value = 'nobody'; document.querySelector('#allow-form').requestSubmit()")
        .await;
    browser
        .until("document.querySelector('#allow-said').innerText.includes('neither an address')")
        .await;
    browser
        .until("document.title === 'Decisions & allowlist · Sentinel'")
        .await;
    // The refusal of a wish is the browser's own line, not a fault of the page.
    let faults: Vec<_> = browser.complaints.iter().filter(|said| !said.contains("422")).collect();
    assert!(faults.is_empty(), "{faults:?}");
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_who_is_told_and_tests_it() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = House::new();
    notifications::some(&house).await;
    let (url, server) = serve(&house).await;
    browser.open(&url).await;
    browser.until("document.querySelector('#page')").await;
    browser.go("#/settings").await;
    let row = |name: &str| {
        format!(
            "[...document.querySelectorAll('#channel-list tbody tr')].find((tr) => tr.innerText.toLowerCase().startsWith('{name}'))"
        )
    };
    let slack = row("slack");
    browser
        .until(&format!("{slack}.innerText.includes('answered 404 (no_service)')"))
        .await;
    browser
        .until(&format!("{}.innerText.includes('not set up')", row("syslog")))
        .await;
    browser
        .until(&format!("!{}.querySelector('button')", row("syslog")))
        .await;
    browser.eval(&format!("{slack}.querySelector('button').click()")).await;
    browser
        .until(&format!(
            "{slack}.innerText.includes('Test not taken: asked by dashboard. Make a new webhook')"
        ))
        .await;
    browser
        .eval(&format!("{}.querySelector('button').click()", row("file")))
        .await;
    browser
        .until(&format!("{}.innerText.includes('Test taken')", row("file")))
        .await;
    browser
        .eval("document.querySelector('#channels details').open = true")
        .await;
    browser
        .until("document.querySelector('#message-list').innerText.includes('answered 422')")
        .await;
    browser
        .eval("document.querySelector('#channels').scrollIntoView()")
        .await;
    browser.picture("channels").await;
    assert_eq!(browser.barriers().await, Vec::<Value>::new());
    assert_eq!(browser.complaints, Vec::<String>::new());
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}
