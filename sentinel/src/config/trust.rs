//! Whether a settings file that nobody named may be believed: `config/settings.yml` is looked for where the command is
//! run, and that may be a directory in which somebody else laid one out for root.

use super::problem::{Place, Problem};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Write permission of everybody, `stat(2)`.
const OTHERS_WRITE: u32 = 0o002;
/// Root is trusted by everybody.
const ROOT: u32 = 0;
/// Only root lays something out there, whoever owns it: a checkout lent to a container belongs to its user.
const INSTALLED: &str = "/etc/sentinel";

/// What speaks against a default file: its directory, itself or its local override belongs to none of `owners` (nor to
/// root), or anybody may write to it. What does not exist speaks against nothing.
pub fn distrust(file: &Path, owners: &[u32]) -> Option<Problem> {
    let local = super::load::local_of(file);
    [file.parent(), Some(file), local.as_deref()]
        .into_iter()
        .flatten()
        .find_map(|path| {
            let found = std::fs::metadata(path).ok()?;
            Some(Problem {
                place: Place::File(path.to_owned()),
                key: String::new(),
                message: fault(&found, owners, file.starts_with(INSTALLED))?,
                mend: format!(
                    "look at it, and name it if it is meant: `-c {}`; or run this elsewhere",
                    file.display()
                ),
            })
        })
}

fn fault(found: &Metadata, owners: &[u32], installed: bool) -> Option<String> {
    if !installed && found.uid() != ROOT && !owners.contains(&found.uid()) {
        return Some(format!(
            "belongs to user {}, and was only found because it lies here",
            found.uid()
        ));
    }
    (found.mode() & OTHERS_WRITE != 0)
        .then(|| "anybody may write to it, and it was only found because it lies here".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_somebody_else_could_have_laid_out_is_not_believed() {
        let directory = tempfile::tempdir().expect("a directory");
        let folder = directory.path().join("config");
        let file = folder.join("settings.yml");
        let local = folder.join("settings.local.yml");
        fs::create_dir(&folder).expect("a folder");
        fs::write(&file, "").expect("a file");
        let me = fs::metadata(&file).expect("its owner").uid();
        assert_eq!(distrust(&file, &[me]), None);
        assert_eq!(distrust(&folder.join("none.yml"), &[me]), None);
        fs::write(&local, "").expect("a file");
        for path in [&folder, &file, &local] {
            let before = fs::metadata(path).expect("its mode").permissions();
            fs::set_permissions(path, Permissions::from_mode(0o777)).expect("opened");
            let problem = distrust(&file, &[me]).expect("a problem");
            assert_eq!(problem.place, Place::File(path.clone()));
            fs::set_permissions(path, before).expect("closed");
        }
        if me == ROOT {
            std::os::unix::fs::chown(&local, Some(12_345), None).expect("given away");
            let problem = distrust(&file, &[me]).expect("a problem");
            assert!(problem.message.contains("user 12345"), "{problem}");
            assert_eq!(distrust(&file, &[12_345]), None);
            let given = fs::metadata(&local).expect("its owner");
            assert_eq!(fault(&given, &[me], true), None);
            fs::set_permissions(&local, Permissions::from_mode(0o666)).expect("opened");
            let opened = fs::metadata(&local).expect("its mode");
            assert!(fault(&opened, &[me], true).is_some());
        }
    }
}
