//! What an earlier run left in force.

use crate::config::Config;
use crate::export;
use crate::store::{ActionFilter, PAGE_MAX, ROUTER, Record, Store};
use crate::types::{Action, ActionStatus, Component, Condition, Decision, DecisionId, Health};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::watch;

/// The decisions that were in force when the agent last ran, each with its latest action in the kernel.
pub(crate) async fn remembered(store: &Store) -> anyhow::Result<Vec<(Decision, Option<Action>)>> {
    let decisions = store.active_decisions().await?;
    let mut latest: HashMap<DecisionId, Action> = HashMap::new();
    let actions = store.actions_of(decisions.iter().map(|d| d.id).collect()).await?;
    // What stands beside the kernel is remembered by the room that does it.
    for action in actions.into_iter().filter(|action| !action.kind.beside()) {
        let newer = latest
            .get(&action.decision)
            .is_none_or(|old| (old.intent_at, old.id) < (action.intent_at, action.id));
        if newer {
            latest.insert(action.decision, action);
        }
    }
    Ok(decisions
        .into_iter()
        .map(|decision| {
            let action = latest.remove(&decision.id);
            (decision, action)
        })
        .collect())
}

/// Actions in the kernel told to be in force whose decisions are not: what a failed removal or a crash left.
pub(crate) async fn loose(store: &Store, remembered: &[(Decision, Option<Action>)]) -> anyhow::Result<Vec<Action>> {
    let active: HashSet<DecisionId> = remembered.iter().map(|(decision, _)| decision.id).collect();
    let mut loose = Vec::new();
    for status in [ActionStatus::Intent, ActionStatus::Enforced, ActionStatus::Simulated] {
        let mut filter = ActionFilter {
            status: Some(status),
            ..ActionFilter::default()
        };
        filter.window.limit = PAGE_MAX;
        loop {
            let page = store.actions(filter.clone()).await?;
            loose.extend(
                page.items
                    .into_iter()
                    .filter(|action| !action.kind.beside() && !active.contains(&action.decision)),
            );
            filter.window.cursor = page.next_cursor;
            if filter.window.cursor.is_none() {
                break;
            }
        }
    }
    Ok(loose)
}

/// Containers cut off by an earlier run are nobody's while no engine is configured: that is said, loudly.
pub(super) async fn tell_left_behind(store: &Store, health: &watch::Sender<Arc<Health>>) -> anyhow::Result<()> {
    let cut_off = store.isolations().await?;
    let cut_off = cut_off
        .iter()
        .filter(|(action, undo)| undo.is_some() && !action.removed())
        .count();
    if cut_off > 0 {
        let cause =
            format!("{cut_off} containers were cut off by an earlier run and are not put back without an engine");
        let mend =
            "set `containers.engine` again and restart; or reconnect them with `docker network connect`".to_owned();
        tracing::error!(cause, mend, "left behind");
        let condition = Condition::Degraded { cause, mend };
        health.send_if_modified(|board| Health::note(board, Component::Containers, condition));
    }
    Ok(())
}

/// From now on these read alerts from the store. What is kept for a reader that is switched off would be kept for ever.
pub(super) async fn name_readers(store: &Store, config: &Config) {
    let mut readers = export::readers(&config.export);
    readers.push(ROUTER);
    if config.bus.redis().is_some() && config.fleet.share.alerts {
        readers.push(crate::fleet::READER);
    }
    if let Err(error) = store.commit(vec![Record::Readers(readers)]).await {
        tracing::warn!(%error, "alerts may be kept for readers that are there no more, until the next start");
    }
}
