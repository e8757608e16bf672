//! What most tests begin with.

use anyhow::Result;
use serde_json::Value;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use testbed::agent::Agent;
use testbed::lab::Services;
use testbed::net::{Host, Network};
use testbed::wait;

/// For everything that happens at once; generous, because processors are shared.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// The agent's binary, or why the test cannot run ([`testbed::skip`]).
pub(crate) fn agent_or_skip() -> Option<PathBuf> {
    match testbed::obstacle() {
        None => testbed::agent_binary(),
        Some(reason) => {
            testbed::skip(&reason);
            None
        }
    }
}

/// A protected host with an agent, and one other host. Dropped from top to bottom.
pub(crate) struct Scene {
    pub(crate) agent: Agent,
    pub(crate) services: Services,
    pub(crate) protected: Host,
    pub(crate) other: Host,
    pub(crate) network: Network,
}

/// Has a host complete a handshake from one of its addresses, which shows that it receives there.
pub(crate) fn knock(from: &Host, address: IpAddr, to: &Host) {
    let line = format!("curl -s -o /dev/null -m 60 --interface {address} http://{}/file", to.v4);
    from.run(&line, SOON * 3).expect("curl");
}

impl Scene {
    /// `None` where the test cannot run.
    pub(crate) fn new(settings: &Value) -> Option<Self> {
        Self::build(settings, |_| Ok(()))
    }

    /// The same with an agent that pins its programs.
    pub(crate) fn pinned(settings: &Value) -> Option<Self> {
        Self::build(settings, Agent::pin)
    }

    fn build(settings: &Value, adjust: impl FnOnce(&mut Agent) -> Result<()>) -> Option<Self> {
        let binary = agent_or_skip()?;
        let scene = || -> Result<Self> {
            let mut network = Network::new()?;
            let protected = network.host("protected", 1)?;
            let other = network.host("other", 9)?;
            let services = Services::start(&protected)?;
            let mut agent = Agent::prepare(&binary, &protected, settings)?;
            adjust(&mut agent)?;
            agent.launch()?;
            Ok(Self {
                agent,
                services,
                protected,
                other,
                network,
            })
        };
        Some(scene().unwrap_or_else(|error| panic!("{error:#}")))
    }

    /// Has the other host complete a handshake from one of its addresses, which shows that it receives there.
    pub(crate) fn knock(&self, from: IpAddr) {
        knock(&self.other, from, &self.protected);
    }

    /// Whether the other host gets any answer from the protected one: a busy machine loses a packet now and then.
    pub(crate) fn reaches(&self, v6: bool) -> bool {
        let address = self.protected.address_of(v6);
        let ping = self.other.run(&format!("ping -c 3 -i 0.2 -W 1 {address}"), SOON);
        ping.expect("ping runs").code == 0
    }

    /// Blocks the other host by hand and waits until nothing of it comes through; returns the decision.
    pub(crate) fn block_other(&self, v6: bool, duration: &str) -> Value {
        // A blocked host's neighbour discovery is dropped with the rest: both ends must know each other before.
        self.reaches(v6);
        let address = self.other.address_of(v6).to_string();
        let said = self.agent.cli(&[
            "-o",
            "json",
            "decisions",
            "add",
            "--ip",
            &address,
            "--duration",
            duration,
            "--reason",
            "test",
        ]);
        let said = said.expect("the command line runs");
        assert_eq!(said.code, 0, "{}", said.output);
        let decision: Value = serde_json::from_str(&said.output).expect("JSON");
        assert_eq!(decision["status"], "active", "{decision}");
        decision
    }

    /// Waits for a condition about the other host's block.
    pub(crate) fn until_hit(&self, v6: bool, counter: &str) -> Value {
        let address = self.other.address_of(v6);
        let hit = wait::until(&format!("{counter} of the block to move"), SOON, || {
            let _ = self
                .other
                .run(&format!("ping -c 1 -W 0.2 {}", self.protected.address_of(v6)), SOON)?;
            Ok(self
                .agent
                .block(address)?
                .filter(|decision| decision[counter].as_u64().unwrap_or(0) > 0))
        });
        hit.unwrap_or_else(|error| panic!("{error:#}"))
    }
}
