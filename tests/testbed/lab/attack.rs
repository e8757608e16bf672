//! Attacks with real tools, and what became of them.

use super::Lab;
use crate::agent::Agent;
use crate::child::Child;
use crate::net::Host;
use crate::wait;
use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use std::net::IpAddr;
use std::time::Duration;

/// From the start of the tool to the block.
const DETECTION: Duration = Duration::from_secs(90);
/// From the block to the first drop; the tool goes on attacking meanwhile.
const FIRST_DROP: Duration = Duration::from_mins(1);

/// What must become of an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Its source, which completed a handshake before, is blocked in the kernel.
    Block,
    /// Its source proved nothing: what opens connections from it is limited in the kernel.
    Limit,
    /// It is said aloud and nobody is blocked: the sources are forged.
    AlertOnly,
}

/// One attack. `{target}` in the line is the protected host, `{url}` the same fit for an address bar, `{passwords}` a list.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Name, for people and reports.
    pub name: &'static str,
    /// Command line; bounded in packets or rate, and in time by the lab.
    pub line: &'static str,
    /// Over IPv6.
    pub v6: bool,
    /// The detector that should speak.
    pub detector: &'static str,
    /// What must become of it.
    pub expect: Expect,
}

const fn attack(name: &'static str, v6: bool, detector: &'static str, line: &'static str) -> Attack {
    Attack {
        name,
        line,
        v6,
        detector,
        expect: Expect::Block,
    }
}

/// The attacks of one pass. Scans are slowed down, so that the scanner still scans when it is blocked.
pub const ATTACKS: &[Attack] = &[
    attack(
        "nmap syn scan",
        false,
        "port_scan",
        "nmap -n -Pn -sS -p1-20000 --max-rate 400 {target}",
    ),
    attack(
        "nmap connect scan",
        false,
        "port_scan",
        "nmap -n -Pn -sT -p1-20000 --max-rate 400 {target}",
    ),
    attack(
        "nmap udp scan",
        false,
        "port_scan",
        "nmap -n -Pn -sU -p1000-20000 --max-rate 200 {target}",
    ),
    attack(
        "nmap fin scan",
        false,
        "port_scan",
        "nmap -n -Pn -sF -p1-20000 --max-rate 400 {target}",
    ),
    attack(
        "nmap null scan",
        false,
        "port_scan",
        "nmap -n -Pn -sN -p1-20000 --max-rate 400 {target}",
    ),
    attack(
        "nmap xmas scan",
        false,
        "port_scan",
        "nmap -n -Pn -sX -p1-20000 --max-rate 400 {target}",
    ),
    Attack {
        name: "nmap syn scan, nothing proven",
        line: "nmap -n -Pn -sS -p1-20000 --max-rate 400 {target}",
        v6: false,
        detector: "port_scan",
        expect: Expect::Limit,
    },
    Attack {
        name: "icmp flood, nothing proven, ipv6",
        line: "ping -6 -q -n -i 0.001 -c 20000 {target}",
        v6: true,
        detector: "packet_flood",
        expect: Expect::Limit,
    },
    attack(
        "nmap syn scan, ipv6",
        true,
        "port_scan",
        "nmap -6 -n -Pn -sS -p1-20000 --max-rate 400 {target}",
    ),
    attack(
        "nmap connect scan, ipv6",
        true,
        "port_scan",
        "nmap -6 -n -Pn -sT -p1-20000 --max-rate 400 {target}",
    ),
    attack(
        "nmap udp scan, ipv6",
        true,
        "port_scan",
        "nmap -6 -n -Pn -sU -p1000-20000 --max-rate 200 {target}",
    ),
    attack(
        "nmap fin scan, ipv6",
        true,
        "port_scan",
        "nmap -6 -n -Pn -sF -p1-20000 --max-rate 400 {target}",
    ),
    attack(
        "syn flood",
        false,
        "syn_flood",
        "hping3 -q -S -p 80 -i u1000 -c 20000 {target}",
    ),
    Attack {
        name: "syn flood, forged sources",
        line: "hping3 -q -S -p 80 --rand-source -i u400 -c 12000 {target}",
        v6: false,
        detector: "syn_flood",
        expect: Expect::AlertOnly,
    },
    attack(
        "udp flood",
        false,
        "packet_flood",
        "hping3 -q --udp -p 9999 --keep -s 4000 -i u250 -c 60000 {target}",
    ),
    attack(
        "icmp flood",
        false,
        "packet_flood",
        "hping3 -q --icmp -i u1000 -c 20000 {target}",
    ),
    attack(
        "icmp flood, ipv6",
        true,
        "packet_flood",
        "ping -6 -q -n -i 0.001 -c 20000 {target}",
    ),
    attack(
        "ssh brute force",
        false,
        "brute_force",
        "hydra -I -l root -P {passwords} -t 16 -w 1 ssh://{url}",
    ),
    attack(
        "ssh brute force, ipv6",
        true,
        "brute_force",
        "hydra -6 -I -l root -P {passwords} -t 16 -w 1 ssh://{url}",
    ),
];

