//! What is live: soon there, still under the pointer, and light after a long time.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_under_the_pointer_holds_still() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = House::new();
    busy(&house, crate::config::Mode::Simulation).await;
    let (url, _server) = serve(&house).await;
    browser.open(&url).await;
    browser.until("document.querySelector('#page')").await;
    browser.go("#/alerts").await;
    let rows = "document.querySelectorAll('#alert-list > li').length";
    browser
        .until(&format!(
            "document.querySelector('#about').textContent.includes('up') && {rows} === 5"
        ))
        .await;
    let fresh = || async {
        // As the agent does it: first on disk, then told.
        let fresh: Vec<_> = (0..3).map(|_| Arc::new(alert(&mut Mint::Random, now()))).collect();
        house.keep(fresh.iter().cloned().map(Record::Alert).collect()).await;
        for alert in fresh {
            house.state.bus.publish(Event::Alert(alert));
        }
    };
    // The page may still grow, and the row move away from under the pointer: then it is not held, and it is tried again.
    let middle = "(() => { const row = document.querySelector('#alert-list > li'); row.scrollIntoView({ block: 'center' }); \
         const {x, y} = row.getBoundingClientRect(); return {x: x + 50, y: y + 5}; })()";
    let waiting = "parseInt(document.querySelector('#alert-list-new')?.textContent ?? '0')";
    let mut told = 5;
    loop {
        assert!(told < 40, "no row holds still");
        let place = browser.eval(middle).await;
        let hover = json!({ "type": "mouseMoved", "x": place["x"], "y": place["y"] });
        browser.call("Input.dispatchMouseEvent", hover).await;
        fresh().await;
        told += 3;
        browser.until(&format!("{waiting} + {rows} === {told}")).await;
        if browser.eval(waiting).await != json!(0) {
            break;
        }
    }
    let shown = browser.eval(rows).await;
    fresh().await;
    told += 3;
    browser.until(&format!("{waiting} + {rows} === {told}")).await;
    assert_eq!(browser.eval(rows).await, shown, "what is under the pointer stays");
    browser
        .call(
            "Input.dispatchMouseEvent",
            json!({ "type": "mouseMoved", "x": 1, "y": 1 }),
        )
        .await;
    browser.until(&format!("{rows} === {told} && {waiting} === 0")).await;
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
