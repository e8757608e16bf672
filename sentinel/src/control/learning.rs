//! Learn mode: what the analysis gathered becomes the thresholds of this network, and stays.
//!
//! A model is written to disk before it judges: what an operator accepted survives a restart.

use crate::detect::Detectors;
use crate::features::Vector;
use crate::files;
use crate::model::Model;
use crate::model::conformal::{ALPHAS, needed};
use crate::train::calibrate;
use crate::types::{LearnError, LearnRequest, LearnWish, Learning};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

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
    pub analysis: mpsc::Sender<Ask>,
    /// Where the model with this network's thresholds is kept.
    pub site: PathBuf,
    /// The model as trained: what is learnt is counted into this one, not into what was learnt before.
    pub trained: Arc<Model>,
}

impl LearnRoom {
    /// Runs until `cancel`, or until nobody can ask any more.
    pub async fn run(self, mut wishes: mpsc::Receiver<LearnRequest>, cancel: CancellationToken) {
        while let Some(Some((wish, reply))) = cancel.run_until_cancelled(wishes.recv()).await {
            let answer = match wish {
                LearnWish::Start => self.ask(Ask::Start).await,
                LearnWish::Status => self.ask(Ask::Status).await,
                LearnWish::Discard => self
                    .ask(Ask::Discard)
                    .await
                    .and_then(|d| d.ok_or(LearnError::NotLearning)),
                LearnWish::Accept => self.accept().await,
            };
            // Whoever asked may have given up meanwhile.
            drop(reply.send(answer));
        }
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, LearnError> {
        let (reply, answer) = oneshot::channel();
        self.analysis.send(ask(reply)).await.map_err(|_| LearnError::NoModel)?;
        answer.await.map_err(|_| LearnError::NoModel)
    }

    async fn accept(&self) -> Result<Learning, LearnError> {
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
