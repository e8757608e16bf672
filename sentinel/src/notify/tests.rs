//! From alerts in a real database to channels that are there, away, slow or picky.

mod routing;
mod telling;

use super::channels::{Channel, ChannelError, Fault};
use super::letter::{Letter, Sender};
use super::room::{Deps, Notifications};
use crate::bus::Bus;
use crate::config::{AlertingConfig, Hours, QuietConfig};
use crate::metrics::Metrics;
use crate::store::{Record, Store};
use crate::types::testing::alert;
use crate::types::{
    Alert, ChannelKind, Channels, Condition, Content, Event, Health, Message, MessageState, Mint, Severity, Timestamp,
};
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// 2026-01-10 12:00:00 UTC.
const NOON: Timestamp = Timestamp(1_768_046_400_000_000_000);

/// A channel that does as it is told.
#[derive(Debug)]
struct Pipe {
    kind: ChannelKind,
    got: Arc<Mutex<Vec<Letter>>>,
    /// What it says of a letter.
    says: Says,
    tries: Arc<Mutex<usize>>,
}

impl Channel for Pipe {
    fn kind(&self) -> ChannelKind {
        self.kind
    }

    fn deliver<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async {
            let mut tries = self.tries.lock().unwrap();
            *tries += 1;
            (self.says)(letter, *tries)?;
            self.got.lock().unwrap().push(letter.clone());
            Ok(())
        })
    }
}

/// The room at work on a real database.
struct House {
    store: Store,
    writer: Option<JoinHandle<()>>,
    bus: Bus,
    status: watch::Receiver<Arc<Channels>>,
    health: watch::Receiver<Arc<Health>>,
    metrics: Arc<Metrics>,
    cancel: CancellationToken,
    room: tokio::task::JoinHandle<()>,
}

impl House {
    fn open(
        directory: &Path,
        config: &AlertingConfig,
        channels: Vec<Box<dyn Channel>>,
        now: fn() -> Timestamp,
    ) -> Self {
        let (store, writer) = Store::open(&directory.join("sentinel.db")).unwrap();
        let writer = std::thread::spawn(move || writer.run());
        let (status_tx, status) = watch::channel(Arc::default());
        let (health_tx, health) = watch::channel(Arc::default());
        let metrics: Arc<Metrics> = Arc::default();
        let bus = Bus::default();
        let deps = Deps {
            store: store.clone(),
            bus: bus.clone(),
            metrics: Arc::clone(&metrics),
            health: health_tx,
            status: status_tx,
            sender: Sender {
                host: "guard".to_owned(),
                dashboard: "http://127.0.0.1:8000".to_owned(),
            },
            now,
        };
        let room = Notifications::by(config.clone(), channels, deps);
        let cancel = CancellationToken::new();
        let (_wishes, inbox) = mpsc::channel(1);
        // A closed way to tests ends nothing else.
        let room = tokio::spawn(room.run(inbox, crate::types::Renewals::default(), cancel.clone()));
        Self {
            store,
            writer: Some(writer),
            bus,
            status,
            health,
            metrics,
            cancel,
            room,
        }
    }

    /// Waits until the router stands where it begins: what comes then is news.
    async fn ready(&self) {
        while self.store.cursor("notify").await.unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn raise(&self, alerts: &[Alert]) {
        for some in alerts.chunks(1000) {
            let records = some
                .iter()
                .map(|alert| Record::Alert(Arc::new(alert.clone())))
                .collect();
            self.store.commit(records).await.unwrap();
        }
        if let Some(last) = alerts.last() {
            self.bus.publish(Event::Alert(Arc::new(last.clone())));
        }
    }

    /// Waits until the router has taken everything.
    async fn routed(&self) {
        let newest = self.store.newest_alert().await.unwrap();
        while self.store.cursor("notify").await.unwrap() != Some(newest) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn close(mut self) {
        self.cancel.cancel();
        self.room.await.unwrap();
        self.store.close();
        self.writer.take().unwrap().join().unwrap();
    }

    /// As a kill leaves it: nothing is finished, only the disk is kept.
    async fn kill(mut self) {
        self.room.abort();
        let _ = self.room.await;
        self.store.close();
        self.writer.take().unwrap().join().unwrap();
    }
}

/// What a channel says of a letter, and of its how-manieth try.
type Says = fn(&Letter, usize) -> Result<(), ChannelError>;

fn channel(kind: ChannelKind, says: Says) -> (Box<dyn Channel>, Arc<Mutex<Vec<Letter>>>) {
    let got = Arc::default();
    let pipe = Pipe {
        kind,
        got: Arc::clone(&got),
        says,
        tries: Arc::default(),
    };
    (Box::new(pipe), got)
}

/// As configured: file and e-mail.
fn settings() -> AlertingConfig {
    let mut config = AlertingConfig::default();
    config.email.host = Some(crate::config::Host("mail.example.org".to_owned()));
    config
}

/// Alerts by so many sources, of high severity.
fn storm(sources: u32, each: u32) -> Vec<Alert> {
    let mut mint = Mint::Random;
    let mut alerts = Vec::new();
    for n in 0..each {
        for source in 0..sources {
            let mut one = alert(&mut mint, NOON.after(Duration::from_millis(u64::from(n))));
            one.source = Some(std::net::Ipv4Addr::from(0xc633_6400 + source).into());
            one.severity = Severity::High;
            alerts.push(one);
        }
    }
    alerts
}
