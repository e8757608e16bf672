//! The dashboard for a person to look at.

use super::*;
use sentinel_common::stat::Counter;

/// Serves the busy house for a person with a browser: `SENTINEL_SHOW_PAGE=production,60` (mode, seconds). At the end of that
/// time it takes the documentation's picture.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn show_the_page_on_request() {
    let Ok(wish) = std::env::var("SENTINEL_SHOW_PAGE") else {
        println!("skipped: set SENTINEL_SHOW_PAGE=simulation,60 to look at the dashboard for a minute");
        return;
    };
    let (mode, seconds) = wish.split_once(',').unwrap();
    let mut house = House::new();
    let mode = match mode {
        "production" => crate::config::Mode::Production,
        _ => crate::config::Mode::Simulation,
    };
    house.state.config = Arc::new(Config {
        mode,
        ..Config::clone(&house.state.config)
    });
    let ids = busy(&house, mode).await;
    let mut health = Health::default();
    health.ok(Component::Store, "wal, synchronous=full");
    health.degrade(
        Component::Kernel,
        "eth0 runs XDP in generic mode",
        "use a driver with native XDP for full speed",
    );
    house.health.send_replace(Arc::new(health));
    let doors = Doors::take(&doors_at("127.0.0.1:0", &house.directory.path().join("s")))
        .await
        .unwrap();
    let code = house.state.auth.link(now()).unwrap();
    println!(
        "look at {}",
        login_url(&house.state.config.api, doors.local_addr().unwrap(), &code)
    );
    let url = format!("http://{}/", doors.local_addr().unwrap());
    let server = tokio::spawn(doors.open(house.state.clone(), house.cancel.clone()));
    let mut browser = Browser::start().await;
    if let Some(browser) = &mut browser {
        browser.shape(1360, 1000, false).await;
        browser.open(&url).await;
        browser.until("document.querySelector('#chart canvas')").await;
    }
    let (mut passed, mut dropped) = (9_000_000_u64, 120_000_u64);
    for second in 0..seconds.parse::<u64>().unwrap() * 2 {
        passed += 900 + (second * 37) % 400;
        let attack = if second % 40 > 25 {
            3_200 + (second * 53) % 700
        } else {
            40
        };
        dropped += attack;
        let drops = if mode == crate::config::Mode::Production {
            Counter::DropV4
        } else {
            Counter::WouldDrop
        };
        house.attach(&[
            (Counter::PassV4, passed),
            (Counter::PassV4Bytes, passed * 700),
            (Counter::DropLimit, dropped / 9),
            (Counter::RedirectV4, second * 13),
            (drops, dropped),
        ]);
        let mut hits = (*house.hits.borrow().clone()).clone();
        for (n, id) in ids.iter().enumerate().take(2) {
            let counted = hits.entry(*id).or_default();
            counted.packets += 13 * (n as u64 + 1);
            counted.would_packets = counted.packets;
            counted.last_hit = Some(now());
        }
        house.hits.send_replace(Arc::new(hits));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    if let Some(browser) = &mut browser {
        browser.picture("dashboard").await;
    }
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}
