//! A provider that counts by itself and refuses what is beyond its free plan, as the real ones do.

use super::Scripted;
use crate::intel::{IntelError, QuotaHint};
use crate::types::Timestamp;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the provider saw.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) requests: AtomicU64,
    /// Beyond the plan.
    pub(super) violations: AtomicU64,
    /// Most requests of a day.
    pub(super) fullest: AtomicU64,
    /// Days with a request.
    pub(super) days: AtomicU64,
}

#[derive(Default)]
struct Count {
    minute: VecDeque<i64>,
    day: (i64, u64),
    month: ((i64, i64), u64),
}

/// Year and month of a day since 1970 (Hinnant, "chrono-Compatible Low-Level Date Algorithms"): not by the library that
/// the code under test uses.
fn month(day: i64) -> (i64, i64) {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month)
}

impl Scripted {
    /// Counts what comes by its own clock, which is `skew` seconds ahead; fails every `fails`th request, which counts
    /// too; and tells what is left of the day where `tells`.
    pub(super) fn provider(
        self,
        name: &'static str,
        limits: [u32; 3],
        clock: impl Fn() -> Timestamp + Send + Sync + 'static,
        skew: i64,
        fails: u64,
        tells: bool,
    ) -> (Self, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        let (told, count) = (Arc::clone(&seen), Mutex::new(Count::default()));
        let source = self.answering(move |ip| {
            let now = clock();
            let millis = now.0.div_euclid(1_000_000) + skew * 1_000;
            let day = millis.div_euclid(86_400_000);
            let n = told.requests.fetch_add(1, SeqCst) + 1;
            let mut count = count.lock().unwrap();
            while count.minute.front().is_some_and(|first| *first <= millis - 60_000) {
                count.minute.pop_front();
            }
            if count.day.0 != day {
                count.day = (day, 0);
                told.days.fetch_add(1, SeqCst);
            }
            if count.month.0 != month(day) {
                count.month = (month(day), 0);
            }
            let full = |n: u64, limit: u32| limit > 0 && n >= u64::from(limit);
            let hint = QuotaHint::default();
            if full(count.minute.len() as u64, limits[0])
                || full(count.day.1, limits[1])
                || full(count.month.1, limits[2])
            {
                told.violations.fetch_add(1, SeqCst);
                let retry_after = Some(Duration::from_mins(1));
                return Err(IntelError::RateLimited { retry_after, hint });
            }
            count.minute.push_back(millis);
            count.day.1 += 1;
            count.month.1 += 1;
            told.fullest.fetch_max(count.day.1, SeqCst);
            if n.is_multiple_of(fails) {
                return Err(IntelError::Status(503));
            }
            let mut reply = Self::bad(name, ip, now);
            if tells {
                reply.hint.limit = Some(limits[1].into());
                reply.hint.remaining = Some(u64::from(limits[1]) - count.day.1);
            }
            Ok(reply)
        });
        (source, seen)
    }
}

#[test]
fn it_knows_its_calendar() {
    for (day, expected) in [
        (0, (1970, 1)),
        (30, (1970, 1)),
        (31, (1970, 2)),
        (11_016, (2000, 2)),
        (11_017, (2000, 3)),
        (20_787, (2026, 11)),
        (20_788, (2026, 12)),
    ] {
        assert_eq!(month(day), expected, "{day}");
    }
}
