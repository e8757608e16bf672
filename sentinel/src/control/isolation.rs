//! Which containers are to be cut off, against which are: brought in line whenever either changes, and tried until it is.
//!
//! The desk says what is wanted, the database what was begun. Nothing is disconnected before its undo record is durable,
//! so whatever ended this process, the next one goes on either way: isolates while the decision is in force, puts back
//! when it is over. The engine may hang for as long as it likes: only this room waits for it.

mod case;
mod end;
mod tell;
#[cfg(test)]
mod tests;

use super::BesideDeps;
use crate::containers::{ContainerError, Engine, Protection, Undo, capture, cut, find};
use crate::store::{Record, StoreError};
use crate::types::{ActionStatus, Condition, ContainerSet, DecisionId, Isolate, Mint, Owner, ToIsolate, Veto};
use case::{Case, Stage};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tell::{isolated, removed};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// How often a container that is cut off is looked at, whatever the engine's events say.
const LOOK: Duration = Duration::from_mins(1);
/// Pause before a read of the database is tried again.
const REREAD: Duration = Duration::from_secs(1);

/// The room.
pub struct Isolations {
    engine: Arc<Engine>,
    protection: Protection,
    quarantine: Option<String>,
    wanted: watch::Receiver<Arc<ToIsolate>>,
    known: watch::Receiver<Arc<ContainerSet>>,
    deps: BesideDeps,
    mint: Mint,
    cases: BTreeMap<DecisionId, Case>,
}

/// Whom to cut off, or why nobody.
enum Whom {
    Container(String),
    Nobody { why: String, veto: bool, seen: Vec<Owner> },
}

impl Isolations {
    /// The room; `quarantine` is the network containers are moved to, where they are not only disconnected.
    pub fn new(
        engine: Arc<Engine>,
        protection: Protection,
        quarantine: Option<String>,
        wanted: watch::Receiver<Arc<ToIsolate>>,
        known: watch::Receiver<Arc<ContainerSet>>,
        deps: BesideDeps,
    ) -> Self {
        Self {
            engine,
            protection,
            quarantine,
            wanted,
            known,
            deps,
            mint: Mint::Random,
            cases: BTreeMap::new(),
        }
    }

