//! Putting a container back.

use super::error::fit;
use super::undo::{attached, ports, up};
use super::{ContainerError, Endpoint, Engine, Undo};

/// What a restoration came to, as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restored {
    /// Everything is as it was.
    Exactly,
    /// It is connected, and this is not as it was.
    Differently(Vec<String>),
    /// There is no such container any more: nothing to put back.
    Gone,
}

/// Connects a container to the networks of its undo record as it was, takes it out of quarantine, reads back and compares.
/// What is done already is left as it is, so it may be repeated.
///
/// An address nobody had asked for is left to the engine first, which mostly gives the same one again; where it gives
/// another, the old one is asked for, which only networks with a subnet of the operator's allow. A network that is gone
/// is told of, not an error: there is nothing to wait for.
///
/// # Errors
/// [`ContainerError`] of the first connection that could not be made; the others were tried all the same.
pub async fn restore(engine: &Engine, undo: &Undo) -> Result<Restored, ContainerError> {
    let id = undo.container.as_str();
    let now = match engine.inspect(id).await {
        Err(ContainerError::ContainerGone) => return Ok(Restored::Gone),
        outcome => attached(&outcome?),
    };
    let recorded = |name: &str| undo.endpoints.iter().any(|endpoint| endpoint.network == name);
    if let Some(quarantine) = undo.quarantine.as_deref()
        && now.contains_key(quarantine)
        && !recorded(quarantine)
    {
        match engine.disconnect(quarantine, id).await {
            Err(ContainerError::NetworkGone) => {}
            Err(ContainerError::ContainerGone) => return Ok(Restored::Gone),
            outcome => outcome?,
        }
    }
    let mut failed = None;
    let mut gone = Vec::new();
    for endpoint in &undo.endpoints {
        match put_back(engine, id, endpoint).await {
            Ok(()) => {}
            Err(ContainerError::ContainerGone) => return Ok(Restored::Gone),
            Err(ContainerError::NetworkGone) => {
                gone.push(format!("the network {} is gone", fit(&endpoint.network)));
            }
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => compare(engine, undo, gone).await,
    }
}

/// One endpoint as it is now; `None` where there is none.
async fn look(engine: &Engine, container: &str, network: &str) -> Result<Option<Endpoint>, ContainerError> {
    let found = engine.inspect(container).await?;
    Ok(attached(&found).get(network).map(|told| Endpoint::of(network, told)))
}

async fn put_back(engine: &Engine, container: &str, endpoint: &Endpoint) -> Result<(), ContainerError> {
    let connect = async |asked: bool| connect(engine, container, endpoint, asked).await;
    if look(engine, container, &endpoint.network).await?.is_none() {
        connect(false).await?;
    }
    let Some(now) = look(engine, container, &endpoint.network).await? else {
        return Err(ContainerError::Nonsense {
            what: "connect network",
            cause: format!("told as done, and not connected to {}", fit(&endpoint.network)),
        });
    };
    if !endpoint.moved(&now) {
        return Ok(());
    }
    engine.disconnect(&endpoint.network, container).await?;
    match connect(true).await {
        // Not on this network, or taken by somebody else: then the one it gets, which the comparison tells.
        Err(ContainerError::Refused { .. }) => connect(false).await,
        outcome => outcome,
    }
}

/// By identifier; where that is gone, by name, since a network made anew is what its owner has now.
async fn connect(engine: &Engine, container: &str, endpoint: &Endpoint, addresses: bool) -> Result<(), ContainerError> {
    let settings = endpoint.settings(addresses);
    match engine.connect(&endpoint.network_id, container, settings.clone()).await {
        Err(ContainerError::NetworkGone) => engine.connect(&endpoint.network, container, settings).await,
        outcome => outcome,
    }
}

async fn compare(engine: &Engine, undo: &Undo, mut told: Vec<String>) -> Result<Restored, ContainerError> {
    let found = match engine.inspect(&undo.container).await {
        Err(ContainerError::ContainerGone) => return Ok(Restored::Gone),
        outcome => outcome?,
    };
    let (now, up) = (attached(&found), up(&found));
    for endpoint in &undo.endpoints {
        match now.get(&endpoint.network) {
            Some(is) => told.extend(endpoint.differences(&Endpoint::of(&endpoint.network, is), up)),
            None if told.iter().any(|text| text.contains(&fit(&endpoint.network))) => {}
            None => told.push(format!("it is no longer connected to {}", fit(&endpoint.network))),
        }
    }
    if up && ports(&found) != undo.ports {
        told.push("ports published on the host are others than before".to_owned());
    }
    Ok(if told.is_empty() {
        Restored::Exactly
    } else {
        Restored::Differently(told)
    })
}
