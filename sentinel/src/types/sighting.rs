//! Who was seen beside us: on the wire, or on the air.

use super::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;

/// How somebody was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SightingKind {
    /// On the network.
    Endpoint,
    /// On Wi-Fi.
    Wifi,
    /// On Bluetooth LE.
    Ble,
}

impl SightingKind {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint => "endpoint",
            Self::Wifi => "wifi",
            Self::Ble => "ble",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Endpoint, Self::Wifi, Self::Ble]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// Somebody who was seen. What it calls itself is its own word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sighting {
    /// How.
    pub kind: SightingKind,
    /// Hardware address, in small letters.
    pub mac: String,
    /// Its address, where it has one.
    #[schema(value_type = Option<super::Address>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<IpAddr>,
    /// What it calls itself; empty where it says nothing.
    pub name: String,
    /// Who made it, by the first half of `mac`; empty where nobody is known.
    pub vendor: String,
    /// Which sensor saw it.
    pub sensor: String,
    /// When it was seen first.
    pub first_at: Timestamp,
    /// When it came, or went, last.
    pub last_at: Timestamp,
    /// It went.
    pub gone: bool,
}
