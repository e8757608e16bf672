//! An engine, and an agent that knows it.

use crate::scene::{SOON, agent_or_skip};
use anyhow::Result;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use testbed::agent::Agent;
use testbed::engine::{Engine, IMAGE};
use testbed::net::{Host, Network};
use testbed::proxy::Proxy;
use testbed::wait;

/// Until the engine has done what takes several requests, on busy processors.
const DONE: Duration = Duration::from_secs(90);

/// Dropped from top to bottom.
pub(crate) struct Stage {
    pub(crate) agent: Agent,
    pub(crate) proxy: Proxy,
    pub(crate) engine: Engine,
    pub(crate) _host: Host,
    pub(crate) _network: Network,
}

impl Stage {
    /// `None` where the test cannot run.
    pub(crate) fn new(settings: &Value) -> Option<Self> {
        let binary = agent_or_skip()?;
        if let Some(reason) = Engine::obstacle() {
            testbed::skip(&reason);
            return None;
        }
        Some(Self::build(&binary, settings).unwrap_or_else(|error| panic!("{error:#}")))
    }

    fn build(binary: &Path, settings: &Value) -> Result<Self> {
        let mut network = Network::new()?;
        let host = network.host("protected", 1)?;
        let engine = Engine::start(&host)?;
        let mut agent = Agent::prepare(binary, &host, settings)?;
        let door = agent.path("engine.sock");
        let proxy = Proxy::open(&door, &engine.socket())?;
        agent.set(&["containers", "engine"], json!(format!("unix://{}", door.display())))?;
        agent.launch()?;
        Ok(Self {
            agent,
            proxy,
            engine,
            _host: host,
            _network: network,
        })
    }

    /// Starts a container that does nothing; its identifier.
    pub(crate) fn run(&self, name: &str, options: &[&str]) -> String {
        let fixed = ["run", "-d", "--stop-timeout", "0", "--name", name];
        let args = [&fixed, options, &[IMAGE, "sleep", "3600"]].concat();
        self.engine.docker(&args).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Its address on the default bridge.
    pub(crate) fn address(&self, id: &str) -> IpAddr {
        let found = self.engine.inspect(id).expect("inspect");
        let text = found["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str();
        text.and_then(|text| text.parse().ok()).expect("an address")
    }

    /// What the command line says to the wish to isolate an address that must be refused.
    pub(crate) fn wish(&self, address: &str) -> String {
        let args = ["decisions", "add", "--ip", address, "--type", "isolate"];
        let told = self.agent.cli(&args).expect("the command line runs");
        assert_ne!(told.code, 0, "{}", told.output);
        told.output
    }

    /// Waits until what the command line says of isolating an address is no longer that nobody has it.
    pub(crate) fn refuses(&self, address: &str) -> String {
        let said = wait::until("the address to be known", SOON, || {
            let said = self.wish(address);
            Ok((!said.contains("no running container")).then_some(said))
        });
        said.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Waits until the agent knows so many addresses of containers.
    pub(crate) fn knows(&self, addresses: usize) {
        let words = format!("{addresses} addresses of containers known");
        let known = wait::until(&words, SOON, || {
            let health = self.agent.get("/health")?;
            let told = health["components"]["containers"]["detail"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            Ok(told.starts_with(&words).then_some(()))
        });
        known.unwrap_or_else(|error| panic!("{error:#}"));
    }

    /// The decision, where the address could be isolated.
    pub(crate) fn try_isolate(&self, address: IpAddr, duration: &str) -> Option<Value> {
        let ip = address.to_string();
        let args = [
            "-o",
            "json",
            "decisions",
            "add",
            "--ip",
            &ip,
            "--type",
            "isolate",
            "--duration",
            duration,
        ];
        let told = self.agent.cli(&args).expect("the command line runs");
        (told.code == 0).then(|| serde_json::from_str(&told.output).expect("JSON"))
    }

    /// Has a container isolated, as soon as the agent knows its address.
    pub(crate) fn isolate(&self, address: IpAddr, duration: &str) -> Value {
        let made = wait::until("the address to be known", SOON, || {
            Ok(self.try_isolate(address, duration))
        });
        let decision = made.unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(decision["action"], "isolate_container", "{decision}");
        decision
    }

    /// The latest action of a kind of a decision.
    pub(crate) fn action(&self, decision: &Value, kind: &str) -> Option<Value> {
        let actions = self.agent.actions().expect("actions");
        actions
            .into_iter()
            .find(|action| action["decision"] == decision["id"] && action["kind"] == kind)
    }

    /// Waits until the isolation of a decision has come to this.
    pub(crate) fn awaits(&self, decision: &Value, status: &str) -> Value {
        let mut last = Value::Null;
        let found = wait::until(&format!("the isolation to be {status}"), DONE, || {
            last = self.action(decision, "isolate_container").unwrap_or_default();
            Ok((last["status"] == status).then(|| last.clone()))
        });
        found.unwrap_or_else(|error| panic!("{error:#}: {last}"))
    }

    /// Reverts one of a decision's two actions, of that kind.
    pub(crate) fn revert(&self, decision: &Value, kind: &str) {
        let action = self.action(decision, kind).expect("the action");
        let id = action["id"].as_str().expect("an id");
        let told = self
            .agent
            .cli(&["actions", "revert", id])
            .expect("the command line runs");
        assert_eq!(told.code, 0, "{}", told.output);
    }
}

/// An inspection without the names the engine gives each connection anew.
pub(crate) fn bare(found: &Value) -> Value {
    let mut found = found.clone();
    // What runs in it beside, and may be over by the next look.
    found["ExecIDs"] = Value::Null;
    let settings = &mut found["NetworkSettings"];
    settings["EndpointID"] = Value::Null;
    if let Some(networks) = settings["Networks"].as_object_mut() {
        for endpoint in networks.values_mut() {
            endpoint["EndpointID"] = Value::Null;
        }
    }
    found
}

/// The networks of an inspection.
pub(crate) fn networks(found: &Value) -> Value {
    found["NetworkSettings"]["Networks"].clone()
}
