//! What must be put back: written down before anything is taken away.

use super::error::fit;
use super::find::bare;
use bollard::models::{ContainerInspectResponse, EndpointIpamConfig, EndpointSettings};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// The shape of the record; a later one is refused, never guessed at.
const VERSION: u32 = 1;

/// One connection of a container to a network. What the engine left out (`None`) and what it told as empty are kept apart,
/// so that what is put back is spelled as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Name of the network.
    pub network: String,
    /// Its identifier.
    pub network_id: String,
    /// Names other containers of the network know it by.
    pub aliases: Option<Vec<String>>,
    /// Links to other containers.
    pub links: Option<Vec<String>>,
    /// Options of the driver.
    pub driver_opts: Option<BTreeMap<String, String>>,
    /// The addresses that were asked for, where any were.
    pub fixed: Option<Fixed>,
    /// The IPv4 address it had.
    pub v4: Option<IpAddr>,
    /// The IPv6 address it had.
    pub v6: Option<IpAddr>,
    /// The hardware address it had.
    pub mac: Option<String>,
    /// Its claim to be the way out, where the engine knows of that.
    pub gw_priority: Option<i64>,
}

/// Addresses asked for (`IPAMConfig`), as they were spelled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fixed {
    /// IPv4.
    pub v4: Option<String>,
    /// IPv6.
    pub v6: Option<String>,
    /// Link-local addresses.
    pub link_local: Option<Vec<String>>,
}

/// A container as it was before it was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The shape of this record.
    pub version: u32,
    /// Identifier of the container.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Its connections; the one it was created with first, which the engine treats apart, then by name.
    pub endpoints: Vec<Endpoint>,
    /// Ports published on the host: port of the container to places on the host.
    pub ports: BTreeMap<String, Vec<String>>,
    /// The network it was moved to, where it was not only disconnected.
    pub quarantine: Option<String>,
}

impl Undo {
    /// What an inspection says.
    pub(super) fn of(found: &ContainerInspectResponse, quarantine: Option<&str>) -> Option<Self> {
        let mode = found.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
        let mut endpoints: Vec<Endpoint> = attached(found)
            .iter()
            .map(|(name, told)| Endpoint::of(name, told))
            .collect();
        let first = |endpoint: &Endpoint| {
            let named = mode == Some(endpoint.network.as_str()) || mode == Some(endpoint.network_id.as_str());
            !(named || mode == Some("default") && endpoint.network == "bridge")
        };
        endpoints.sort_by(|a, b| (first(a), &a.network).cmp(&(first(b), &b.network)));
        let id = found.id.clone()?;
        Some(Self {
            version: VERSION,
            name: fit(bare(found.name.as_deref().unwrap_or(&id))),
            container: id,
            endpoints,
            ports: ports(found),
            quarantine: quarantine.map(str::to_owned),
        })
    }

    /// This record, and of a later look what it does not know yet: what something connected in between is put back as well.
    #[must_use]
    pub fn with(mut self, later: &Self) -> Self {
        for endpoint in &later.endpoints {
            let known = self.endpoints.iter().any(|old| old.network == endpoint.network);
            if !known && self.quarantine.as_deref() != Some(endpoint.network.as_str()) {
                self.endpoints.push(endpoint.clone());
            }
        }
        self
    }

    /// Whether the container had this address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.endpoints
            .iter()
            .any(|endpoint| endpoint.v4 == Some(address) || endpoint.v6 == Some(address))
    }

    /// Its networks by name, for people.
    pub fn networks(&self) -> String {
        let names: Vec<String> = self.endpoints.iter().map(|endpoint| fit(&endpoint.network)).collect();
        names.join(", ")
    }

    /// For the store.
    ///
    /// # Errors
    /// What kept it from being written, in words.
    pub fn encode(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }

    /// From the store.
    ///
    /// # Errors
    /// What is wrong with it, in words that name the mend.
    pub fn decode(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let mend = "reconnect its container by hand (`docker network connect`)";
        let head: Head = serde_json::from_str(text).map_err(|e| format!("the undo record is damaged ({e}); {mend}"))?;
        if head.version != VERSION {
            return Err(format!(
                "the undo record is of version {}, and this release knows {VERSION}; start the release that wrote it, or {mend}",
                head.version
            ));
        }
        serde_json::from_str(text).map_err(|e| format!("the undo record is damaged ({e}); {mend}"))
    }
}

impl Endpoint {
    pub(super) fn of(network: &str, told: &EndpointSettings) -> Self {
        let address = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        Self {
            network: network.to_owned(),
            network_id: told.network_id.clone().unwrap_or_default(),
            aliases: told.aliases.clone(),
            links: told.links.clone(),
            driver_opts: told.driver_opts.clone().map(|opts| opts.into_iter().collect()),
            fixed: told.ipam_config.clone().map(|ipam| Fixed {
                v4: ipam.ipv4_address,
                v6: ipam.ipv6_address,
                link_local: ipam.link_local_ips,
            }),
            v4: address(&told.ip_address),
            v6: address(&told.global_ipv6_address),
            mac: told.mac_address.clone().filter(|mac| !mac.is_empty()),
            gw_priority: told.gw_priority,
        }
    }

