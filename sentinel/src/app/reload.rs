//! Which rooms hear of other settings, and of which of them.

use super::{Rooms, reach};
use crate::config::{AlertingConfig, Config, InForce, IntelConfig, LAPI_FEED, Origins, SeverityThresholds};
use crate::control::{NewSettings, Part, Reloading, Renewed, Reread};
use crate::export;
use crate::host::Endpoint;
use crate::intel::{Intel, endpoints};
use crate::notify;
use crate::sandbox::Sandbox;
use crate::service;
use crate::types::{ChannelKind, Health, ReloadWish, Renewals, Renewer, renewals};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Where rooms hear.
pub(super) struct Lines {
    pub(super) desk: Renewals<NewSettings, Renewed>,
    pub(super) analysis: Renewals<Arc<Config>>,
    pub(super) beside: Renewals<Arc<Config>>,
    pub(super) feeds: Renewals<IntelConfig>,
    pub(super) alerting: Renewals<AlertingConfig>,
    pub(super) risk: watch::Receiver<SeverityThresholds>,
    pub(super) own_feeds: watch::Receiver<Vec<String>>,
    pub(super) servers: watch::Receiver<Vec<Endpoint>>,
    pub(super) mail: watch::Receiver<bool>,
}

/// The other ends.
pub(super) struct Ways {
    desk: Renewer<NewSettings, Renewed>,
    analysis: Renewer<Arc<Config>>,
    beside: Renewer<Arc<Config>>,
    feeds: Renewer<IntelConfig>,
    alerting: Renewer<AlertingConfig>,
    risk: watch::Sender<SeverityThresholds>,
    own_feeds: watch::Sender<Vec<String>>,
    servers: watch::Sender<Vec<Endpoint>>,
    mail: watch::Sender<bool>,
}

/// Both ends, as the settings are at the start.
pub(super) fn lines(config: &Config) -> (Ways, Lines) {
    let ((desk, to_desk), (analysis, to_analysis), (beside, to_beside)) = (renewals(), renewals(), renewals());
    let ((feeds, to_feeds), (alerting, to_alerting)) = (renewals(), renewals());
    let (risk, risk_told) = watch::channel(config.risk_thresholds);
    let (own_feeds, own_told) = watch::channel(own_feeds(config));
    let (servers, servers_told) = watch::channel(servers(config));
    let (mail, mail_told) = watch::channel(mails(config));
    let ways = Ways {
        desk,
        analysis,
        beside,
        feeds,
        alerting,
        risk,
        own_feeds,
        servers,
        mail,
    };
    let lines = Lines {
        desk: to_desk,
        analysis: to_analysis,
        beside: to_beside,
        feeds: to_feeds,
        alerting: to_alerting,
        risk: risk_told,
        own_feeds: own_told,
        servers: servers_told,
        mail: mail_told,
    };
    (ways, lines)
}

/// Names of lists that are none of the built-in ones: they weigh as much, each by itself.
fn own_feeds(config: &Config) -> Vec<String> {
    let feeds = &config.intel.feeds;
    let lapi = (!feeds.crowdsec.url.is_empty()).then(|| LAPI_FEED.to_owned());
    feeds.custom.iter().map(|feed| feed.name.clone()).chain(lapi).collect()
}

fn mails(config: &Config) -> bool {
    config.alerting.configured(ChannelKind::Email)
}

/// The servers that the agent talks to.
pub(super) fn servers(config: &Config) -> Vec<Endpoint> {
    let asked = endpoints(&config.intel)
        .into_iter()
        .chain(export::endpoints(&config.export))
        .chain(notify::endpoints(&config.alerting))
        .chain(config.bus.hosts().map(|host| ("Redis".to_owned(), host)))
        .chain(config.bettercap.host().map(|host| ("Bettercap".to_owned(), host)));
    asked.map(|(what, host)| Endpoint { what, host }).collect()
}

/// Who hears what Bettercap hears: nobody, whoever hears nothing else, or somebody beside the kernel's ears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ears {
    None,
    Only,
    Beside,
}

/// What the room is made of.
pub(super) struct Reload {
    pub(super) read: Reread,
    pub(super) config: Arc<Config>,
    pub(super) origins: Arc<Origins>,
    pub(super) told: watch::Sender<Option<Arc<InForce>>>,
    pub(super) wishes: mpsc::Receiver<ReloadWish>,
    pub(super) health: watch::Sender<Arc<Health>>,
    pub(super) intel: Intel,
    pub(super) ears: Ears,
    pub(super) sandbox: Sandbox,
}

/// Spawns the room that reads settings anew.
pub(super) fn begin(rooms: &mut Rooms, ways: Ways, reload: Reload, cancel: CancellationToken) {
    let by_ears = |config: &Arc<Config>| {
        let mut config = Config::clone(config);
        config.kernel.egress = true;
        Arc::new(config)
    };
    let mut parts = vec![
        match reload.ears {
            Ears::Only => Part::new("detectors", ways.analysis, by_ears),
            _ => Part::new("detectors", ways.analysis, Arc::clone),
        },
        Part::new("feeds", ways.feeds, |config| config.intel.clone()),
        Part::new("notifications", ways.alerting, |config| config.alerting.clone()),
    ];
    if reload.ears == Ears::Beside {
        parts.push(Part::new("detectors of Bettercap's events", ways.beside, by_ears));
    }
    let Ways {
        risk,
        own_feeds: own,
        servers: asked,
        mail,
        ..
    } = ways;
    let intel = reload.intel;
    let tell = move |config: &Config| {
        risk.send_replace(config.risk_thresholds);
        intel.set_thresholds(&config.risk_thresholds);
        own.send_replace(own_feeds(config));
        asked.send_replace(servers(config));
        mail.send_replace(mails(config));
    };
    let fits = reach::fits(reload.sandbox, Arc::clone(&reload.config));
    let room = Reloading {
        read: Arc::new(reload.read),
        now: InForce {
            config: reload.config,
            origins: reload.origins,
            pending: Vec::new(),
        },
        told: reload.told,
        desk: ways.desk,
        parts,
        tell: Box::new(tell),
        fits,
        around: Box::new(service::reloading),
        health: reload.health,
    };
    rooms.spawn("reloading", room.run(reload.wishes, cancel));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_local_api_of_crowdsec_weighs_as_a_list_of_ones_own() {
        let mut config = Config::default();
        assert!(own_feeds(&config).is_empty());
        config.intel.feeds.crowdsec.url = "http://127.0.0.1:8080".to_owned();
        assert_eq!(own_feeds(&config), [LAPI_FEED]);
    }
}
