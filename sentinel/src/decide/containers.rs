//! Whether a target is a container that can be isolated.

use super::Judge;
use crate::types::{ActionKind, CommandError, ContainerSet, NewDecision, Veto, canonical};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// Why a target is blocked where its container was to be isolated; completes "blocked, because …".
type Instead = &'static str;

/// What was known of a target's container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The engine answers.
    pub answers: bool,
    /// A container has the address.
    pub there: bool,
}

impl Judge {
    /// What is known of containers from now on; `None` where no engine is configured.
    pub fn set_containers(&mut self, containers: Option<Arc<ContainerSet>>) {
        self.containers = containers;
    }

    /// The action on a target whose container is to be isolated, and why where it is a block instead.
    pub(super) fn isolated(&self, target: &IpNet) -> (ActionKind, Option<Instead>) {
        let instead = match &self.containers {
            None => "blocked, because no container engine is configured",
            Some(_) if self.isolates(target) => return (ActionKind::IsolateContainer, None),
            Some(known) if known.fault.is_some() => "blocked, because the container engine does not answer",
            Some(known) if owned(known, target) => return (ActionKind::IsolateContainer, None),
            Some(_) => "blocked, because no container here has this address",
        };
        (ActionKind::BlockIp, Some(instead))
    }

    /// What is known of a target's container, as far as a judgement rests on it.
    pub(super) fn container(&self, target: &IpNet) -> Option<Container> {
        self.containers.as_ref().map(|known| Container {
            answers: known.fault.is_none(),
            there: owned(known, target),
        })
    }

    /// Has a judge know just that.
    pub(super) fn know(&mut self, target: &IpNet, container: Option<Container>) {
        self.containers = container.map(|container| {
            let owner = container.there.then(|| (target.addr(), Vec::new()));
            Arc::new(ContainerSet {
                fault: (!container.answers).then(String::new),
                owners: owner.into_iter().collect(),
            })
        });
    }

    /// Whether a container is cut off for this target already: then the engine no longer knows the address.
    fn isolates(&self, target: &IpNet) -> bool {
        let standing = self.ledger.on(target);
        standing.is_some_and(|decision| decision.action == ActionKind::IsolateContainer)
    }

    /// Whether an operator may have the container of a target isolated.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] where there is none, [`CommandError::Vetoed`] where it is protected.
    pub(super) fn may_isolate(&self, wish: &NewDecision) -> Result<(), CommandError> {
        let target = canonical(wish.target);
        let invalid = |text: String| Err(CommandError::Invalid(text));
        let Some(known) = &self.containers else {
            return invalid("no container engine is configured; name one in `containers.engine` of the settings and restart, or ask for `block`".to_owned());
        };
        let Some(address) = host(&target) else {
            return invalid(format!(
                "{target} is a prefix, and a container is isolated by its address; name one address, or ask for `block`"
            ));
        };
        if self.isolates(&target) {
            return Ok(());
        }
        if let Some(fault) = &known.fault {
            return invalid(format!(
                "it is not known who has {address}: {fault}; or ask for `block`"
            ));
        }
        let owners = known.owners.get(&address).map(Vec::as_slice).unwrap_or_default();
        match owners {
            [] => invalid(format!(
                "no running container here has the address {address}; see `docker inspect`, or ask for `block`"
            )),
            [owner] => match &owner.protected {
                None => Ok(()),
                Some(why) => Err(CommandError::Vetoed(Veto {
                    guard: "protected_container".to_owned(),
                    reason: format!("container {} is never isolated: {why}", owner.name),
                })),
            },
            many => invalid(format!(
                "{} containers have the address {address}; disconnect the one you mean yourself, or ask for `block`",
                many.len()
            )),
        }
    }
}

fn host(target: &IpNet) -> Option<IpAddr> {
    (target.prefix_len() == target.max_prefix_len()).then(|| target.addr())
}

