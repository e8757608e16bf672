//! Learn mode: what the analysis gathered becomes the thresholds of this network, and stays.
//!
//! A model is written to disk before it judges: what an operator accepted survives a restart.

use crate::detect::Detectors;
use crate::features::Vector;
use crate::files;
use crate::model::{Model, Variant};
use crate::train::calibrate;
use crate::types::{LearnError, LearnRequest, LearnWish, Learning};
use std::path::PathBuf;
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
    /// What it gathered.
    Gathered(oneshot::Sender<Option<Gathered>>),
    /// To judge by this model from now on, and gather no more.
    Judge(Arc<Model>, oneshot::Sender<Learning>),
}

/// What was gathered, and by which model it was scored.
#[derive(Debug)]
pub struct Gathered {
    /// The model that judges.
    pub model: Arc<Model>,
    /// Benign flow records of this network.
    pub vectors: Vec<Vector>,
    /// What this host sees.
    pub variant: Variant,
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
        Ask::Gathered(reply) => {
            let gathered = detectors.gathered().map(|(model, vectors, variant)| Gathered {
                model,
                vectors,
                variant,
            });
            drop(reply.send(gathered));
        }
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
        let gathered = self.ask(Ask::Gathered).await?.ok_or(LearnError::NotLearning)?;
        let place = self.site.clone();
        // Scores tens of thousands of vectors twice, and waits for the disk.
        let made = tokio::task::spawn_blocking(move || accepted(&gathered, &place)).await;
        let model = made.map_err(|error| LearnError::Failed(error.to_string()))??;
        self.ask(|reply| Ask::Judge(model, reply)).await
    }
}

/// The model with this network's thresholds, on disk.
fn accepted(gathered: &Gathered, place: &std::path::Path) -> Result<Arc<Model>, LearnError> {
    let failed = |error: &dyn std::fmt::Display| LearnError::Failed(error.to_string());
    let model = calibrate::learnt(&gathered.model, &gathered.vectors).map_err(|error| failed(&error))?;
    let suspicious = model.scorer(gathered.variant).levels()[0];
    if suspicious.score.is_none() {
        return Err(LearnError::TooFew {
            have: suspicious.benign,
            missing: suspicious.missing,
        });
    }
    let bytes = model.encode().map_err(|error| failed(&error))?;
    files::write(place, &bytes).map_err(|error| failed(&error))?;
    Ok(Arc::new(model))
}
