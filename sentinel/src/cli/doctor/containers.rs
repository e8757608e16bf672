//! Whether the container engine answers, and what is to be known of isolating.

use super::Finding;
use crate::config::Config;
use crate::containers::Engine;

/// One finding where an engine is configured.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let settings = &config.containers;
    let Some(socket) = &settings.engine else {
        return Vec::new();
    };
    let check = "container engine";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = runtime.map(|runtime| runtime.block_on(Engine::new(socket, settings.timeout).version()));
    vec![match asked {
        Ok(Ok(version)) => Finding::pass(check, format!("answers at {}: {version}", socket.display())),
        Ok(Err(error)) => Finding::warn(
            check,
            error.to_string(),
            "until it answers, a container is blocked by its address where it was to be isolated",
        ),
        Err(error) => Finding::warn(check, format!("not asked: {error}"), "try again"),
    }]
}