    /// Runs until cancelled or until nobody says what is wanted. What is cut off then stays so until the next start.
    pub async fn run(mut self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.follow() => {}
        }
        let cut_off: Vec<&str> = self.cases.values().filter_map(Case::holds).collect();
        if !cut_off.is_empty() {
            tracing::warn!(containers = ?cut_off, "stay cut off until the agent runs again and their decisions are over");
        }
    }

    async fn follow(&mut self) {
        while let Err(error) = self.recall().await {
            self.note(Condition::Degraded {
                cause: format!("what is isolated cannot be read from the database: {error}"),
                mend: "tried again every second; look at the disk of `store.path`".to_owned(),
            });
            sleep(REREAD).await;
        }
        loop {
            self.pass().await;
            let due = self.cases.values().filter_map(|case| case.due).min();
            let later = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.wanted.changed() => if changed.is_err() { return },
                changed = self.known.changed() => match changed {
                    Ok(()) => self.news(),
                    Err(_) => return,
                },
                () = later => {}
            }
        }
    }

    /// Takes up what was begun before a restart.
    async fn recall(&mut self) -> Result<(), StoreError> {
        for (action, undo) in self.deps.store.isolations().await? {
            let id = action.decision;
            let case = Case::recalled(action, undo.as_deref());
            // Of two on one decision the later one goes on; the earlier one's record is part of it.
            if let Some(earlier) = self.cases.insert(id, case) {
                tracing::warn!(action = %earlier.action.id, "an earlier isolation of the same decision was not told to be over");
            }
        }
        Ok(())
    }

    /// The engine tells of something new: what waited for it need not wait any longer.
    fn news(&mut self) {
        let known = Arc::clone(&self.known.borrow_and_update());
        if known.fault.is_some() {
            return;
        }
        for case in self.cases.values_mut() {
            if case.concerns(&known) {
                case.due = Some(Instant::now());
            }
        }
    }

    /// Brings what is in line with what is wanted, as far as it goes now.
    async fn pass(&mut self) {
        // One that ended is wanted in another way where its decision is in force: it begins anew.
        while self.round().await {}
        self.report();
    }

    /// One look at all of them; whether one is wanted and not begun.
    async fn round(&mut self) -> bool {
        let wanted = Arc::clone(&self.wanted.borrow_and_update());
        for (id, wish) in wanted.iter() {
            if !self.cases.contains_key(id) {
                let action = self.mint.action(self.deps.now());
                self.cases.insert(*id, Case::new(action, *id, wish, self.deps.now()));
            }
        }
        let ids: Vec<DecisionId> = self.cases.keys().copied().collect();
        // First who is to be cut off: what is known of a container then passes from a decision that is over to one in force.
        for id in &ids {
            if let Some(wish) = wanted.get(id)
                && let Some(mut case) = self.cases.remove(id)
            {
                if case.stays(wish) {
                    self.hold(&mut case, wish).await;
                }
                self.cases.insert(*id, case);
            }
        }
        for id in &ids {
            let Some(mut case) = self.cases.remove(id) else {
                continue;
            };
            let over = wanted.get(id).is_none_or(|wish| !case.stays(wish));
            if !over || !self.end(&mut case, &wanted).await {
                self.cases.insert(*id, case);
            }
        }
        wanted.keys().any(|id| !self.cases.contains_key(id))
    }

    /// Cuts off, or sees that it still is.
    async fn hold(&mut self, case: &mut Case, wish: &Isolate) {
        if case.stage == Stage::Leaving {
            // Over, and in force again before it was put back.
            case.stage = Stage::Begun;
            case.due = Some(Instant::now());
        }
        let longer = case.action.expires_at != wish.expires_at;
        case.action.expires_at = wish.expires_at;
        if !case.is_due() {
            if longer && case.told {
                self.tell(case, case.action.status, case.action.outcome.clone(), Vec::new())
                    .await;
            }
            return;
        }
        if case.stage == Stage::Begun && !case.told {
            // Written down even where the engine does not answer.
            let outcome = "not isolated yet".to_owned();
            self.tell(case, ActionStatus::Intent, outcome, Vec::new()).await;
        }
        if let Some(unreadable) = &case.unreadable {
            case.fault = Some(format!("what was cut off cannot be put back later: {unreadable}"));
            case.retry();
            return;
        }
        match self.isolate(case, wish).await {
            Ok(()) => {}
            Err(error) => {
                case.retry();
                let seen = case.action.status == ActionStatus::Enforced;
                if seen && !matches!(error, ContainerError::StillConnected(_)) {
                    // It was read back once, and nothing says that it is otherwise.
                    case.fault = Some(format!("{}; it cannot be looked at now: {error}", case.action.outcome));
                    return;
                }
                self.deps.metrics.isolation_failed("isolate");
                case.stage = Stage::Begun;
                let part = if case.undo.is_some() { " completely" } else { "" };
                let outcome = format!("not isolated{part} yet: {error}; tried again");
                case.fault = Some(outcome.clone());
                self.tell(case, ActionStatus::Intent, outcome, Vec::new()).await;
            }
        }
    }

    async fn isolate(&mut self, case: &mut Case, wish: &Isolate) -> Result<(), ContainerError> {
        let container = match self.whom(case, wish.address).await? {
            Whom::Container(id) => id,
            Whom::Nobody { why, veto, seen } => {
                self.refuse(case, why, veto, seen).await;
                return Ok(());
            }
        };
        let quarantine = self.quarantine.as_deref();
        let (fresh, protected) = match capture(&self.engine, &container, quarantine, &self.protection).await {
            Err(ContainerError::ContainerGone) => {
                self.gone(case).await;
                return Ok(());
            }
            outcome => outcome?,
        };
        case.gone = None;
        if let Some(why) = protected {
            // Since it was cut off, or it would have been refused by its address.
            let back = match &case.undo {
                None => String::new(),
                Some(undo) => match self.put_back(undo).await {
                    Ok(back) => format!("; {back}"),
                    Err(error) => {
                        self.deps.metrics.isolation_failed("restore");
                        case.retry();
                        let outcome =
                            format!("protected now ({why}), and not put back yet: {error}; tried again until it is");
                        case.fault = Some(outcome.clone());
                        self.tell(case, case.action.status, outcome, Vec::new()).await;
                        return Ok(());
                    }
                },
            };
            case.undo = None;
            let why = format!("{}{back}", protected_container(&fresh.name, &why));
            self.refuse(case, why, true, Vec::new()).await;
            return Ok(());
        }
        if wish.simulated {
            let outcome = format!(
                "simulated: container {} would be disconnected from {}; nothing was done",
                fresh.name,
                fresh.networks()
            );
            case.settle(Stage::Simulated);
            self.tell(case, ActionStatus::Simulated, outcome, Vec::new()).await;
            return Ok(());
        }
        let undo = self.undo(case, fresh.clone());
        if case.undo.as_ref() != Some(&undo) && !self.write_ahead(case, &undo).await {
            case.retry();
            return Ok(());
        }
        let undo = case.undo.insert(undo);
        match cut(&self.engine, undo).await {
            Err(ContainerError::ContainerGone) => {
                self.gone(case).await;
                return Ok(());
            }
            outcome => outcome?,
        }
        let outcome = isolated(undo, &self.known.borrow(), wish.address);
        case.settle(Stage::Standing);
        case.due = Some(Instant::now() + LOOK);
        self.tell(case, ActionStatus::Enforced, outcome, Vec::new()).await;
        Ok(())
    }

    /// Whose container it is: the one begun with, the one that has the address, or one cut off for another decision.
    async fn whom(&self, case: &Case, address: IpAddr) -> Result<Whom, ContainerError> {
        if let Some(undo) = &case.undo {
            return Ok(Whom::Container(undo.container.clone()));
        }
        let known = find(&self.engine, &self.protection).await?;
        let owners = known.owners.get(&address).cloned().unwrap_or_default();
        let nobody = |why: String, veto: bool| Whom::Nobody {
            why,
            veto,
            seen: owners.clone(),
        };
        Ok(match owners.as_slice() {
            [] => match self
                .cases
                .values()
                .filter_map(Case::undoes)
                .find(|undo| undo.has(address))
            {
                Some(undo) => Whom::Container(undo.container.clone()),
                None => nobody(format!("no running container has {address} any more"), false),
            },
            [owner] => match &owner.protected {
                None => Whom::Container(owner.id.to_string()),
                Some(why) => nobody(protected_container(&owner.name, why), true),
            },
            many => nobody(format!("{} containers have {address}", many.len()), false),
        })
    }

    /// What is to be put back: what was written down first, for this decision or another, and what came to it since.
    fn undo(&self, case: &Case, fresh: Undo) -> Undo {
        let others = self.cases.values().filter_map(|other| other.undo.as_ref());
        let base = case
            .undo
            .iter()
            .chain(others.filter(|undo| undo.container == fresh.container))
            .cloned()
            .reduce(|base, other| base.with(&other));
        match base {
            Some(base) => base.with(&fresh),
            None => fresh,
        }
    }

    /// Whether the record is durable.
    async fn write_ahead(&self, case: &mut Case, undo: &Undo) -> bool {
        let json = match undo.encode() {
            Ok(json) => json,
            Err(error) => {
                tracing::error!(error, "an undo record cannot be written, so nothing is isolated");
                return false;
            }
        };
        let record = Record::Undo {
            action: case.action.id,
            json,
        };
        let outcome = format!("container {} is being disconnected from {}", undo.name, undo.networks());
        self.tell(case, ActionStatus::Intent, outcome, vec![record]).await
    }

    async fn refuse(&self, case: &mut Case, why: String, veto: bool, seen: Vec<Owner>) {
        if veto {
            self.deps.metrics.veto(&Veto {
                guard: "protected_container".to_owned(),
                reason: why.clone(),
            });
        }
        case.settle(Stage::Refused(seen));
        let outcome = format!("not isolated: {why}");
        self.tell(case, ActionStatus::Failed, outcome, Vec::new()).await;
    }

    async fn gone(&self, case: &mut Case) {
        if case.action.status == ActionStatus::Enforced
            && let Some(undo) = &case.undo
        {
            // It was isolated to its end; what came in its place is not.
            let known = Arc::clone(&self.known.borrow());
            let address = case.action.target.addr();
            let outcome = removed(undo, &known, address);
            case.gone = Some(known.owners.get(&address).cloned().unwrap_or_default());
            case.settle(Stage::Standing);
            if !self.tell(case, ActionStatus::Enforced, outcome, Vec::new()).await {
                case.retry();
            }
            return;
        }
        let had = case.undo.take();
        case.settle(Stage::Refused(Vec::new()));
        let name = had.map_or(String::new(), |undo| format!(" {}", undo.name));
        let outcome = format!("not isolated: the container{name} is gone");
        self.tell(case, ActionStatus::Failed, outcome, Vec::new()).await;
    }
}

fn protected_container(name: &str, why: &str) -> String {
    format!("refused by guard `protected_container`: container {name}: {why}")
}
