//! Feeds the watchdog and keeps the sentence current.

use super::manager;
use super::pulse::Pulse;
use super::status::{View, sentence};
use crate::config::Mode;
use crate::store::{Store, StoreError};
use crate::types::{Acting, DecisionId, Health, Hits, Stats};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the sentence is made anew where no watchdog waits.
const LOOK: Duration = Duration::from_secs(5);
/// How long the first count is waited for.
const FIRST: Duration = Duration::from_secs(5);
/// How long the database may be at one piece of work. A disk that hangs is no fault that a restart would mend.
const DISK: Duration = Duration::from_mins(10);

/// What the room needs.
#[derive(Debug)]
pub struct Deps {
    /// As configured.
    pub mode: Mode,
    /// No packet is seen: sets of nftables act.
    pub blind: bool,
    /// Whether anything is carried out.
    pub acting: watch::Receiver<Arc<Acting>>,
    /// Counters.
    pub stats: watch::Receiver<Arc<Stats>>,
    /// State of every part.
    pub health: watch::Receiver<Arc<Health>>,
    /// Of each decision in force.
    pub hits: watch::Receiver<Arc<HashMap<DecisionId, Hits>>>,
    /// Asked whether it answers.
    pub store: Store,
    /// The other rooms without which nothing is protected.
    pub pulses: Vec<Pulse>,
}

/// The room.
#[derive(Debug)]
pub struct Service {
    deps: Deps,
    /// Within which time a sign of life is wanted, where anybody wants one.
    wanted: Option<Duration>,
    told: String,
    /// What the database was asked and has not answered.
    asked: Option<oneshot::Receiver<()>>,
    /// Since when that is so.
    mute: Option<Instant>,
    complained: bool,
}

impl Service {
    /// As the environment says.
    pub fn new(deps: Deps) -> Self {
        Self::watched(deps, sd_notify::watchdog_enabled())
    }

    fn watched(deps: Deps, wanted: Option<Duration>) -> Self {
        Self {
            deps,
            wanted,
            told: String::new(),
            asked: None,
            mute: None,
            complained: false,
        }
    }

    /// Says that the agent is ready, then how it is and that it lives, until `cancel`.
    pub async fn run(mut self, cancel: CancellationToken) {
        // The first count says where the programs are attached.
        let mut stats = self.deps.stats.clone();
        let _ = tokio::time::timeout(FIRST, stats.changed()).await;
        self.told = self.sentence(&[]);
        manager::ready(&self.told);
        let every = self.wanted.map_or(LOOK, |wanted| (wanted / 4).min(LOOK));
        let mut timer = tokio::time::interval(every);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = timer.tick() => {}
            }
            let silent = self.silent().await;
            if silent.is_empty() && self.wanted.is_some() {
                manager::alive();
            }
            if !silent.is_empty() && !self.complained {
                tracing::error!(?silent, "the watchdog is not fed: a room does not come round");
            }
            self.complained = !silent.is_empty();
            let now = self.sentence(&silent);
            if now != self.told {
                manager::status(&now);
                self.told = now;
            }
        }
    }

    /// Who does not come round, in words.
    async fn silent(&mut self) -> Vec<String> {
        let patience = self.wanted.unwrap_or(Duration::from_mins(1));
        let now = Instant::now();
        let pulses = self.deps.pulses.iter_mut();
        let mut silent: Vec<String> = pulses
            .filter_map(|pulse| pulse.silent(patience, now))
            .map(|(name, for_)| format!("{name} has not come round for {} s", for_.as_secs()))
            .collect();
        silent.extend(self.store(patience / 8).await);
        silent
    }

    /// What is wrong with the database, where something is that a restart would mend.
    async fn store(&mut self, patience: Duration) -> Option<String> {
        let ended = || Some("the database's writer has ended".to_owned());
        let mut asked = match self.asked.take() {
            Some(asked) => asked,
            None => match self.deps.store.ask() {
                Ok(answer) => answer,
                Err(StoreError::Closed) => return ended(),
                // Its queue is full: it is asked again.
                Err(_) => return self.hangs(),
            },
        };
        match tokio::time::timeout(patience, &mut asked).await {
            Ok(Ok(())) => {
                self.mute = None;
                None
            }
            Ok(Err(_)) => ended(),
            Err(_) => {
                self.asked = Some(asked);
                self.hangs()
            }
        }
    }

    /// It has not answered for longer than any disk may take.
    fn hangs(&mut self) -> Option<String> {
        let mute = self.mute.get_or_insert_with(Instant::now).elapsed();
        (mute > DISK).then(|| format!("the database has not answered for {} s", mute.as_secs()))
    }

    fn sentence(&self, silent: &[String]) -> String {
        sentence(&View {
            mode: self.deps.mode,
            acting: &self.deps.acting.borrow(),
            stats: &self.deps.stats.borrow(),
            health: &self.deps.health.borrow(),
            decisions: self.deps.hits.borrow().len(),
            blind: self.deps.blind,
            silent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Writer;
    use crate::types::Beat;

    struct House {
        room: Service,
        desk: Beat,
        writer: Option<std::thread::JoinHandle<()>>,
        _dir: tempfile::TempDir,
    }

    fn house() -> House {
        let dir = tempfile::tempdir().expect("a directory");
        let (store, writer) = Store::open(&dir.path().join("sentinel.db")).expect("opened");
        let writer = std::thread::spawn(move || Writer::run(writer));
        let desk = Beat::default();
        let deps = Deps {
            mode: Mode::Simulation,
            blind: false,
            acting: watch::channel(Arc::default()).1,
            stats: watch::channel(Arc::default()).1,
            health: watch::channel(Arc::default()).1,
            hits: watch::channel(Arc::default()).1,
            store,
            pulses: vec![Pulse::new("desk", desk.clone())],
        };
        House {
            room: Service::watched(deps, Some(Duration::from_secs(30))),
            desk,
            writer: Some(writer),
            _dir: dir,
        }
    }

    #[tokio::test]
    async fn a_writer_that_ended_is_silence_and_a_desk_that_stands_still_too() {
        let mut house = house();
        assert_eq!(house.room.silent().await, Vec::<String>::new());
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(31)).await;
        tokio::time::resume();
        // And as long as the test took so far.
        let said = house.room.silent().await;
        let seconds = said[0]
            .strip_prefix("desk has not come round for ")
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        assert!(
            said.len() == 1 && seconds.is_some_and(|s: u64| (31..120).contains(&s)),
            "{said:?}"
        );
        house.desk.strike();
        assert_eq!(house.room.silent().await, Vec::<String>::new());
        house.room.deps.store.close();
        house.writer.take().expect("running").join().expect("ends");
        assert_eq!(house.room.silent().await, ["the database's writer has ended"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_borne_for_ten_minutes() {
        let dir = tempfile::tempdir().expect("a directory");
        // Nobody runs this writer: it comes to nothing, and has not ended.
        let (store, writer) = Store::open(&dir.path().join("sentinel.db")).expect("opened");
        let mut room = house().room;
        room.deps.store = store;
        room.deps.pulses.clear();
        let begun = Instant::now();
        while begun.elapsed() < DISK {
            assert_eq!(room.silent().await, Vec::<String>::new());
            tokio::time::advance(LOOK).await;
        }
        tokio::time::advance(LOOK).await;
        let said = room.silent().await;
        assert!(said[0].starts_with("the database has not answered for 6"), "{said:?}");
        drop(writer);
        assert_eq!(room.silent().await, ["the database's writer has ended"]);
    }
}
