//! The container this process runs in, as far as it can be known from inside.
//!
//! The engine mounts files of its own over `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`, whose place names the
//! container (`.../containers/ID/hostname`, proc_pid_mountinfo(5)); the control group may (`/docker/ID`, `docker-ID.scope`,
//! cgroups(7)); the host name is the identifier's first twelve digits unless it was set. An agent in the network of the
//! host has no address of a container, so nothing can point at it; one whose files the operator mounted himself and whose
//! control group is hidden is known by its host name only: `containers.protect` is for that.

use crate::files::FileError;
use std::io::ErrorKind;
use std::path::Path;

/// Digits of a whole identifier, and of a short one.
const WHOLE: usize = 64;
const SHORT: usize = 12;

/// Identifiers, or beginnings of one, of the container this process runs in; empty where it runs in none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnIds(Vec<String>);

impl OwnIds {
    /// Looks at `/proc/self` and the host name. What is not there names nobody.
    ///
    /// # Errors
    /// Which file is there and cannot be read, and the system's words: it may name the container.
    pub fn find() -> Result<Self, FileError> {
        Self::find_in(Path::new("/proc"))
    }

    fn find_in(proc: &Path) -> Result<Self, FileError> {
        let read = |file: &str| {
            let path = proc.join(file);
            match std::fs::read(&path) {
                // Paths of mounts may be in any encoding.
                Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
                Err(error) => Err(FileError { path, error }),
            }
        };
        Ok(Self::of(
            &read("self/mountinfo")?,
            &read("self/cgroup")?,
            &read("sys/kernel/hostname")?,
        ))
    }

    fn of(mounts: &str, groups: &str, hostname: &str) -> Self {
        let mut found: Vec<String> = mounts.lines().filter_map(mounted).collect();
        found.extend(groups.lines().filter_map(grouped));
        let hostname = hostname.trim();
        if hostname.len() == SHORT && is_hex(hostname) {
            found.push(hostname.to_owned());
        }
        found.sort();
        found.dedup();
        Self(found)
    }

    /// Whether a container is that one.
    pub(super) fn is(&self, id: &str) -> bool {
        self.0.iter().any(|own| id.starts_with(own.as_str()))
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn whole(text: &str) -> Option<String> {
    (text.len() == WHOLE && is_hex(text)).then(|| text.to_owned())
}

/// A line of mountinfo: id, parent, device, root, mount point. On the host itself such files are mount points at most,
/// never the root of what is mounted on `/etc`.
fn mounted(line: &str) -> Option<String> {
    let mut fields = line.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    if !["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"].contains(&point) {
        return None;
    }
    let mut parts = root.rsplit('/');
    parts.find_map(whole)
}

/// A line of cgroup: number, controllers, path.
fn grouped(line: &str) -> Option<String> {
    let path = line.splitn(3, ':').nth(2)?;
    path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        whole(part.rsplit('-').next().unwrap_or(part))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_container_is_known_by_what_the_engine_mounts_and_by_its_group() {
        let mount = |root: &str, point: &str| format!("600 571 254:0 {root} {point} rw,relatime - ext4 /dev/vda rw\n");
        let docker = mount(&format!("/var/lib/docker/containers/{ID}/hostname"), "/etc/hostname");
        let podman = mount(
            &format!("/containers/overlay-containers/{ID}/userdata/hosts"),
            "/etc/hosts",
        );
        for (mounts, groups, hostname) in [
            (docker.as_str(), "", "web"),
            (podman.as_str(), "", "web"),
            ("", &format!("4:memory:/docker/{ID}\n0::/\n"), "web"),
            ("", &format!("0::/system.slice/docker-{ID}.scope\n"), "web"),
            ("", "0::/\n", &format!("{}\n", &ID[..12])),
        ] {
            assert!(
                OwnIds::of(mounts, groups, hostname).is(ID),
                "{mounts}{groups}{hostname}"
            );
        }
    }

    #[test]
    fn what_is_there_and_cannot_be_read_is_not_taken_for_no_container() {
        let dir = tempfile::tempdir().unwrap();
        let none = OwnIds::find_in(dir.path()).unwrap();
        assert_eq!(none, OwnIds::default(), "nothing is there");
        std::fs::create_dir_all(dir.path().join("self")).unwrap();
        let mount = format!("600 571 254:0 /containers/{ID}/hosts /etc/hosts rw - ext4 /dev/vda rw\n");
        let mounts = [&b"1 0 254:0 / /mnt/\xff rw - ext4 /dev/vda rw\n"[..], mount.as_bytes()].concat();
        std::fs::write(dir.path().join("self/mountinfo"), mounts).unwrap();
        assert!(OwnIds::find_in(dir.path()).unwrap().is(ID));
        // Reading a directory fails for root, too.
        std::fs::create_dir(dir.path().join("self/cgroup")).unwrap();
        let error = OwnIds::find_in(dir.path()).unwrap_err().to_string();
        assert!(error.contains("self/cgroup"), "{error}");
    }

    #[test]
    fn a_host_full_of_containers_is_none_itself() {
        let mounts = format!(
            "70 29 0:55 / /var/lib/docker/containers/{ID}/mounts/shm rw - tmpfs shm rw\n\
             71 29 0:56 / /var/lib/docker/overlay2/{ID}/merged rw - overlay overlay rw\n\
             72 29 254:0 /etc/hosts.real /etc/hosts rw - ext4 /dev/vda rw\nshort line\n"
        );
        for hostname in ["web", "deadbeef", "0123456789xy", ""] {
            let own = OwnIds::of(&mounts, "0::/user.slice/session-1.scope\n1:cpu:/docker\nx\n", hostname);
            assert_eq!(own, OwnIds::default(), "{hostname}");
            assert!(!own.is(ID));
        }
    }
}
