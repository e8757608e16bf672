//! Who is there, by their own word.

use super::link::{Away, Link};
use super::word::{Signer, clean};
use crate::types::{FleetNode, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How old the latest word of a node may be that is there.
pub(super) const THERE: Duration = Duration::from_mins(3);
/// How old the latest word of a node may be that is told of.
const KNOWN: Duration = Duration::from_hours(24);

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Presence {
    #[serde(flatten)]
    pub(super) node: FleetNode,
    /// Drawn at its start: two nodes of one name are told apart by it.
    pub(super) instance: String,
}

/// Says that this node is there. Returns whether another one says so under the same name.
pub(super) async fn present(
    link: &mut Link,
    signer: &Signer,
    presence: &Presence,
    now: Timestamp,
) -> Result<bool, Away> {
    let name = &presence.node.name;
    let before = link.node(name).await?;
    let before = before.and_then(|(mac, body)| read(signer, &mac, &body));
    let twin = before.is_some_and(|other| other.instance != presence.instance && now < other.node.at.after(THERE));
    let body = serde_json::to_string(presence).unwrap_or_default();
    link.present(name, &body, &signer.sign(&body)).await?;
    Ok(twin)
}

/// Who was heard of within a day, by name; who was not is forgotten.
pub(super) async fn nodes(link: &mut Link, signer: &Signer, now: Timestamp) -> Result<Vec<FleetNode>, Away> {
    let mut nodes = Vec::new();
    for (name, mac, body) in link.nodes().await? {
        let Some(Presence { node, .. }) = read(signer, &mac, &body).filter(|said| said.node.name == name) else {
            continue;
        };
        if node.at.after(KNOWN) < now {
            link.absent(&name).await?;
            continue;
        }
        nodes.push(FleetNode {
            release: clean(&node.release),
            mode: clean(&node.mode),
            ..node
        });
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(nodes)
}

fn read(signer: &Signer, mac: &str, body: &str) -> Option<Presence> {
    signer.knows(body, mac).then(|| serde_json::from_str(body).ok())?
}
