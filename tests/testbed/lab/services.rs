//! What the protected host offers: ssh, a web server, names, and room for iperf3.

use crate::child::{self, Child};
use crate::net::Host;
use crate::{scratch, tools, wait};
use anyhow::{Context, Result, bail};
use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Size of the file the web server offers, bytes.
pub const FILE_BYTES: usize = 512 * 1024;
const START: Duration = Duration::from_mins(1);

/// Running services; they end when this is dropped.
pub struct Services {
    running: Vec<Child>,
    dir: TempDir,
}

impl Services {
    /// Starts all of them and waits until each listens.
    ///
    /// # Errors
    /// When one does not start; its output is in the error.
    pub fn start(host: &Host) -> Result<Self> {
        let mut services = Self {
            running: Vec::new(),
            dir: scratch::folder()?,
        };
        services.ssh(host, 22)?;
        services.web(host)?;
        services.names(host)?;
        services.running.push(host.spawn("iperf3 -s")?);
        for (port, what) in [(22, "sshd"), (53, "dnsmasq"), (80, "busybox httpd"), (5201, "iperf3")] {
            services.await_port(host, port, what)?;
        }
        Ok(services)
    }

    /// Path of a list of `count` passwords, none of them right.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn passwords(&self, count: usize) -> Result<String> {
        let path = self.dir.path().join("passwords");
        let mut list = String::new();
        for number in 0..count {
            writeln!(list, "guess-{number:04}")?;
        }
        std::fs::write(&path, list)?;
        Ok(path.display().to_string())
    }

    /// Starts another ssh server on `port`, a decoy with a key of its own, and waits until it listens; returns the key.
    ///
    /// # Errors
    /// When it does not start.
    pub fn decoy(&mut self, host: &Host, port: u16) -> Result<String> {
        self.ssh(host, port)?;
        self.await_port(host, port, "the decoy")?;
        self.key(port)
    }

    /// Public key of the ssh server on `port`.
    ///
    /// # Errors
    /// When there is none.
    pub fn key(&self, port: u16) -> Result<String> {
        let line = std::fs::read_to_string(self.dir.path().join(format!("host_key_{port}.pub")))?;
        let key = line.split_whitespace().nth(1).context("a public key")?;
        Ok(key.to_owned())
    }

    fn ssh(&mut self, host: &Host, port: u16) -> Result<()> {
        let key = self.dir.path().join(format!("host_key_{port}"));
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key);
        child::must(keygen, START)?;
        let config = self.dir.path().join(format!("sshd_config_{port}"));
        let settings = format!(
            "Port {port}\nHostKey {}\nPidFile none\nUsePAM no\nPasswordAuthentication yes\nKbdInteractiveAuthentication no\n\
             PubkeyAuthentication no\nMaxStartups 200\nLoginGraceTime 20\n",
            key.display()
        );
        std::fs::write(&config, settings)?;
        // Its privilege separation wants this folder, which a boot would have made.
        std::fs::create_dir_all("/run/sshd")?;
        let sshd = tools::find("sshd").context("sshd is missing")?;
        // It starts itself anew for each connection and insists on its absolute path.
        self.running
            .push(host.spawn(&format!("{} -D -e -f {}", sshd.display(), config.display()))?);
        Ok(())
    }

    fn web(&mut self, host: &Host) -> Result<()> {
        let root = self.dir.path().join("www");
        std::fs::create_dir(&root)?;
        std::fs::write(root.join("file"), content())?;
        // A corner with a password, for whoever guesses.
        std::fs::create_dir(root.join("admin"))?;
        std::fs::write(root.join("admin/index.html"), "nothing to see\n")?;
        let config = self.dir.path().join("httpd.conf");
        std::fs::write(&config, "/admin:admin:lab-only-9f3c\n")?;
        let line = format!(
            "busybox httpd -f -p [::]:80 -c {} -h {}",
            config.display(),
            root.display()
        );
        self.running.push(host.spawn(&line)?);
        Ok(())
    }

    fn names(&mut self, host: &Host) -> Result<()> {
        let line = format!(
            "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
             --address=/lab.test/{} --address=/lab.test/{} --local-ttl=0 {}",
            host.v4,
            host.v6,
            texts()
        );
        self.running.push(host.spawn(&line)?);
        Ok(())
    }

    fn await_port(&mut self, host: &Host, port: u16, what: &str) -> Result<()> {
        let listening = wait::until(&format!("{what} to listen on port {port}"), START, || {
            for child in &mut self.running {
                if let Some(status) = child.ended()? {
                    bail!("a service ended with {status}: {}", child.output());
                }
            }
            let sockets = host.run(&format!("ss -Hltn sport = :{port}"), START)?;
            Ok((!sockets.output.trim().is_empty()).then_some(()))
        });
        listening.with_context(|| {
            self.running
                .iter_mut()
                .map(Child::output)
                .collect::<Vec<_>>()
                .join("\n")
        })
    }
}

/// Records with much text, as DKIM and SPF have.
pub(super) fn texts() -> String {
    let text = "v=DKIM1;k=rsa;p=".to_owned() + &"MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A".repeat(7);
    format!(
        "--txt-record=text.lab.test,v=spf1-include:_spf.lab.test-~all --txt-record=long.lab.test,{text},{text} \
         --txt-record=20260101._domainkey.mail.lab.test,{text} --mx-host=lab.test,mail.lab.test,10"
    )
}

/// What the web server's file holds: every download must bring exactly this.
pub(super) fn content() -> Vec<u8> {
    // A full-period generator (Numerical Recipes' constants): incompressible enough, and the same everywhere.
    let mut state: u32 = 1;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(FILE_BYTES).collect()
}
