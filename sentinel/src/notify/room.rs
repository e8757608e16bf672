//! The room: one router, one deliverer for each channel, and whoever wants to see whether they work.

use super::channels::{Channel, ChannelError, build};
use super::deliver::Deliverer;
use super::dispatch::Dispatcher;
use super::letter::{Letter, Sender};
use super::router::Books;
use crate::bus::Bus;
use crate::config::AlertingConfig;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::types::{
    ChannelKind, ChannelTrouble, Channels, Component, Condition, Health, MessageState, Mint, Renewals, TestOutcome,
    TestWish, Timestamp,
};
use futures_util::future::{join, join_all};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Messages that a channel for programs takes before it is written down.
const AT_ONCE: usize = 128;

/// How long one channel may take to be tested.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the room needs.
#[derive(Clone, Debug)]
pub struct Deps {
    /// Has the alerts, and keeps the messages.
    pub store: Store,
    /// Wakes the router.
    pub bus: Bus,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Where channels that are in trouble are told of.
    pub health: watch::Sender<Arc<Health>>,
    /// How it stands with each channel.
    pub status: watch::Sender<Arc<Channels>>,
    /// Where messages come from.
    pub sender: Sender,
    /// The wall clock.
    pub now: fn() -> Timestamp,
}

/// Tells people.
#[derive(Debug)]
pub struct Notifications {
    config: AlertingConfig,
    channels: Vec<Box<dyn Channel>>,
    deps: Deps,
}

impl Notifications {
    /// By the settings.
    pub fn new(config: AlertingConfig, deps: Deps) -> Self {
        let channels = build(&config);
        Self::by(config, channels, deps)
    }

    /// By these channels.
    pub(super) fn by(config: AlertingConfig, channels: Vec<Box<dyn Channel>>, deps: Deps) -> Self {
        Self { config, channels, deps }
    }

    /// Until `cancel`. What waits then waits in the store. With other settings the parts end and others begin: what is told
    /// and what is still to be told is in the store.
    pub async fn run(
        mut self,
        mut wishes: mpsc::Receiver<TestWish>,
        mut renewals: Renewals<AlertingConfig>,
        cancel: CancellationToken,
    ) {
        loop {
            let until = cancel.child_token();
            let renewal = {
                let round = self.round(&mut wishes, until.clone());
                tokio::pin!(round);
                let renewal = tokio::select! {
                    () = &mut round => return,
                    renewal = renewals.next() => renewal,
                };
                until.cancel();
                round.await;
                renewal
            };
            self.channels = build(&renewal.settings);
            self.config = renewal.settings;
            // Whoever asked may have left.
            let _ = renewal.taken.send(Ok(()));
        }
    }

    /// By these settings, until `cancel`.
    async fn round(&mut self, wishes: &mut mpsc::Receiver<TestWish>, cancel: CancellationToken) {
        let Deps {
            store,
            bus,
            metrics,
            health,
            status,
            sender,
            now,
        } = self.deps.clone();
        let sender = Arc::new(sender);
        let board = Arc::new(Board::new(&self.config, status, health));
        let mut wakes = BTreeMap::new();
        let mut deliverers = Vec::new();
        for channel in std::mem::take(&mut self.channels) {
            let wake = Arc::new(Notify::new());
            // People are told nothing twice for the sake of speed.
            let at_once = if self.config.fold.contains(&channel.kind()) {
                1
            } else {
                AT_ONCE
            };
            wakes.insert(channel.kind(), Arc::clone(&wake));
            let deliverer = Deliverer {
                channel,
                store: store.clone(),
                sender: Arc::clone(&sender),
                board: Arc::clone(&board),
                metrics: Arc::clone(&metrics),
                wake,
                at_once,
                now,
            };
            deliverers.push(deliverer.run(cancel.clone()));
        }
        let testing = answer(wishes, self.config.clone(), sender, now, cancel.clone());
        let dispatcher = Dispatcher {
            config: self.config.clone(),
            store,
            bus,
            board,
            metrics,
            wakes,
            now,
        };
        join(join(dispatcher.run(cancel), testing), join_all(deliverers)).await;
    }
}

/// Tries channels for whoever asks. With channels of its own: one that is in trouble must not keep the others waiting.
async fn answer(
    wishes: &mut mpsc::Receiver<TestWish>,
    config: AlertingConfig,
    sender: Arc<Sender>,
    now: fn() -> Timestamp,
    cancel: CancellationToken,
) {
    loop {
        let wish = tokio::select! {
            () = cancel.cancelled() => return,
            wish = wishes.recv() => wish,
        };
        let Some(TestWish { channel, actor, reply }) = wish else {
            return;
        };
        // Whoever asked has left.
        if reply.is_closed() {
            continue;
        }
        let outcome = tokio::select! {
            () = cancel.cancelled() => return,
            outcome = test(&config, channel, &actor, &sender, now()) => outcome,
        };
        // Whoever asked may have left.
        let _ = reply.send(outcome);
    }
}

