//! A judgement with everything it followed from, so that it can be come to again.

use super::ceiling::Ceiling;
use super::containers::Container;
use super::{Found, Guards, Judge, Revision};
use crate::config::{Mode, ResponseConfig};
use crate::types::{ActionKind, Alert, AlertId, Decision, DecisionId, Mint, Protected, Risk, Timestamp, canonical};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What holds for all decisions until it is changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ground {
    /// Simulation or production.
    pub mode: Mode,
    /// A person had stopped all acting.
    pub stopped: bool,
    /// The matrix, and how it is followed.
    pub response: ResponseConfig,
    /// What was protected.
    pub protected: Vec<Protected>,
}

/// What the books said of a target before a judgement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Before {
    /// Decisions in force on it and around it, the narrowest first.
    pub covering: Vec<Decision>,
    /// What each of the alerts behind the one on it asks for.
    pub support: Vec<(AlertId, ActionKind)>,
    /// The latest release by a person.
    pub released: Option<Timestamp>,
    /// Decisions about it that ran out lately.
    pub returns: u32,
    /// Whether the alert led to something before.
    pub acted: bool,
    /// Decisions of detectors that began within the last minute, anywhere.
    pub begun: usize,
    /// Decisions of detectors in force, anywhere.
    pub active: usize,
    /// What was known of its container; `None` where no engine is configured.
    pub container: Option<Container>,
}

/// A judgement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// When.
    pub at: Timestamp,
    /// The alert.
    pub alert: Alert,
    /// How risky its source was held to be; nobody asks that of a return on probation.
    pub risk: Option<Risk>,
    /// Of a return on probation: the decision that ran out.
    pub former: Option<Decision>,
    /// Whether more was known than when the alert was first judged.
    pub revised: bool,
    /// What was in force.
    pub before: Before,
    /// What came of it.
    pub outcome: Decision,
}

impl Judge {
    /// What every decision stands on.
    pub fn ground(&self, guards: &Guards) -> Ground {
        Ground {
            mode: self.mode,
            stopped: self.stopped,
            response: self.config.clone(),
            protected: guards.protected().to_vec(),
        }
    }

    /// What the books say of the source of an alert; where it returned on probation, of the target of the `former`
    /// decision.
    pub fn before(&self, alert: &Alert, former: Option<&Decision>, now: Timestamp) -> Before {
        let Some(target) = target_of(alert, former) else {
            return Before::default();
        };
        let standing = self.ledger.on(&target).map(|d| d.id);
        let support = standing.and_then(|id| self.support.get(&id));
        Before {
            covering: self.ledger.covering(target).cloned().collect(),
            support: support.cloned().unwrap_or_default(),
            released: self.released(target),
            returns: self.offenders.times(&target, now, self.config.policy.repeat.memory),
            acted: self.acted.contains(&alert.id),
            begun: self.ceiling.begun(now),
            active: self.ledger.detectors(),
            container: self.container(&target),
        }
    }

    /// A judge whose books say this.
    fn with(ground: &Ground, target: IpNet, alert: AlertId, before: &Before, now: Timestamp) -> Self {
        let mut judge = Self::new(&ground.response, ground.mode, Mint::Counted(0));
        judge.stopped = ground.stopped;
        for decision in &before.covering {
            judge.ledger.put(decision.clone());
        }
        if let Some(standing) = judge.ledger.on(&target).map(|d| d.id) {
            judge.support.insert(standing, before.support.clone());
        }
        if let Some(released) = before.released {
            judge.hold(target, released);
        }
        if before.returns > 0 {
            let memory = ground.response.policy.repeat.memory;
            judge.offenders.note(target, before.returns, now, memory);
        }
        if before.acted {
            judge.acted_on(alert);
        }
        judge.ceiling = Ceiling::with(before.begun, now);
        judge.know(&target, before.container);
        judge.elsewhere = before.active.saturating_sub(judge.ledger.detectors());
        judge
    }
}

impl Judged {
    /// Comes to the judgement again.
    ///
    /// # Errors
    /// What comes out differently, in words.
    pub fn verify(&self, ground: &Ground) -> Result<(), String> {
        let target = target_of(&self.alert, self.former.as_ref());
        let target = target.ok_or("the alert names nobody, and so nothing follows from it")?;
        let guards = Guards::given(ground.protected.clone());
        let mut judge = Judge::with(ground, target, self.alert.id, &self.before, self.at);
        let found = || {
            let risk = self
                .risk
                .as_ref()
                .ok_or("nothing tells how risky its source was held to be")?;
            Ok::<_, &str>(Found {
                risk,
                investigation: self.outcome.investigation,
            })
        };
        let again = if let Some(former) = &self.former {
            judge.returned(&self.alert, former, &guards, self.at)
        } else if self.revised {
            judge
                .revise(&self.alert, found()?, &guards, self.at)
                .map(|revision| match revision {
                    Revision::Changed(decision) | Revision::Lifted(decision) => decision,
                })
        } else {
            judge.judge(&self.alert, found()?, &guards, self.at)
        };
        let mut again = again.ok_or("nothing follows from the alert")?;
        // A new decision's name is drawn by lot; an old one keeps its own.
        let known = |id: DecisionId| self.before.covering.iter().any(|d| d.id == id);
        if !known(again.id) && !known(self.outcome.id) {
            again.id = self.outcome.id;
        }
        if again == self.outcome {
            return Ok(());
        }
        Err(difference(&self.outcome, &again))
    }
}

/// Whom a judgement is about.
fn target_of(alert: &Alert, former: Option<&Decision>) -> Option<IpNet> {
    let source = || alert.source.map(|source| canonical(IpNet::from(source)));
    former.map(|former| former.target).or_else(source)
}

/// The first thing in which two decisions differ.
pub(super) fn difference(was: &Decision, is: &Decision) -> String {
    let parts = [
        ("name", was.id.to_string(), is.id.to_string()),
        ("target", was.target.to_string(), is.target.to_string()),
        ("action", was.action.as_str().to_owned(), is.action.as_str().to_owned()),
        ("terms", format!("{:?}", was.terms), format!("{:?}", is.terms)),
        ("end", format!("{:?}", was.expires_at), format!("{:?}", is.expires_at)),
        ("status", format!("{:?}", was.status), format!("{:?}", is.status)),
        ("guard", format!("{:?}", was.veto), format!("{:?}", is.veto)),
        ("reason", was.reason.clone(), is.reason.clone()),
    ];
    let found = parts.into_iter().find(|(_, was, is)| was != is);
    found.map_or_else(
        || "another decision follows".to_owned(),
        |(what, was, is)| format!("its {what} would be {is}, and was {was}"),
    )
}
