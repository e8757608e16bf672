//! Answers of intelligence sources and their quota.

use super::*;
use crate::types::{Indicator, IntelVerdict};

/// Times are kept to the microsecond.
fn us(micros: i64) -> Timestamp {
    Timestamp(micros * 1_000)
}

fn kept(n: u32, asked: i64, ttl: i64) -> Record {
    let ip = IpAddr::from((0x2d00_0000 + n).to_be_bytes());
    let mut indicator = Indicator::new("x", ip, us(asked));
    indicator.judge(IntelVerdict::Malicious, 0.9, 0.8);
    Record::IntelAnswer(Arc::new(KeptAnswer {
        indicator,
        expires_at: us(asked + ttl),
    }))
}

fn row(period: &str, began: i64, spent: u64, learned: Option<u64>) -> QuotaRow {
    QuotaRow {
        source: "x".into(),
        period: period.into(),
        began_at: Timestamp(began),
        spent,
        learned,
    }
}

#[tokio::test]
async fn the_latest_answer_is_kept_and_survives() {
    let (_directory, path) = place();
    let ip = "45.0.0.7".parse().unwrap();
    {
        let running = Running::at(&path);
        running
            .store
            .commit(vec![kept(7, 500, 10), kept(7, 200, 10), kept(8, 1, 10)])
            .await
            .unwrap();
    }
    let running = Running::at(&path);
    let told = running.store.intel_answer("x", ip).await.unwrap().unwrap();
    assert_eq!(
        (told.indicator.ip, told.indicator.asked_at, told.expires_at),
        (ip, us(500), us(510))
    );
    assert!(running.store.intel_answer("y", ip).await.unwrap().is_none());
}

#[tokio::test]
async fn answers_that_are_too_old_or_too_many_go_and_are_counted() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let mut records: Vec<_> = (0..100).map(|n| kept(n, 0, 100)).collect();
    records.extend((100..300).map(|n| kept(n, 1_000, i64::from(n))));
    running.store.commit(records).await.unwrap();
    let trim = |now, rows| vec![Record::IntelTrim { now: us(now), rows }];
    let tally = || {
        let tally = running.store.tally();
        (tally.intel_expired, tally.intel_evicted)
    };
    running.store.commit(trim(400, 300)).await.unwrap();
    assert_eq!(tally(), (0, 0), "four times its time to live, and not before");
    running.store.commit(trim(401, 300)).await.unwrap();
    assert_eq!(tally(), (100, 0));
    running.store.commit(trim(401, 50)).await.unwrap();
    assert_eq!(tally(), (100, 150));
    for (n, there) in [(99, false), (249, false), (250, true), (299, true)] {
        let ip = IpAddr::from((0x2d00_0000_u32 + n).to_be_bytes());
        assert_eq!(
            running.store.intel_answer("x", ip).await.unwrap().is_some(),
            there,
            "{n}"
        );
    }
}

#[tokio::test]
async fn spent_quota_never_shrinks_within_a_period() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let check = async |rows: &[QuotaRow], expected: QuotaRow| {
        let records = rows.iter().cloned().map(Record::IntelQuota).collect();
        running.store.commit(records).await.unwrap();
        assert_eq!(running.store.intel_quota("x").await.unwrap(), [expected]);
    };
    check(
        &[row("day", 10, 6, None), row("day", 10, 5, None)],
        row("day", 10, 6, None),
    )
    .await;
    check(&[row("day", 10, 7, Some(9))], row("day", 10, 7, Some(9))).await;
    check(
        &[row("day", 10, 7, None), row("day", 10, 7, Some(12))],
        row("day", 10, 7, Some(9)),
    )
    .await;
    check(&[row("day", 5, 8, None)], row("day", 10, 8, Some(9))).await;
    check(&[row("day", 20, 1, None)], row("day", 20, 1, None)).await;
}

#[tokio::test]
async fn a_number_that_is_none_is_refused() {
    let (_directory, path) = place();
    let running = Running::at(&path);
    let Record::IntelAnswer(mut kept) = kept(1, 0, 1) else {
        unreachable!()
    };
    Arc::get_mut(&mut kept).unwrap().indicator.score = f64::NAN;
    let refused = running.store.commit(vec![Record::IntelAnswer(kept)]).await;
    assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
}
