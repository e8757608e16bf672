//! What is live: soon there, still under the pointer, and light after a long time.

use super::*;
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_under_the_pointer_holds_still() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = House::new();
    busy(&house, crate::config::Mode::Simulation).await;
    let (url, _server) = serve(&house).await;
    browser.open(&url).await;
    browser
        .until(
            "document.querySelector('#about').textContent.includes('up') && \
             document.querySelectorAll('#alert-list > li').length === 5",
        )
        .await;
    // The page still grows above the list, so the row is looked for until the pointer is on it.
    let middle = "(() => { const row = document.querySelector('#alert-list > li'); row.scrollIntoView({ block: 'center' }); \
         const {x, y} = row.getBoundingClientRect(); return {x: x + 50, y: y + 5}; })()";
    let deadline = Instant::now() + Duration::from_secs(15);
    while browser
        .eval("document.querySelector('#alert-list').matches(':hover')")
        .await
        != json!(true)
    {
        assert!(Instant::now() < deadline, "the pointer does not get there");
        let place = browser.eval(middle).await;
        let hover = json!({ "type": "mouseMoved", "x": place["x"], "y": place["y"] });
        browser.call("Input.dispatchMouseEvent", hover).await;
    }
    for _ in 0..3 {
        let fresh = alert(&mut Mint::Random, now());
        house.state.bus.publish(Event::Alert(Arc::new(fresh)));
    }
    browser
        .until("document.querySelector('#alert-list-new').textContent === '3 new, show'")
        .await;
    assert_eq!(
        browser
            .eval("document.querySelectorAll('#alert-list > li').length")
            .await,
        json!(5)
    );
    browser
        .call(
            "Input.dispatchMouseEvent",
            json!({ "type": "mouseMoved", "x": 1, "y": 1 }),
        )
        .await;
    browser
        .until("document.querySelectorAll('#alert-list > li').length === 8")
        .await;
}

/// A burst as a scan makes it, and how the page takes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_is_soon_seen_and_a_long_stream_leaves_nothing_behind() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = House::new();
    house.attach(&[]);
    let (url, server) = serve(&house).await;
    browser.open(&url).await;
    browser.go("#/alerts").await;
    browser
        .until("document.querySelector('#alert-list-empty')?.innerText.includes('No alerts')")
        .await;

    // From the moment it is published to the moment it is drawn.
    browser
        .eval(
            "window.drawn = {}; new MutationObserver(() => { for (const a of document.querySelectorAll('#alert-list a.why')) \
             window.drawn[a.textContent] ??= Date.now(); }).observe(document.querySelector('#page'), { childList: true, subtree: true })",
        )
        .await;
    let mut took = Vec::new();
    for n in 0..20 {
        let mut fresh = alert(&mut Mint::Random, now());
        fresh.summary = format!("alert number {n}");
        let published = now().0 / 1_000_000;
        house.state.bus.publish(Event::Alert(Arc::new(fresh)));
        browser.until(&format!("window.drawn['alert number {n}']")).await;
        let drawn = browser.eval(&format!("window.drawn['alert number {n}']")).await;
        took.push(drawn.as_i64().unwrap() - published);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    took.sort_unstable();
    println!(
        "from published to drawn: half within {} ms, all within {} ms",
        took[took.len() / 2],
        took[took.len() - 1]
    );

    // An hour at one alert a second, in seconds: 3,600 of them, in bursts that the stream folds into batches.
    let heap = "performance.memory.usedJSHeapSize";
    browser.call("HeapProfiler.enable", json!({})).await;
    let mut sizes = Vec::new();
    for round in 0..6 {
        for _ in 0..12 {
            for _ in 0..50 {
                let fresh = alert(&mut Mint::Random, now());
                house.state.bus.publish(Event::Alert(Arc::new(fresh)));
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
        browser.call("HeapProfiler.collectGarbage", json!({})).await;
        sizes.push(browser.eval(heap).await.as_f64().unwrap() / 1e6);
        let rows = browser
            .eval("document.querySelectorAll('#alert-list > li').length")
            .await;
        assert!(rows.as_u64().unwrap() <= 500, "{rows} rows after round {round}");
    }
    println!("heap of the page after each 600 alerts, MB: {sizes:.1?}");
    let (second, last) = (sizes[1], sizes[5]);
    assert!(last < second * 1.5 + 3.0, "the page grows: {sizes:?}");
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}