/// What became of an attack.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Seen {
    /// Name of the attack.
    pub attack: String,
    /// The program.
    pub tool: String,
    /// Its command line.
    pub command: String,
    /// Who attacked; `forged` where the sources were.
    pub attacker: String,
    /// From the start of the tool to the alert.
    pub detected_ms: Option<f64>,
    /// From the start of the tool to the first packet dropped.
    pub first_drop_ms: Option<f64>,
    /// From the packet that completed the evidence to the first packet dropped.
    pub evidence_to_drop_ms: Option<f64>,
    /// Packets the kernel dropped on that decision.
    pub kernel_drops: u64,
    /// The alert.
    pub alert: Value,
    /// The decision.
    pub decision: Value,
    /// Whether it went as it must.
    pub ok: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl Attack {
    /// The command line against a host.
    fn line(&self, lab: &Lab) -> Result<String> {
        let target = lab.protected.address_of(self.v6);
        let url = if self.v6 {
            format!("[{target}]")
        } else {
            target.to_string()
        };
        let line = self
            .line
            .replace("{target}", &target.to_string())
            .replace("{url}", &url);
        Ok(line.replace("{passwords}", &lab.services.passwords(400)?))
    }

    /// Runs it from `attacker` until it was seen to be dropped; what went wrong is in the result.
    pub fn run(&self, lab: &Lab, attacker: &Host) -> Seen {
        let mut seen = Seen {
            attack: self.name.to_owned(),
            tool: self.line.split(' ').next().unwrap_or_default().to_owned(),
            attacker: match self.expect {
                Expect::Block | Expect::Limit => attacker.address_of(self.v6).to_string(),
                Expect::AlertOnly => "forged".to_owned(),
            },
            ..Seen::default()
        };
        let outcome = match self.expect {
            Expect::Block => self
                .knock(lab, attacker)
                .and_then(|()| self.until_dropped(lab, attacker, "block_ip", &mut seen)),
            Expect::Limit => self.until_dropped(lab, attacker, "rate_limit", &mut seen),
            Expect::AlertOnly => self.until_said(lab, attacker, &mut seen),
        };
        seen.ok = outcome.is_ok();
        seen.failure = outcome.err().map(|error| format!("{error:#}"));
        seen
    }

    /// A connection that shows that the attacker receives what is sent to its address.
    fn knock(&self, lab: &Lab, attacker: &Host) -> Result<()> {
        let target = lab.protected.address_of(self.v6);
        let url = if self.v6 {
            format!("[{target}]")
        } else {
            target.to_string()
        };
        attacker.run(&format!("curl -g -s -o /dev/null -m 60 http://{url}/file"), DETECTION)?;
        Ok(())
    }

    fn until_dropped(&self, lab: &Lab, attacker: &Host, action: &str, seen: &mut Seen) -> Result<()> {
        let agent = &lab.agent;
        let source = attacker.address_of(self.v6);
        seen.command = self.line(lab)?;
        let start = now_ms();
        let mut tool = Tool::start(attacker, &seen.command)?;
        let decision = wait::until("the attacker to be blocked", DETECTION, || {
            tool.keep_going()?;
            agent.measure(source, action)
        });
        let decision = decision.with_context(|| format!("alerts about it: {:?}", summaries(agent, source)))?;
        seen.decision = decision;
        seen.alert = match seen.decision["alert"].as_str() {
            Some(id) => agent.get(&format!("/alerts/{id}"))?,
            None => Value::Null,
        };
        let detected = time_ms(&seen.alert["at"]).context("the alert has no time")?;
        seen.detected_ms = Some(detected - start);
        let hit = wait::until("the kernel to drop its packets", FIRST_DROP, || {
            tool.keep_going()?;
            Ok(agent
                .measure(source, action)?
                .filter(|decision| decision["hits"].as_u64().unwrap_or(0) > 0))
        })?;
        drop(tool);
        seen.kernel_drops = hit["hits"].as_u64().unwrap_or(0);
        let first = time_ms(&hit["first_hit"]);
        seen.first_drop_ms = first.map(|at| at - start);
        seen.evidence_to_drop_ms = first.map(|at| at - detected);
        seen.decision = hit;
        anyhow::ensure!(
            seen.alert["detector"] == self.detector,
            "{} spoke, not {}",
            seen.alert["detector"],
            self.detector
        );
        Ok(())
    }

    fn until_said(&self, lab: &Lab, attacker: &Host, seen: &mut Seen) -> Result<()> {
        let agent = &lab.agent;
        seen.command = self.line(lab)?;
        let before: Vec<Value> = agent.active()?;
        let start = now_ms();
        let mut tool = Tool::start(attacker, &seen.command)?;
        seen.alert = wait::until("the flood to be noticed", DETECTION, || {
            tool.keep_going()?;
            let ours = |alert: &Value| {
                alert["detector"] == self.detector
                    && alert["source"].is_null()
                    && time_ms(&alert["at"]).is_some_and(|at| at >= start)
            };
            Ok(agent.all_alerts()?.into_iter().find(ours))
        })?;
        drop(tool);
        seen.detected_ms = time_ms(&seen.alert["at"]).map(|at| at - start);
        let known = |decision: &Value| before.iter().any(|old| old["id"] == decision["id"]);
        let new: Vec<String> = agent
            .active()?
            .iter()
            .filter(|d| !known(d))
            .map(|d| d["target"].to_string())
            .collect();
        anyhow::ensure!(new.is_empty(), "forged addresses were blocked: {}", new.join(", "));
        Ok(())
    }
}

