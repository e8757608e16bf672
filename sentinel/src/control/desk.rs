//! Alerts and commands in, deeds out: the judge and the responder, driven by one task.

mod acting;
mod allowlist;
mod bans;
mod confirm;
mod containers;
mod delete;
mod fleet;
mod import;
mod peers;
mod proof;
mod settings;
mod shadow;

use super::{Case, Shadows};
use crate::config::Mode;
use crate::config::SeverityThresholds;
use crate::decide::{Found, Guards, Judge, Revision};
use crate::host::{HostFacts, protected};
use crate::metrics::Metrics;
use crate::respond::{Cause, Enforcer, HitTable, Order, Responder};
use crate::time;
use crate::types::{
    Acting, Action, Alert, Beat, Bystander, Clock, Command, CommandError, Component, Condition, ContainerSet, Decision,
    DecisionId, DecisionStatus, Detector, Health, Investigation, Peers, Protected, Provisional, Renewals, Stop,
    Timestamp, ToBan, ToIsolate, Verdict,
};
use allowlist::Allowlist;
use import::Imports;
use ipnet::IpNet;
pub use settings::{NewSettings, Renewed};
use shadow::Tallies;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How often expiry is looked at. The kernel stops dropping on its own, on time; this only tidies up.
const EXPIRY_TICK: Duration = Duration::from_millis(100);
/// How often a first drop that is awaited is looked for; the kernel stamps it, so this costs no precision.
const FIRST_DROP_TICK: Duration = Duration::from_millis(25);
/// How often hit counters are published.
const HITS_TICK: Duration = Duration::from_secs(1);
/// How often the kernel is compared with what should be in force.
const SELF_CHECK: Duration = Duration::from_mins(1);
/// Hit counters read at a time (about 5 ms); with more in force they take turns.
const HITS: usize = 4096;
/// Decisions in force up to which the gauge is brought up to date with every deed.
const COUNTED_AT_ONCE: usize = 4096;
/// Decisions taken back together.
const WITHDRAWN: usize = 8192;
/// How far the two spellings of an alert's time may differ before the boot clock's is taken.
const STEPPED: Duration = Duration::from_secs(1);
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
    /// Who behaved well lately.
    pub peers: watch::Receiver<Arc<Peers>>,
    /// From which score on an alert is how severe.
    pub severity_thresholds: SeverityThresholds,
    /// Published hit counters.
    pub hits: watch::Sender<Arc<HitTable>>,
    /// Published protected list.
    pub protected: watch::Sender<Arc<Vec<Protected>>>,
    /// Published health.
    pub health: watch::Sender<Arc<Health>>,
    /// Containers by address; `None` where no engine is configured.
    pub containers: Option<watch::Receiver<Arc<ContainerSet>>>,
    /// Published containers to cut off: what is in force and asks for it.
    pub to_isolate: watch::Sender<Arc<ToIsolate>>,
    /// Published neighbours to keep from the gateway; `None` where Bettercap is not to act.
    pub to_ban: Option<watch::Sender<Arc<ToBan>>>,
    /// Published: whether anything is carried out.
    pub acting: watch::Sender<Arc<Acting>>,
    /// Published: whom decisions are about that only count.
    pub shadows: watch::Sender<Arc<Shadows>>,
    /// Who had sessions under them.
    pub bystanders: mpsc::Receiver<Vec<Bystander>>,
    /// Published: decisions that are to be confirmed.
    pub provisional: watch::Sender<Arc<Vec<Provisional>>>,
    /// What is to be said of them.
    pub verdicts: mpsc::Receiver<Verdict>,
    /// Other settings.
    pub renewals: Renewals<NewSettings, Renewed>,
}

/// The room.
pub struct Desk<E> {
    /// Peers of sessions that are protected.
    sessions: BTreeSet<IpAddr>,
    /// Whether there are others.
    doubted: bool,
    /// Targets of detectors' decisions of an earlier run, until they are taken up.
    accused: Vec<IpNet>,
    judge: Judge,
    guards: Guards,
    /// What decisions stand on, as text, with its digest.
    ground: Option<(Arc<str>, [u8; 32])>,
    responder: Responder<E>,
    deps: DeskDeps,
    stopped: Option<Stop>,
    /// Outcomes are still to be told anew.
    retelling: bool,
    allowlist: Allowlist,
    imports: Imports,
    tallies: Tallies,
    beat: Beat,
}

