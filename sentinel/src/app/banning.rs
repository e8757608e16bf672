//! Bettercap as a responder: who tells whom to ban, and whether there is anybody to do it.

use crate::bettercap::Session;
use crate::config::BettercapConfig;
use crate::control::{Bans, BesideDeps};
use crate::types::{Component, Condition, Health, Protected, ToBan};
use std::sync::Arc;
use tokio::sync::watch;

/// Where wishes go, where there are to be any, and come from.
pub(super) fn wishes(config: &BettercapConfig) -> (Option<watch::Sender<Arc<ToBan>>>, watch::Receiver<Arc<ToBan>>) {
    let (sender, receiver) = watch::channel(Arc::default());
    (config.arp_ban.then_some(sender), receiver)
}

/// The room, where it is wanted or an earlier run left bans to lift. Those that nobody can lift are said, loudly.
pub(super) async fn room(
    config: &BettercapConfig,
    wanted: watch::Receiver<Arc<ToBan>>,
    protected: watch::Receiver<Arc<Vec<Protected>>>,
    deps: BesideDeps,
) -> anyhow::Result<Option<Bans>> {
    let left = deps.store.bans().await?.len();
    if !config.arp_ban && left == 0 {
        return Ok(None);
    }
    if config.url.is_empty() {
        let condition = Condition::Degraded {
            cause: format!("{left} bans by ARP of an earlier run are not lifted without a Bettercap"),
            mend: "set `bettercap.url` again and restart; or have Bettercap do it: `arp.ban off`".to_owned(),
        };
        deps.health
            .send_if_modified(|health| Health::note(health, Component::ArpBan, condition));
        return Ok(None);
    }
    Ok(Some(Bans::new(Session::new(config)?, wanted, protected, deps)))
}
