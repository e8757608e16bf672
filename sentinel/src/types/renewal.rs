//! New settings on their way to rooms that are running, and what comes of asking for them.

use super::{Decision, DecisionId};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

/// Longest that a reload may take.
pub const RELOADING: Duration = Duration::from_secs(45);

/// New settings for one room.
#[derive(Debug)]
pub struct Renewal<T, R = ()> {
    /// What holds from now on.
    pub settings: T,
    /// Told when they hold, or why they do not.
    pub taken: oneshot::Sender<Result<R, String>>,
}

/// The way of new settings to one room.
#[derive(Debug)]
pub struct Renewer<T, R = ()>(mpsc::Sender<Renewal<T, R>>);

impl<T, R> Clone for Renewer<T, R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Where one room hears of new settings.
#[derive(Debug)]
pub struct Renewals<T, R = ()>(Option<mpsc::Receiver<Renewal<T, R>>>);

/// Both ends.
pub fn renewals<T, R>() -> (Renewer<T, R>, Renewals<T, R>) {
    let (there, here) = mpsc::channel(1);
    (Renewer(there), Renewals(Some(here)))
}

impl<T, R> Renewer<T, R> {
    /// Hands new settings over and waits until they hold.
    ///
    /// # Errors
    /// The room's own words; or that it did not answer within `patience`, after which they may still come to hold.
    pub async fn hand(&self, settings: T, patience: Duration) -> Result<R, String> {
        let (taken, answer) = oneshot::channel();
        let asked = async {
            self.0.send(Renewal { settings, taken }).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(patience, asked).await {
            Ok(Some(result)) => result,
            Ok(None) => Err("it is closing".to_owned()),
            Err(_) => Err(format!("it did not answer within {} s", patience.as_secs())),
        }
    }
}

impl<T, R> Renewals<T, R> {
    /// The next ones. Never, where nobody can send any.
    pub async fn next(&mut self) -> Renewal<T, R> {
        if let Some(here) = &mut self.0
            && let Some(renewal) = here.recv().await
        {
            return renewal;
        }
        self.0 = None;
        std::future::pending().await
    }
}

impl<T, R> Default for Renewals<T, R> {
    fn default() -> Self {
        Self(None)
    }
}

/// A key whose value changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyChange {
    /// Dotted path; of a section alone where what changed in it is secret.
    pub key: String,
    /// What held until now; secrets are masked.
    pub old: String,
    /// What the files say.
    pub new: String,
}

/// What came of reading the settings anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// Changes that hold now.
    pub applied: Vec<KeyChange>,
    /// Changes that the next start brings.
    pub restart: Vec<KeyChange>,
    /// Decisions that ended because their targets are protected now: on the allowlist, above all.
    pub released: Vec<Released>,
    /// Parts that did not take their new settings, with what they said; empty where all is well.
    pub failed: Vec<String>,
}

/// A decision that a reload ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Released {
    /// Which.
    #[schema(value_type = String)]
    pub decision: DecisionId,
    /// Whom it was about.
    pub target: String,
}

impl From<&Decision> for Released {
    fn from(decision: &Decision) -> Self {
        Self {
            decision: decision.id,
            target: decision.target.to_string(),
        }
    }
}

/// Why the settings stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// Something in the files or the environment is wrong; every problem, a line each.
    #[error("{}\nnothing was changed: the settings have {} {}", .0.join("\n"), .0.len(), if .0.len() == 1 { "problem" } else { "problems" })]
    Invalid(Vec<String>),
    /// The room that decides did not take them.
    #[error("{0}")]
    Failed(String),
}

/// Somebody wants the settings read anew.
#[derive(Debug)]
pub struct ReloadWish {
    /// Who.
    pub actor: String,
    /// What came of it.
    pub reply: oneshot::Sender<Result<Reloaded, ReloadError>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_room_that_does_not_answer_is_said() {
        let (there, mut here) = renewals::<u8, u8>();
        let patience = Duration::from_secs(3);
        let (told, ()) = tokio::join!(there.hand(7, patience), async {
            let renewal = here.next().await;
            let _ = renewal.taken.send(Ok(renewal.settings + 1));
        });
        assert_eq!(told, Ok(8));
        assert_eq!(
            there.hand(7, patience).await,
            Err("it did not answer within 3 s".to_owned())
        );
        drop(here);
        assert_eq!(there.hand(7, patience).await, Err("it is closing".to_owned()));
        let mut nobody = Renewals::<u8>::default();
        let never = tokio::time::timeout(patience, nobody.next()).await;
        assert!(never.is_err(), "where nobody sends nothing comes");
    }
}
