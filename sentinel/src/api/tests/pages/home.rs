//! Home, and what is done from there.

use super::*;
use sentinel_common::stat::Counter;

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
    let house = in_production();
    busy(&house, crate::config::Mode::Production).await;
    let mut health = Health::default();
    health.degrade(
        Component::Kernel,
        "eth0 runs XDP in generic mode",
        "use a driver with native XDP",
    );
    house.health.send_replace(Arc::new(health));
    let (url, server) = serve(&house).await;
    house.attach(&[(Counter::PassV4, 1_000)]);
    let drawn = "document.querySelector('#chart .plot').getAttribute('aria-label').includes('now')";
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
        .until("document.querySelectorAll('#health .parts > li').length === 1")
        .await;
    browser.picture("story-1-home").await;

    // Something new appears by itself, and tells why when it is asked.
    let fresh = alert(&mut Mint::Random, now());
    house.keep(vec![Record::Alert(Arc::new(fresh.clone()))]).await;
    house.state.bus.publish(Event::Alert(Arc::new(fresh)));
    browser
        .until("document.querySelectorAll('#alert-list > li').length === 6")
        .await;
    browser
        .until("document.querySelector('#announce').textContent.includes('medium')")
        .await;
    browser
        .eval("[...document.querySelectorAll('#alert-list a.why')].find((a) => a.innerText.includes('412 ports')).click()")
        .await;
    browser
        .until("document.querySelector('#detail .evidence')?.innerText.includes('27.5× the limit')")
        .await;
    browser
        .until("document.querySelector('#detail .timeline')?.innerText.includes('412 ports')")
        .await;
    browser.picture("story-2-why").await;
    browser.go("#/decisions").await;
    browser.until("document.querySelector('#block-form')").await;

    // The guard's refusal is shown in its words; then a block is made, and taken back in two steps.
    let say_whom = "(whom) => { const field = document.querySelector('#f-target'); field.value = whom; field.dispatchEvent(new Event('input', { bubbles: true })); }";
    browser.eval(&format!("({say_whom})('198.51.100.1')")).await;
    browser
        .until("document.querySelector('#f-foresight')?.innerText.includes('Protected by Gateway')")
        .await;
    browser
        .eval("document.querySelector('#f-target').value = '192.0.2.1'")
        .await;
    browser
        .eval("document.querySelector('#block-form').requestSubmit()")
        .await;
    browser.until("document.querySelector('#form-said').textContent.includes('gateway') && document.querySelector('#form-said').textContent.includes('cut this host off')").await;
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
    browser.eval(&format!("{row}.querySelector('.ask').click()")).await;
    browser.until(&format!("{row}.querySelector('.confirm')")).await;
    browser.picture("story-3-sure").await;
    assert_eq!(
        house.state.store.active_decisions().await.unwrap().len(),
        5,
        "one click is not enough"
    );
    browser.eval(&format!("{row}.querySelector('.danger').click()")).await;
    browser.until(&format!("!{row}")).await;
    assert_eq!(house.state.store.active_decisions().await.unwrap().len(), 4);

    // Who is let go is watched for a while.
    browser.go("#/").await;
    browser
        .until("document.querySelectorAll('#block-list > li').length === 4")
        .await;
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
    let house = in_production();
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
    browser.go("#/decisions").await;
    browser.until("document.querySelector('#block-form')").await;
    let rate = "document.querySelector('#f-rate')";
    let pick = |kind: &str| {
        format!(
            "(() => {{ const s = document.querySelector('#f-type'); s.value = '{kind}'; s.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()"
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
            "({}).includes('Limit to 50 packets/s, 64 KiB/s, each address by itself')",
            row("203.0.113.0/24")
        ))
        .await;
    browser
        .until("document.querySelector('#form-said')?.textContent.includes('203.0.113.0/24 is')")
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
        .until(&format!("({}).includes('Redirection')", row("203.0.113.66")))
        .await;
    browser
        .until("document.querySelector('#form-said').textContent === '203.0.113.66 is redirected in simulation: its packets are counted, and pass.'")
        .await;
    house.cancel.cancel();
    server.await.unwrap().unwrap();
}

