//! Inwards: words of others, in their order; those that are news are followed.

use super::accept;
use super::link::Entry;
use super::room::{CHANGES, Fleet, Kept, LATER};
use super::word::{Said, read};
use crate::types::{Command, FleetBooks, FleetOrder, FleetOutcome, FleetWord};
use std::collections::HashMap;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

/// What was heard is not kept: it is to be heard again.
#[derive(Debug)]
pub(super) struct Again;

impl Fleet {
    /// Entries of others. The place in the stream moves once what they say is kept.
    pub(super) async fn hear(&mut self, entries: Vec<Entry>) -> Result<(), Again> {
        let Some(last) = entries.last() else { return Ok(()) };
        let position = (!last.id.is_empty()).then(|| last.id.clone());
        // From here on whatever a person ends is later than what is heard.
        let clocks = self.clocks();
        // What changed here before must have its version before it is compared.
        while !self.joins && self.digest().await == CHANGES {}
        let mut heard: Vec<(Said, FleetWord)> = Vec::with_capacity(entries.len());
        for entry in &entries {
            match self.signer.hear(&entry.body, &entry.mac, clocks.wall, clocks.desk) {
                Ok(word) => heard.push(word),
                Err(deaf) => {
                    self.deps.metrics.fleet.heard(deaf.as_str(), 1);
                    self.status.refused += 1;
                    self.deaf = Some((deaf, Instant::now()));
                }
            }
        }
        let subjects = heard.iter().map(|(_, word)| word.subject.clone()).collect();
        let Ok(known) = self.deps.store.fleet_words(subjects).await else {
            sleep(LATER).await;
            return Err(Again);
        };
        let mut known: HashMap<String, FleetWord> =
            known.into_iter().map(|word| (word.subject.clone(), word)).collect();
        let mut books = FleetBooks {
            position: position.clone(),
            ..FleetBooks::default()
        };
        let mut orders = Vec::new();
        let mut asked = Vec::new();
        for (said, word) in heard {
            let before = known.get(&word.subject);
            if before.is_some_and(|before| before.version >= word.version) {
                self.deps.metrics.fleet.heard("known", 1);
                continue;
            }
            let before = before.and_then(|before| read(&before.body).ok());
            let held = before.filter(|before| accept::is_held(&said, before));
            known.insert(word.subject.clone(), word.clone());
            books.words.push(word);
            if let Some(end) = held {
                // Who ended it says so again.
                if end.node == self.name {
                    let version = Said::next(Some(&said), clocks.wall);
                    let again = Said::new(&self.name, version, end.what, Some(&said));
                    let again = self.signer.word(&again, clocks.desk);
                    known.insert(again.subject.clone(), again.clone());
                    books.words.push(again);
                }
                self.deps.metrics.fleet.heard("held", 1);
                self.status.refused += 1;
                continue;
            }
            match accept::order(&said, &self.config, clocks) {
                Ok(order) => {
                    orders.push(order);
                    asked.push(said);
                }
                Err(why) => {
                    self.deps.metrics.fleet.heard(why, 1);
                    self.status.refused += 1;
                }
            }
        }
        // Where the desk is closing, it is heard again at the next start.
        let outcomes = self.order(orders).await.ok_or(Again)?;
        let done = self.clocks().wall;
        for (outcome, said) in outcomes.into_iter().zip(asked) {
            let (result, followed) = match outcome {
                FleetOutcome::Done => ("done", true),
                FleetOutcome::Content => ("content", true),
                // A person here has ended it since, which is told next.
                FleetOutcome::Held => ("held", false),
                FleetOutcome::Vetoed(_) => ("vetoed", false),
                FleetOutcome::Failed(why) => {
                    // What was put on the allowlist and taken off again at once was no person's removal.
                    books.undone.push(said.what.subject());
                    self.failed = Some((why, Instant::now()));
                    ("failed", false)
                }
            };
            if followed {
                self.status.followed += 1;
                let delay = (done.0 - said.version).max(0) as f64 / 1e9;
                self.deps.metrics.fleet.delay.observe(delay);
            } else {
                self.status.refused += 1;
            }
            self.deps.metrics.fleet.heard(result, 1);
        }
        if self.keep(books).await == Kept::Not {
            return Err(Again);
        }
        self.position = position.or(self.position.take());
        Ok(())
    }

    async fn order(&self, orders: Vec<FleetOrder>) -> Option<Vec<FleetOutcome>> {
        if orders.is_empty() {
            return Some(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        let most = self.config.accept.max_entries;
        let command = Command::Fleet { orders, most, reply };
        self.deps.commands.send(command).await.ok()?;
        answer.await.ok()
    }
}
