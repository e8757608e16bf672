//! Debian's kernel packages, from the archive this machine is configured for.
//!
//! apt works on a configuration and state of its own below `target/kernels`, so that neither the system's lists nor its
//! preferences are touched, and it verifies what it gets with Debian's keys, as always.

use crate::shell;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Releases that have kernels we ask for.
const SUITES: [&str; 5] = [
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
];
/// Releases whose updates of kernels come by the security archive.
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Depends on the latest kernel of each release.
const META: &str = "linux-image-cloud-amd64";
/// What of a kernel's packages is unpacked: the kernel and its modules.
const PARTS: [&str; 3] = ["linux-image-", "linux-binary-", "linux-modules-"];

/// The archive, with a private state.
pub(super) struct Archive {
    folder: PathBuf,
    config: PathBuf,
}

/// A kernel that can be had.
#[derive(Clone, Debug)]
pub(super) struct Package {
    /// The package's version, such as `6.1.176-1`.
    pub(super) version: String,
}

impl Package {
    /// `6.1` of `6.1.176-1`.
    pub(super) fn series(&self) -> String {
        self.version.split('.').take(2).collect::<Vec<_>>().join(".")
    }
}

impl Archive {
    /// Reads the archive's index.
    ///
    /// # Errors
    /// When this is no Debian machine, or the archive cannot be reached.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let own = folder.join("apt");
        for dir in [
            "etc/apt.conf.d",
            "etc/preferences.d",
            "state/lists/partial",
            "cache/archives/partial",
        ] {
            std::fs::create_dir_all(own.join(dir))?;
        }
        let (main, security) = mirrors()?;
        let line = |uri: &str, suite: &str| format!("deb [arch=amd64 signed-by={KEYRING}] {uri} {suite} main\n");
        let mut sources: String = SUITES.iter().map(|suite| line(&main, suite)).collect();
        if let Some(uri) = security {
            sources.extend(SECURITY_SUITES.iter().map(|suite| line(&uri, suite)));
        }
        std::fs::write(own.join("etc/sources.list"), sources)?;
        std::fs::write(own.join("state/status"), "")?;
        let config = own.join("apt.conf");
        let here = own.display();
        std::fs::write(
            &config,
            format!(
                "Dir::Etc \"{here}/etc\";\nDir::State \"{here}/state\";\nDir::State::status \"{here}/state/status\";\n\
                 Dir::Cache \"{here}/cache\";\nAcquire::Languages \"none\";\nAcquire::Retries \"2\";\n\
                 Acquire::http::Timeout \"20\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
                 APT::Sandbox::User \"root\";\n"
            ),
        )?;
        let archive = Self {
            folder: folder.to_owned(),
            config,
        };
        // A suite that is gone or out of date leaves the others; what is there then is asked below.
        let _ = archive
            .apt("apt-get", &["update", "--quiet"])
            .stdout(Stdio::null())
            .status();
        Ok(archive)
    }

    /// The newest kernel of every series, oldest first.
    ///
    /// # Errors
    /// When the index holds none.
    pub(super) fn kernels(&self) -> Result<Vec<Package>> {
        let text = self.says("apt-cache", &["madison", META])?;
        let mut found: Vec<Package> = Vec::new();
        // Newest first.
        for version in text.lines().filter_map(|line| line.split('|').nth(1)) {
            let package = Package {
                version: version.trim().to_owned(),
            };
            if found.iter().all(|known| known.series() != package.series()) {
                found.push(package);
            }
        }
        ensure!(!found.is_empty(), "the archive's index has no {META}");
        found.reverse();
        Ok(found)
    }

    /// Downloads and unpacks a kernel, unless that was done before; gives the folder.
    ///
    /// # Errors
    /// When apt or dpkg-deb fail.
    pub(super) fn fetch(&self, kernel: &Package) -> Result<PathBuf> {
        let root = self.folder.join(&kernel.version);
        if root.is_dir() {
            return Ok(root);
        }
        let partial = self.folder.join(format!("{}.partial", kernel.version));
        let _ = std::fs::remove_dir_all(&partial);
        let packages = partial.join("packages");
        let unpacked = partial.join("root");
        std::fs::create_dir_all(&packages)?;
        std::fs::create_dir_all(&unpacked)?;
        let mut download = self.apt("apt-get", &["download", "--quiet"]);
        for name in self.parts(META, &kernel.version)? {
            download.arg(format!("{name}={}", kernel.version));
        }
        shell::run(download.current_dir(&packages).stdout(Stdio::null()))?;
        for entry in std::fs::read_dir(&packages)? {
            shell::run(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .arg(entry?.path())
                    .arg(&unpacked),
            )?;
        }
        std::fs::rename(&unpacked, &root)?;
        std::fs::remove_dir_all(&partial)?;
        Ok(root)
    }

    /// The packages of a kernel behind `name`: what it depends on at exactly its own version, and so on.
    fn parts(&self, name: &str, version: &str) -> Result<Vec<String>> {
        let text = self.says("apt-cache", &["show", &format!("{name}={version}")])?;
        let depends = text
            .lines()
            .find_map(|line| line.strip_prefix("Depends: "))
            .unwrap_or_default();
        let exact = format!("(= {version})");
        let mut parts = Vec::new();
        for one in depends.split(", ") {
            if let Some((part, wanted)) = one.split_once(' ')
                && wanted == exact
                && PARTS.iter().any(|prefix| part.starts_with(prefix))
            {
                parts.push(part.to_owned());
                parts.extend(self.parts(part, version)?);
            }
        }
        Ok(parts)
    }

    fn apt(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config).env("LC_ALL", "C").args(args);
        command.stdin(Stdio::null());
        command
    }

    fn says(&self, program: &str, args: &[&str]) -> Result<String> {
        shell::says(&mut self.apt(program, args))
    }
}

/// Where this machine gets Debian's packages from, and their security updates.
fn mirrors() -> Result<(String, Option<String>)> {
    let out = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(ORIGIN)|$(SUITE)|$(REPO_URI)",
            "Created-By: Packages",
        ])
        .output()
        .context("there is no apt-get here; kernels come as Debian packages")?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let debian: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Debian|")?.split_once('|'))
        .collect();
    let find = |security: bool| {
        let mut of_kind = debian
            .iter()
            .filter(|(suite, _)| suite.contains("security") == security);
        of_kind.next().map(|(_, uri)| (*uri).to_owned())
    };
    let main = find(false).context("no Debian archive is configured here, or `apt-get update` was never run")?;
    Ok((main, find(true)))
}
