//! The real agent, in the namespace of the host it protects.

use crate::child::{self, Child, Finished};
use crate::http::{self, Answer};
use crate::metrics::Metrics;
use crate::net::Host;
use crate::{scratch, wait};
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;
use tempfile::TempDir;

/// From start to ready, with a debug build on busy processors.
const START: Duration = Duration::from_mins(3);
/// From SIGTERM to gone.
const STOP: Duration = Duration::from_mins(1);
const COMMAND: Duration = Duration::from_mins(2);

/// An agent and its folder of settings, database and socket.
pub struct Agent {
    binary: PathBuf,
    dir: TempDir,
    child: Option<Child>,
    host: Host,
    /// Size of a file system of its own for the database, where one is wanted.
    disk: Option<&'static str>,
    /// A BPF file system for pins, mounted by us.
    pins: Option<PathBuf>,
}

impl Agent {
    /// Starts the agent in production mode and waits until it is ready; `settings` overrides section by section.
    ///
    /// # Errors
    /// When it ends or is not ready in time; its log is in the error.
    pub fn start(binary: &Path, host: &Host, settings: &Value) -> Result<Self> {
        let mut agent = Self::prepare(binary, host, settings)?;
        agent.launch()?;
        Ok(agent)
    }

    /// Writes the settings and starts nothing yet.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn prepare(binary: &Path, host: &Host, settings: &Value) -> Result<Self> {
        let agent = Self {
            binary: binary.to_owned(),
            dir: scratch::folder()?,
            child: None,
            host: host.clone(),
            disk: None,
            pins: None,
        };
        let mut all = json!({
            "mode": "production",
            "enable_production_actions": true,
            "kernel": { "interfaces": ["eth0"] },
            "store": { "path": agent.path("sentinel.db") },
            "api": { "socket": agent.socket() },
            "detect": { "model": { "site": agent.path("site.model") } },
            "intel": { "feeds": { "directory": agent.path("feeds") } },
            "alerting": { "file": { "path": agent.path("alerts.jsonl") } },
            "export": { "eve": { "file": agent.path("eve.json") } },
            "traffic_log": { "path": agent.path("traffic_log.csv") },
        });
        merge(&mut all, settings);
        // JSON is YAML.
        std::fs::write(agent.settings(), format!("{all:#}"))?;
        std::fs::write(
            agent.path("resolv.conf"),
            "nameserver 192.0.2.53\nnameserver 2001:db8::53\n",
        )?;
        Ok(agent)
    }

    /// Starts it (again) on the same settings and database, and waits until it is ready.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn launch(&mut self) -> Result<()> {
        self.begin(&[])?;
        let ready = wait::until("the agent to be ready", START, || {
            if let Some(status) = self.running()?.ended()? {
                bail!("the agent ended with {status}");
            }
            Ok(self.ready().then_some(()))
        });
        ready.map_err(|error| error.context(format!("log of the agent:\n{}", self.log())))
    }

    /// Starts it and waits for nothing; `prefix` goes before it.
    ///
    /// # Errors
    /// When it runs already, or cannot be started.
    pub fn begin(&mut self, prefix: &[&str]) -> Result<()> {
        ensure!(self.child.is_none(), "it is running already");
        self.child = Some(Child::spawn(self.run_command(prefix))?);
        Ok(())
    }

    /// Whether it says that it is ready.
    pub fn ready(&self) -> bool {
        let answer = http::request(&self.socket(), "GET", "/health/ready", None);
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When it was not started.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.running()?.ended()
    }

    /// Sends it a signal by name.
    ///
    /// # Errors
    /// When it is not running.
    pub fn signal(&mut self, signal: &str) -> Result<()> {
        self.running()?.signal(signal)
    }

    /// `sentinel run` in the protected host's namespace, with resolvers of that network; `prefix` goes before it.
    pub fn run_command(&self, prefix: &[&str]) -> Command {
        // `ip netns exec` gave the shell mounts of its own: neither of these is seen outside.
        let disk = self.disk.map_or(String::new(), |size| {
            format!("mount -t tmpfs -o size={size} tmpfs {}; ", self.path("disk").display())
        });
        let script = format!("mount --bind \"$0\" /etc/resolv.conf; {disk}exec \"$@\"");
        let mut command = self.host.program("sh", &["-c", &script]);
        command
            .arg(self.path("resolv.conf"))
            .args(prefix)
            .arg(&self.binary)
            .arg("run")
            .arg("-c")
            .arg(self.settings());
        command
            .env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "info".into()))
            .env("NO_COLOR", "1");
        command
    }

    /// Runs `sentinel run` to its end where it is expected to refuse.
    ///
    /// # Errors
    /// When it runs on.
    pub fn refuse(&self, prefix: &[&str]) -> Result<Finished> {
        child::run(self.run_command(prefix), STOP)
    }

    /// From the next launch on the database lives on a file system of `size`, such as `3m`.
    ///
    /// # Errors
    /// When the settings cannot be rewritten.
    pub fn database_on_tmpfs(&mut self, size: &'static str) -> Result<()> {
        self.disk = Some(size);
        std::fs::create_dir(self.path("disk"))?;
        self.set(&["store", "path"], json!(self.path("disk/sentinel.db")))
    }

    /// From the next launch on the agent pins its programs, on a BPF file system of its own.
    ///
    /// # Errors
    /// When that cannot be mounted or the settings cannot be rewritten.
    pub fn pin(&mut self) -> Result<()> {
        let pins = self.path("bpf");
        std::fs::create_dir(&pins)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "bpf", "bpf"]).arg(&pins);
        child::must(mount, COMMAND)?;
        self.pins = Some(pins.clone());
        self.set(&["kernel", "pin"], json!(true))?;
        self.set(&["kernel", "pin_path"], json!(pins.join("sentinel")))
    }

    /// From the next launch on the agent pins nothing.
    ///
    /// # Errors
    /// When the settings cannot be rewritten.
    pub fn unpin(&self) -> Result<()> {
        self.set(&["kernel", "pin"], json!(false))
    }

    /// Changes one setting for the next launch.
    ///
    /// # Errors
    /// When the settings cannot be rewritten.
    pub fn set(&self, path: &[&str], value: Value) -> Result<()> {
        let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(self.settings())?)?;
        let mut place = &mut settings;
        for key in path {
            place = &mut place[*key];
        }
        *place = value;
        Ok(std::fs::write(self.settings(), format!("{settings:#}"))?)
    }

    /// That file system as seen from here, through the running agent.
    pub fn disk(&self) -> Option<PathBuf> {
        let inside = self.path("disk");
        let inside = inside.strip_prefix("/").unwrap_or(&inside);
        self.pid()
            .map(|pid| PathBuf::from(format!("/proc/{pid}/root")).join(inside))
    }

    fn running(&mut self) -> Result<&mut Child> {
        self.child.as_mut().context("the agent is not running")
    }

    /// Process id.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ids of the kernel programs it holds, by descriptor or by link.
    ///
    /// # Errors
    /// When it is not running.
    pub fn programs(&self) -> Result<BTreeSet<u64>> {
        let pid = self.pid().context("the agent is not running")?;
        let mut ids = BTreeSet::new();
        for entry in std::fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
            // A descriptor that was closed meanwhile holds nothing.
            let info = std::fs::read_to_string(entry?.path()).unwrap_or_default();
            ids.extend(
                info.lines()
                    .filter_map(|line| line.strip_prefix("prog_id:")?.trim().parse::<u64>().ok()),
            );
        }
        Ok(ids)
    }

    /// What it said so far.
    pub fn log(&mut self) -> String {
        self.child.as_mut().map(Child::output).unwrap_or_default()
    }

    /// SIGTERM, and its orderly end.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn stop(&mut self) -> Result<Finished> {
        let mut child = self.child.take().context("the agent is not running")?;
        child.signal("TERM")?;
        child.wait(STOP)
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        let mut child = self.child.take().context("the agent is not running")?;
        child.end();
        Ok(())
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Its settings file.
    pub fn settings(&self) -> PathBuf {
        self.path("settings.yml")
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.path("sentinel.sock")
    }

    /// One request.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        http::request(&self.socket(), method, path, body)
    }

    /// JSON that must be there.
    ///
    /// # Errors
    /// When the answer is not 200 or not JSON.
    pub fn get(&self, path: &str) -> Result<Value> {
        let answer = self.request("GET", path, None)?;
        ensure!(answer.status == 200, "GET {path}: {} {}", answer.status, answer.text);
        answer.json()
    }

    fn items(&self, path: &str) -> Result<Vec<Value>> {
        match self.get(path)?["items"].take() {
            Value::Array(items) => Ok(items),
            other => bail!("GET {path}: items is {other}"),
        }
    }

    /// Alerts about a source, latest first.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn alerts(&self, source: IpAddr) -> Result<Vec<Value>> {
        self.items(&format!("/alerts?limit=100&ip={source}"))
    }

    /// Every alert, latest first.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn all_alerts(&self) -> Result<Vec<Value>> {
        self.items("/alerts?limit=500")
    }

    /// Decisions in force.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn active(&self) -> Result<Vec<Value>> {
        self.items("/decisions?active=true&limit=500")
    }

    /// Decisions about an address, ended ones too, latest first.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn decisions(&self, ip: IpAddr) -> Result<Vec<Value>> {
        self.items(&format!("/decisions?limit=100&ip={ip}"))
    }

    /// Decisions about an address that are more than a line in the log and that no guard refused, latest first.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn deeds(&self, ip: IpAddr) -> Result<Vec<Value>> {
        let mut decisions = self.decisions(ip)?;
        decisions.retain(|decision| decision["action"] != "log_only" && decision["status"] != "vetoed");
        Ok(decisions)
    }

    /// The block in force on exactly this address.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn block(&self, ip: IpAddr) -> Result<Option<Value>> {
        self.measure(ip, "block_ip")
    }

    /// What is in force on exactly this address, where it is this action.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn measure(&self, ip: IpAddr, action: &str) -> Result<Option<Value>> {
        let exact = if ip.is_ipv4() {
            format!("{ip}/32")
        } else {
            format!("{ip}/128")
        };
        let is_block = |decision: &Value| decision["target"] == exact && decision["action"] == action;
        Ok(self.active()?.into_iter().find(is_block))
    }

    /// Actions, latest first.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn actions(&self) -> Result<Vec<Value>> {
        self.items("/actions?limit=500")
    }

    /// A scrape.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> Result<Metrics> {
        let answer = self.request("GET", "/metrics", None)?;
        ensure!(answer.status == 200, "GET /metrics: {}", answer.status);
        Ok(Metrics::new(answer.text))
    }

    /// The command line on these settings, from outside the namespace.
    ///
    /// # Errors
    /// When it cannot be run or hangs.
    pub fn cli(&self, args: &[&str]) -> Result<Finished> {
        let mut command = Command::new(&self.binary);
        command
            .arg("-c")
            .arg(self.settings())
            .args(args)
            .env("RUST_LOG", "error");
        child::run(command, COMMAND)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(pins) = &self.pins {
            self.child = None;
            // With the last mount of it the pins go, and with them the programs.
            let _ = Command::new("umount").arg("--lazy").arg(pins).status();
        }
    }
}

/// Lays `over` on `base`, section by section.
fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => *base = over.clone(),
    }
}