fn owned(known: &ContainerSet, target: &IpNet) -> bool {
    host(target).is_some_and(|address| known.owners.contains_key(&address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Mode};
    use crate::decide::Guards;
    use crate::types::{Mint, Owner, Timestamp};
    use std::time::Duration;

    fn judge(known: Option<ContainerSet>) -> Judge {
        let mut judge = Judge::new(&Config::default().response, Mode::Production, Mint::Counted(0));
        judge.set_containers(known.map(Arc::new));
        judge
    }

    fn owner(name: &str, protected: Option<&str>) -> Owner {
        Owner {
            id: name.into(),
            name: name.into(),
            protected: protected.map(Arc::from),
        }
    }

    fn known() -> ContainerSet {
        let at = |text: &str| text.parse().unwrap();
        ContainerSet {
            fault: None,
            owners: [
                (at("172.17.0.2"), vec![owner("web", None)]),
                (at("fd62::2"), vec![owner("web", None)]),
                (at("172.17.0.3"), vec![owner("db", Some("listed"))]),
                (at("172.17.0.4"), vec![owner("a", None), owner("b", None)]),
            ]
            .into(),
        }
    }

    fn wish(target: &str, action: ActionKind) -> NewDecision {
        NewDecision {
            collateral: None,
            target: target.parse().unwrap(),
            action,
            rate: None,
            egress: None,
            duration: Duration::from_mins(1),
            reason: "test".into(),
            actor: "test".into(),
        }
    }

    #[test]
    fn a_reaction_isolates_containers_and_blocks_the_rest_with_the_reason() {
        let down = ContainerSet::unasked();
        for (set, target, words) in [
            (None, "172.17.0.2/32", Some("no container engine is configured")),
            (Some(down), "172.17.0.2/32", Some("does not answer")),
            (
                Some(known()),
                "172.17.0.9/32",
                Some("no container here has this address"),
            ),
            (
                Some(known()),
                "172.17.0.0/24",
                Some("no container here has this address"),
            ),
            (Some(known()), "172.17.0.2/32", None),
            (Some(known()), "fd62::2/128", None),
        ] {
            let (action, instead) = judge(set).isolated(&target.parse().unwrap());
            assert_eq!(action == ActionKind::IsolateContainer, words.is_none(), "{target}");
            assert_eq!(instead.is_some(), words.is_some());
            assert!(
                instead.unwrap_or_default().contains(words.unwrap_or_default()),
                "{instead:?}"
            );
        }
    }

    #[test]
    fn an_operator_is_told_why_a_target_cannot_be_isolated() {
        let guards = Guards::new(Vec::new());
        let ask = |set: Option<ContainerSet>, target: &str| {
            let wish = wish(target, ActionKind::IsolateContainer);
            judge(set).operator(&wish, &guards, Timestamp(1))
        };
        for (set, target, words) in [
            (None, "172.17.0.2/32", "`containers.engine`"),
            (Some(ContainerSet::unasked()), "172.17.0.2/32", "was not asked yet"),
            (Some(known()), "172.17.0.0/24", "is a prefix"),
            (Some(known()), "172.17.0.9/32", "no running container"),
            (Some(known()), "172.17.0.4/32", "2 containers"),
            (
                Some(known()),
                "172.17.0.3/32",
                "guard `protected_container`: container db",
            ),
        ] {
            let error = ask(set, target).expect_err(target).to_string();
            assert!(error.contains(words), "{target}: {error}");
        }
        let made = ask(Some(known()), "172.17.0.2/32").expect("a container");
        assert_eq!(made.action, ActionKind::IsolateContainer);
    }

    #[test]
    fn who_is_isolated_already_may_be_again_though_the_engine_forgot_the_address() {
        let guards = Guards::new(Vec::new());
        let mut judge = judge(Some(known()));
        let wish = wish("172.17.0.2/32", ActionKind::IsolateContainer);
        let first = judge.operator(&wish, &guards, Timestamp(1)).expect("isolated");
        judge.set_containers(Some(Arc::default()));
        let again = judge.operator(&wish, &guards, Timestamp(2)).expect("extended");
        assert_eq!(again.id, first.id);
        assert_eq!(judge.isolated(&wish.target).0, ActionKind::IsolateContainer);
    }
}
