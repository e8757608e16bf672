//! The count of one source: what was spent, what is left, and what was learnt of it.

use super::account::{Account, GRACE, Period};
use super::recent::{KEPT, Recent};
use super::{WRITTEN, late, unread};
use crate::config::SourceConfig;
use crate::intel::clock::{WallClock, between};
use crate::intel::redis::Shared;
use crate::intel::{IntelError, QuotaHint};
use crate::store::Store;
use crate::types::{QuotaRow, QuotaStatus, Severity, Timestamp};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// Seconds that a minute's limit is held against: two more, since requests do not take equally long to arrive.
pub(in crate::intel) const WINDOW: i64 = 62;
/// First pause after HTTP 429 without a time; it doubles.
const PAUSE: Duration = Duration::from_mins(1);
/// Longest such pause.
const PAUSE_MAX: Duration = Duration::from_hours(1);
/// The longest pause that a provider is believed.
const BELIEVED: Duration = Duration::from_hours(32 * 24);
/// A pause that ends this close to a period's end means that the period's quota is spent.
const NEAR: Duration = Duration::from_hours(1);

/// What is left of a source's quota, for one severity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Purse {
    /// Why nothing can be asked now: the period that is spent, and whether a graver alert would still be served.
    pub spent: Option<(&'static str, bool)>,
    /// Day and month, as far as they are limited: share of the requests left, and share of the time left, 0 to 1.
    pub left: Vec<(f64, f64)>,
}

/// Shared by who spends and who tells.
#[derive(Debug)]
pub(in crate::intel) struct Meter {
    source: &'static str,
    per_minute: Option<u64>,
    reserve: f64,
    loaded: OnceCell<()>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    recent: Recent,
    /// Day and month, as far as limited.
    accounts: Vec<Account>,
    under_way: u64,
    /// Counted here and not yet in the shared Redis.
    untold: u64,
    paused_until: Option<Timestamp>,
    /// HTTP 429 in a row.
    patience: u32,
}

impl State {
    fn roll(&mut self, now: Timestamp) {
        for account in &mut self.accounts {
            account.roll(now, &self.recent);
        }
        self.recent.settle(second(now));
        let longest = now.after(BELIEVED);
        // Whatever lies further ahead is of a clock that was set back.
        self.paused_until = self.paused_until.filter(|until| *until > now && *until <= longest);
    }
}

fn second(at: Timestamp) -> i64 {
    at.0.div_euclid(1_000_000_000)
}

impl Meter {
    pub(in crate::intel) fn new(source: &'static str, config: &SourceConfig, reserve: f64) -> Self {
        let limits = [(Period::Day, config.per_day), (Period::Month, config.per_month)];
        let limited = limits.into_iter().filter(|(_, limit)| *limit > 0);
        Self {
            source,
            per_minute: (config.per_minute > 0).then_some(config.per_minute.into()),
            reserve: reserve.clamp(0.0, 1.0),
            loaded: OnceCell::new(),
            state: Mutex::new(State {
                recent: Recent::default(),
                accounts: limited
                    .map(|(period, limit)| Account::new(period, limit.into()))
                    .collect(),
                under_way: 0,
                untold: 0,
                paused_until: None,
                patience: 0,
            }),
        }
    }

    pub(in crate::intel) fn source(&self) -> &'static str {
        self.source
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what was spent before the start, once.
    ///
    /// # Errors
    /// [`IntelError::Unavailable`] where that cannot be read, or not in time: nothing is spent on a guess.
    pub(in crate::intel) async fn ready(&self, store: Option<&Store>, clock: &WallClock) -> Result<(), IntelError> {
        let Some(store) = store else { return Ok(()) };
        let load = || async {
            let rows = store
                .intel_quota(self.source)
                .await
                .map_err(|error| unread(&error.to_string()))?;
            self.load(&rows, clock.now());
            Ok(())
        };
        // Around the whole: who waits for another one's reading waits no longer either.
        let loaded = timeout(WRITTEN, self.loaded.get_or_try_init(load)).await;
        loaded.unwrap_or_else(|_| Err(unread(&late()))).copied()
    }

    fn load(&self, rows: &[QuotaRow], now: Timestamp) {
        let mut state = self.lock();
        for row in rows {
            if row.period == Period::Minute.as_str() {
                // All of them as late as the latest.
                state.recent.add(second(row.began_at), row.spent);
            } else if let Some(account) = state.accounts.iter_mut().find(|a| a.period.as_str() == row.period) {
                let (began, ends) = account.period.around(row.began_at);
                (account.began, account.ends) = (began, ends);
                account.spent = row.spent;
                account.learned = row.learned.filter(|learned| *learned < account.limit);
            }
        }
        state.roll(now);
    }

