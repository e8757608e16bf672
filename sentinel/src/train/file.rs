//! Models in files.

use super::error::TrainError;
use crate::files;
pub use crate::files::write;
use crate::model::{ArtefactError, MAX_BYTES, Model};
use std::path::Path;

/// A model from a file, and its size in bytes.
///
/// # Errors
/// [`TrainError::File`] and [`TrainError::Model`].
pub fn read_model(path: &Path) -> Result<(Model, usize), TrainError> {
    let bytes = files::read(path, MAX_BYTES)?;
    let unsound = |error: ArtefactError| TrainError::Model {
        path: path.into(),
        error,
    };
    Ok((Model::decode(&bytes).map_err(unsound)?, bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_model_is_named_with_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        std::fs::write(&path, b"hello").unwrap();
        let error = read_model(&path).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("/m: this is no model of Sentinel"), "{error}");
        assert!(read_model(&dir.path().join("gone")).is_err());
    }
}
