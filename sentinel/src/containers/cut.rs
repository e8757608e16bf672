//! Cutting a container off.

use super::undo::attached;
use super::{ContainerError, Engine, Protection, Undo};
use bollard::models::EndpointSettings;

/// Looks at a container and says what would have to be put back, and why it is never isolated, where it is not. Changes
/// nothing.
///
/// # Errors
/// [`ContainerError`].
pub async fn capture(
    engine: &Engine,
    container: &str,
    quarantine: Option<&str>,
    protection: &Protection,
) -> Result<(Undo, Option<String>), ContainerError> {
    let found = engine.inspect(container).await?;
    let undo = Undo::of(&found, quarantine).ok_or(ContainerError::Nonsense {
        what: "inspect container",
        cause: "no identifier".to_owned(),
    })?;
    let names: Vec<String> = found.name.into_iter().collect();
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    let protected = protection.of(&undo.container, &names, &labels);
    Ok((undo, protected))
}

/// Disconnects a container from the networks of its undo record, connects it to the quarantine network where there is one,
/// and reads back. What is done already is left as it is, so it may be repeated; the record must be durable before.
///
/// # Errors
/// [`ContainerError`]; some of the networks may be gone by then. [`ContainerError::StillConnected`] where it was connected
/// to something that is not in the record.
pub async fn cut(engine: &Engine, undo: &Undo) -> Result<(), ContainerError> {
    let quarantine = undo.quarantine.as_deref();
    let before = attached(&engine.inspect(&undo.container).await?);
    let recorded = |name: &str| undo.endpoints.iter().any(|endpoint| endpoint.network == name);
    for name in before
        .keys()
        .filter(|name| Some(name.as_str()) != quarantine && recorded(name))
    {
        match engine.disconnect(name, &undo.container).await {
            // Somebody was quicker; what counts is what is read back.
            Err(ContainerError::NetworkGone) => {}
            outcome => outcome?,
        }
    }
    if let Some(quarantine) = quarantine.filter(|name| !before.contains_key(*name)) {
        let plain = EndpointSettings::default();
        match engine.connect(quarantine, &undo.container, plain).await {
            Err(ContainerError::NetworkGone) => return Err(ContainerError::NoQuarantine(quarantine.to_owned())),
            outcome => outcome?,
        }
    }
    let after = attached(&engine.inspect(&undo.container).await?);
    let left: Vec<&str> = after
        .keys()
        .map(String::as_str)
        .filter(|name| Some(*name) != quarantine)
        .collect();
    if left.is_empty() {
        Ok(())
    } else {
        Err(ContainerError::StillConnected(super::error::fit(&left.join(", "))))
    }
}
