//! Learn mode: what the analysis gathered becomes the thresholds of this network, and stays.
//!
//! A model is written to disk before it judges: what an operator accepted survives a restart. So does what is being
//! collected, but for the last seconds: the analysis only hands over what is new, and this room waits for the disk.

use crate::detect::{Detectors, Gain};
use crate::features::Vector;
use crate::files;
use crate::journal::{Journal, JournalError, Resumed};
use crate::metrics::{JournalLabels, Metrics};
use crate::model::Model;
use crate::model::conformal::{ALPHAS, needed};
use crate::time;
use crate::train::calibrate;
use crate::types::{LearnError, LearnRequest, LearnWish, Learning, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often what is new of a collection goes to the disk: a kill loses that much.
const SAVE: Duration = Duration::from_secs(5);
/// The file of a collection that is not finished, beside the model that it will become.
const PART: &str = "learning.part";

/// What this room asks of the analysis, which answers between two batches.
#[derive(Debug)]
pub enum Ask {
    /// To gather from now on.
    Start(oneshot::Sender<Learning>),
    /// How it is.
    Status(oneshot::Sender<Learning>),
    /// To let go of what it gathered, and whether there was anything.
    Discard(oneshot::Sender<Option<Learning>>),
    /// Benign flow records of this network, in the order of time; none while it gathers none.
    Gathered(oneshot::Sender<Option<Vec<Vector>>>),
    /// What it gathered since it was last asked this, or (`true`) all of it; none while it gathers none.
    Gain(bool, oneshot::Sender<Option<Gain>>),
    /// To judge by this model from now on, and gather no more.
    Judge(Arc<Model>, oneshot::Sender<Learning>),
}

/// Answers an [`Ask`]; nothing where there is no model.
pub(super) fn answer(detectors: &mut Detectors, ask: Ask, now: crate::types::Ktime) {
    match ask {
        Ask::Start(reply) => {
            detectors.learn(now);
            status(detectors, reply);
        }
        Ask::Status(reply) => status(detectors, reply),
        Ask::Discard(reply) => {
            let learnt = detectors.stop_learning();
            drop(reply.send(detectors.learning().filter(|_| learnt)));
        }
        Ask::Gathered(reply) => drop(reply.send(detectors.gathered())),
        Ask::Gain(whole, reply) => drop(reply.send(detectors.gain(whole))),
        Ask::Judge(model, reply) => {
            detectors.set_model(model);
            detectors.stop_learning();
            status(detectors, reply);
        }
    }
}

/// Whoever asked may have given up meanwhile; where no model judges, the answer is that nobody answers.
fn status(detectors: &Detectors, reply: oneshot::Sender<Learning>) {
    if let Some(learning) = detectors.learning() {
        drop(reply.send(learning));
    }
}

/// The room.
#[derive(Debug)]
pub struct LearnRoom {
    /// The way to the analysis.
    analysis: mpsc::Sender<Ask>,
    /// Where the model with this network's thresholds is kept.
    site: PathBuf,
    /// The model as trained: what is learnt is counted into this one, not into what was learnt before.
    trained: Arc<Model>,
    metrics: Arc<Metrics>,
    /// Where a collection is kept; elsewhere while it is written.
    journal: Option<Journal>,
    /// Since when there is a collection; none while there is none.
    since: Option<Timestamp>,
    /// When it went on after a restart.
    resumed: Option<Timestamp>,
    /// Why it would not survive a restart, or did not survive the last.
    warning: Option<String>,
}

impl LearnRoom {
    /// Asks the `analysis`, keeps the accepted model at `site` and what is collected meanwhile beside it; what is learnt is
    /// counted into the model as `trained`.
    pub fn new(analysis: mpsc::Sender<Ask>, site: PathBuf, trained: Arc<Model>, metrics: Arc<Metrics>) -> Self {
        let journal = Journal::new(site.with_file_name(PART), *trained.sha256());
        Self {
            analysis,
            site,
            trained,
            metrics,
            journal: Some(journal),
            since: None,
            resumed: None,
            warning: None,
        }
    }

    /// Goes on with a collection that an earlier run left unfinished, if there is one. For the start, before the analysis
    /// runs: it waits for the disk.
    pub fn resume(&mut self, detectors: &mut Detectors) {
        let Some(journal) = &mut self.journal else { return };
        match journal.resume() {
            Ok(None) => {}
            Ok(Some(Resumed { collector, cut })) => {
                if cut > 0 {
                    tracing::warn!(
                        path = %journal.path().display(), bytes = cut,
                        "learn mode: the end of what was collected was not written whole and is cut off"
                    );
                    self.count("cut");
                }
                let (seen, kept, left_out) = collector.counts();
                self.since = Some(collector.since());
                self.resumed = Some(time::wall_now());
                tracing::info!(
                    since = %collector.since(), seen, kept, left_out,
                    "learn mode goes on with what was collected before the restart"
                );
                detectors.resume_learning(collector);
                self.count("resumed");
            }
            Err(error) => {
                tracing::error!(%error, "learn mode");
                if matches!(error, JournalError::Refused { .. }) {
                    self.count("refused");
                }
                self.warning = Some(error.to_string());
            }
        }
    }

    fn count(&self, event: &'static str) {
        self.metrics.journal.get_or_create(&JournalLabels { event }).inc();
    }

    /// Runs until `cancel`, or until nobody can ask any more.
    pub async fn run(mut self, mut wishes: mpsc::Receiver<LearnRequest>, cancel: CancellationToken) {
        let mut timer = tokio::time::interval(SAVE);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                wish = wishes.recv() => match wish {
                    Some((wish, reply)) => {
                        let answer = self.grant(wish).await;
                        // Whoever asked may have given up meanwhile.
                        drop(reply.send(answer));
                    }
                    None => break,
                },
                _ = timer.tick() => self.save().await,
            }
        }
        self.save().await;
    }

    async fn grant(&mut self, wish: LearnWish) -> Result<Learning, LearnError> {
        let learning = match wish {
            LearnWish::Start => {
                let learning = self.ask(Ask::Start).await?;
                (self.since, self.resumed, self.warning) = (learning.since, None, None);
                // What was collected before must not come back.
                self.write(true).await;
                learning
            }
            LearnWish::Status => self.ask(Ask::Status).await?,
            LearnWish::Discard => {
                let learning = self.ask(Ask::Discard).await?.ok_or(LearnError::NotLearning)?;
                self.remove().await;
                learning
            }
            LearnWish::Accept => self.accept().await?,
        };
        Ok(Learning {
            resumed: self.resumed,
            warning: self.warning.clone(),
            ..learning
        })
    }

    /// Writes what is new of the collection, if there is one.
    async fn save(&mut self) {
        if self.since.is_some() {
            self.write(false).await;
        }
    }

    /// Writes what is new of the collection; with `anew` all of it, and so where it has to be.
    async fn write(&mut self, anew: bool) {
        let (Some(since), Some(journal)) = (self.since, &self.journal) else {
            return;
        };
        let whole = anew || journal.needs_whole();
        // An analysis that is over has nothing new.
        let Ok(Some(gain)) = self.ask(|reply| Ask::Gain(whole, reply)).await else {
            return;
        };
        if whole && !anew && self.warning.is_none() {
            self.count("rewritten");
        }
        let written = self
            .on_disk(move |journal| {
                if whole {
                    journal.begin(since, &gain)
                } else {
                    journal.append(&gain)
                }
            })
            .await;
        match written {
            Ok(()) if self.warning.take().is_some() => {
                tracing::info!("learn mode: what is collected is on disk again");
            }
            Ok(()) => {}
            Err(error) => {
                if self.warning.is_none() {
                    tracing::warn!(%error, "learn mode: what is collected would not survive a restart");
                }
                self.count("unwritten");
                self.warning = Some(format!("what is collected would not survive a restart: {error}"));
            }
        }
    }

    /// Removes the file of a collection that is over.
    async fn remove(&mut self) {
        (self.since, self.resumed, self.warning) = (None, None, None);
        if let Err(error) = self.on_disk(Journal::remove).await {
            tracing::error!(%error, "learn mode: what was collected cannot be removed and would go on at the next start");
            self.warning = Some(format!(
                "remove this file, or what was collected goes on at the next start: {error}"
            ));
        }
    }

    /// Has the journal do something that waits for the disk.
    async fn on_disk(
        &mut self,
        deed: impl FnOnce(&mut Journal) -> Result<(), JournalError> + Send + 'static,
    ) -> Result<(), String> {
        let Some(mut journal) = self.journal.take() else {
            return Err("its file was given up after a panic; start the agent again".to_owned());
        };
        let done = tokio::task::spawn_blocking(move || {
            let done = deed(&mut journal);
            (journal, done)
        })
        .await;
        let (journal, done) = done.map_err(|error| error.to_string())?;
        self.journal = Some(journal);
        done.map_err(|error| error.to_string())
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, LearnError> {
        let (reply, answer) = oneshot::channel();
        self.analysis.send(ask(reply)).await.map_err(|_| LearnError::NoModel)?;
        answer.await.map_err(|_| LearnError::NoModel)
    }

    async fn accept(&mut self) -> Result<Learning, LearnError> {
        let benign = self.ask(Ask::Gathered).await?.ok_or(LearnError::NotLearning)?;
        let (have, needed) = (benign.len() as u64, needed(ALPHAS[1]));
        if have < needed {
            return Err(LearnError::TooFew {
                have,
                missing: needed - have,
            });
        }
        let (trained, place) = (Arc::clone(&self.trained), self.site.clone());
        // Scores tens of thousands of vectors twice, and waits for the disk.
        let made = tokio::task::spawn_blocking(move || accepted(&trained, &benign, &place)).await;
        let model = made.map_err(|error| LearnError::Failed(error.to_string()))??;
        // At once: after a kill in between, what was accepted would go on as a collection.
        self.remove().await;
        self.ask(|reply| Ask::Judge(model, reply)).await
    }
}

/// The model with this network's thresholds, on disk.
fn accepted(trained: &Model, benign: &[Vector], place: &Path) -> Result<Arc<Model>, LearnError> {
    let failed = |error: &dyn std::fmt::Display| LearnError::Failed(error.to_string());
    let model = calibrate::learnt(trained, benign).map_err(|error| failed(&error))?;
    let bytes = model.encode().map_err(|error| failed(&error))?;
    files::write(place, &bytes).map_err(|error| failed(&error))?;
    Ok(Arc::new(model))
}

#[cfg(test)]
mod tests;