    /// Of `allowed`, how many are kept for grave alerts.
    fn reserved(&self, allowed: u64) -> u64 {
        (allowed as f64 * self.reserve).round() as u64
    }

    fn ceiling(&self, allowed: u64, severity: Severity) -> u64 {
        match severity {
            Severity::High => allowed,
            _ => allowed - self.reserved(allowed),
        }
    }

    /// The first limit that stands against one more request.
    fn against(&self, state: &State, now: Timestamp, severity: Severity) -> Option<&'static str> {
        if state.paused_until.is_some() {
            return Some("moment");
        }
        let minute = state.recent.since(second(now) - WINDOW + 1);
        if self.per_minute.is_some_and(|n| minute >= self.ceiling(n, severity)) {
            return Some(Period::Minute.as_str());
        }
        let full = |a: &&Account| a.spent >= self.ceiling(a.allowed(), severity);
        state.accounts.iter().find(full).map(|a| a.period.as_str())
    }

    fn spent(&self, state: &State, now: Timestamp, severity: Severity) -> Option<(&'static str, bool)> {
        let period = self.against(state, now, severity)?;
        Some((period, self.against(state, now, Severity::High).is_none()))
    }

    /// Counts one request in memory.
    ///
    /// # Errors
    /// [`IntelError::Quota`] where there is none left.
    pub(in crate::intel) fn take(&self, now: Timestamp, severity: Severity) -> Result<(), IntelError> {
        let mut state = self.lock();
        state.roll(now);
        if let Some((period, reserved)) = self.spent(&state, now, severity) {
            return Err(IntelError::Quota { period, reserved });
        }
        state.recent.add(second(now), 1);
        state.under_way += 1;
        state.untold += 1;
        for account in &mut state.accounts {
            account.spent += 1;
        }
        Ok(())
    }

    /// Takes back what was counted by [`Meter::take`], and by [`Meter::owe`] where it was `owed`, and not asked for.
    pub(super) fn give_back(&self, owed: bool) {
        let mut state = self.lock();
        state.recent.take_back();
        for account in &mut state.accounts {
            account.spent = account.spent.saturating_sub(1);
            account.owed = account.owed.saturating_sub(owed.into());
        }
    }

    /// A request is over, however it ended.
    pub(super) fn done(&self) {
        let mut state = self.lock();
        state.under_way = state.under_way.saturating_sub(1);
    }

    /// The shared Redis was asked to count a request, or is not.
    pub(super) fn told(&self) {
        let mut state = self.lock();
        state.untold = state.untold.saturating_sub(1);
    }

    /// What the shared Redis must know to count one request. Takes the debts along: [`Meter::owe`] puts them back.
    pub(super) fn shared(&self, severity: Severity) -> Vec<Shared> {
        let mut state = self.lock();
        let untold = state.untold;
        let minute = self.per_minute.map(|limit| Shared {
            period: Period::Minute,
            began: Timestamp(0),
            floor: 0,
            owed: 0,
            ceiling: self.ceiling(limit, severity),
            keep: Duration::from_secs(KEPT as u64),
        });
        let others = state.accounts.iter_mut().map(|account| Shared {
            period: account.period,
            began: account.began,
            floor: account.spent.saturating_sub(untold),
            owed: std::mem::take(&mut account.owed),
            ceiling: self.ceiling(account.allowed(), severity),
            keep: between(account.began, account.ends) + Duration::from_hours(24),
        });
        minute.into_iter().chain(others).collect()
    }

    /// Takes over what several sentinels spent together, where that is more.
    pub(super) fn adopt(&self, asked: &[Shared], counts: &[u64]) {
        let mut state = self.lock();
        for (shared, count) in asked.iter().zip(counts) {
            let same = |a: &&mut Account| a.period == shared.period && a.began == shared.began;
            if let Some(account) = state.accounts.iter_mut().find(same) {
                account.spent = account.spent.max(*count);
            }
        }
    }

    /// One more that the shared Redis may not know of, beside what it was to be told.
    pub(super) fn owe(&self, asked: &[Shared]) {
        for account in &mut self.lock().accounts {
            let same = |s: &&Shared| s.period == account.period && s.began == account.began;
            account.owed += 1 + asked.iter().find(same).map_or(0, |s| s.owed);
        }
    }

    /// An answer came, perhaps with a word on the quota. Returns whether less is left than was thought.
    pub(in crate::intel) fn answered(&self, now: Timestamp, hint: QuotaHint) -> bool {
        let mut state = self.lock();
        state.patience = 0;
        state.roll(now);
        self.learn(&mut state, now, hint)
    }

    fn learn(&self, state: &mut State, now: Timestamp, hint: QuotaHint) -> bool {
        let Some(remaining) = hint.remaining else { return false };
        let under_way = state.under_way;
        match self.meant(state, hint).and_then(|at| state.accounts.get_mut(at)) {
            Some(account) => account.believe(remaining, under_way),
            None if remaining == 0 => {
                pause(state, now, hint.reset.unwrap_or(PAUSE));
                false
            }
            None => false,
        }
    }

    /// Which account the provider speaks of: that of the same limit, else by the time until it begins anew, else the
    /// shortest; none for a minute.
    fn meant(&self, state: &State, hint: QuotaHint) -> Option<usize> {
        let by = |wanted: Period| state.accounts.iter().position(|a| a.period == wanted);
        if let Some(limit) = hint.limit {
            if self.per_minute == Some(limit) {
                return None;
            }
            if let Some(at) = state.accounts.iter().position(|a| a.limit == limit) {
                return Some(at);
            }
        }
        match hint.reset {
            Some(reset) if reset <= 2 * GRACE => None,
            Some(reset) if reset <= Duration::from_hours(25) => by(Period::Day),
            Some(_) => by(Period::Month),
            None => (!state.accounts.is_empty()).then_some(0),
        }
    }

    /// The provider refused (HTTP 429): nothing goes out until it says, else for a minute and longer each time. Returns
    /// whether less is left than was thought.
    pub(in crate::intel) fn refused(&self, now: Timestamp, retry_after: Option<Duration>, hint: QuotaHint) -> bool {
        let mut state = self.lock();
        state.roll(now);
        let own = (PAUSE * 2_u32.pow(state.patience.min(10))).min(PAUSE_MAX);
        state.patience = state.patience.saturating_add(1);
        let wait = retry_after.or(hint.reset).unwrap_or(own);
        pause(&mut state, now, wait);
        let until = now.after(wait.min(BELIEVED)).after(NEAR);
        let under_way = state.under_way;
        let mut less = self.learn(&mut state, now, hint);
        // A period that ends before we may ask again is spent; so a restart does not ask again either.
        for account in state.accounts.iter_mut().filter(|a| a.ends <= until) {
            less |= account.believe(0, under_way);
        }
        less
    }

    /// Rows that tell all of it.
    pub(in crate::intel) fn rows(&self) -> Vec<QuotaRow> {
        let state = self.lock();
        let row = |period: Period, began_at, spent, learned| QuotaRow {
            source: self.source.to_owned(),
            period: period.as_str().to_owned(),
            began_at,
            spent,
            learned,
        };
        let latest = state.recent.latest().map(|latest| {
            let began = Timestamp(latest.saturating_mul(1_000_000_000));
            row(Period::Minute, began, state.recent.since(latest - KEPT), None)
        });
        let accounts = state.accounts.iter();
        latest
            .into_iter()
            .chain(accounts.map(|a| row(a.period, a.began, a.spent, a.learned)))
            .collect()
    }

    /// What is left for a question of that severity.
    pub(in crate::intel) fn purse(&self, now: Timestamp, severity: Severity) -> Purse {
        let mut state = self.lock();
        state.roll(now);
        let share = |account: &Account| {
            let ceiling = self.ceiling(account.allowed(), severity);
            let left = ceiling.saturating_sub(account.spent) as f64 / ceiling.max(1) as f64;
            let (time, whole) = (between(now, account.ends), between(account.began, account.ends));
            (left, (time.as_secs_f64() / whole.as_secs_f64().max(1.0)).min(1.0))
        };
        Purse {
            spent: self.spent(&state, now, severity),
            left: state.accounts.iter().map(share).collect(),
        }
    }

    /// Requests left until the day or month ends, whichever has fewer; of the minute where there is no other limit.
    pub(in crate::intel) fn remaining(&self, now: Timestamp) -> Option<u64> {
        let mut state = self.lock();
        state.roll(now);
        let long = state.accounts.iter().map(|a| a.allowed().saturating_sub(a.spent)).min();
        let minute = || {
            let spent = state.recent.since(second(now) - WINDOW + 1);
            self.per_minute.map(|n| n.saturating_sub(spent))
        };
        long.or_else(minute)
    }

    /// How each period stands.
    pub(in crate::intel) fn status(&self, now: Timestamp) -> Vec<QuotaStatus> {
        let mut state = self.lock();
        state.roll(now);
        let row = |period: Period, spent, allowed, resets_at| QuotaStatus {
            period: period.as_str().to_owned(),
            spent,
            allowed,
            reserve: self.reserved(allowed),
            resets_at,
        };
        let minute = self.per_minute.map(|limit| {
            let spent = state.recent.since(second(now) - WINDOW + 1);
            let wait = state.recent.free_in(second(now), WINDOW, 1);
            let resets_at = now.after(Duration::from_secs(wait as u64));
            row(Period::Minute, spent, limit, resets_at)
        });
        let accounts = state.accounts.iter();
        minute
            .into_iter()
            .chain(accounts.map(|a| row(a.period, a.spent, a.allowed(), a.ends)))
            .collect()
    }

    /// Until when nothing goes out because the provider refused.
    pub(in crate::intel) fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        let mut state = self.lock();
        state.roll(now);
        state.paused_until
    }
}

