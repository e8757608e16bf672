//! Which model judges flows.

use crate::config::{BUILT_IN, Config};
use crate::model::Model;
use crate::train::file::read_model;
use anyhow::Context;
use std::sync::Arc;

/// The model that came with the program.
const SHIPPED: &[u8] = include_bytes!("../../../config/models/default.model");

/// What judges flows.
pub(crate) struct Judging {
    /// This network's own model, else the one as trained.
    pub(crate) model: Arc<Model>,
    /// The one configured, else the one that came with the program.
    pub(super) trained: Arc<Model>,
    /// Why this network's own is not in force, where it was.
    pub(super) lost: Option<String>,
}

/// Reads the model, where one is to judge.
///
/// # Errors
/// The configured one is none. This network's own is only worth a complaint: the other still stands.
pub(crate) fn judging_model(config: &Config) -> anyhow::Result<Option<Judging>> {
    let settings = &config.detect.model;
    if !settings.enabled {
        return Ok(None);
    }
    let trained = Arc::new(if settings.file.as_os_str() == BUILT_IN {
        Model::decode(SHIPPED).context("the model that came with the program")?
    } else {
        read_model(&settings.file).context("`detect.model.file`")?.0
    });
    let site = match settings.site.try_exists() {
        Ok(false) => None,
        Ok(true) => Some(read_model(&settings.site).map_err(|error| error.to_string())),
        Err(error) => Some(Err(format!("{}: {error}", settings.site.display()))),
    };
    let (model, lost) = match site {
        None => (Arc::clone(&trained), None),
        Some(Ok((model, _))) => (Arc::new(model), None),
        Some(Err(error)) => {
            tracing::error!(%error, "the thresholds of this network cannot be read; the model goes without");
            (Arc::clone(&trained), Some(error))
        }
    };
    if lost.is_none() && model.record().description.site.is_none() {
        tracing::info!(
            "the model's thresholds are not calibrated for this network: it judges and says nothing; `sentinel learn \
             start` collects what is benign here"
        );
    }
    Ok(Some(Judging { model, trained, lost }))
}
