//! The dashboard in a real browser, over the real API and a real store.

use super::browser::Browser;
use super::*;
use sentinel_common::stat::Counter;

/// Fills the house with a day an operator might have.
pub(super) async fn busy(house: &House, mode: crate::config::Mode) -> Vec<DecisionId> {
    let mut mint = Mint::Random;
    let mut records = Vec::new();
    let mut hits = HashMap::new();
    let cases = [
        (
            "203.0.113.7",
            Detector::PortScan,
            Severity::High,
            40,
            "syn vertical",
            "distinct_ports",
            412.0,
            15.0,
            "ports/60s",
        ),
        (
            "198.51.100.23",
            Detector::BruteForce,
            Severity::High,
            95,
            "ssh",
            "attempts",
            31.0,
            8.0,
            "connections/60s",
        ),
        (
            "2001:db8:6::bad",
            Detector::SynFlood,
            Severity::High,
            340,
            "syn flood",
            "half_open",
            2180.0,
            100.0,
            "handshakes/2s",
        ),
        (
            "192.0.2.200",
            Detector::PacketFlood,
            Severity::Medium,
            1800,
            "udp flood",
            "udp_packets",
            4120.0,
            1000.0,
            "packets/s",
        ),
        (
            "203.0.113.90",
            Detector::Baseline,
            Severity::Low,
            7300,
            "volume",
            "z_score",
            7.2,
            6.0,
            "standard deviations",
        ),
    ];
    for (source, detector, severity, ago, technique, name, value, threshold, unit) in cases {
        let at = Timestamp(now().0 - ago * 1_000_000_000);
        let alert = Alert {
            source: Some(source.parse().unwrap()),
            detector,
            severity,
            technique: technique.into(),
            score: if severity == Severity::Low { 0.31 } else { 0.92 },
            class: if detector == Detector::Baseline {
                EvidenceClass::Statistical
            } else {
                EvidenceClass::Behaviour
            },
            evidence: vec![Evidence {
                name: name.into(),
                value,
                threshold,
                unit: unit.into(),
            }],
            summary: format!("{source}: {value} {unit} against 198.51.100.10, the limit is {threshold} ({technique})"),
            ..alert(&mut mint, at)
        };
        let mut decision = decision(&mut mint, &alert, at.after(Duration::from_millis(4)));
        decision.simulated = mode == crate::config::Mode::Simulation;
        match detector {
            Detector::PacketFlood => {
                decision.action = ActionKind::RateLimit;
                decision.terms.rate = Some(Config::default().response.rate_limit);
            }
            Detector::BruteForce => decision.action = ActionKind::RedirectToHoneypot,
            _ => {}
        }
        if severity == Severity::Low {
            decision.status = DecisionStatus::Logged;
            decision.action = ActionKind::LogOnly;
        } else {
            let n = 1_000 + ago as u64 * 37;
            let counted = Hits {
                packets: n,
                bytes: n * 60,
                would_packets: n,
                would_bytes: n * 60,
                first_hit: None,
                last_hit: Some(now()),
            };
            hits.insert(decision.id, counted);
        }
        records.push(Record::Alert(Arc::new(alert)));
        records.push(Record::Decision(Arc::new(decision)));
    }
    house.keep(records).await;
    let ids = hits.keys().copied().collect();
    house.hits.send_replace(Arc::new(hits));
    let protected = [
        ("127.0.0.0/8", "loopback", "this machine's loopback"),
        ("198.51.100.10/32", "own_address", "address of eth0"),
        ("198.51.100.1/32", "gateway", "default gateway of eth0"),
        ("9.9.9.9/32", "resolver", "named in /etc/resolv.conf"),
        ("10.20.0.0/16", "allowlist", "allowlisted in settings.yml"),
    ];
    let entry = |(target, guard, reason): (&str, &str, &str)| Protected {
        target: target.parse().unwrap(),
        guard: guard.into(),
        reason: reason.into(),
    };
    house.protected.send_replace(Arc::new(protected.map(entry).to_vec()));
    ids
}

