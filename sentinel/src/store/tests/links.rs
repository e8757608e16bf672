//! Symbolic links that somebody who may write to the directory has laid out for root.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn no_file_is_written_through_a_link() {
    for (tail, refused) in [(".lock", true), ("", true), (".ballast", false)] {
        let (directory, path) = place();
        let elsewhere = directory.path().join("elsewhere");
        std::fs::write(&elsewhere, "keep me").unwrap();
        let dangling = directory.path().join("dangling");
        for target in [&elsewhere, &dangling] {
            let link = format!("{}{tail}", path.display());
            let _ = std::fs::remove_file(&link);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, &link).unwrap();
            match Store::open(&path) {
                Err(_) if refused => {}
                Ok(opened) if !refused => drop(opened),
                other => panic!("{tail}: {:?}", other.map(|_| ())),
            }
            assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "keep me", "{tail}");
            assert!(!dangling.exists(), "{tail}: made through the link");
        }
    }
}
