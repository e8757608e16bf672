//! The Redis between the nodes: whether it answers and will do.

use super::Finding;
use crate::config::Config;
use crate::fleet::probe;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    if config.bus.redis().is_none() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if config.fleet.key.is_none() {
        findings.push(Finding::warn(
            "fleet key",
            "there is none, so this node goes on alone",
            "make one by `openssl rand -hex 32`, the same for every node, and name its file in `fleet.key_file` (or put it in \
             FLEET_KEY)",
        ));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = match runtime {
        Ok(runtime) => runtime.block_on(probe(config)),
        Err(error) => Err((
            format!("cannot be asked: {error}"),
            "see the system's limits".to_owned(),
        )),
    };
    findings.push(match asked {
        Ok(()) => Finding::pass("fleet redis", "answers"),
        Err((cause, mend)) => Finding::warn("fleet redis", cause, mend),
    });
    findings
}
