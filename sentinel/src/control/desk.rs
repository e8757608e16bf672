//! Alerts and commands in, deeds out: the judge and the responder, driven by one task.

use crate::decide::{Guards, Judge};
use crate::host::{HostFacts, protected};
use crate::metrics::Metrics;
use crate::respond::{Cause, Enforcer, HitTable, Order, Responder};
use crate::time;
use crate::types::{
    Action, Alert, Clock, Command, CommandError, Component, Condition, Decision, Health, Protected, Timestamp,
};
use ipnet::IpNet;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How often expiry is looked at. The kernel stops dropping on its own, on time; this only tidies up.
const EXPIRY_TICK: Duration = Duration::from_millis(100);
/// How often a first drop that is awaited is looked for.
const FIRST_DROP_TICK: Duration = Duration::from_millis(5);
/// How often hit counters are published.
const HITS_TICK: Duration = Duration::from_secs(1);
/// How often the kernel is compared with what should be in force.
const SELF_CHECK: Duration = Duration::from_mins(1);
/// Alerts judged together.
const BATCH: usize = 256;

/// What the desk shares with the rest of the house.
pub struct DeskDeps {
    /// Configured prefixes that are never touched.
    pub allowlist: Vec<IpNet>,
    /// The host's facts, current.
    pub facts: watch::Receiver<Arc<HostFacts>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How the clocks stand.
    pub clock: Clock,
    /// Published hit counters.
    pub hits: watch::Sender<Arc<HitTable>>,
    /// Published protected list.
    pub protected: watch::Sender<Arc<Vec<Protected>>>,
    /// Published health.
    pub health: watch::Sender<Arc<Health>>,
}

/// The room.
pub struct Desk<E> {
    judge: Judge,
    guards: Guards,
    responder: Responder<E>,
    deps: DeskDeps,
}

impl<E: Enforcer> Desk<E> {
    /// Puts the parts together; nobody is protected until [`Desk::protect`] ran.
    pub fn new(judge: Judge, responder: Responder<E>, deps: DeskDeps) -> Self {
        Self {
            judge,
            guards: Guards::new(Vec::new()),
            responder,
            deps,
        }
    }

    fn now(&self) -> Timestamp {
        self.deps.clock.wall(time::boot_now())
    }

    /// Takes the current host facts to heart: guards, the kernel's allow maps, and decisions that now offend them.
    pub async fn protect(&mut self) {
        let facts = Arc::clone(&self.deps.facts.borrow_and_update());
        let list = protected(&facts, &self.deps.allowlist);
        self.guards = Guards::new(list);
        match self.responder.protect(self.guards.protected()) {
            Ok(()) => self.condition(Component::Respond, self.responder.condition()),
            Err(error) => {
                tracing::error!(%error, "the kernel's allow map is not complete");
                self.condition(
                    Component::Respond,
                    Condition::Degraded {
                        cause: error.to_string(),
                        mend: "shorten `allowlist`".into(),
                    },
                );
            }
        }
        let now = self.now();
        let offending = self.judge.recheck(&self.guards, now);
        for decision in &offending {
            tracing::warn!(target_net = %decision.target, veto = ?decision.veto, "taken back: the target is protected now");
        }
        self.withdraw(offending, Cause::Guard, now).await;
        self.deps
            .protected
            .send_replace(Arc::new(self.guards.protected().to_vec()));
    }

    /// Puts back what was in force before a restart; what ran out meanwhile is noted as expired.
    pub async fn restore(&mut self, remembered: Vec<(Decision, Option<Action>)>) {
        let now = self.now();
        self.judge
            .restore(remembered.iter().map(|(decision, _)| decision.clone()).collect());
        self.expire().await;
        let mut actions: HashMap<_, _> = remembered.into_iter().map(|(d, action)| (d.id, action)).collect();
        let live = self
            .judge
            .active()
            .map(|d| (d.clone(), actions.remove(&d.id).flatten()))
            .collect();
        for id in self.responder.restore(live, now) {
            self.judge.fail(id);
        }
        self.count_active();
    }