impl<E: Enforcer> Desk<E> {
    /// Puts the parts together; nobody is protected until [`Desk::protect`] ran.
    pub fn new(judge: Judge, responder: Responder<E>, deps: DeskDeps) -> Self {
        Self {
            sessions: BTreeSet::new(),
            doubted: false,
            accused: Vec::new(),
            judge,
            guards: Guards::new(Vec::new()),
            ground: None,
            responder,
            deps,
            stopped: None,
            retelling: false,
            allowlist: Allowlist::default(),
            imports: Imports::default(),
            tallies: Tallies::default(),
            beat: Beat::default(),
        }
    }

    /// Its sign of life.
    pub fn beat(&self) -> Beat {
        self.beat.clone()
    }

    /// The time of decisions: the boot clock, spelled as wall time by how the clocks stood at the start. A wall clock
    /// that is stepped while the agent runs moves no end of a block; what is decided is then dated by the old clock
    /// until a restart, which takes stored ends as the new clock reads them.
    fn now(&self) -> Timestamp {
        self.deps.clock.wall(time::boot_now())
    }

    /// Takes the current host facts to heart: guards, the kernel's allow maps, and decisions that now offend them.
    ///
    /// Whoever logs in while a detector's decision on it is in force is not let off by that: it may have guessed the
    /// password. Whoever was logged in before is protected from any.
    pub async fn protect(&mut self) {
        let facts = Arc::clone(&self.deps.facts.borrow_and_update());
        let facts = Arc::new(HostFacts {
            sessions: self.trusted(&facts.sessions),
            ..HostFacts::clone(&facts)
        });
        let mut list = protected(&facts, &self.deps.allowlist);
        list.extend(self.allowlist.protected());
        self.guards = Guards::new(list);
        self.take_ground();
        if let Err(error) = self.responder.protect(self.guards.protected()) {
            tracing::error!(%error, "the kernel's allow map is not complete");
        }
        self.note_respond();
        let now = self.now();
        self.recheck(now).await;
        self.responder.spare_protected().await;
        self.deps
            .protected
            .send_replace(Arc::new(self.guards.protected().to_vec()));
    }

    async fn recheck(&mut self, now: Timestamp) {
        let offending = self.judge.recheck(&self.guards, now);
        for decision in &offending {
            tracing::warn!(target_net = %decision.target, veto = ?decision.veto, "to be taken back: the target is protected now");
        }
        self.withdraw(offending, Cause::Guard, now).await;
    }

    /// Puts back what was in force before a restart. Call [`Desk::protect`] first: what is protected by now is taken back
    /// before anything is written, what ran out meanwhile is noted as expired, and of two on one target one stays.
    /// `loose` are actions told to be in force whose decisions are over, `watched` decisions whose probation may go on.
    pub async fn restore(
        &mut self,
        remembered: Vec<(Decision, Option<Action>)>,
        loose: Vec<Action>,
        watched: Vec<Decision>,
    ) {
        let now = self.now();
        self.responder.disown(loose, now).await;
        let decisions: Vec<Decision> = remembered.iter().map(|(decision, _)| decision.clone()).collect();
        self.judge.restore(decisions.clone());
        let actions: HashMap<_, _> = remembered
            .into_iter()
            .filter_map(|(decision, action)| Some((decision.id, action?)))
            .collect();
        self.responder.recall(actions);
        let taken: HashSet<DecisionId> = self.judge.active().map(|d| d.id).collect();
        let displaced = decisions
            .into_iter()
            .filter(|d| !taken.contains(&d.id))
            .map(|d| Decision {
                status: DecisionStatus::Deleted,
                ended_at: Some(now),
                ..d
            });
        self.withdraw(displaced.collect(), Cause::Superseded, now).await;
        self.expire().await;
        self.recheck(now).await;
        self.accused.clear();
        let live = self.judge.active().cloned().collect();
        for id in self.responder.restore(live, now).await {
            self.judge.fail(id);
        }
        self.responder.watch_again(watched, now).await;
        // With pins there may be entries whose decisions never reached a disk that was full: the books are what holds.
        if let Err(error) = self.responder.self_check() {
            tracing::error!(%error, "the kernel's entries cannot be brought in line with the decisions in force");
        }
        self.count_active();
        self.note_respond();
    }

    /// Tells of what was put back, now that the kernel programs are attached and it is known what they can carry out.
    pub async fn attached(&mut self) {
        while self.responder.reword(self.now()).await {}
        self.note_respond();
    }