/// Without a browser these tests are skipped; where the whole proof was asked for, they fail.
pub(super) fn no_browser() {
    let text = "no `chromium` here (apt-get install chromium)";
    assert!(std::env::var_os("TESTBED_REQUIRE").is_none(), "{text}");
    println!("skipped: {text}");
}

pub(super) async fn serve(house: &House) -> (String, tokio::task::JoinHandle<std::io::Result<()>>) {
    crate::tls::install();
    let doors = Doors::take(&doors_at("127.0.0.1:0", &house.directory.path().join("s")))
        .await
        .unwrap();
    let url = format!("http://{}/", doors.local_addr().unwrap());
    (url, tokio::spawn(doors.open(house.state.clone(), house.cancel.clone())))
}

/// How many samples of the past the server has.
async fn get_history(url: &str) -> usize {
    let answer: Value = reqwest::Client::new()
        .get(format!("{url}stats/history"))
        .header("cookie", COOKIE)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    answer["items"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_sees_why_and_unblocks() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let mut house = House::new();
    let mode = crate::config::Mode::Production;
    house.state.config = Arc::new(Config {
        mode,
        ..Config::default()
    });
    busy(&house, mode).await;
    let mut health = Health::default();
    health.degrade(
        Component::Kernel,
        "eth0 runs XDP in generic mode",
        "use a driver with native XDP",
    );
    house.health.send_replace(Arc::new(health));
    let (url, server) = serve(&house).await;
    house.attach(&[(Counter::PassV4, 1_000)]);
    let drawn = "document.querySelector('#chart').getAttribute('aria-label').includes('now')";
    // The page reads times to the millisecond: samples must be of different ones.
    while get_history(&url).await < 5 {
        house.attach(&[(Counter::PassV4, 2_000)]);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    browser.open(&url).await;
    browser.until(drawn).await;

    browser
        .until("document.querySelector('#mode').innerText.toUpperCase().includes('PRODUCTION')")
        .await;
    browser
        .until("document.querySelector('#notices').innerText.includes('generic mode. Use a driver')")
        .await;
    browser
        .until("document.querySelectorAll('#alert-list > li').length === 5")
        .await;
    browser
        .until("document.querySelectorAll('#block-list > li').length === 4")
        .await;
    browser
        .until("document.querySelectorAll('#protected-list > li').length === 5")
        .await;
    browser
        .eval("document.querySelector('#alert-list summary').click()")
        .await;
    browser
        .until("document.querySelector('#alert-list .evidence')?.innerText.includes('27.5× the limit')")
        .await;
    browser.eval("document.activeElement.blur()").await;

    // Something new appears by itself.
    let fresh = alert(&mut Mint::Random, now());
    house.keep(vec![Record::Alert(Arc::new(fresh.clone()))]).await;
    house.state.bus.publish(Event::Alert(Arc::new(fresh)));
    browser
        .until("document.querySelectorAll('#alert-list > li').length === 6")
        .await;
    browser
        .until("document.querySelector('#announce').textContent.includes('medium')")
        .await;

    // The guard's refusal is shown in its words; then a block is made, and taken back in two steps.
    browser
        .eval("document.querySelector('#f-target').value = '192.0.2.1'")
        .await;
    browser
        .eval("document.querySelector('#block-form').requestSubmit()")
        .await;
    browser.until("document.querySelector('#form-said').textContent.includes('Gateway') && document.querySelector('#form-said').textContent.includes('cut this host off')").await;
    browser
        .eval("document.querySelector('#f-target').value = '203.0.113.222'")
        .await;
    browser
        .eval("document.querySelector('#block-form').requestSubmit()")
        .await;
    browser
        .until("document.querySelector('#block-list').innerText.includes('203.0.113.222')")
        .await;
    let row = "[...document.querySelectorAll('#block-list > li')].find((r) => r.innerText.includes('203.0.113.222'))";
    browser
        .eval(&format!("{row}.querySelector('.end > button').click()"))
        .await;
    browser.until(&format!("!{row}.querySelector('.confirm').hidden")).await;
    assert_eq!(
        house.state.store.active_decisions().await.unwrap().len(),
        5,
        "one click is not enough"
    );
    browser.eval(&format!("{row}.querySelector('.danger').click()")).await;
    browser.until(&format!("!{row}")).await;
    assert_eq!(house.state.store.active_decisions().await.unwrap().len(), 4);

    // Who is let go is watched for a while.
    let mut over = house.state.store.active_decisions().await.unwrap().remove(0);
    over.status = DecisionStatus::Expired;
    over.terms.watch_until = Some(now().after(Duration::from_hours(1)));
    house.keep(vec![Record::Decision(Arc::new(over.clone()))]).await;
    house.state.bus.publish(Event::Decision(Arc::new(over)));
    browser
        .until("document.querySelector('#watched').textContent === '1 on probation'")
        .await;
    let audit = house
        .state
        .store
        .audit(crate::store::AuditFilter::default())
        .await
        .unwrap();
    assert!(audit.items.iter().all(|entry| entry.actor == "dashboard"), "{audit:?}");

    let policy: Vec<_> = browser
        .complaints
        .iter()
        .filter(|c| !c.contains("409 (Conflict)"))
        .collect();
    assert!(policy.is_empty(), "the console complains: {policy:?}");
    house.cancel.cancel();
    server.await.unwrap().unwrap();
    browser
        .until("document.querySelector('#notices').innerText.includes('No connection')")
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_limits_and_redirects_and_sees_what_the_kernel_did() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let mut house = House::new();
    house.state.config = Arc::new(Config {
        mode: crate::config::Mode::Production,
        ..Config::default()
    });
    let (url, server) = serve(&house).await;
    house.attach(&[
        (Counter::DropLimit, 1_234),
        (Counter::RedirectV4, 40),
        (Counter::RedirectV6, 2),
        (Counter::AnswerV4, 7),
    ]);
    browser.open(&url).await;
    browser
        .until("document.querySelector('#verdicts').innerText.includes('SYNs answered with a cookie')")
        .await;
    let verdicts = browser
        .eval("[...document.querySelectorAll('#verdicts li')].map((li) => li.innerText.replaceAll('\\n', ' '))")
        .await;
    assert_eq!(
        verdicts,
        json!([
            "Dropped over a rate limit 1,234",
            "Sent to the honeypot 42",
            "SYNs answered with a cookie 7"
        ])
    );

    // The parameters of a limit are asked for only where it is one.
    let rate = "document.querySelector('#f-rate')";
    let pick = |kind: &str| {
        format!(
            "(() => {{ const s = document.querySelector('#f-type'); s.value = '{kind}'; s.dispatchEvent(new Event('change')); }})()"
        )
    };
    let submit = "document.querySelector('#block-form').requestSubmit()";
    assert_eq!(browser.eval(&format!("{rate}.hidden")).await, json!(true));
    browser.eval(&pick("rate_limit")).await;
    assert_eq!(browser.eval(&format!("{rate}.hidden")).await, json!(false));
    browser
        .until("document.querySelector('#f-submit').textContent === 'Limit'")
        .await;
    browser
        .eval("document.querySelector('#f-target').value = '203.0.113.0/24'; document.querySelector('#f-packets').value = '50'; document.querySelector('#f-kib').value = '64'; document.querySelector('#f-each').checked = true")
        .await;
    browser.eval(submit).await;
    let row = |target: &str| {
        format!(
            "[...document.querySelectorAll('#block-list > li')].find((r) => r.innerText.includes('{target}'))?.innerText ?? ''"
        )
    };
    browser
        .until(&format!(
            "({}).includes('Limited to 50 packets/s, 64 KiB/s, each address by itself')",
            row("203.0.113.0/24")
        ))
        .await;
    let made = &house.state.store.active_decisions().await.unwrap()[0];
    let wanted = Rate {
        packets: 50,
        bytes: 65_536,
        burst_ms: 1000,
        each: true,
        openings: false,
    };
    assert_eq!(made.terms.rate, Some(wanted));

    // What is wrong with it is said in the form.
    browser
        .eval("document.querySelector('#f-target').value = '203.0.113.9'; document.querySelector('#f-packets').value = '0'; document.querySelector('#f-kib').value = ''; document.querySelector('#f-each').checked = false")
        .await;
    browser.eval(submit).await;
    browser
        .until("document.querySelector('#form-said').textContent.includes('neither packets nor bytes')")
        .await;

    browser.eval(&pick("redirect")).await;
    browser
        .eval("document.querySelector('#f-target').value = '203.0.113.66'")
        .await;
    browser.eval(submit).await;
    browser
        .until(&format!("({}).includes('Redirected')", row("203.0.113.66")))
        .await;
    browser
        .until("document.querySelector('#form-said').textContent === '203.0.113.66 is redirected in simulation: its packets are counted, and pass.'")
        .await;
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_text_stays_text() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = House::new();
    let texts = [
        "<script>window.hit = 1</script>",
        "<img src=x onerror=\"window.hit = 1\">",
        "\"><svg onload=window.hit=1>",
        "javascript:window.hit=1",
        "</summary></details><iframe srcdoc='<script>top.hit=1</script>'>",
        "{{constructor.constructor('window.hit=1')()}} ${window.hit=1}",
        "\u{202e}gnp.exe\u{2066}\u{1b}[31m\u{0}",
    ];
    let mut mint = Mint::Random;
    let mut records = Vec::new();
    for text in texts {
        let mut alert = alert(&mut mint, now());
        alert.summary = text.into();
        alert.technique = text.into();
        alert.sensor = text.into();
        alert.evidence[0].name = text.into();
        alert.evidence[0].unit = text.into();
        let mut decision = decision(&mut mint, &alert, now());
        decision.actor = text.into();
        records.push(Record::Alert(Arc::new(alert)));
        records.push(Record::Decision(Arc::new(decision)));
    }
    house.keep(records).await;
    let entry = |text: &&str| Protected {
        target: "192.0.2.1/32".parse().unwrap(),
        guard: (*text).into(),
        reason: (*text).into(),
    };
    house
        .protected
        .send_replace(Arc::new(texts.iter().map(entry).collect()));
    let (url, _server) = serve(&house).await;
    browser.open(&url).await;
    browser
        .until("document.querySelectorAll('#alert-list > li').length === 7")
        .await;
    browser
        .eval("document.querySelectorAll('#alert-list summary').forEach((s) => s.click())")
        .await;
    browser
        .until("document.querySelectorAll('#alert-list .evidence').length === 7")
        .await;
    let shown = browser
        .eval("[...document.querySelectorAll('#alert-list .why')].map((e) => e.textContent)")
        .await;
    for text in texts {
        assert!(
            shown.as_array().unwrap().contains(&json!(text)),
            "{text:?} is not shown as it is"
        );
    }
    assert_eq!(
        browser.eval("window.hit ?? null").await,
        Value::Null,
        "a text was executed"
    );
    let foreign = "document.querySelectorAll('main script, main iframe, main svg, main img').length";
    assert_eq!(browser.eval(foreign).await, json!(0));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

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
        .until("document.querySelectorAll('#alert-list > li').length === 5")
        .await;
    browser
        .eval("document.querySelector('#alert-list > li').scrollIntoView({ block: 'center' })")
        .await;
    let middle =
        "(({x, y}) => ({x: x + 50, y: y + 5}))(document.querySelector('#alert-list > li').getBoundingClientRect())";
    let place = browser.eval(middle).await;
    let hover = json!({ "type": "mouseMoved", "x": place["x"], "y": place["y"] });
    browser.call("Input.dispatchMouseEvent", hover).await;
    for _ in 0..3 {
        let fresh = alert(&mut Mint::Random, now());
        house.state.bus.publish(Event::Alert(Arc::new(fresh)));
    }
    browser
        .until("document.querySelector('#alerts-new').textContent === '3 new, show'")
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

/// Serves the busy house for a person with a browser: `SENTINEL_SHOW_PAGE=production,60` (mode, seconds).
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
        ..Config::default()
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
    let server = tokio::spawn(doors.open(house.state.clone(), house.cancel.clone()));
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
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}