/// What runs where it is taken for more than text.
const HOSTILE: [&str; 7] = [
    "<script>window.hit = 1</script>",
    "<img src=x onerror=\"window.hit = 1\">",
    "\"><svg onload=window.hit=1>",
    "javascript:window.hit=1",
    "</summary></details><iframe srcdoc='<script>top.hit=1</script>'>",
    "{{constructor.constructor('window.hit=1')()}} ${window.hit=1}",
    "\u{202e}gnp.exe\u{2066}\u{1b}[31m\u{0}",
];

/// Alerts with five hostile texts each, and protected addresses with two: all that a page shows at once.
const ALERTS: usize = 20;
/// Alerts that the first page shows.
const LATEST: usize = 8;
const PROTECTED: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_text_stays_text() {
    let Some(mut browser) = Browser::start().await else {
        return no_browser();
    };
    let house = House::new();
    // Five hundred: a hundred in alerts, the others in what is protected. Each part alone, then beside each other one.
    let text = |n: usize| match n / HOSTILE.len() {
        0 => HOSTILE[n].to_owned(),
        round => format!(
            "{}{}{n}",
            HOSTILE[n % HOSTILE.len()],
            HOSTILE[(n + round) % HOSTILE.len()]
        ),
    };
    let mut mint = Mint::Random;
    let (mut records, mut ids) = (Vec::new(), Vec::new());
    for n in 0..ALERTS {
        let mut alert = alert(&mut mint, now());
        alert.summary = text(n);
        alert.technique = text(ALERTS + n);
        alert.sensor = text(2 * ALERTS + n);
        alert.evidence[0].name = text(3 * ALERTS + n);
        alert.evidence[0].unit = text(4 * ALERTS + n);
        let mut decision = decision(&mut mint, &alert, now());
        decision.actor = text(n);
        ids.push(alert.id);
        records.push(Record::Alert(Arc::new(alert)));
        records.push(Record::Decision(Arc::new(decision)));
    }
    house.keep(records).await;
    let entry = |n: usize| Protected {
        target: "192.0.2.1/32".parse().unwrap(),
        guard: text(5 * ALERTS + 2 * n),
        reason: text(5 * ALERTS + 2 * n + 1),
    };
    house
        .protected
        .send_replace(Arc::new((0..PROTECTED).map(entry).collect()));
    let (url, _server) = serve(&house).await;
    browser.open(&url).await;
    browser
        .until(&format!(
            "document.querySelectorAll('#alert-list > li').length === {LATEST}"
        ))
        .await;
    let shown = browser
        .eval("[...document.querySelectorAll('#alert-list .why')].map((e) => e.textContent)")
        .await;
    for (n, id) in ids.iter().enumerate() {
        browser.go(&format!("#/alerts/{id}")).await;
        browser
            .until(&format!(
                "document.querySelector('#detail')?.innerText.includes('{id}')"
            ))
            .await;
        let detail = browser.eval("document.querySelector('#detail').textContent").await;
        assert!(
            detail.as_str().unwrap().contains(&text(n)),
            "{:?} is not in {detail}",
            text(n)
        );
    }
    browser.go("#/decisions").await;
    browser
        .until(&format!(
            "document.querySelectorAll('#protected-list > li').length === {PROTECTED}"
        ))
        .await;
    let kept = browser
        .eval("[...document.querySelectorAll('#protected-list > li')].map((e) => e.textContent)")
        .await;
    for (n, row) in kept.as_array().unwrap().iter().enumerate() {
        let reason = entry(n).reason;
        assert!(row.as_str().unwrap().contains(&reason), "{reason:?} is not in {row}");
    }
    for page in [
        "actions",
        "audit",
        "metrics",
        "source/203.0.113.7",
        "source/%3Cscript%3E",
    ] {
        browser.go(&format!("#/{page}")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    for n in ALERTS - LATEST..ALERTS {
        assert!(
            shown.as_array().unwrap().contains(&json!(text(n))),
            "{:?} is not shown as it is",
            text(n)
        );
    }
    assert_eq!(
        browser.eval("window.hit ?? null").await,
        Value::Null,
        "a text was executed"
    );
    let foreign = "document.querySelectorAll('main script, main iframe, main svg, main img').length";
    assert_eq!(browser.eval(foreign).await, json!(0));
    // What is no address is refused, in words; that is the browser's own line and no fault of the page.
    let faults: Vec<_> = browser.complaints.iter().filter(|said| !said.contains("422")).collect();
    assert!(faults.is_empty(), "{faults:?}");
}