    /// What to ask the engine for; `addresses`: those it had, though nobody had asked for them.
    pub(super) fn settings(&self, addresses: bool) -> EndpointSettings {
        let mut ipam = self.fixed.clone().map(|fixed| EndpointIpamConfig {
            ipv4_address: fixed.v4,
            ipv6_address: fixed.v6,
            link_local_ips: fixed.link_local,
        });
        if addresses {
            let ipam = ipam.get_or_insert_default();
            ipam.ipv4_address = ipam.ipv4_address.take().or(self.v4.map(|ip| ip.to_string()));
            ipam.ipv6_address = ipam.ipv6_address.take().or(self.v6.map(|ip| ip.to_string()));
        }
        EndpointSettings {
            ipam_config: ipam,
            links: self.links.clone(),
            mac_address: self.mac.clone(),
            aliases: self.aliases.clone(),
            driver_opts: self
                .driver_opts
                .clone()
                .map(|opts| opts.into_iter().collect::<HashMap<_, _>>()),
            gw_priority: self.gw_priority,
            ..EndpointSettings::default()
        }
    }

    /// Whether an endpoint has other addresses than this one had. One of a stopped container has none.
    pub(super) fn moved(&self, now: &Self) -> bool {
        let up = now.v4.is_some() || now.v6.is_some();
        up && (self.v4 != now.v4 || self.v6 != now.v6)
    }

    /// What differs from this one, in words; `up`: whether the container runs and so has addresses.
    pub(super) fn differences(&self, now: &Self, up: bool) -> Vec<String> {
        let mut told = Vec::new();
        let mut differs = |what: &str, was: String, is: String| {
            if was != is {
                told.push(format!("{what} on {} was {was}, is {is}", fit(&self.network)));
            }
        };
        let ip = |ip: Option<IpAddr>| ip.map_or("none".to_owned(), |ip| ip.to_string());
        if up {
            differs("the IPv4 address", ip(self.v4), ip(now.v4));
            differs("the IPv6 address", ip(self.v6), ip(now.v6));
            let mac = |mac: &Option<String>| mac.as_deref().map_or("none".to_owned(), fit);
            differs("the hardware address", mac(&self.mac), mac(&now.mac));
        }
        let list = |list: &Option<Vec<String>>| fit(&list.clone().unwrap_or_default().join(", "));
        differs("the aliases", list(&self.aliases), list(&now.aliases));
        differs("the links", list(&self.links), list(&now.links));
        let priority = |priority: Option<i64>| priority.unwrap_or(0).to_string();
        differs(
            "the gateway's priority",
            priority(self.gw_priority),
            priority(now.gw_priority),
        );
        let fixed = |fixed: &Option<Fixed>| {
            let fixed = fixed.clone().unwrap_or_default();
            let all = fixed
                .v4
                .into_iter()
                .chain(fixed.v6)
                .chain(fixed.link_local.unwrap_or_default());
            let all: Vec<String> = all.filter(|text| !text.is_empty()).collect();
            fit(&if all.is_empty() {
                "none".to_owned()
            } else {
                all.join(" ")
            })
        };
        differs(
            "what is asked for as a fixed address",
            fixed(&self.fixed),
            fixed(&now.fixed),
        );
        if self.driver_opts.clone().unwrap_or_default() != now.driver_opts.clone().unwrap_or_default() {
            told.push(format!("the driver's options on {} differ", fit(&self.network)));
        }
        // The default bridge is made anew with each start of the engine.
        if self.network_id != now.network_id && self.network != "bridge" {
            told.push(format!(
                "the network {} is another of the same name",
                fit(&self.network)
            ));
        }
        told
    }
}

/// The networks a container is connected to, by name.
pub(super) fn attached(found: &ContainerInspectResponse) -> BTreeMap<String, EndpointSettings> {
    let networks = found.network_settings.as_ref().and_then(|n| n.networks.clone());
    networks.unwrap_or_default().into_iter().collect()
}

/// Whether it runs.
pub(super) fn up(found: &ContainerInspectResponse) -> bool {
    found.state.as_ref().and_then(|state| state.running) == Some(true)
}

/// Ports published on the host.
pub(super) fn ports(found: &ContainerInspectResponse) -> BTreeMap<String, Vec<String>> {
    let ports = found.network_settings.as_ref().and_then(|n| n.ports.clone());
    ports
        .unwrap_or_default()
        .into_iter()
        .map(|(port, places)| {
            let mut places: Vec<String> = places
                .unwrap_or_default()
                .into_iter()
                .map(|place| {
                    let part = |text: Option<String>| fit(&text.unwrap_or_default());
                    format!("{}:{}", part(place.host_ip), part(place.host_port))
                })
                .collect();
            places.sort();
            (fit(&port), places)
        })
        .collect()
}
