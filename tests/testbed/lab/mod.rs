//! The lab: a protected host with real services, a benign client, and attackers with real tools.
//!
//! In: the agent's binary. Out: what was seen, for people and as JSON. Invariant: every attack ends by itself and is
//! ended when it was seen to be blocked. Deliberately elsewhere: namespaces and processes (the files above).

mod account;
mod attack;
mod benign;
mod figure;
mod flood;
mod leftovers;
mod load;
mod once;
mod outside;
mod record;
mod relay;
mod respond;
mod services;
mod throughput;
mod watch;

pub use attack::{ATTACKS, Attack, Expect, Seen};
pub use benign::{Benign, Traffic};
pub use flood::flood;
pub use leftovers::leftovers;
pub use once::{Report, once, pass};
pub use outside::outside;
pub use record::{Recorded, Recording, Session, record, recorded};
pub use respond::respond;
pub use services::{FILE_BYTES, Services};
pub use throughput::pipeline;
pub use watch::watch;

use crate::agent::Agent;
use crate::net::{Host, Network};
use anyhow::Result;
use serde_json::Value;
use std::path::Path;

/// The number of the protected host: 192.0.2.1, 2001:db8::1.
const PROTECTED: u8 = 1;
/// The number of the benign client: 192.0.2.2, 2001:db8::2.
const BENIGN: u8 = 2;
/// Attackers are numbered from here.
const ATTACKERS: u8 = 20;
/// Their addresses are those of the resolvers (192.0.2.53, 2001:db8::53), which are protected.
const RESOLVERS: [u8; 2] = [53, 0x53];

/// Everything, running. Dropped from top to bottom: the agent first, the namespaces last.
pub struct Lab {
    /// The real agent on the protected host.
    pub agent: Agent,
    /// Its services.
    pub services: Services,
    /// The protected host.
    pub protected: Host,
    /// A client that means well.
    pub client: Host,
    attackers: u8,
    network: Network,
}

impl Lab {
    /// Builds the network, starts the services and the agent.
    ///
    /// # Errors
    /// When something does not start; its output is in the error.
    pub fn new(binary: &Path, settings: &Value) -> Result<Self> {
        let mut network = Network::new()?;
        let protected = network.host("protected", PROTECTED)?;
        let client = network.host("client", BENIGN)?;
        let services = Services::start(&protected)?;
        let agent = Agent::start(binary, &protected, settings)?;
        Ok(Self {
            agent,
            services,
            protected,
            client,
            attackers: 0,
            network,
        })
    }

    /// A new attacker with an address of its own.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn attacker(&mut self) -> Result<Host> {
        while RESOLVERS.contains(&(ATTACKERS + self.attackers)) {
            self.attackers += 1;
        }
        let number = ATTACKERS + self.attackers;
        self.attackers += 1;
        self.network.host(&format!("attacker{number}"), number)
    }
}
