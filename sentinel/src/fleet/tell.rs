//! Outwards: what changed here becomes words, and words and alerts go to the others.

use super::link::{Away, Link, Published};
use super::room::{ALERTS, CHANGES, FORGET, Fleet, Kept, READER, WORDS};
use super::share::Teller;
use super::word::read;
use crate::store::Record;
use crate::types::{Alert, FleetBooks, FleetWord};
use serde::Serialize;
use tokio::time::Instant;

/// An alert, as it is told to dashboards.
#[derive(Serialize)]
struct Told<'a> {
    node: &'a str,
    alert: &'a Alert,
}

impl Fleet {
    /// What changed here becomes words. Returns how many changes there were.
    pub(super) async fn digest(&mut self) -> usize {
        let changes = match self.deps.store.fleet_changes(CHANGES).await {
            Ok(changes) => changes,
            Err(error) => {
                self.failed = Some((format!("what changed here cannot be read: {error}"), Instant::now()));
                return 0;
            }
        };
        if changes.is_empty() {
            return 0;
        }
        let teller = Teller {
            config: &self.config,
            node: &self.name,
            clocks: self.clocks(),
            joins: self.joins,
        };
        let mut books = FleetBooks::default();
        for change in &changes {
            let known = change.known.as_ref().and_then(|word| read(&word.body).ok());
            let said = teller.say(change, known.as_ref());
            let word = said.map(|said| self.signer.word(&said, teller.clocks.desk));
            books.words.extend(word);
            books.seen.push((change.subject.clone(), change.seq));
        }
        if self.keep(books).await == Kept::Now {
            changes.len()
        } else {
            0
        }
    }

    /// What changed here is told, and alerts.
    pub(super) async fn tell(&mut self, link: &mut Link) -> Result<(), Away> {
        while self.digest().await == CHANGES {}
        loop {
            let Ok((words, waiting)) = self.deps.store.fleet_unsent(WORDS).await else {
                break;
            };
            self.waits(waiting);
            if words.is_empty() {
                break;
            }
            let told = self.publish(link, &words).await?;
            if words.len() < WORDS || told == 0 {
                self.waits(waiting.saturating_sub(told));
                break;
            }
        }
        if self.config.share.alerts {
            self.tell_alerts(link).await?;
        }
        if self.forgot.elapsed() > FORGET {
            self.forgot = Instant::now();
            let forget = Some((self.deps.now)());
            self.keep(FleetBooks {
                forget,
                ..FleetBooks::default()
            })
            .await;
        }
        Ok(())
    }

    /// Returns how many the others have now, be it by this or because they knew better.
    pub(super) async fn publish(&mut self, link: &mut Link, words: &[FleetWord]) -> Result<u64, Away> {
        let published = link.publish(words).await?;
        let count = |what| published.iter().filter(|one| **one == what).count() as u64;
        let news = count(Published::News);
        for (result, words) in [
            ("news", news),
            ("known", count(Published::Known)),
            ("ahead", count(Published::Ahead)),
        ] {
            self.deps.metrics.fleet.told(result, words);
        }
        self.status.told += news;
        let ahead = published.contains(&Published::Ahead);
        self.ahead = ahead.then(Instant::now).or(self.ahead);
        let there = words
            .iter()
            .zip(&published)
            .filter(|(_, what)| **what != Published::Ahead);
        let sent: Vec<_> = there
            .filter(|(word, _)| !word.sent)
            .map(|(word, _)| (word.subject.clone(), word.version.clone()))
            .collect();
        if !sent.is_empty() {
            self.keep(FleetBooks {
                sent,
                ..FleetBooks::default()
            })
            .await;
        }
        Ok(published.len() as u64 - count(Published::Ahead))
    }

    async fn tell_alerts(&mut self, link: &mut Link) -> Result<(), Away> {
        while let Some(seq) = self.alerts_from().await {
            let Ok(alerts) = self.deps.store.alerts_after(seq, ALERTS).await else {
                break;
            };
            let Some((last, _)) = alerts.last() else { break };
            let told: Vec<_> = alerts
                .iter()
                .filter_map(|(_, alert)| {
                    let node = &self.name;
                    let body = serde_json::to_string(&Told { node, alert }).ok()?;
                    let mac = self.signer.sign(&body);
                    Some((body, mac))
                })
                .collect();
            link.alerts(&told).await?;
            self.deps.metrics.fleet.alerts.inc_by(told.len() as u64);
            if !self.alerts_up_to(*last).await || alerts.len() < ALERTS {
                break;
            }
        }
        Ok(())
    }

    /// After which alert to go on. What was before the fleet is not told.
    async fn alerts_from(&mut self) -> Option<i64> {
        if self.alerts.is_none() {
            let store = &self.deps.store;
            if let Some(seq) = store.cursor(READER).await.ok()? {
                self.alerts = Some(seq);
            } else {
                let newest = store.newest_alert().await.ok()?;
                self.alerts_up_to(newest).await;
            }
        }
        self.alerts
    }

    /// Alerts up to this one are told. Returns whether that is kept.
    async fn alerts_up_to(&mut self, seq: i64) -> bool {
        let cursor = Record::Cursor { name: READER, seq };
        let kept = self.deps.store.commit(vec![cursor]).await.is_ok();
        if kept {
            self.alerts = Some(seq);
        }
        kept
    }
}
