//! Which neighbours Bettercap is to keep from the gateway, against which it does: brought in line whenever either
//! changes, and tried until it is.
//!
//! In: what the desk says is in force on neighbours, what is protected. Out: commands to Bettercap, and an action `arp_ban`
//! beside the kernel's block, with its undo record durable before the first command. So whatever ended this process, the
//! next one goes on either way: bans while the decision is in force, lifts when it is over. `arp.spoof` has one list of
//! targets for all bans, and reads it when it starts: to change it, it is stopped. Invariants: nothing is told as banned
//! that was not read back; it never starts with targets that were not read back as ours alone, nor where this host routes;
//! an `arp.spoof` that runs for somebody else is left alone. Bettercap may hang for as long as it likes: only this room
//! waits for it. Deliberately elsewhere: HTTP (`bettercap`), what is in force (`desk`).

mod case;
mod line;
mod sort;
mod tell;
#[cfg(test)]
mod tests;

use super::BesideDeps;
use crate::bettercap::{BettercapError, Session, State};
use crate::store::{Record, StoreError};
use crate::types::{ActionStatus, Condition, DecisionId, DecisionStatus, Mint, Protected, ToBan};
use case::{Case, Undo};
use line::Told;
use sort::{Seen, Sorted};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// How often Bettercap is looked at while somebody is banned or should be.
const LOOK: Duration = Duration::from_secs(30);
/// Pause before the first and the longest before a later try.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Why things are not in line.
#[derive(Debug, thiserror::Error)]
enum BanError {
    #[error(transparent)]
    Bettercap(#[from] BettercapError),
    #[error("{0}")]
    Otherwise(&'static str),
    #[error("this host is a router now (`{0}` is 1), and arp.ban would switch that off")]
    Forwards(&'static str),
    #[error("what must be put back is not on disk yet")]
    NotDurable,
}

impl BanError {
    /// Nobody listens where Bettercap did: whatever ran in it runs no more.
    fn ended(&self) -> bool {
        matches!(self, Self::Bettercap(BettercapError::Nobody))
    }
}

/// The room.
pub struct Bans {
    session: Session,
    wanted: watch::Receiver<Arc<ToBan>>,
    protected: watch::Receiver<Arc<Vec<Protected>>>,
    deps: BesideDeps,
    /// Where the kernel's switches are.
    sysctl: PathBuf,
    mint: Mint,
    cases: BTreeMap<DecisionId, Case>,
    /// `arp.spoof` runs for somebody else.
    taken: bool,
    /// Who is banned because of us, or may be, and a target of that one, or may be.
    shared: BTreeSet<Ipv4Addr>,
    /// Who is no target any more, and what was said to them then.
    gone: BTreeMap<Ipv4Addr, Told>,
    /// Nobody says any more what is wanted.
    alone: bool,
    fault: Option<String>,
    due: Option<Instant>,
    tries: u32,
}

impl Bans {
    /// The room.
    pub fn new(
        session: Session,
        wanted: watch::Receiver<Arc<ToBan>>,
        protected: watch::Receiver<Arc<Vec<Protected>>>,
        deps: BesideDeps,
    ) -> Self {
        Self {
            session,
            wanted,
            protected,
            deps,
            sysctl: "/proc/sys/net".into(),
            mint: Mint::Random,
            cases: BTreeMap::new(),
            taken: false,
            shared: BTreeSet::new(),
            gone: BTreeMap::new(),
            alone: false,
            fault: None,
            due: None,
            tries: 0,
        }
    }

    /// Runs until cancelled; idle once nobody says what is wanted and nobody is banned. Who is banned at the end stays so until
    /// the next start.
    pub async fn run(mut self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.follow_and_wait() => {}
        }
        let banned: Vec<Ipv4Addr> = self.held().into_iter().collect();
        if !banned.is_empty() {
            tracing::warn!(
                ?banned,
                "stay kept from the gateway until the agent runs again and their decisions are over, or until `arp.ban off`"
            );
        }
    }

    /// A room that ends by itself ends the agent, and one that has nothing left to lift is no fault.
    async fn follow_and_wait(&mut self) {
        self.follow().await;
        std::future::pending::<()>().await;
    }

    async fn follow(&mut self) {
        while let Err(error) = self.recall().await {
            self.note(Condition::Degraded {
                cause: format!("who is banned cannot be read from the database: {error}"),
                mend: "tried again every second; look at the disk of `store.path`".to_owned(),
            });
            sleep(PAUSE.0).await;
        }
        loop {
            self.pass().await;
            if self.alone && self.cases.is_empty() {
                return;
            }
            let due = self.due;
            let later = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.wanted.changed(), if !self.alone => self.alone = changed.is_err(),
                changed = self.protected.changed() => if changed.is_err() { return },
                () = later => {}
            }
        }
    }

    /// Takes up what was begun before a restart. What it says of itself is not believed: it is looked at.
    async fn recall(&mut self) -> Result<(), StoreError> {
        for (action, undo) in self.deps.store.bans().await? {
            let id = action.decision;
            if let Some(case) = Case::recalled(action, undo.as_deref()) {
                self.cases.insert(id, case);
            }
        }
        Ok(())
    }

    /// Who is banned because of us, or may be.
    fn held(&self) -> BTreeSet<Ipv4Addr> {
        let begun = self.cases.values().filter(|case| case.begun());
        begun.map(|case| case.address).collect()
    }

    /// Brings what is in line with what is wanted, as far as it goes now.
    async fn pass(&mut self) {
        let wanted = Arc::clone(&self.wanted.borrow_and_update());
        self.protected.borrow_and_update();
        self.take_in(&wanted).await;
        let stays = |id: &DecisionId| wanted.get(id).filter(|wish| self.cases[id].stays(wish));
        let real: ToBan = self
            .cases
            .keys()
            .filter_map(|id| Some((*id, *stays(id).filter(|wish| !wish.simulated)?)))
            .collect();
        let over: Vec<DecisionId> = self.cases.keys().filter(|id| stays(id).is_none()).copied().collect();
        let outcome = if real.is_empty() && self.held().is_empty() {
            // Nothing is asked of Bettercap.
            self.shared.clear();
            Ok(None)
        } else {
            self.reconcile(&real).await
        };
        let mut done = true;
        match outcome {
            Ok(fault) => {
                self.fault = fault;
                for id in &over {
                    if !self.release(*id).await {
                        continue;
                    }
                    if !self.end(*id).await {
                        self.fault = Some("that a ban is over is not on disk yet".to_owned());
                        done = false;
                    }
                }
                self.due = (!real.is_empty() || !self.shared.is_empty()).then(|| Instant::now() + LOOK);
            }
            Err(error) => {
                self.failed(&error, &real, &over).await;
                done = false;
            }
        }
        if done {
            self.tries = 0;
        }
        if !done {
            let pause = PAUSE.0 * 2_u32.saturating_pow(self.tries.min(16));
            self.due = Some(Instant::now() + pause.min(PAUSE.1));
            self.tries += 1;
        } else if wanted.keys().any(|id| !self.cases.contains_key(id)) {
            // One ended that is wanted in another way now.
            self.due = Some(Instant::now());
        }
        self.report();
    }

    /// Takes in what is wanted; what is simulated is only told.
    async fn take_in(&mut self, wanted: &ToBan) {
        for (id, wish) in wanted {
            let now = self.deps.now();
            let mint = &mut self.mint;
            let made = self
                .cases
                .remove(id)
                .unwrap_or_else(|| Case::new(mint.action(now), *id, wish, now));
            let mut case = made;
            case.action.expires_at = wish.expires_at;
            if wish.simulated && case.stays(wish) {
                let outcome = format!(
                    "simulated: {} would be kept from the gateway by arp.ban; nothing was asked of Bettercap",
                    wish.address
                );
                self.tell(&mut case, ActionStatus::Simulated, outcome, Vec::new()).await;
            }
            self.cases.insert(*id, case);
        }
    }

    /// Has Bettercap ban those that may be and nobody else; what is wrong though it worked, in words.
    async fn reconcile(&mut self, real: &ToBan) -> Result<Option<String>, BanError> {
        let state = self.session.state().await?;
        let held = self.held();
        let listed = state.listed();
        self.taken = state.running && !listed.as_ref().is_some_and(|listed| listed.is_subset(&held));
        self.shared = match &listed {
            _ if !self.taken => BTreeSet::new(),
            Some(listed) => listed.intersection(&held).copied().collect(),
            // Ranges, MACs, names: whoever may be meant.
            None => held.clone(),
        };
        if state.running {
            let meant = |one: &Ipv4Addr| listed.as_ref().is_none_or(|listed| listed.contains(one));
            self.gone.retain(|address, _| held.contains(address) && !meant(address));
        } else {
            self.gone.retain(|address, _| held.contains(address));
            self.cases.values_mut().for_each(|case| case.seen = false);
        }
        let Sorted { keep, refused } = {
            let protected = Arc::clone(&self.protected.borrow());
            let seen = Seen {
                state: &state,
                taken: self.taken,
                forwards: self.forwards(),
                protected: &protected,
            };
            seen.sort(real)
        };
        let before = self.before(&state);
        for id in keep.keys() {
            self.write_ahead(*id, &before).await?;
        }
        let targets: BTreeSet<Ipv4Addr> = keep.values().copied().collect();
        let leave: BTreeSet<Ipv4Addr> = held.difference(&targets).copied().collect();
        let gateway = state.gateway;
        let hosts = state.hosts.clone();
        let known = if self.taken {
            BTreeSet::new()
        } else {
            self.line_up(state, &targets, &leave, &before.before).await?
        };
        let mut fault = None;
        for (id, why) in refused {
            if real.get(&id).is_some_and(|wish| self.shared.contains(&wish.address)) {
                fault = self.share(id, &hosts).await.or(fault);
            } else {
                self.refuse(id, why).await;
            }
        }
        for (id, address) in keep {
            fault = self.standing(id, address, gateway, &known).await.or(fault);
        }
        Ok(fault)
    }

    /// The targets as they were before the first ban that stands.
    fn before(&self, state: &State) -> Undo {
        let mut begun = self.cases.values().filter(|case| case.begun());
        let earlier = begun.find_map(|case| case.undo.clone());
        earlier.unwrap_or_else(|| Undo::new(&state.targets))
    }

    /// The record of what must be put back is durable before anything is done.
    async fn write_ahead(&mut self, id: DecisionId, undo: &Undo) -> Result<(), BanError> {
        let Some(mut case) = self.cases.remove(&id) else {
            return Ok(());
        };
        let mut durable = true;
        if case.undo.is_none() {
            let record = Record::Undo {
                action: case.action.id,
                json: undo.encode(),
            };
            let outcome = format!("{} is being kept from the gateway by arp.ban", case.address);
            durable = self.tell(&mut case, ActionStatus::Intent, outcome, vec![record]).await;
            if durable {
                case.undo = Some(undo.clone());
            }
        }
        self.cases.insert(id, case);
        if durable { Ok(()) } else { Err(BanError::NotDurable) }
    }

    /// It is among the targets, as read back; banned once its MAC is known.
    async fn standing(
        &mut self,
        id: DecisionId,
        address: Ipv4Addr,
        gateway: Ipv4Addr,
        known: &BTreeSet<Ipv4Addr>,
    ) -> Option<String> {
        let mut case = self.cases.remove(&id)?;
        // One that is silent for long is forgotten there, and meant again when it comes back.
        case.seen |= known.contains(&address);
        let (status, outcome, fault) = if case.seen {
            let outcome = format!("arp.ban of Bettercap keeps {address} from the gateway {gateway}, read back");
            (ActionStatus::Enforced, outcome, None)
        } else {
            let outcome = format!(
                "{address} is not banned yet: Bettercap knows no MAC of it, so it is away or silent; tried again"
            );
            (ActionStatus::Intent, outcome.clone(), Some(outcome))
        };
        self.tell(&mut case, status, outcome, Vec::new()).await;
        self.cases.insert(id, case);
        fault
    }

    /// It was banned by us, and is a target of an `arp.spoof` that is not ours alone: nothing is undone yet.
    async fn share(&mut self, id: DecisionId, hosts: &BTreeSet<Ipv4Addr>) -> Option<String> {
        let mut case = self.cases.remove(&id)?;
        case.seen |= hosts.contains(&case.address);
        let status = if case.seen {
            ActionStatus::Enforced
        } else {
            ActionStatus::Intent
        };
        let outcome = shared(case.address);
        self.tell(&mut case, status, outcome.clone(), Vec::new()).await;
        self.cases.insert(id, case);
        Some(outcome)
    }

    async fn refuse(&mut self, id: DecisionId, why: sort::Why) {
        let Some(mut case) = self.cases.remove(&id) else {
            return;
        };
        (case.undo, case.seen) = (None, false);
        let outcome = format!("not banned: {}", why.words);
        if case.action.outcome != outcome {
            self.deps.metrics.bettercap.bans.refuse(why.reason);
        }
        self.tell(&mut case, ActionStatus::Failed, outcome, Vec::new()).await;
        self.cases.insert(id, case);
    }

    /// Its decision is over. Whether the ban is, as read back: that is kept in mind, so that nobody is lifted twice because
    /// the disk does not take it.
    async fn release(&mut self, id: DecisionId) -> bool {
        let Some(mut case) = self.cases.remove(&id) else {
            return true;
        };
        let address = case.address;
        let goes = !case.begun() || !self.shared.contains(&address);
        if !goes {
            let outcome = format!("over, and not lifted yet: {}", shared(address));
            let status = case.action.status;
            self.tell(&mut case, status, outcome.clone(), Vec::new()).await;
            self.fault = Some(outcome);
        } else if case.begun() {
            case.lifted = Some(match self.gone.remove(&address) {
                Some(Told::Gateway) => format!(
                    "over; {address} is no target of arp.ban any more, read back, and was told the gateway's own address"
                ),
                Some(Told::Nothing(why)) => unsaid(address, why),
                None if self.taken => format!(
                    "over; `arp.spoof` runs for somebody else now, {address} is none of its targets, and it was left alone"
                ),
                None => unsaid(address, "it was none when `arp.spoof` was looked at"),
            });
        }
        self.cases.insert(id, case);
        goes
    }

    /// Its decision is over, and so is the ban. Whether the case is.
    async fn end(&mut self, id: DecisionId) -> bool {
        let Some(mut case) = self.cases.remove(&id) else {
            return true;
        };
        let status = match self.deps.store.decision(id).await {
            Ok(Some(decision)) if decision.status == DecisionStatus::Expired => ActionStatus::Expired,
            Ok(_) => ActionStatus::Reverted,
            Err(error) => {
                tracing::warn!(%error, "how a decision ended is not known yet");
                self.cases.insert(id, case);
                return false;
            }
        };
        let nothing = || "over; nothing was asked of Bettercap".to_owned();
        let outcome = case.lifted.clone().unwrap_or_else(nothing);
        // That nothing was done was told already.
        let told =
            case.action.status == ActionStatus::Failed || self.tell(&mut case, status, outcome, Vec::new()).await;
        if !told {
            self.cases.insert(id, case);
        }
        told
    }

    /// Says what did not work, of each whom it concerns.
    async fn failed(&mut self, error: &BanError, real: &ToBan, over: &[DecisionId]) {
        let step = if over.is_empty() { "ban" } else { "lift" };
        let gone = self.gone.clone();
        let settled = |case: &Case| {
            let banned = case.seen && !gone.contains_key(&case.address);
            banned && case.action.status == ActionStatus::Enforced
        };
        let only_looked = over.is_empty() && self.cases.values().all(settled);
        self.deps
            .metrics
            .bettercap
            .bans
            .failed(if only_looked { "look" } else { step });
        self.fault = Some(error.to_string());
        let ended = error.ended();
        if ended {
            self.cases.values_mut().for_each(|case| case.seen = false);
        }
        for id in real.keys() {
            let Some(mut case) = self.cases.remove(id) else {
                continue;
            };
            // What was read back once is not told otherwise because nobody answers.
            if !settled(&case) || matches!(error, BanError::Otherwise(_)) {
                let how = if ended && case.begun() {
                    "banned no more, as far as can be seen"
                } else {
                    "not banned yet"
                };
                let outcome = format!("{how}: {error}; tried again");
                self.tell(&mut case, ActionStatus::Intent, outcome, Vec::new()).await;
            }
            self.cases.insert(*id, case);
        }
        for id in over {
            let Some(mut case) = self.cases.remove(id) else {
                continue;
            };
            if case.begun() {
                let outcome = format!("over, and not lifted yet: {error}; tried again until it is");
                let status = if ended {
                    ActionStatus::Intent
                } else {
                    case.action.status
                };
                self.tell(&mut case, status, outcome, Vec::new()).await;
                self.cases.insert(*id, case);
            } else {
                // Bettercap has no part in it.
                self.cases.insert(*id, case);
                self.end(*id).await;
            }
        }
    }
}

/// What is told of who is a target of somebody else's, too.
fn shared(address: Ipv4Addr) -> String {
    format!(
        "{address} is or may be a target still, of an `arp.spoof` that is not ours alone; ours again once that is stopped \
         (`arp.ban off`)"
    )
}

fn unsaid(address: Ipv4Addr, why: &str) -> String {
    format!(
        "over; {address} is no target of arp.ban any more, read back, but was not told the gateway's own address: {why}; it \
         learns that once it asks again"
    )
}
