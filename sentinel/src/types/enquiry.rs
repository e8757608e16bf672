//! What may be asked about the world outside.

use super::{Address, Answer, FeedStatus, GeoStatus, IntelStatus, Risk};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use tokio::sync::oneshot;
use utoipa::ToSchema;

/// A question of a person's.
#[derive(Debug)]
pub enum Enquiry {
    /// How sources, feeds and databases stand.
    Status(oneshot::Sender<IntelReport>),
    /// What is known of an address; sources may be asked and quota spent.
    Check(IpAddr, oneshot::Sender<Checked>),
}

/// How everything outside stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct IntelReport {
    /// Sources, cache, Redis.
    #[serde(flatten)]
    pub status: IntelStatus,
    /// Feeds that are enabled.
    pub feeds: Vec<FeedStatus>,
    /// Databases of countries and networks.
    pub geoip: Vec<GeoStatus>,
}

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Checked {
    /// Of whom.
    #[schema(value_type = Address)]
    pub ip: IpAddr,
    /// Why nobody outside was asked, where nobody was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub special: Option<String>,
    /// Who said what.
    pub answers: Vec<Answer>,
    /// What it adds up to, from even odds and without anything seen here.
    pub risk: Risk,
    /// Country by ISO 3166-1 alpha-2, where a database was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Autonomous system, where a database was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
}
