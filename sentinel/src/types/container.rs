//! Containers of this host, as far as deciding needs to know them; and who is cut off beside the kernel's block.

use super::{DecisionId, Timestamp};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// A container that has an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its identifier, 64 hexadecimal digits.
    pub id: Arc<str>,
    /// Its name, made fit for messages.
    pub name: Arc<str>,
    /// Why it is never isolated, where that is so.
    pub protected: Option<Arc<str>>,
}

/// Who has which address at the moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerSet {
    /// Why nothing is known: the engine did not answer when last asked.
    pub fault: Option<String>,
    /// The running containers by each of their addresses; several may claim one.
    pub owners: BTreeMap<IpAddr, Vec<Owner>>,
}

impl ContainerSet {
    /// Nothing known yet.
    pub fn unasked() -> Self {
        Self {
            fault: Some("the container engine was not asked yet".to_owned()),
            owners: BTreeMap::new(),
        }
    }
}

/// A container to be cut off: a decision in force as the room that isolates sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isolate {
    /// Who of the containers.
    pub address: IpAddr,
    /// Only told, not done.
    pub simulated: bool,
    /// Until when, unless taken back before.
    pub expires_at: Option<Timestamp>,
}

/// All that are to be cut off now.
pub type ToIsolate = BTreeMap<DecisionId, Isolate>;

/// A neighbour to be kept from the gateway: a decision in force as the room that bans sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who on our link.
    pub address: Ipv4Addr,
    /// Only told, not done.
    pub simulated: bool,
    /// Until when, unless taken back before.
    pub expires_at: Option<Timestamp>,
}

/// All that are to be kept from it now.
pub type ToBan = BTreeMap<DecisionId, Ban>;
