//! The images, built by buildah in a store of its own under `target/`, on a base made of Debian's packages.

use anyhow::{Context, Result, anyhow};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use testbed::{child, scratch};

/// What compose calls it.
pub(super) const IMAGE: &str = "sentinel:local";
/// What the Dockerfiles begin with.
pub(super) const BASE: &str = "docker.io/library/debian:bookworm-slim";
/// Packages come from a mirror.
const LONG: Duration = Duration::from_mins(5);
/// A compiler, a linker and an agent, on busy processors.
const SOURCE: Duration = Duration::from_hours(1);
/// As in the image of this name: no documentation but licences, no translations.
const SLIM: [&str; 5] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/info/*",
];

/// The checkout.
pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Where images are built.
pub(super) struct Images {
    /// Kept from run to run: the base, the store.
    kept: PathBuf,
    /// Gone with this.
    dir: TempDir,
}

impl Images {
    /// With the base in it.
    pub(super) fn open() -> Result<Self> {
        let kept = testbed::target().map_err(|why| anyhow!(why))?.join("image");
        std::fs::create_dir_all(&kept)?;
        let images = Self {
            kept,
            dir: scratch::folder()?,
        };
        images.base()?;
        Ok(images)
    }

    fn base(&self) -> Result<()> {
        if self
            .must(&["images", "--quiet", BASE], LONG)
            .is_ok_and(|ids| !ids.trim().is_empty())
        {
            return Ok(());
        }
        let tar = self.dir.path().join("base.tar").display().to_string();
        let mut make = Command::new("mmdebstrap");
        make.args(["--quiet", "--variant=minbase"]);
        make.args(SLIM.map(|option| format!("--dpkgopt={option}")));
        make.args(["bookworm", &tar]);
        child::must(make, LONG)?;
        let container = self.must(&["from", "scratch"], LONG)?;
        let container = container.trim();
        self.must(&["add", "--quiet", container, &tar, "/"], LONG)?;
        self.must(&["commit", "--quiet", "--rm", container, BASE], LONG)
            .map(drop)
    }

    fn buildah(&self, args: &[&str]) -> Command {
        let mut command = Command::new("buildah");
        // Its own store, and no part of the machine's; a plain one works in any file system.
        command.arg("--root").arg(self.kept.join("store"));
        command.arg("--runroot").arg(self.kept.join("run"));
        command.args(["--storage-driver", "overlay"]).args(args);
        command
    }

    fn must(&self, args: &[&str], deadline: Duration) -> Result<String> {
        child::must(self.buildah(args), deadline)
    }

    fn build(&self, context: &Path, name: &str, more: &[String], deadline: Duration) -> Result<()> {
        // Docker's format, for the other one has no health check.
        let mut command = self.buildah(&["build", "--isolation", "chroot", "--format", "docker", "--pull-never"]);
        command.args(["--layers", "--tag", name]).args(more).arg(context);
        child::must(command, deadline)?;
        // What had this name before would stay, run after run.
        let _ = self.must(&["rmi", "--prune"], LONG);
        Ok(())
    }

    /// Writes an image to a file that an engine loads.
    fn archive(&self, name: &str) -> Result<PathBuf> {
        let file = self.dir.path().join(name.replace(':', "-"));
        let place = format!("docker-archive:{}:{name}", file.display());
        self.must(&["push", "--quiet", name, &place], LONG)?;
        Ok(file)
    }

    /// The image with this agent in it.
    pub(super) fn sentinel(&self, binary: &Path) -> Result<PathBuf> {
        let out = self.dir.path().join("built/out");
        std::fs::create_dir_all(&out)?;
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(out.join("sentinel")).arg(binary);
        child::must(strip, LONG)?;
        let built = out.parent().context("a folder")?.display();
        let instead = [format!("--build-context=build={built}")];
        self.build(&root(), IMAGE, &instead, LONG)?;
        self.archive(IMAGE)
    }

    /// The image of Redis.
    pub(super) fn redis(&self) -> Result<PathBuf> {
        let name = "sentinel-redis:local";
        self.build(&root().join("config/redis"), name, &[], LONG)?;
        self.archive(name)
    }

    /// The image as its users build it, crates taken from this machine's cargo where it has them; what it says of its version,
    /// and its size in megabytes.
    pub(super) fn anew(&self) -> Result<(String, u64)> {
        let name = "sentinel:source";
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let home = home.context("no CARGO_HOME")?;
        let own = std::fs::read_to_string(home.join("config.toml")).unwrap_or_default();
        let mut volumes = Vec::new();
        // Whom this machine trusts, the build trusts.
        let trusted = Path::new("/etc/ssl/certs/ca-certificates.crt");
        let inside = "/run/certificates.crt";
        let mut settings = own;
        if trusted.is_file() {
            volumes.push(format!("--volume={}:{inside}:ro", trusted.display()));
            settings = format!("http.cainfo = \"{inside}\"\n{settings}");
        }
        let file = self.dir.path().join("config.toml");
        std::fs::write(&file, settings)?;
        volumes.push(format!("--volume={}:/root/.cargo/config.toml:ro", file.display()));
        let registry = home.join("registry");
        std::fs::create_dir_all(&registry)?;
        volumes.push(format!("--volume={}:/root/.cargo/registry", registry.display()));
        let profile = std::env::var("IMAGE_PROFILE").unwrap_or_else(|_| "dev".to_owned());
        volumes.push(format!("--build-arg=PROFILE={profile}"));
        self.build(&root(), name, &volumes, SOURCE)?;
        let container = self.must(&["from", "--pull-never", name], LONG)?;
        let said = self.must(
            &[
                "run",
                "--isolation",
                "chroot",
                container.trim(),
                "sentinel",
                "--version",
            ],
            LONG,
        );
        self.must(&["rm", container.trim()], LONG)?;
        let size = self.must(
            &["inspect", "--type", "image", "--format", "{{.FromImageID}}", name],
            LONG,
        )?;
        let bytes = self.size(&size)?;
        Ok((said?.trim().to_owned(), bytes / 1_000_000))
    }

    fn size(&self, id: &str) -> Result<u64> {
        let listed = self.must(&["images", "--json", id.trim()], LONG)?;
        let all: serde_json::Value = serde_json::from_str(&listed)?;
        let text = all[0]["size"].as_str().context("no size")?.to_owned();
        let (number, unit) = text.split_once(' ').context("no unit")?;
        let scale = match unit {
            "GB" => 1e9,
            "MB" => 1e6,
            _ => 1e3,
        };
        Ok((number.parse::<f64>()? * scale) as u64)
    }
}
