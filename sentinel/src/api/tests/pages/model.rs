//! The model on the page: learn mode, and a score taken apart.

use super::*;
use crate::types::{Explanation, Share};

/// What the model said of a scan, with a hostile sentence.
fn explanation() -> Explanation {
    let share = |name: &str, value: f64, share: f64, sentence: &str| Share {
        name: name.into(),
        value,
        unit: "ports".into(),
        share,
        sentence: sentence.into(),
    };
    Explanation {
        vector: Vec::new(),
        model: "cd".repeat(32),
        score: 0.9,
        threshold: 0.4,
        probability: 0.99,
        base: 0.3,
        method: "shapley".into(),
        shares: vec![
            share("ws_ports", 41.0, 0.65, "ws_ports is 41: adds 0.650"),
            share("f_n", 1.0, -0.05, "<img src=x onerror=\"document.title='owned'\">"),
        ],
        summary: "Looks like scan: score 0.900 exceeds 0.400".into(),
        counterfactual: Some("With ws_ports at 3 ports instead of 41 ports, the score would be 0.200".into()),
    }
}

#[tokio::test]
async fn learn_mode_is_begun_on_the_page_and_a_score_is_taken_apart() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = House::new();
    let mut alert = alert(&mut Mint::Counted(0), T0);
    alert.detector = Detector::Model;
    alert.explanation = Some(explanation());
    house.keep(vec![Record::Alert(Arc::new(alert))]).await;
    let (url, server) = serve(&house).await;
    browser.open(&url).await;
    browser
        .until("document.querySelector('#model-says').innerText.includes('not calibrated for this network')")
        .await;
    browser.eval("document.querySelector('#learn-start').click()").await;
    browser
        .until("document.querySelector('#model-says').innerText.includes('120 flow records')")
        .await;
    browser.until("document.querySelector('#learn-accept')").await;
    browser.eval("document.querySelector('#learn-discard').click()").await;
    browser
        .until("!document.querySelector('#learn-accept') && document.querySelector('#learn-start')")
        .await;

    browser
        .until("document.querySelector('#alert-list a.why') !== null")
        .await;
    browser
        .eval("document.querySelector('#alert-list a.why').click()")
        .await;
    browser
        .until("document.querySelectorAll('.shares tbody tr').length === 3")
        .await;
    browser
        .until("document.querySelector('#detail').innerText.includes('+0.650') && document.querySelector('#detail').innerText.includes('−0.050')")
        .await;
    browser
        .until("document.querySelector('#detail').innerText.includes('the score would be 0.200.')")
        .await;
    browser
        .until("document.title === 'Alerts · Sentinel' && document.querySelector('#detail').innerText.includes('<img src=x')")
        .await;
    assert_eq!(browser.complaints, Vec::<String>::new());
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}
