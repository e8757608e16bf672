//! What is asked of the agent.

use crate::scene::{Scene, knock};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;
use testbed::http::Answer;
use testbed::wait;

/// Until an attack is answered.
const ATTACK: Duration = Duration::from_secs(5);

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Add {
        target: String,
        kind: &'static str,
        duration: &'static str,
        reason: String,
    },
    Delete {
        target: String,
        /// Without a probation.
        forget: bool,
    },
    DeleteAll,
    Import {
        targets: Vec<String>,
        reason: String,
    },
    Stop,
    Resume,
    Allow {
        target: String,
    },
    Disallow {
        target: String,
    },
    /// Not asked for: brought about by a scan, and acknowledged by being told.
    Attack(IpAddr),
}

impl Wish {
    /// The answer; `None` where there is none.
    pub(super) fn ask(&self, scene: &Scene) -> Option<Answer> {
        let (method, path, body) = match self {
            Self::Add {
                target,
                kind,
                duration,
                reason,
            } => (
                "POST",
                "/decisions".to_owned(),
                Some(json!({ "target": target, "type": kind, "duration": duration, "reason": reason })),
            ),
            Self::Delete { target, forget } => ("DELETE", format!("/decisions?target={target}&forget={forget}"), None),
            Self::DeleteAll => ("DELETE", "/decisions?all=true&forget=true&first=0".to_owned(), None),
            Self::Import { targets, reason } => {
                let line = |target| json!({ "value": target, "duration": "2h", "reason": reason });
                let lines: Vec<Value> = targets.iter().map(line).collect();
                ("POST", "/decisions/import?format=json".to_owned(), Some(lines.into()))
            }
            Self::Stop => (
                "POST",
                "/acting".to_owned(),
                Some(json!({ "acting": false, "reason": "kills" })),
            ),
            Self::Resume => (
                "POST",
                "/acting".to_owned(),
                Some(json!({ "acting": true, "reason": "kills" })),
            ),
            Self::Allow { target } => (
                "POST",
                "/allowlist".to_owned(),
                Some(json!({ "target": target, "comment": "kills" })),
            ),
            Self::Disallow { target } => ("DELETE", format!("/allowlist?target={target}"), None),
            Self::Attack(from) => return attack(scene, *from),
        };
        let answer = scene.agent.request(method, &path, body.as_ref()).ok()?;
        // Cut short it is no answer.
        (answer.status >= 300 || answer.json().is_ok()).then_some(answer)
    }
}

/// Scans from an address that completed a handshake, until a decision on it is told or nobody is there any more.
fn attack(scene: &Scene, from: IpAddr) -> Option<Answer> {
    knock(&scene.other, from, &scene.protected);
    let line = format!(
        "nmap -n -Pn -sS -e eth0 -S {from} --max-retries 0 -p 1-40 {}",
        scene.protected.v4
    );
    let _scan = scene.other.spawn(&line).ok()?;
    let path = format!("/decisions?limit=10&active=true&ip={from}");
    let told = wait::until("the attack to be answered", ATTACK, || {
        let Ok(answer) = scene.agent.request("GET", &path, None) else {
            return Ok(Some(None));
        };
        let page = answer.json()?;
        let any = page["items"].as_array().is_some_and(|items| !items.is_empty());
        Ok(any.then_some(Some(answer)))
    });
    told.ok().flatten()
}
