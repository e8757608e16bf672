//! The page of the traffic log.

use super::*;
use crate::api::tests::traffic::{log, some};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flows_come_by_themselves_are_filtered_and_hold_still_under_the_pointer() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = in_production();
    let (url, server) = serve(&house).await;
    browser.open(&url).await;
    browser.until("document.querySelector('#page')").await;
    browser.go("#/traffic").await;
    browser
        .until("document.querySelector('#traffic-list-empty')?.innerText.includes('No flow was told of yet')")
        .await;
    let mut rows = some(now());
    log(&house, &rows);
    let shown = "document.querySelectorAll('#traffic-list > li').length";
    browser.until(&format!("{shown} === 6")).await;
    let text = "[...document.querySelectorAll('#traffic-list > li')].map((row) => row.innerText)";
    browser
        .until(&format!(
            "{text}[1].includes('Flagged') && {text}[1].includes('203.0.113.7') && {text}[1].includes('score 0.988') \
             && {text}[4].includes('No level') && {text}[5].includes('Not judged')"
        ))
        .await;
    // Never by colour alone: each level has its shape.
    let shapes = "[...document.querySelectorAll('#traffic-list .severity i')].map((i) => i.textContent).join('')";
    assert_eq!(browser.eval(shapes).await, json!("●▲◆●○○"));

    let place = "(() => { const row = document.querySelector('#traffic-list > li'); row.scrollIntoView({ block: 'center' }); \
         const {x, y} = row.getBoundingClientRect(); return {x: x + 50, y: y + 5}; })()";
    let place = browser.eval(place).await;
    let hover = json!({ "type": "mouseMoved", "x": place["x"], "y": place["y"] });
    browser.call("Input.dispatchMouseEvent", hover).await;
    rows = some(now().after(Duration::from_secs(30)));
    log(&house, &rows);
    browser
        .until("document.querySelector('#traffic-list-new')?.innerText.includes('6 new')")
        .await;
    assert_eq!(browser.eval(shown).await, json!(6), "what is under the pointer stays");
    browser
        .call(
            "Input.dispatchMouseEvent",
            json!({ "type": "mouseMoved", "x": 1, "y": 1 }),
        )
        .await;
    browser.until(&format!("{shown} === 12")).await;

    for (field, value, left) in [("level", "flag", 2), ("level", "", 12), ("sensor", "bettercap", 2)] {
        let set = format!(
            "(() => {{ const field = document.querySelector('#traffic [name={field}]'); field.value = '{value}'; \
             field.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()"
        );
        browser.eval(&set).await;
        browser.until(&format!("{shown} === {left}")).await;
    }
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}