/// A tool that is started again when it ends before it was blocked.
pub(super) struct Tool<'a> {
    host: &'a Host,
    line: &'a str,
    child: Child,
    /// What earlier rounds said, should nothing be detected.
    rounds: u32,
}

impl<'a> Tool<'a> {
    /// Rounds after which a tool that ends at once is broken.
    const MAX_ROUNDS: u32 = 120;

    pub(super) fn start(host: &'a Host, line: &'a str) -> Result<Self> {
        Ok(Self {
            host,
            line,
            child: Self::spawn(host, line)?,
            rounds: 1,
        })
    }

    /// In a folder where it may leave its notes (hydra does).
    fn spawn(host: &Host, line: &str) -> Result<Child> {
        let mut command = host.command(line);
        command.current_dir(std::env::temp_dir());
        Child::spawn(command)
    }

    pub(super) fn keep_going(&mut self) -> Result<()> {
        if self.child.ended()?.is_some() {
            anyhow::ensure!(
                self.rounds < Self::MAX_ROUNDS,
                "`{}` keeps ending: {}",
                self.line,
                self.child.output()
            );
            self.rounds += 1;
            self.child = Self::spawn(self.host, self.line)?;
        }
        Ok(())
    }
}

fn summaries(agent: &Agent, source: IpAddr) -> Vec<String> {
    let alerts = agent.alerts(source).unwrap_or_default();
    alerts
        .iter()
        .map(|alert| alert["summary"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Wall clock, milliseconds.
pub(super) fn now_ms() -> f64 {
    jiff::Timestamp::now().as_nanosecond() as f64 / 1e6
}

/// An RFC 3339 time of the API in milliseconds.
pub(super) fn time_ms(value: &Value) -> Option<f64> {
    let at: jiff::Timestamp = value.as_str()?.parse().ok()?;
    Some(at.as_nanosecond() as f64 / 1e6)
}
