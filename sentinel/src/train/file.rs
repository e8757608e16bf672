//! Files: read with a bound, written whole or not at all.

use super::error::TrainError;
use crate::model::{ArtefactError, MAX_BYTES, Model};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// A model from a file, and its size in bytes.
///
/// # Errors
/// [`TrainError::File`] and [`TrainError::Model`].
pub fn read_model(path: &Path) -> Result<(Model, usize), TrainError> {
    let failed = |error| TrainError::File {
        path: path.into(),
        error,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    let unsound = |error: ArtefactError| TrainError::Model {
        path: path.into(),
        error,
    };
    Ok((Model::decode(&bytes).map_err(unsound)?, bytes.len()))
}

/// Writes a file beside its place, makes it durable, and only then puts it there.
///
/// # Errors
/// [`TrainError::File`]; the file that stood there still stands.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), TrainError> {
    let failed = |error| TrainError::File {
        path: path.into(),
        error,
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| failed(std::io::ErrorKind::InvalidFilename.into()))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = directory.join(temporary);
    let written = (|| {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    })();
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let error = write(&dir.path().join("none/m"), b"x").unwrap_err().to_string();
        assert!(error.contains("none/m"), "{error}");
    }

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
