//! The rooms as they run: one that ends before the house is closed closes the house.

use super::hangup::Hangup;
use crate::service;
use anyhow::Context;
use std::future::Future;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long an orderly shutdown may take.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// The running rooms. One that ends or panics before the house is closed closes the house.
pub(super) struct Rooms {
    set: JoinSet<(&'static str, anyhow::Result<()>)>,
    cancel: CancellationToken,
    hangup: Option<Hangup>,
}

impl Rooms {
    pub(super) fn new(cancel: CancellationToken, hangup: Hangup) -> Self {
        Self {
            set: JoinSet::new(),
            cancel,
            hangup: Some(hangup),
        }
    }

    pub(super) fn spawn(&mut self, name: &'static str, room: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            room.await;
            (name, Ok(()))
        });
    }

    pub(super) fn spawn_fallible<E: Into<anyhow::Error> + Send + 'static>(
        &mut self,
        name: &'static str,
        room: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        self.set.spawn(async move { (name, room.await.map_err(Into::into)) });
    }

    /// Waits for a signal or a room's end, then for every room to flush and leave.
    pub(super) async fn until_over(mut self) -> anyhow::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let outcome = tokio::select! {
            _ = terminate.recv() => {
                tracing::info!("SIGTERM: closing");
                Ok(())
            }
            _ = interrupt.recv() => {
                tracing::info!("SIGINT: closing");
                Ok(())
            }
            () = Hangup::heed(self.hangup) => Ok(()),
            ended = self.set.join_next() => ended.map_or(Ok(()), early_end),
        };
        service::stopping();
        self.cancel.cancel();
        let drained = tokio::time::timeout(SHUTDOWN, async {
            let mut first = Ok(());
            while let Some(ended) = self.set.join_next().await {
                let result = match ended {
                    Ok((name, result)) => result.with_context(|| format!("room `{name}`")),
                    Err(panic) => Err(panic).context("a room panicked"),
                };
                first = first.and(result);
            }
            first
        })
        .await;
        if let Ok(result) = drained {
            return outcome.and(result);
        }
        tracing::warn!(after = ?SHUTDOWN, "some rooms did not close in time and were ended");
        outcome
    }
}

fn early_end(ended: Result<(&'static str, anyhow::Result<()>), tokio::task::JoinError>) -> anyhow::Result<()> {
    match ended {
        Ok((name, Ok(()))) => anyhow::bail!("room `{name}` ended on its own"),
        Ok((name, Err(error))) => Err(error).with_context(|| format!("room `{name}` failed")),
        Err(panic) => Err(panic).context("a room panicked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_room_that_panics_or_ends_closes_the_house_with_an_error() {
        for panics in [true, false] {
            let cancel = CancellationToken::new();
            let mut rooms = Rooms {
                set: JoinSet::new(),
                cancel: cancel.clone(),
                hangup: None,
            };
            let other = cancel.clone();
            rooms.spawn("other", async move { other.cancelled().await });
            rooms.spawn("desk", async move { assert!(!panics, "as told") });
            let error = rooms
                .until_over()
                .await
                .expect_err("an early end is an error")
                .to_string();
            let want = if panics {
                "a room panicked"
            } else {
                "room `desk` ended on its own"
            };
            assert_eq!(error, want);
            assert!(cancel.is_cancelled(), "the other rooms are told");
        }
    }
}