fn pause(state: &mut State, now: Timestamp, wait: Duration) {
    let until = now.after(wait.clamp(Duration::from_secs(1), BELIEVED));
    state.paused_until = state.paused_until.max(Some(until));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IntelConfig;
    use Severity::{High, Low};

    fn meter(per_minute: u32, per_day: u32, per_month: u32) -> Meter {
        let config = SourceConfig {
            per_minute,
            per_day,
            per_month,
            ..IntelConfig::default().sources.virustotal
        };
        Meter::new("x", &config, 0.25)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Takes as many as there are.
    fn drain(meter: &Meter, now: Timestamp, severity: Severity) -> (u64, IntelError) {
        let mut n = 0;
        loop {
            match meter.take(now, severity) {
                Ok(()) => n += 1,
                Err(error) => return (n, error),
            }
            meter.done();
            assert!(n < 100_000, "no bound");
        }
    }

    fn quota(period: &'static str, reserved: bool) -> IntelError {
        IntelError::Quota { period, reserved }
    }

    #[test]
    fn each_period_has_its_bound_and_a_share_for_grave_alerts() {
        let noon = at("2026-11-27T12:00:00Z");
        for (limits, period, all, kept) in [
            ((4, 0, 0), "minute", 4, 1),
            ((0, 50, 0), "day", 50, 13),
            ((0, 0, 1_000), "month", 1_000, 250),
        ] {
            let meter = meter(limits.0, limits.1, limits.2);
            assert_eq!(drain(&meter, noon, Low), (all - kept, quota(period, true)));
            assert_eq!(drain(&meter, noon, High), (kept, quota(period, false)));
            let status = meter.status(noon).remove(0);
            assert_eq!((status.spent, status.allowed, status.reserve), (all, all, kept));
            assert_eq!(meter.remaining(noon), Some(0));
        }
        let unlimited = meter(0, 0, 0);
        for _ in 0..10_000 {
            unlimited.take(noon, Low).unwrap();
        }
        assert_eq!(unlimited.remaining(noon), None);
    }

    #[test]
    fn periods_begin_anew_by_the_calendar_and_not_before() {
        let meter = meter(0, 10, 15);
        let mut seen = Vec::new();
        for day in ["2026-11-29", "2026-11-30", "2026-12-01"] {
            for time in ["00:00:59", "00:01:00", "23:58:59"] {
                seen.push(drain(&meter, at(&format!("{day}T{time}Z")), High).0);
            }
        }
        // A day's requests come back a minute after midnight, the month's on December 1st.
        assert_eq!(seen, [10, 0, 0, 0, 5, 0, 0, 10, 0]);
    }

    #[test]
    fn any_sixty_seconds_hold_no_more_than_a_minutes_limit() {
        let meter = meter(4, 0, 0);
        let mut sent = Vec::new();
        let start = at("2026-11-27T11:59:30Z");
        for tenth in 0..6_000_u64 {
            let now = start.after(Duration::from_millis(tenth * 100));
            if meter.take(now, High).is_ok() {
                sent.push(tenth * 100);
            }
        }
        assert!(sent.len() >= 4 * 9, "{}", sent.len());
        for five in sent.windows(5) {
            assert!(five[4] - five[0] > 61_000, "{five:?}");
        }
    }

    #[test]
    fn what_a_provider_says_of_its_quota_is_believed() {
        let noon = at("2026-11-27T12:00:00Z");
        let hint = |limit, remaining, reset: Option<u64>| QuotaHint {
            limit,
            remaining: Some(remaining),
            reset: reset.map(Duration::from_secs),
        };
        let meter = meter(60, 1_000, 5_000);
        meter.take(noon, High).unwrap();
        meter.done();
        assert!(!meter.answered(noon, hint(Some(1_000), 999, None)), "as we thought");
        assert!(
            meter.answered(noon, hint(Some(1_000), 3, None)),
            "somebody else uses the key"
        );
        assert_eq!(drain(&meter, noon, High), (3, quota("day", false)));
        assert!(
            meter.answered(noon, hint(Some(5_000), 0, None)),
            "the month, by its limit"
        );
        assert_eq!(meter.status(noon)[2].allowed, 4);
        let tomorrow = at("2026-11-28T12:00:00Z");
        assert_eq!(drain(&meter, tomorrow, High), (0, quota("month", false)));
        // Of the minute: a pause, and nothing is taken for spent.
        let next = at("2026-12-01T12:00:00Z");
        assert!(!meter.answered(next, hint(Some(60), 0, Some(20))));
        assert_eq!(drain(&meter, next, High), (0, quota("moment", false)));
        assert_eq!(drain(&meter, next.after(Duration::from_secs(20)), High).0, 60);
    }

    #[test]
    fn a_refusal_is_obeyed_as_long_as_it_says_or_ever_longer() {
        let noon = at("2026-11-27T12:00:00Z");
        let none = QuotaHint::default();
        let meter = meter(0, 1_000, 0);
        assert!(!meter.refused(noon, Some(Duration::from_secs(7)), none));
        assert_eq!(meter.paused_until(noon), Some(noon.after(Duration::from_secs(7))));
        let mut now = noon.after(Duration::from_secs(7));
        meter.answered(now, none);
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(!meter.refused(now, None, none));
            let until = meter.paused_until(now).unwrap();
            assert_eq!(between(now, until), Duration::from_mins(minutes));
            now = until;
        }
        assert!(meter.take(now, High).is_ok());
        // Until tomorrow: the day is spent, which a restart remembers, too.
        assert!(meter.refused(now, Some(Duration::from_hours(11)), none));
        let day = meter.rows().into_iter().find(|row| row.period == "day").unwrap();
        assert_eq!(day.learned, Some(0), "one was under way");
    }

    #[test]
    fn what_is_read_back_counts_and_a_clock_set_back_frees_nothing() {
        let noon = at("2026-11-27T12:00:00Z");
        let before = meter(4, 50, 0);
        drain(&before, noon, High);
        let after = meter(4, 50, 0);
        after.load(&before.rows(), noon.after(Duration::from_secs(5)));
        assert_eq!(
            drain(&after, noon.after(Duration::from_secs(5)), High),
            (0, quota("minute", false))
        );
        assert_eq!(after.status(noon)[1].spent, 4);
        let yesterday = at("2026-11-26T12:00:00Z");
        assert_eq!(after.purse(yesterday, High).left.len(), 1);
        assert_eq!(after.status(yesterday)[1].spent, 4);
        let rest = (0..100)
            .map(|n| drain(&after, yesterday.after(Duration::from_mins(2 * n)), High).0)
            .sum::<u64>();
        assert_eq!(rest, 46);
        // A configuration that allows less holds at once.
        let less = meter(0, 3, 0);
        less.load(&before.rows(), noon);
        assert_eq!(drain(&less, noon, High), (0, quota("day", false)));
    }

    #[test]
    fn sentinels_that_share_a_count_take_the_higher_and_tell_their_debts_once() {
        let noon = at("2026-11-27T12:00:00Z");
        let meter = meter(0, 100, 0);
        meter.take(noon, High).unwrap();
        meter.owe(&[]);
        meter.told();
        meter.take(noon, High).unwrap();
        meter.take(noon, High).unwrap();
        let asked = meter.shared(High);
        assert_eq!((asked[0].floor, asked[0].owed, asked[0].ceiling), (1, 1, 100));
        let other = meter.shared(Low);
        assert_eq!(
            (other[0].floor, other[0].owed, other[0].ceiling),
            (1, 0, 75),
            "a debt is told once"
        );
        meter.owe(&asked);
        meter.told();
        assert_eq!(meter.shared(High)[0].owed, 2, "and again where it was not heard");
        meter.told();
        meter.adopt(&asked, &[40]);
        let asked = meter.shared(High);
        assert_eq!((asked[0].floor, asked[0].owed), (40, 0));
        meter.adopt(&asked, &[7]);
        assert_eq!(meter.status(noon)[0].spent, 40, "never less");
        meter.give_back(false);
        assert_eq!(meter.status(noon)[0].spent, 39);
    }
}
