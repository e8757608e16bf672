//! What works, what does not, why, and what to do about it.

use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// Parts whose state an operator can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// Kernel programs and maps.
    Kernel,
    /// The ring and its reader.
    Ring,
    /// The database.
    Store,
    /// Carrying out decisions.
    Respond,
    /// Block map against active decisions.
    Enforcement,
    /// What is known of the host: addresses, gateways, resolvers.
    Host,
    /// The trained model: its thresholds, and whether traffic is still what they were set by.
    Model,
    /// Lists that are fetched: whether they came, were believed, and are in the kernel where they should be.
    Feeds,
    /// The operator's databases of countries and networks.
    Geoip,
    /// The container engine, and the containers cut off through it.
    Containers,
    /// Whether decisions are carried out, or a person stopped that.
    Acting,
    /// Who must answer for a decision about a prefix to be confirmed.
    Probes,
    /// The channels by which people are told.
    Notify,
    /// What is written for other tools and sent to them.
    Export,
    /// The database's size, and what may be removed of it.
    Retention,
    /// Reports that are made by themselves.
    Reports,
    /// Bettercap, where it keeps neighbours from the gateway.
    ArpBan,
    /// The Bettercap that is listened to.
    Bettercap,
    /// The traffic log.
    TrafficLog,
    /// The other sentinels, and the Redis between.
    Fleet,
    /// The settings: whether those of the files hold.
    Settings,
    /// What the running agent gave up.
    Sandbox,
}

impl Component {
    /// The name used in metrics and API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Ring => "ring",
            Self::Store => "store",
            Self::Respond => "respond",
            Self::Enforcement => "enforcement",
            Self::Host => "host",
            Self::Model => "model",
            Self::Feeds => "feeds",
            Self::Geoip => "geoip",
            Self::Containers => "containers",
            Self::Acting => "acting",
            Self::Probes => "probes",
            Self::Notify => "notify",
            Self::Export => "export",
            Self::Retention => "retention",
            Self::Reports => "reports",
            Self::ArpBan => "arp_ban",
            Self::Bettercap => "bettercap",
            Self::TrafficLog => "traffic_log",
            Self::Fleet => "fleet",
            Self::Settings => "settings",
            Self::Sandbox => "sandbox",
        }
    }
}

/// How one part is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Condition {
    /// As it should be; the text says in what way (`native`, `wal`).
    Ok {
        /// Detail for people.
        detail: String,
    },
    /// Working with less than it should.
    Degraded {
        /// What is wrong.
        cause: String,
        /// What the operator can do.
        mend: String,
    },
}

/// The state of every part that reported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Part to condition.
    pub components: BTreeMap<Component, Condition>,
}

impl Health {
    /// Whether any part is degraded.
    pub fn degraded(&self) -> bool {
        self.components
            .values()
            .any(|c| matches!(c, Condition::Degraded { .. }))
    }

    /// Notes how a part is in a shared snapshot; returns whether that changed anything.
    pub fn note(shared: &mut Arc<Self>, part: Component, condition: Condition) -> bool {
        if shared.components.get(&part) == Some(&condition) {
            return false;
        }
        Arc::make_mut(shared).components.insert(part, condition);
        true
    }

    /// Notes that a part is as it should be.
    pub fn ok(&mut self, part: Component, detail: impl Into<String>) {
        self.components.insert(part, Condition::Ok { detail: detail.into() });
    }

    /// Notes that a part is degraded.
    pub fn degrade(&mut self, part: Component, cause: impl Into<String>, mend: impl Into<String>) {
        self.components.insert(
            part,
            Condition::Degraded {
                cause: cause.into(),
                mend: mend.into(),
            },
        );
    }
}
