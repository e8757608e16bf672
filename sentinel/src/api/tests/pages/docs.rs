//! The page that shows the document, in a real browser under the policy of all pages.

use super::browser::Browser;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_reads_what_there_is_to_ask_and_tries_it() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = House::new();
    busy(&house, crate::config::Mode::Production).await;
    let (url, server) = serve(&house).await;
    browser.open(&format!("{url}docs")).await;
    let document = serde_json::to_value(openapi::document()).unwrap();
    let operations: usize = document["paths"]
        .as_object()
        .unwrap()
        .values()
        .map(|item| item.as_object().unwrap().len())
        .sum();
    let shown = "document.querySelectorAll('#operations details').length";
    browser.until(&format!("{shown} === {operations}")).await;

    browser
        .eval("document.querySelector('#get_alerts > summary').click()")
        .await;
    browser
        .until("document.querySelector('#get_alerts .inside').innerText.includes('severity')")
        .await;
    // Asked for real, by the session of whoever looks.
    browser
        .eval("(document.querySelector('#get_alerts form [name=limit]').value = '1', document.querySelector('#get_alerts form').requestSubmit())")
        .await;
    browser
        .until("document.querySelector('#get_alerts form pre').textContent.includes('203.0.113.90')")
        .await;
    // From a parameter to its shape, by a link within the page.
    browser
        .eval("document.querySelector('#get_alerts a[href=\"#shape-Severity\"]').click()")
        .await;
    browser
        .until("document.querySelector('#shape-Severity').open && document.querySelector('#shape-Severity').innerText.includes('\"high\"')")
        .await;
    // Nothing that acts can be asked for from here.
    browser
        .eval("document.querySelector('#post_decisions > summary').click()")
        .await;
    browser
        .until("document.querySelector('#post_decisions .inside').innerText.includes('role operator')")
        .await;
    assert_eq!(
        browser.eval("document.querySelector('#post_decisions form')").await,
        Value::Null
    );
    // Every one of them, and every shape, can be opened.
    browser
        .eval("document.querySelectorAll('details').forEach((one) => { one.open = true })")
        .await;
    browser
        .until("[...document.querySelectorAll('details')].every((one) => one.querySelector('.inside'))")
        .await;

    browser
        .eval("(document.querySelector('#find').value = 'honeypot', document.querySelector('#find').dispatchEvent(new Event('input')))")
        .await;
    browser
        .until("[...document.querySelectorAll('#operations details')].every((one) => one.hidden)")
        .await;
    browser
        .eval("(document.querySelector('#find').value = 'revert', document.querySelector('#find').dispatchEvent(new Event('input')))")
        .await;
    browser
        .until("[...document.querySelectorAll('#operations details')].filter((one) => !one.hidden).length === 1")
        .await;
    browser.eval("document.querySelector('#find').value = ''").await;
    browser.picture("docs").await;
    assert_eq!(browser.barriers().await, Vec::<Value>::new());
    let wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    assert_eq!(browser.eval(wide).await, json!(true));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test]
async fn whoever_is_not_logged_in_is_led_to_the_log_in() {
    let house = House::new();
    let router = house.router(Door::Tcp);
    let asked = with(get("/docs"), NOBODY, "");
    let (status, headers, _) = answer(&router, asked).await;
    assert_eq!(
        (status.as_u16(), &headers["location"]),
        (303, &HeaderValue::from_static("/login"))
    );
    assert_eq!(ask(&router, with(get("/openapi.json"), NOBODY, "")).await.0, 401);
}