    /// Runs until the cases' channel closes.
    pub async fn run(mut self, mut cases: mpsc::Receiver<Case>, mut commands: mpsc::Receiver<Command>) {
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
                // The timers come before the queues: a storm of alerts must not hide how things stand.
                _ = expiry.tick() => self.tick().await,
                _ = publish.tick() => self.look_around().await,
                _ = check.tick() => {
                    // What lapsed by now is not missing.
                    self.expire().await;
                    self.self_check();
                }
                () = self.responder.settle() => self.note_respond(),
                Some(verdict) = self.deps.verdicts.recv() => self.verdict(verdict).await,
                renewal = self.deps.renewals.next() => self.renew(renewal).await,
                Some(sources) = self.deps.bystanders.recv() => self.responder.note_bystanders(sources).await,
                Some(command) = commands.recv() => {
                    self.command(command).await;
                    awaited = true;
                }
                got = cases.recv_many(&mut batch, BATCH) => {
                    if got == 0 {
                        self.responder.flush().await;
                        return;
                    }
                    self.cases(std::mem::take(&mut batch)).await;
                    awaited = true;
                    // Takes turns with a storm of alerts.
                    if self.imports.due() {
                        self.import_part().await;
                    }
                }
                () = self.imports.ready() => self.import_part().await,
                _ = first_drop.tick(), if awaited => awaited = self.responder.watch_first_drops(time::boot_now()),
            }
        }
    }

    async fn cases(&mut self, cases: Vec<Case>) {
        self.meet_peers();
        self.see_containers();
        // A return is told by the kernel, which knows of an end before its tick here.
        self.expire().await;
        let now = self.now();
        let mut orders = Vec::with_capacity(2 * cases.len());
        for case in cases {
            orders.extend(case.investigation.clone().map(Order::Learn));
            let former = self.former(&case).cloned();
            let before = self.judge.before(&self.dated(&case.alert), former.as_ref(), now);
            let order = if case.revised {
                self.revision(&case, now)
            } else {
                Some(self.first_word(&case, now))
            };
            let Some(order) = order else { continue };
            let proof = self.proof(&case, former, before, &order, now);
            orders.extend(proof.as_ref().and_then(|proof| self.prove(proof, now)));
            orders.push(order);
            let network = case.investigation.as_ref().and_then(|found| found.network_prefix);
            self.widen(&mut orders, proof, network, now);
        }
        self.carry_out(orders, now).await;
    }

    /// What an alert leads to at once.
    fn first_word(&mut self, case: &Case, now: Timestamp) -> Order {
        let Some(decision) = self.judgement(case, now) else {
            return Order::Note(Arc::clone(&case.alert));
        };
        Order::Apply {
            decision,
            evidence_at: Some(case.alert.evidence_at),
            alert: Some(Arc::clone(&case.alert)),
            reply: None,
        }
    }

    /// What is changed now that more is known.
    fn revision(&mut self, case: &Case, now: Timestamp) -> Option<Order> {
        let found = case.investigation.as_ref()?;
        let dated = self.dated(&case.alert);
        match self.judge.revise(&dated, known(found), &self.guards, now)? {
            Revision::Changed(decision) => Some(Order::Apply {
                decision,
                evidence_at: Some(case.alert.evidence_at),
                alert: None,
                reply: None,
            }),
            Revision::Lifted(decision) => Some(Order::Withdraw {
                decisions: vec![decision],
                cause: Cause::Revised,
                actor: "sentinel".to_owned(),
                reply: None,
            }),
        }
    }

    fn judgement(&mut self, case: &Case, now: Timestamp) -> Option<Decision> {
        let alert = &case.alert;
        let dated = self.dated(alert);
        if alert.detector != Detector::Probation {
            let found = known(case.investigation.as_ref()?);
            return self.judge.judge(&dated, found, &self.guards, now);
        }
        let former = self.responder.former(alert.former?)?;
        self.judge.returned(&dated, former, &self.guards, now)
    }

    /// The alert with its time on the desk's own clock: detectors follow a wall clock that was stepped, the desk does not,
    /// and "before the release" must compare like with like.
    fn dated<'a>(&self, alert: &'a Alert) -> Cow<'a, Alert> {
        let at = self.deps.clock.wall(alert.evidence_at);
        if at.0.abs_diff(alert.at.0) <= STEPPED.as_nanos() as u64 {
            return Cow::Borrowed(alert);
        }
        Cow::Owned(Alert { at, ..alert.clone() })
    }

    async fn command(&mut self, command: Command) {
        self.meet_peers();
        self.see_containers();
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
            Command::Delete {
                which,
                forget,
                actor,
                reply,
            } => {
                if let Some(told) = self.delete(which, forget, actor).await {
                    let _ = reply.send(told);
                }
            }
            Command::Confirm { id, actor, reply } => self.confirm(id, actor, reply).await,
            Command::Import(import, reply) => self.import(import, reply),
            Command::Fleet { orders, most, reply } => self.follow(orders, most, reply).await,
            Command::Act {
                on,
                actor,
                reason,
                reply,
            } => {
                let outcome = self.act(on, actor, reason).await;
                let _ = reply.send(outcome);
            }
            Command::Allow(wish, reply) => {
                let outcome = self.allow(wish.entry(now), now).await;
                let _ = reply.send(outcome);
            }
            Command::Disallow { target, actor, reply } => {
                let outcome = self.disallow(target, &actor).await;
                let _ = reply.send(outcome);
            }
        }
    }

    async fn tick(&mut self) {
        self.beat.strike();
        self.expire().await;
        self.expire_allowed(self.now()).await;
        self.settle_provisional().await;
        if self.retelling {
            self.retelling = self.responder.reword(self.now()).await;
        }
    }

    async fn expire(&mut self) {
        let now = self.now();
        let (rolled_back, expired): (Vec<_>, Vec<_>) = self
            .judge
            .expire(now)
            .into_iter()
            .partition(|d| d.status == DecisionStatus::RolledBack);
        self.withdraw(expired, Cause::Expired, now).await;
        self.take_back(rolled_back, now).await;
    }

    async fn withdraw(&mut self, mut decisions: Vec<Decision>, cause: Cause, now: Timestamp) {
        self.last_tallies(&decisions).await;
        while !decisions.is_empty() {
            let rest = decisions.split_off(decisions.len().min(WITHDRAWN));
            let order = Order::Withdraw {
                decisions: std::mem::replace(&mut decisions, rest),
                cause,
                actor: "sentinel".to_owned(),
                reply: None,
            };
            self.carry_out(vec![order], now).await;
        }
    }

    async fn carry_out(&mut self, orders: Vec<Order>, now: Timestamp) {
        self.beat.strike();
        self.tallies.stale = true;
        for id in self.responder.carry_out(orders, now).await {
            self.judge.fail(id);
        }
        if self.responder.holds() <= COUNTED_AT_ONCE {
            self.count_active();
        }
        self.tell_provisional();
        self.note_respond();
        self.publish_hits(0);
    }

    /// Once a second: what could not be removed is tried again, counters are read, the state is told.
    async fn look_around(&mut self) {
        if self.doubted {
            // What is in force on them may be over.
            self.protect().await;
        }
        self.responder.retry_removals(self.now()).await;
        self.responder.end_probations(self.now()).await;
        // The hook may have changed: an interface came back, or a program was taken off.
        self.responder.reword(self.now()).await;
        self.publish_hits(HITS);
        self.keep_tallies().await;
        self.count_active();
        self.note_respond();
    }

    fn count_active(&self) {
        self.tell_isolations();
        self.deps.metrics.set_active(self.responder.in_force());
        self.deps.metrics.decisions_watched.set(self.responder.watches() as i64);
    }

    fn note_respond(&self) {
        self.condition(Component::Respond, self.responder.condition());
    }

    fn publish_hits(&mut self, budget: usize) {
        match self.responder.hits(budget) {
            Ok(news) => self.deps.hits.send_modify(|table| news.tell(Arc::make_mut(table))),
            Err(error) => tracing::warn!(%error, "hit counters not read"),
        }
    }

    fn self_check(&mut self) {
        let allows = self.responder.protect(self.guards.protected());
        self.note_respond();
        let blocks = self.responder.self_check();
        let acts = self.judge.mode() == Mode::Production && self.stopped.is_none();
        let switch = self.responder.check_switch(acts);
        let checked: Result<u64, _> = [allows, blocks, switch].into_iter().sum();
        if let Ok(drift) = &checked {
            self.deps.metrics.enforcement_drift.set(*drift as i64);
        }
        let condition = match checked {
            Ok(0) => Condition::Ok {
                detail: "block map equals the active decisions and probations".into(),
            },
            Ok(drift) => Condition::Degraded {
                cause: format!(
                    "{drift} entries of the kernel's lists, or the switch in front of them, differed from what should be in \
                     force and were repaired"
                ),
                mend: "find out who else writes the maps (`bpftool map`); the next check clears this".into(),
            },
            Err(error) => Condition::Degraded {
                cause: format!(
                    "the kernel's lists could not be made equal to the active decisions and probations: {error}"
                ),
                mend: "tried again within a minute; see the log, `sentinel doctor` tells what is missing".into(),
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

/// What the judge needs of an investigation.
fn known(found: &Investigation) -> Found<'_> {
    Found {
        risk: &found.risk,
        investigation: Some(found.id),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
