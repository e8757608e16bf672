//! Who has which address, kept current: by the engine's events, and by asking now and then.

use super::{Engine, Protection, find};
use crate::time::wall_now;
use crate::types::ContainerSet;
use futures_util::StreamExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// When it is asked again whatever the events say: the pauses grow from the first to the second after each event, which
/// the engine may tell before its list shows what happened.
const PERIOD: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Events that come together lead to one question.
const SETTLE: Duration = Duration::from_millis(100);
/// Events that lead to one question at most; what is left leads to the next.
const TOGETHER: usize = 1024;
/// Pause after a fault: from, to.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// The room that knows the containers.
#[derive(Debug)]
pub struct Roster {
    engine: Arc<Engine>,
    protection: Protection,
    known: watch::Sender<Arc<ContainerSet>>,
}

impl Roster {
    /// The room, and what it will know.
    pub fn new(engine: Arc<Engine>, protection: Protection) -> (Self, watch::Receiver<Arc<ContainerSet>>) {
        let (known, receiver) = watch::channel(Arc::new(ContainerSet::unasked()));
        let room = Self {
            engine,
            protection,
            known,
        };
        (room, receiver)
    }

    /// Runs until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let mut pause = PAUSE.0;
        loop {
            // The stream begins with what happened since now, so nothing is missed between question and stream.
            match self.engine.events(wall_now()).await {
                Err(error) => self.fault(&error.to_string()),
                Ok(mut events) => {
                    let mut period = PERIOD.0;
                    while self.ask().await {
                        pause = PAUSE.0;
                        match timeout(period, events.next()).await {
                            Err(_) => period = (period * 3).min(PERIOD.1),
                            Ok(Some(Ok(_))) => {
                                period = PERIOD.0;
                                sleep(SETTLE).await;
                                for _ in 0..TOGETHER {
                                    if timeout(Duration::ZERO, events.next()).await.is_err() {
                                        break;
                                    }
                                }
                            }
                            // The connection is over; the answer says whether the engine is.
                            Ok(Some(Err(_)) | None) => {
                                self.ask().await;
                                break;
                            }
                        }
                    }
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Whether it answered.
    async fn ask(&self) -> bool {
        match find(&self.engine, &self.protection).await {
            Ok(known) => {
                self.tell(known);
                true
            }
            Err(error) => {
                self.fault(&error.to_string());
                false
            }
        }
    }

    fn fault(&self, cause: &str) {
        self.tell(ContainerSet {
            fault: Some(cause.to_owned()),
            ..ContainerSet::default()
        });
    }

    fn tell(&self, now: ContainerSet) {
        self.known.send_if_modified(|known| {
            let changed = **known != now;
            if changed {
                *known = Arc::new(now);
            }
            changed
        });
    }
}
