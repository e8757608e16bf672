//! What hosts offer in a recording besides the lab's services: files over FTP, the web over TLS, names, copies, and room
//! for what is carried away.

use super::habit::{BACKUP, UPDATES};
use super::rng::Rng;
use crate::child::{self, Child};
use crate::lab::services::texts;
use crate::net::Host;
use crate::{tools, wait};
use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const START: Duration = Duration::from_secs(20);
/// Bytes of a package, such as a mirror has.
const PACKAGE: usize = 3 << 20;
/// Files of a mirror.
const FILES: usize = 24;

/// Fills the folder that servers of both sides serve.
pub(super) fn shelves(www: &Path, rng: &mut Rng) -> Result<()> {
    fs::write(www.join("file"), vec![b'x'; 20_000])?;
    fs::write(www.join("task"), "sleep\n")?;
    fs::write(www.join("package"), vec![b'p'; PACKAGE])?;
    for number in 1..=FILES {
        fs::write(
            www.join(format!("file{number}")),
            vec![b'x'; rng.within(500..=60_000) as usize],
        )?;
    }
    script(&www.join("ask"), "#!/bin/sh\necho wrong\n")?;
    fs::create_dir(www.join("cgi-bin"))?;
    // Takes whatever is sent.
    let up = "#!/bin/sh\ncat > /dev/null\nprintf 'Content-Type: text/plain\\r\\n\\r\\nok\\n'\n";
    script(&www.join("cgi-bin/up"), up)?;
    keys(www)
}

fn script(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A key that opens the lab's own receiving ends, and how those are set up; they write nothing.
fn keys(www: &Path) -> Result<()> {
    let at = |name: &str| www.join(name).display().to_string();
    for name in ["key", "host_key"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(www.join(name));
        child::must(keygen, START)?;
    }
    fs::write(
        www.join("sshd.conf"),
        format!(
            "HostKey {}\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\n\
             AuthorizedKeysFile {}\nForceCommand cat > /dev/null\n",
            at("host_key"),
            at("key.pub")
        ),
    )?;
    let copy = format!(
        "#!/bin/sh\nhead -c 2500k {} | ssh -q -p {BACKUP} -i {} -o StrictHostKeyChecking=no \
         -o UserKnownHostsFile=/dev/null root@$1 'cat > /dev/null'\n",
        at("package"),
        at("key")
    );
    script(&www.join("backup.sh"), &copy)
}

/// What clients offer the protected host: updates, names, room for copies.
pub(super) fn of_client(host: &Host, www: &Path) -> Result<Vec<Child>> {
    let sshd = tools::find("sshd").context("sshd is missing")?;
    let (v4, www) = (host.v4, www.display());
    let lines = [
        format!("busybox httpd -f -p {UPDATES} -h {www}"),
        format!("{} -D -e -p {BACKUP} -f {www}/sshd.conf", sshd.display()),
        format!(
            "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root --pid-file= \
             --local-ttl=0 --address=/lab.test/{v4} {}",
            texts()
        ),
    ];
    lines.iter().map(|line| host.spawn(line)).collect()
}

/// A server for files, where there is vsftpd: everybody may read and leave some, whoever has a name needs a password.
pub(super) fn ftp(host: &Host, place: &Path, rng: &mut Rng) -> Result<Option<Child>> {
    let Some(vsftpd) = tools::find("vsftpd") else {
        return Ok(None);
    };
    let (root, empty) = (place.join("ftp"), place.join("empty"));
    for dir in [&root, &root.join("pub"), &root.join("in"), &empty] {
        fs::create_dir(dir)?;
    }
    fs::set_permissions(place, fs::Permissions::from_mode(0o755))?;
    fs::write(root.join("pub/file"), vec![b'x'; 300_000])?;
    for number in 1..=5 {
        fs::write(
            root.join(format!("pub/file{number}")),
            vec![b'x'; rng.within(200..=50_000) as usize],
        )?;
    }
    // Its anonymous user, as Debian's package makes it.
    let ids = child::must(user("ftp"), START).context("the package vsftpd makes a user `ftp`; install it again")?;
    let id = |at: usize| ids.trim().split(':').nth(at).and_then(|id| id.parse::<u32>().ok());
    chown(root.join("in"), id(2), id(3))?;
    let config = place.join("vsftpd.conf");
    let settings = format!(
        "listen=NO\nlisten_ipv6=YES\nbackground=NO\nanonymous_enable=YES\nno_anon_password=YES\nlocal_enable=YES\n\
         anon_root={}\nsecure_chroot_dir={}\nwrite_enable=YES\nanon_upload_enable=YES\nanon_other_write_enable=YES\n\
         pam_service_name=vsftpd\nconnect_from_port_20=YES\nisolate_network=NO\nseccomp_sandbox=NO\nxferlog_enable=NO\n\
         max_login_fails={}\ndelay_failed_login={}\nmax_per_ip=0\nftpd_banner={}\n",
        root.display(),
        empty.display(),
        rng.within(1..=5),
        rng.within(0..=3),
        rng.one(&[
            "Welcome",
            "Files of the lab. Whoever has no business here goes away.",
            "FTP"
        ]),
    );
    fs::write(&config, settings)?;
    let mut ftp = host.spawn(&format!("{} {}", vsftpd.display(), config.display()))?;
    listening(host, &mut ftp, "vsftpd", 21)?;
    Ok(Some(ftp))
}

/// The protected host's web over TLS, where there are socat and openssl.
pub(super) fn tls(host: &Host, place: &Path, rng: &mut Rng) -> Result<Option<Child>> {
    // Drawn even where it is for nothing, so that a seed's session does not hang on it.
    let kind = rng.one(&["ec -pkeyopt ec_paramgen_curve:prime256v1", "rsa:2048", "rsa:3072"]);
    let (Some(socat), Some(openssl)) = (tools::find("socat"), tools::find("openssl")) else {
        return Ok(None);
    };
    let (key, cert) = (place.join("tls.key"), place.join("tls.crt"));
    let mut make = Command::new(openssl);
    make.args([
        "req",
        "-x509",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=www.lab.test",
        "-newkey",
    ])
    .args(kind.split_whitespace())
    .arg("-keyout")
    .arg(&key)
    .arg("-out")
    .arg(&cert);
    child::must(make, START)?;
    let mut tls = host.spawn(&format!(
        "{} OPENSSL-LISTEN:443,pf=ip6,ipv6-v6only=0,reuseaddr,fork,backlog=128,verify=0,cert={},key={} TCP4:{}:80",
        socat.display(),
        cert.display(),
        key.display(),
        host.v4
    ))?;
    listening(host, &mut tls, "socat", 443)?;
    Ok(Some(tls))
}

/// Waits until a server listens.
fn listening(host: &Host, server: &mut Child, name: &str, port: u16) -> Result<()> {
    wait::until(&format!("{name} to listen"), START, || {
        if let Some(status) = server.ended()? {
            bail!("{name} ended with {status}: {}", server.output());
        }
        let sockets = host.run(&format!("ss -Hltn sport = :{port}"), START)?;
        Ok((!sockets.output.trim().is_empty()).then_some(()))
    })
}

fn user(name: &str) -> Command {
    let mut command = Command::new("getent");
    command.args(["passwd", name]);
    command
}
