//! Logging in as an operator does, in a real browser.

use super::*;
use crate::auth::NewToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_logs_in_by_link_leaves_and_comes_back_with_a_token() {
    let Some(mut browser) = Browser::stranger().await else {
        return no_browser();
    };
    let house = House::new();
    let (url, server) = serve(&house).await;
    browser.open(&url).await;
    browser
        .until("location.pathname === '/login' && document.querySelector('#token')")
        .await;

    let code = house.state.auth.link(now()).unwrap();
    browser.open("about:blank").await;
    browser.open(&format!("{url}login#{code}")).await;
    let there = "location.pathname === '/' && document.querySelector('#who').innerText.includes('admin')";
    browser.until(there).await;
    assert_eq!(browser.eval("location.hash").await, json!(""), "the code is not kept");
    assert_eq!(
        browser.eval("document.cookie").await,
        json!(""),
        "no script sees the cookie"
    );

    browser.eval("document.querySelector('#logout').click()").await;
    browser.until("location.pathname === '/login'").await;
    let type_in = |text: &str| {
        format!("document.querySelector('#token').value = '{text}'; document.querySelector('form').requestSubmit()")
    };
    browser.until("document.querySelector('form button:enabled')").await;
    browser.eval(&type_in("sntl_wrong")).await;
    browser
        .until("document.querySelector('#said').innerText.includes('no token or link')")
        .await;
    let wish = NewToken {
        name: "ann".to_owned(),
        role: Role::Operator,
        duration: None,
    };
    let (_, text) = house.state.auth.create(wish, "test", now()).await.unwrap();
    browser.eval(&type_in(&text)).await;
    browser
        .until("location.pathname === '/' && document.querySelector('#who').innerText.includes('ann')")
        .await;
    // A session that is ended elsewhere leads to the log-in by itself.
    house.state.auth.revoke("ann", now()).await.unwrap();
    browser.eval("document.querySelector('#logout')?.click()").await;
    browser.until("location.pathname === '/login'").await;
    // The refusals are those that were wanted; nothing else was complained about.
    let unwanted: Vec<_> = browser.complaints.iter().filter(|text| !text.contains("401")).collect();
    assert!(unwanted.is_empty(), "{unwanted:?}");
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}
