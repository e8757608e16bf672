//! A real Docker Engine in the namespace of a host, with an image of busybox alone.

use crate::child::{self, Child, Finished};
use crate::http::{self, Answer};
use crate::net::Host;
use crate::tools;
use crate::{scratch, wait};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

const START: Duration = Duration::from_mins(1);
const COMMAND: Duration = Duration::from_mins(2);
/// The image containers are made of.
pub const IMAGE: &str = "lab";

/// An engine, its containers and networks; all of it gone when dropped.
pub struct Engine {
    dir: TempDir,
    child: Option<Child>,
    host: Host,
}

impl Engine {
    /// Why it cannot be had here, if so.
    pub fn obstacle() -> Option<String> {
        tools::obstacle(tools::ENGINE)
    }

    /// Starts it in the namespace of `host` and gives it its image.
    ///
    /// # Errors
    /// When it is not ready in time; its log is in the error.
    pub fn start(host: &Host) -> Result<Self> {
        let mut engine = Self {
            dir: scratch::folder()?,
            child: None,
            host: host.clone(),
        };
        engine.launch()?;
        engine.import()?;
        Ok(engine)
    }

    /// Starts it (again) on the same data.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn launch(&mut self) -> Result<()> {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        // In a process namespace of its own nothing survives it; in a mount namespace of its own nothing stays mounted.
        // `ip netns exec` would hide the control groups.
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.host.ns))
            .args([
                "unshare",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child=KILL",
                "--mount-proc",
            ])
            .args([
                "dockerd",
                "--storage-driver",
                "overlay2",
                "--default-ulimit",
                "nofile=1024:1024",
            ])
            .args(["--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("pid"), "--group", "root"])
            .args(["-H", &format!("unix://{}", path("docker.sock"))]);
        self.child = Some(Child::spawn(command)?);
        let ready = wait::until("the engine to be ready", START, || {
            let child = self.child.as_mut().context("not started")?;
            if let Some(status) = child.ended()? {
                bail!("the engine ended with {status}");
            }
            let answer = http::request(&self.socket(), "GET", "/_ping", None);
            Ok(answer.ok().filter(|answer| answer.status == 200))
        });
        let mut log = || self.child.as_mut().map(Child::output).unwrap_or_default();
        ready.map(|_| ()).map_err(|error| error.context(log()))
    }

    /// Ends it and every container at once, as a crash of the machine would.
    pub fn kill(&mut self) {
        self.child = None;
        let _ = std::fs::remove_file(self.socket());
        let _ = std::fs::remove_file(self.dir.path().join("pid"));
        // Process ids in it would name others in the next process namespace.
        let _ = std::fs::remove_dir_all(self.dir.path().join("exec"));
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    fn import(&self) -> Result<()> {
        let bin = self.dir.path().join("image/bin");
        std::fs::create_dir_all(&bin)?;
        let busybox = tools::find("busybox").context("busybox")?;
        std::fs::copy(busybox, bin.join("busybox"))?;
        let listed = child::must(self.plain("busybox", &["--list"]), COMMAND)?;
        for name in listed.lines().map(str::trim).filter(|name| *name != "busybox") {
            std::os::unix::fs::symlink("busybox", bin.join(name))?;
        }
        let tar = self.dir.path().join("image.tar");
        let image = self.dir.path().join("image");
        let show = |path: &Path| path.display().to_string();
        child::must(
            self.plain("tar", &["-C", &show(&image), "-cf", &show(&tar), "."]),
            COMMAND,
        )?;
        self.docker(&["import", &show(&tar), IMAGE]).map(|_| ())
    }

    fn plain(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).current_dir(self.dir.path());
        command
    }

    /// A command of Docker's own command line that must succeed; what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn docker(&self, args: &[&str]) -> Result<String> {
        Ok(child::must(self.command(args), COMMAND)?.trim().to_owned())
    }

    /// The same, whatever it ends with.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn try_docker(&self, args: &[&str]) -> Result<Finished> {
        child::run(self.command(args), COMMAND)
    }

    /// A command of docker-compose, on the project in `dir`, whatever it ends with.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn compose(&self, dir: &Path, args: &[&str]) -> Result<Finished> {
        let mut command = Command::new("docker-compose");
        command
            .args(args)
            .current_dir(dir)
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("COMPOSE_HTTP_TIMEOUT", "60");
        child::run(command, COMMAND)
    }

    fn command(&self, args: &[&str]) -> Command {
        // The package's own before another one in the caller's PATH: a client of a later release refuses options.
        let own = Path::new("/usr/bin/docker");
        let client = if own.is_file() { "/usr/bin/docker" } else { "docker" };
        let mut command = self.plain(client, args);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket().display()));
        command
    }

    /// One request to its interface.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        http::request(&self.socket(), method, path, body)
    }

    /// Everything it says of a container.
    ///
    /// # Errors
    /// When there is none.
    pub fn inspect(&self, container: &str) -> Result<Value> {
        let answer = self.request("GET", &format!("/containers/{container}/json"), None)?;
        ensure!(answer.status == 200, "inspect {container}: {}", answer.text);
        answer.json()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Containers that are removed in order leave no control groups behind.
        if let Ok(ids) = self.docker(&["ps", "-aq"]) {
            let ids: Vec<&str> = ids.split_whitespace().collect();
            if !ids.is_empty() {
                let _ = self.try_docker(&[&["rm", "-f"], ids.as_slice()].concat());
            }
        }
        self.child = None;
    }
}
