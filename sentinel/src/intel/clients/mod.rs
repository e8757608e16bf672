//! Who can be asked, on one screen, and how each is spoken to.
//!
//! In: an address, a base URL, a key. Out: an [`Indicator`](crate::types::Indicator), or why there is none. Invariant: one file
//! a provider, which knows its API and nothing else; all of them speak through one transport (`http`), bounded in size and
//! time, which follows nobody elsewhere and tells no key. Deliberately elsewhere: how often (`quota`), again (`retry`), not at
//! all (`breaker`), and what is remembered (`cache`).

mod body;
mod evidence;
#[doc(hidden)]
pub mod fuzzing;
mod http;

pub mod abuseipdb;
pub mod greynoise;
pub mod ipqualityscore;
pub mod otx;
pub mod threatcrowd;
pub mod virustotal;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod testing;

use super::source;
use super::{IntelError, IntelSource, Profile, QuotaHint, Reply, Ttl};
use crate::config::{SourceConfig, SourcesConfig};
use crate::types::Severity;
use futures_util::future::BoxFuture;
use std::net::IpAddr;
use std::sync::Arc;

/// A client that can be made.
struct Row {
    profile: &'static Profile,
    knows: Knows,
    make: fn(&SourceConfig) -> Result<Arc<dyn IntelSource>, IntelError>,
}

/// Which addresses a source knows.
#[derive(Clone, Copy, PartialEq)]
enum Knows {
    Both,
    Ipv4,
}

macro_rules! client {
    ($module:ident::$client:ident, $knows:ident) => {
        Row {
            profile: &$module::PROFILE,
            knows: Knows::$knows,
            make: |config| Ok(Arc::new($module::$client::new(config)?)),
        }
    };
}

/// Every source there is, one line each, in the order of the settings.
const CLIENTS: &[Row] = &[
    client!(virustotal::VirusTotal, Both),
    client!(abuseipdb::AbuseIpDb, Both),
    client!(otx::Otx, Both),
    client!(ipqualityscore::IpQualityScore, Both),
    client!(greynoise::GreyNoise, Ipv4),
    client!(threatcrowd::ThreatCrowd, Both),
];

/// The sources that are on, in the order of the settings, each with its own. One that cannot work (no key, a URL that is
/// none) is among them and says so whenever it is asked, so that nobody takes its silence for an answer.
pub fn clients(config: &SourcesConfig) -> Vec<(Arc<dyn IntelSource>, &SourceConfig)> {
    let mut clients: Vec<(Arc<dyn IntelSource>, &SourceConfig)> = Vec::new();
    for (name, config) in config.each() {
        if let Some(row) = CLIENTS.iter().find(|row| row.profile.name == name)
            && config.on()
        {
            let client = (row.make)(config).unwrap_or_else(|why| Arc::new(Broken(row.profile, why)));
            clients.push((client, config));
        }
    }
    clients
}

/// Whether the source of that name knows addresses of this kind; one that does not is not worth a request of its quota.
pub fn covers(source: &str, ip: IpAddr) -> bool {
    let knows = CLIENTS
        .iter()
        .find(|row| row.profile.name == source)
        .map(|row| row.knows);
    ip.to_canonical().is_ipv4() || knows != Some(Knows::Ipv4)
}

/// A source that is on and cannot work.
struct Broken(&'static Profile, IntelError);

impl IntelSource for Broken {
    fn profile(&self) -> &Profile {
        self.0
    }

    fn ask(&self, _: IpAddr, _: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(std::future::ready(Err(self.1.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_of_the_settings_has_a_client() {
        let config = SourcesConfig::default();
        let named: Vec<&str> = config.each().iter().map(|(name, _)| *name).collect();
        let made: Vec<&str> = CLIENTS.iter().map(|row| row.profile.name).collect();
        assert_eq!(named, made);
    }
}
