//! Thirty days of ten thousand candidates, with the free plans as they are.

use super::provider::Seen;
use super::{Scripted, address, at, config, intel};
use crate::config::IntelConfig;
use crate::intel::WallClock;
use crate::types::{Severity, Timestamp};
use futures_util::future::join_all;
use sentinel_common::hash::SplitMix64;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

const DAYS: u64 = 30;
/// Candidates come in bursts of that many at once.
const BURST: u64 = 20;
const BURSTS: u64 = 10_000 / BURST;

/// Name, limits (minute, day, month), how far the provider's clock is ahead, every how many-th request fails, and
/// whether it tells what is left.
const PROVIDERS: [(&str, i64, u64, bool); 5] = [
    ("virustotal", 7, 50, false),
    ("abuseipdb", -7, 50, true),
    ("otx", 0, 20, false),
    ("ipqualityscore", 20, 50, false),
    ("greynoise", -20, 50, false),
];

fn free_plan(name: &str) -> [u32; 3] {
    let config = IntelConfig::default();
    let (_, source) = config.sources.each().into_iter().find(|(n, _)| *n == name).unwrap();
    [source.per_minute, source.per_day, source.per_month]
}

#[tokio::test(start_paused = true)]
async fn thirty_days_of_ten_thousand_candidates_break_no_quota() {
    let (start, began) = (at("2026-11-12T00:00:00Z"), Instant::now());
    let now = move || start.after(began.elapsed());
    let plans: Vec<(&'static str, [u32; 3])> = PROVIDERS.iter().map(|p| (p.0, free_plan(p.0))).collect();
    let config = config(&plans);
    let built: Vec<(Scripted, Arc<Seen>)> = PROVIDERS
        .iter()
        .map(|(name, skew, fails, tells)| {
            let source = Scripted::new(name).takes(Duration::from_millis(120));
            source.provider(name, free_plan(name), now, *skew, *fails, *tells)
        })
        .collect();
    let sources: Vec<&Scripted> = built.iter().map(|(source, _)| source).collect();
    let (intel, upkeep) = intel(&config, &sources, None, WallClock::by(now));
    let answered = Cell::new([0_u64; 2]);
    let days = async {
        let mut dice = SplitMix64(7);
        let share = |draw: u64| (draw >> 11) as f64 / (1_u64 << 53) as f64;
        let mut dues: Vec<f64> = (0..DAYS * BURSTS)
            .map(|burst| match burst % 10 {
                // Every tenth burst gathers around a midnight.
                0 => (burst / BURSTS + 1) as f64 * 86_400.0 + (share(dice.draw()) - 0.5) * 300.0,
                _ => burst as f64 / BURSTS as f64 * 86_400.0,
            })
            .collect();
        dues.sort_by(f64::total_cmp);
        for due in dues {
            let due = began + Duration::from_secs_f64(due);
            sleep_until(due.max(Instant::now())).await;
            let asks: Vec<_> = (0..BURST)
                .map(|_| {
                    let severity = match dice.draw() % 10 {
                        0..2 => Severity::High,
                        2..5 => Severity::Medium,
                        _ => Severity::Low,
                    };
                    // Half of them have been seen before.
                    let ip = address(dice.draw() as u32 % 150_000);
                    (ip, severity, share(dice.draw()))
                })
                .collect();
            join_all(asks.into_iter().map(|(ip, severity, believed)| {
                let (intel, answered) = (&intel, &answered);
                async move {
                    let mut told = [0, 0];
                    let tell = |answer: crate::types::Answer| {
                        told[0] += u64::from(answer.indicator.is_some());
                        told[1] += 1;
                    };
                    intel.ask_all(ip, severity, believed, tell).await;
                    assert_eq!(told[1], 5, "one answer for each source");
                    let [some, all] = answered.get();
                    answered.set([some + u64::from(told[0] > 0), all + 1]);
                }
            }))
            .await;
        }
    };
    tokio::select! {
        () = days => {}
        () = upkeep.run() => panic!("ended before its time"),
    }
    let [some, all] = answered.get();
    assert_eq!(all, DAYS * BURSTS * BURST);
    println!("candidates: {all}, with an answer from outside: {some}");
    for ((source, seen), (name, [minute, day, month])) in built.iter().zip(plans) {
        let [requests, violations, fullest, days] =
            [&seen.requests, &seen.violations, &seen.fullest, &seen.days].map(|n| n.load(SeqCst));
        println!("{name}: {requests} requests on {days} days, at most {fullest} a day, {violations} beyond the plan");
        assert_eq!(violations, 0, "{name}");
        assert_eq!(requests, source.begun(), "{name}");
        // The limits were felt: what is free is nearly used up. Of December, a third has passed.
        let allowed = [
            u64::from(day) * DAYS,
            u64::from(month) * 13 / 10,
            u64::from(minute) * 1_440 * DAYS,
        ];
        let allowed = allowed.into_iter().filter(|n| *n > 0).min().unwrap();
        if name != "otx" {
            assert!(requests * 10 >= allowed * 7, "{name}: {requests} of {allowed}");
        }
        // And not all at once where nothing was spent of a month that is two fifths over: those are free, and of the rest
        // the most valuable questions get a third ahead of time.
        if month > 0 {
            assert!(fullest * 3 < u64::from(month) * 2, "{name}: {fullest} on one day");
        }
    }
    assert!(some * 5 > all, "{some} of {all}");
    let told: Timestamp = now();
    assert!(told >= at("2026-12-11T23:50:00Z"));
}