/// Hands a test message to a channel, or to all that are configured, at the same time.
pub async fn test(
    config: &AlertingConfig,
    channel: Option<ChannelKind>,
    actor: &str,
    sender: &Sender,
    now: Timestamp,
) -> Vec<TestOutcome> {
    let letter = Letter::test(actor, Mint::Random.message(now), now, sender);
    let wanted = |kind: ChannelKind| channel.is_none_or(|channel| channel == kind);
    let channels = build(config);
    let tried = channels.iter().filter(|it| wanted(it.kind())).map(|it| async {
        let bound = tokio::time::timeout(PATIENCE, it.deliver(&letter)).await;
        let late = || {
            Err(ChannelError::away(
                "did not answer in time",
                "is it up, and may this host reach it?",
            ))
        };
        match bound.unwrap_or_else(|_| late()) {
            Ok(()) => TestOutcome {
                channel: it.kind(),
                taken: true,
                detail: taken(it.kind()).to_owned(),
                mend: None,
            },
            Err(error) => TestOutcome {
                channel: it.kind(),
                taken: false,
                detail: error.cause,
                mend: Some(error.mend),
            },
        }
    });
    let mut outcomes = join_all(tried).await;
    if let Some(missing) = channel.filter(|channel| !config.configured(*channel)) {
        outcomes.push(TestOutcome {
            channel: missing,
            taken: false,
            detail: "is not configured".to_owned(),
            mend: Some(format!("say in `alerting.{}` where it leads", missing.as_str())),
        });
    }
    outcomes
}

/// What it means that a channel took something.
const fn taken(kind: ChannelKind) -> &'static str {
    match kind {
        ChannelKind::Email => "the mail server took it; whether it reaches the mailbox is up to that",
        ChannelKind::Slack => "Slack took it",
        ChannelKind::Webhook => "the receiver took it",
        ChannelKind::File => "it is in the file",
        ChannelKind::Syslog => "it is sent; over UDP nobody says whether it came",
    }
}

/// How it stands with each channel, for API and health.
#[derive(Debug)]
pub(super) struct Board {
    status: watch::Sender<Arc<Channels>>,
    health: watch::Sender<Arc<Health>>,
}

impl Board {
    pub(super) fn new(
        config: &AlertingConfig,
        status: watch::Sender<Arc<Channels>>,
        health: watch::Sender<Arc<Health>>,
    ) -> Self {
        let board = Self { status, health };
        board.change(|channels| {
            for kind in ChannelKind::ALL {
                let channel = channels.entry(kind).or_default();
                channel.configured = config.configured(kind);
                channel.folds = config.fold.contains(&kind);
            }
        });
        board
    }

    /// As the store has it.
    pub(super) fn waiting(&self, waiting: &BTreeMap<ChannelKind, u64>) {
        self.change(|channels| {
            for kind in ChannelKind::ALL {
                channels.entry(kind).or_default().waiting = waiting.get(&kind).copied().unwrap_or(0);
            }
        });
    }

    /// Channels for which so much waits, or more.
    pub(super) fn full(&self, bound: u64) -> BTreeSet<ChannelKind> {
        let channels = self.status.borrow();
        channels
            .iter()
            .filter(|(_, channel)| channel.waiting >= bound)
            .map(|(kind, _)| *kind)
            .collect()
    }

    /// Messages were put down for these channels.
    pub(super) fn put_down(&self, messages: &[ChannelKind], books: &Books) {
        self.change(|channels| {
            for kind in messages {
                channels.entry(*kind).or_default().waiting += 1;
            }
            for (kind, channel) in channels {
                channel.digest = books.folded(*kind);
            }
        });
    }

    /// One that waited is over.
    pub(super) fn settled(&self, kind: ChannelKind, at: Timestamp, state: MessageState) {
        self.change(|channels| {
            let channel = channels.entry(kind).or_default();
            channel.waiting = channel.waiting.saturating_sub(1);
            if state == MessageState::Sent {
                channel.sent_at = Some(at);
                channel.trouble = None;
            }
        });
    }

    pub(super) fn trouble(&self, kind: ChannelKind, trouble: ChannelTrouble) {
        self.change(|channels| channels.entry(kind).or_default().trouble = Some(trouble));
    }

    fn change(&self, change: impl FnOnce(&mut Channels)) {
        self.status.send_modify(|channels| change(Arc::make_mut(channels)));
        let condition = condition(&self.status.borrow());
        self.health
            .send_if_modified(|board| Health::note(board, Component::Notify, condition));
    }
}

fn condition(channels: &Channels) -> Condition {
    let troubled: Vec<_> = channels
        .iter()
        .filter_map(|(kind, channel)| Some((kind, channel, channel.trouble.as_ref()?)))
        .collect();
    let Some((_, _, first)) = troubled.first() else {
        let on: Vec<_> = channels.iter().filter(|(_, channel)| channel.configured).collect();
        let names: Vec<_> = on.iter().map(|(kind, _)| kind.as_str()).collect();
        return Condition::Ok {
            detail: if names.is_empty() {
                "nobody is told".to_owned()
            } else {
                names.join(", ")
            },
        };
    };
    let causes: Vec<_> = troubled
        .iter()
        .map(|(kind, channel, trouble)| {
            format!(
                "{}: {} ({} messages wait)",
                kind.as_str(),
                trouble.cause,
                channel.waiting
            )
        })
        .collect();
    Condition::Degraded {
        cause: causes.join("; "),
        mend: first.mend.clone(),
    }
}
