//! A session on disk: whole, or not there.

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// An attack that was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// As the labels of training have it.
    pub family: &'static str,
    /// What it was.
    pub name: &'static str,
    /// The program.
    pub tool: String,
    /// The attacker's address; where sources were forged, that of who forged them.
    pub ip: IpAddr,
    /// Whether they were.
    pub forged: bool,
    /// Begin, s since 1970.
    pub t0: f64,
    /// End, s since 1970.
    pub t1: f64,
    /// Packets with the attacker (or with nobody known, where forged) at one end.
    pub packets: u64,
}

/// A session in the making, in a folder beside the one it becomes.
pub(super) struct Draft {
    folder: TempDir,
    target: PathBuf,
    name: String,
}

impl Draft {
    /// Refuses a folder with anything in it.
    pub(super) fn new(target: &Path) -> Result<Self> {
        let target = std::path::absolute(target)?;
        let name = target.file_name().and_then(|name| name.to_str());
        let name = name
            .filter(|name| !name.starts_with('.'))
            .with_context(|| format!("{} names no session; name a new folder", target.display()))?
            .to_owned();
        match fs::read_dir(&target) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    let what = if target.join("attacks.jsonl").exists() {
                        "holds a session already"
                    } else {
                        "is not empty"
                    };
                    bail!("{} {what}; name a new folder", target.display());
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| target.display().to_string()),
        }
        let parent = target.parent().context("a session is no root of a file system")?;
        ensure!(parent.is_dir(), "{} does not exist; make it first", parent.display());
        let folder = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".part")
            .tempdir_in(parent)
            .with_context(|| format!("{} cannot be written to", parent.display()))?;
        Ok(Self { folder, target, name })
    }

    /// Where the capture goes.
    pub(super) fn pcap(&self) -> PathBuf {
        self.folder.path().join(format!("{}.pcap", self.name))
    }

    /// Writes the rest, and gives the folder its name in one step.
    pub(super) fn publish(self, clients: &[IpAddr], attacks: &[Recorded]) -> Result<PathBuf> {
        let path = self.folder.path();
        let mut lines = String::new();
        for attack in attacks {
            let line = json!({
                "family": attack.family, "ip": attack.ip, "t0": attack.t0, "t1": attack.t1,
                "name": attack.name, "tool": attack.tool, "packets": attack.packets,
            });
            writeln!(lines, "{line}")?;
        }
        let sources: Vec<IpAddr> = attacks.iter().map(|attack| attack.ip).collect();
        fs::write(path.join("cli.ips"), list(clients))?;
        fs::write(path.join("atk.ips"), list(&sources))?;
        fs::write(path.join("attacks.jsonl"), lines)?;
        // Recorded as root for somebody who is not: it belongs to whom the place belongs.
        let parent = self.target.parent().context("no parent")?;
        let owner = fs::metadata(parent)?;
        for entry in fs::read_dir(path)? {
            let file = entry?.path();
            fs::set_permissions(&file, Permissions::from_mode(0o644))?;
            chown(&file, Some(owner.uid()), Some(owner.gid()))?;
            File::open(&file)?.sync_all()?;
        }
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        chown(path, Some(owner.uid()), Some(owner.gid()))?;
        File::open(path)?.sync_all()?;
        // rename(2) takes the place of an empty folder, and of nothing else.
        fs::rename(path, &self.target)
            .with_context(|| format!("{} was made by somebody else meanwhile", self.target.display()))?;
        let _ = self.folder.keep();
        File::open(parent)?.sync_all()?;
        Ok(self.target)
    }
}

fn list(addresses: &[IpAddr]) -> String {
    addresses
        .iter()
        .fold(String::new(), |list, ip| list + &ip.to_string() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attack() -> Recorded {
        Recorded {
            family: "scan",
            name: "syn scan",
            tool: "nmap".into(),
            ip: IpAddr::from([192, 0, 2, 20]),
            forged: false,
            t0: 1.5,
            t1: 2.25,
            packets: 40,
        }
    }

    fn names(dir: &Path) -> Vec<String> {
        let entries = fs::read_dir(dir).expect("folder").map(|entry| entry.expect("entry"));
        let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_session_is_there_whole_or_not_at_all() {
        let place = tempfile::tempdir().expect("folder");
        let dir = place.path().join("labB");
        let draft = Draft::new(&dir).expect("new");
        fs::write(draft.pcap(), "x").expect("written");
        assert!(!dir.exists());
        drop(draft);
        assert!(
            names(place.path()).is_empty(),
            "a draft that is given up leaves nothing"
        );

        let draft = Draft::new(&dir).expect("new");
        fs::write(draft.pcap(), "x").expect("written");
        draft
            .publish(&[IpAddr::from([192, 0, 2, 2])], &[attack()])
            .expect("published");
        assert_eq!(names(place.path()), ["labB"]);
        assert_eq!(names(&dir), ["atk.ips", "attacks.jsonl", "cli.ips", "labB.pcap"]);
        let line = fs::read_to_string(dir.join("attacks.jsonl")).expect("readable");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&line["ip"], &line["t1"]), (&json!("192.0.2.20"), &json!(2.25)));
        assert_eq!(
            fs::read_to_string(dir.join("atk.ips")).expect("readable"),
            "192.0.2.20\n"
        );
    }

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let place = tempfile::tempdir().expect("folder");
        let dir = place.path().join("labB");
        fs::create_dir(&dir).expect("folder");
        assert!(Draft::new(&dir).is_ok(), "an empty one is welcome");
        fs::write(dir.join("note"), "x").expect("written");
        let refused = |dir: &Path| match Draft::new(dir) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert!(refused(&dir).contains("is not empty"));
        fs::write(dir.join("attacks.jsonl"), "").expect("written");
        assert!(refused(&dir).contains("holds a session already"));
        assert!(refused(&place.path().join("none/labB")).contains("make it first"));
        assert!(refused(Path::new("/")).contains("names no session"));
        assert_eq!(names(place.path()), ["labB"]);
    }

    #[test]
    fn a_folder_somebody_filled_meanwhile_is_not_touched() {
        let place = tempfile::tempdir().expect("folder");
        let dir = place.path().join("labB");
        let draft = Draft::new(&dir).expect("new");
        fs::create_dir(&dir).expect("folder");
        fs::write(dir.join("attacks.jsonl"), "theirs").expect("written");
        assert!(draft.publish(&[], &[attack()]).is_err());
        assert_eq!(names(place.path()), ["labB"]);
        assert_eq!(
            fs::read_to_string(dir.join("attacks.jsonl")).expect("readable"),
            "theirs"
        );
    }
}
