//! Which container has an address, and whether it may be cut off.

use super::error::fit;
use super::{ContainerError, Engine, OwnIds};
use crate::types::{ContainerSet, Owner};
use bollard::models::{ContainerSummary, EndpointSettings};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// How a label is told from a name in `containers.protect`.
const LABEL: &str = "label:";

/// Containers that are never isolated.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    listed: Vec<String>,
    own: OwnIds,
}

impl Protection {
    /// Those listed (`NAME`, `label:KEY`, `label:KEY=VALUE`), and the one this process runs in.
    pub fn new(listed: &[String], own: OwnIds) -> Self {
        Self {
            listed: listed.to_vec(),
            own,
        }
    }

    /// Why a container is never isolated; `None` where it may be.
    pub(super) fn of(&self, id: &str, names: &[String], labels: &HashMap<String, String>) -> Option<String> {
        if self.own.is(id) {
            return Some("Sentinel itself runs in it".to_owned());
        }
        let listed = self.listed.iter().find(|item| match item.strip_prefix(LABEL) {
            None => names.iter().any(|name| bare(name) == item.as_str()),
            Some(label) => match label.split_once('=') {
                None => labels.contains_key(label),
                Some((key, value)) => labels.get(key).is_some_and(|found| found == value),
            },
        })?;
        Some(format!("`containers.protect` lists `{}`", fit(listed)))
    }
}

/// The engine writes names with a slash in front.
pub(super) fn bare(name: &str) -> &str {
    name.strip_prefix('/').unwrap_or(name)
}

/// Who has which address.
pub(super) fn owners(containers: &[ContainerSummary], protection: &Protection) -> BTreeMap<IpAddr, Vec<Owner>> {
    let mut owners: BTreeMap<IpAddr, Vec<Owner>> = BTreeMap::new();
    for container in containers {
        let Some(id) = container.id.as_deref() else { continue };
        let names = container.names.as_deref().unwrap_or_default();
        // Names of links have a second slash: `/other/alias`.
        let name = names.iter().map(|name| bare(name)).find(|name| !name.contains('/'));
        let labels = container.labels.clone().unwrap_or_default();
        let owner = Owner {
            id: id.into(),
            name: fit(name.unwrap_or(id)).into(),
            protected: protection.of(id, names, &labels).map(Arc::from),
        };
        let networks = container.network_settings.as_ref().and_then(|n| n.networks.as_ref());
        for address in networks.into_iter().flat_map(HashMap::values).flat_map(addresses) {
            let having = owners.entry(address).or_default();
            if !having.iter().any(|known| known.id == owner.id) {
                having.push(owner.clone());
            }
        }
    }
    for having in owners.values_mut() {
        having.sort_by(|a, b| a.id.cmp(&b.id));
    }
    owners
}

/// The addresses an endpoint has now.
fn addresses(endpoint: &EndpointSettings) -> Vec<IpAddr> {
    [&endpoint.ip_address, &endpoint.global_ipv6_address]
        .into_iter()
        .flatten()
        .filter_map(|text| text.parse::<IpAddr>().ok())
        .collect()
}

/// Asks the engine who has which address.
///
/// # Errors
/// [`ContainerError`].
pub async fn find(engine: &Engine, protection: &Protection) -> Result<ContainerSet, ContainerError> {
    Ok(known(&engine.containers().await?, protection))
}

/// The whole answer to "who has which address".
fn known(containers: &[ContainerSummary], protection: &Protection) -> ContainerSet {
    ContainerSet {
        fault: None,
        owners: owners(containers, protection),
    }
}