    /// Runs until the alerts' channel closes.
    pub async fn run(mut self, mut alerts: mpsc::Receiver<Arc<Alert>>, mut commands: mpsc::Receiver<Command>) {
        let mut expiry = tokio::time::interval(EXPIRY_TICK);
        let mut publish = tokio::time::interval(HITS_TICK);
        let mut check = tokio::time::interval(SELF_CHECK);
        let mut first_drop = tokio::time::interval(FIRST_DROP_TICK);
        for timer in [&mut expiry, &mut publish, &mut check, &mut first_drop] {
            timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        let mut awaited = false;
        let mut facts = true;
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                changed = self.deps.facts.changed(), if facts => match changed {
                    Ok(()) => self.protect().await,
                    // The host room closed: the house is closing, and what is still queued is worked off first.
                    Err(_) => facts = false,
                },
                Some(command) = commands.recv() => {
                    self.command(command).await;
                    awaited = true;
                }
                _ = expiry.tick() => self.expire().await,
                got = alerts.recv_many(&mut batch, BATCH) => {
                    if got == 0 {
                        return;
                    }
                    self.alerts(std::mem::take(&mut batch)).await;
                    awaited = true;
                }
                _ = first_drop.tick(), if awaited => awaited = self.responder.watch_first_drops(),
                _ = publish.tick() => {
                    self.publish_hits();
                    self.condition(Component::Respond, self.responder.condition());
                }
                _ = check.tick() => self.self_check(),
            }
        }
    }

    async fn alerts(&mut self, alerts: Vec<Arc<Alert>>) {
        let now = self.now();
        let orders = alerts
            .into_iter()
            .map(|alert| match self.judge.judge(&alert, &self.guards, now) {
                Some(decision) => Order::Apply {
                    decision,
                    evidence_at: Some(alert.evidence_at),
                    alert: Some(alert),
                    reply: None,
                },
                None => Order::Note(alert),
            })
            .collect();
        self.carry_out(orders, now).await;
    }

    async fn command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::Add(wish, reply) => match self.judge.operator(&wish, &self.guards, now) {
                Ok(decision) => {
                    let order = Order::Apply {
                        decision,
                        alert: None,
                        evidence_at: None,
                        reply: Some(reply),
                    };
                    self.carry_out(vec![order], now).await;
                }
                Err(error) => {
                    if let CommandError::Vetoed(veto) = &error {
                        self.deps.metrics.veto(veto);
                    }
                    tracing::info!(target_net = %wish.target, actor = %wish.actor, %error, "command refused");
                    let _ = reply.send(Err(error));
                }
            },
            Command::Delete { which, actor, reply } => {
                let decisions = self.judge.delete(&which, now);
                if decisions.is_empty() {
                    let _ = reply.send(Err(CommandError::NotFound));
                    return;
                }
                let order = Order::Withdraw {
                    decisions,
                    cause: Cause::Operator,
                    actor,
                    reply: Some(reply),
                };
                self.carry_out(vec![order], now).await;
            }
        }
    }

    async fn expire(&mut self) {
        let now = self.now();
        let decisions = self.judge.expire(now);
        self.withdraw(decisions, Cause::Expired, now).await;
    }

    async fn withdraw(&mut self, decisions: Vec<Decision>, cause: Cause, now: Timestamp) {
        if decisions.is_empty() {
            return;
        }
        let order = Order::Withdraw {
            decisions,
            cause,
            actor: "sentinel".to_owned(),
            reply: None,
        };
        self.carry_out(vec![order], now).await;
    }

    async fn carry_out(&mut self, orders: Vec<Order>, now: Timestamp) {
        for id in self.responder.carry_out(orders, now).await {
            self.judge.fail(id);
        }
        self.count_active();
        self.publish_hits();
    }

    fn count_active(&self) {
        self.deps.metrics.set_active(self.responder.in_force());
        self.condition(Component::Respond, self.responder.condition());
    }

    fn publish_hits(&self) {
        match self.responder.hits() {
            Ok(hits) => {
                self.deps.hits.send_replace(Arc::new(hits));
            }
            Err(error) => tracing::warn!(%error, "hit counters not read"),
        }
    }

    fn self_check(&mut self) {
        let checked = self.responder.self_check();
        if let Ok(drift) = &checked {
            self.deps.metrics.enforcement_drift.set(*drift as i64);
        }
        let condition = match checked {
            Ok(0) => Condition::Ok {
                detail: "block map equals the active decisions".into(),
            },
            Ok(drift) => Condition::Degraded {
                cause: format!("{drift} entries of the block map differed from the active decisions and were repaired"),
                mend: "find out who else writes the maps (`bpftool map`); the next check clears this".into(),
            },
            Err(error) => Condition::Degraded {
                cause: error.to_string(),
                mend: "see the log; `sentinel doctor` tells what is missing".into(),
            },
        };
        self.condition(Component::Enforcement, condition);
    }

    fn condition(&self, part: Component, condition: Condition) {
        self.deps
            .health
            .send_if_modified(|health| Health::note(health, part, condition));
    }
}
