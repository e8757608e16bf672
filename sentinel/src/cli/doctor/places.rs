//! The places the configuration names: interfaces, database, port, socket.

use super::Finding;
use crate::config::{Config, Mode};
use crate::kernel::probe;
use crate::store::Store;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use std::fs::read_to_string;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut out = interfaces(config);
    let agent = UnixStream::connect(&config.api.socket).is_ok();
    out.push(database(&config.store.path));
    out.push(if agent {
        Finding::pass("socket", format!("an agent answers on {}", config.api.socket.display()))
    } else {
        writable("socket", &config.api.socket)
    });
    out.push(port(config, agent));
    out.push(match config.mode {
        Mode::Production => Finding::pass("mode", "production: decisions are enforced"),
        Mode::Simulation => Finding::pass("mode", "simulation: nothing is dropped"),
    });
    out
}

fn interfaces(config: &Config) -> Vec<Finding> {
    let mut names = config.kernel.interfaces.clone();
    if names.is_empty() {
        names.extend(default_interface());
    }
    if names.is_empty() {
        return vec![Finding::fail(
            "interface",
            "there is no default route, so `auto` finds none",
            "name the interfaces: kernel.interfaces: [eth0]",
        )];
    }
    names.iter().map(|name| interface(name)).collect()
}

fn interface(name: &str) -> Finding {
    let check = format!("interface {name}");
    let dir = Path::new("/sys/class/net").join(name);
    if !dir.exists() {
        let known: Vec<_> = std::fs::read_dir("/sys/class/net")
            .map(|entries| {
                entries
                    .flatten()
                    .map(|e| e.file_name().to_string_lossy().into_owned())
                    .collect()
            })
            .unwrap_or_default();
        return Finding::fail(
            check,
            "does not exist",
            format!("name one of {} in kernel.interfaces", known.join(", ")),
        );
    }
    let xdp = probe::xdp_support(name);
    let mtu = xdp.mtu.map_or("?".to_owned(), |mtu| mtu.to_string());
    let large = if xdp.large_mtu { ", multi-buffer frames" } else { "" };
    let head = format!(
        "driver {}, MTU {mtu}{large}",
        xdp.driver.as_deref().unwrap_or("unknown")
    );
    match xdp.native {
        Some(true) if xdp.large_mtu && !probe::multi_buffer() => Finding::warn(
            check,
            format!("{head}: generic XDP, for this kernel has no native one for multi-buffer frames (5.18 has)"),
            format!("it works and costs more per packet; `ip link set {name} mtu 1500` or a newer kernel avoids that"),
        ),
        Some(true) => Finding::pass(check, format!("{head}: native XDP expected")),
        Some(false) => Finding::warn(
            check,
            format!("{head}: generic XDP"),
            "it works and costs more per packet; a driver with native XDP avoids that",
        ),
        None => Finding::warn(
            check,
            format!("{head}: attaching will tell whether XDP is native"),
            "GET /health and sentinel_xdp_packets_total say which mode it became",
        ),
    }
}

/// The interface of the default route, IPv4 before IPv6.
fn default_interface() -> Option<String> {
    let v4 = read_to_string("/proc/net/route").unwrap_or_default();
    let v4 = v4.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000")).then(|| fields[0].to_owned())
    });
    let v6 = read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let v6 = v6.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let default = fields.first().is_some_and(|net| net.bytes().all(|b| b == b'0')) && fields.get(1) == Some(&"00");
        fields
            .get(9)
            .filter(|name| default && **name != "lo")
            .map(|name| (*name).to_owned())
    });
    v4.chain(v6).next()
}

/// Whether the database can be made, or is one that this release reads and may write.
fn database(path: &Path) -> Finding {
    let place = writable("database", path);
    // Where it may not even be read, the finding about writing says what to do.
    if !path.exists() || access(path, AccessFlags::R_OK).is_err() {
        return place;
    }
    match Store::read_only(path) {
        Ok(_) => place,
        Err(error) => Finding::fail(
            "database",
            error.to_string(),
            "do what the message says, or set store.path",
        ),
    }
}

/// Whether a file can be made or written where it belongs.
fn writable(check: &str, path: &Path) -> Finding {
    let shown = path.display();
    let target = if path.exists() {
        path
    } else {
        path.ancestors()
            .skip(1)
            .find(|dir| dir.as_os_str().is_empty() || dir.exists())
            .unwrap_or(Path::new("/"))
    };
    let target = if target.as_os_str().is_empty() {
        Path::new(".")
    } else {
        target
    };
    let allowed = if target == path || target.is_dir() {
        access(target, AccessFlags::W_OK)
    } else {
        Err(Errno::ENOTDIR)
    };
    match allowed {
        Ok(()) => Finding::pass(check, format!("{shown} can be written")),
        Err(error) => Finding::fail(
            check,
            format!("{shown} cannot be written: {}: {error}", target.display()),
            "run as root, give the user that directory, or change the path in the settings",
        ),
    }
}

fn port(config: &Config, agent: bool) -> Finding {
    let listen = config.api.listen;
    match TcpListener::bind(listen) {
        Ok(_) => Finding::pass("port", format!("{listen} is free")),
        Err(_) if agent => Finding::pass("port", format!("{listen} is in use, and an agent is running")),
        Err(error) => Finding::fail(
            "port",
            format!("{listen}: {error}"),
            format!(
                "end what listens there (`ss -ltnp sport = :{}`), or change api.listen",
                listen.port()
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn an_occupied_port_is_said_with_its_mend() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
        let mut config = Config::default();
        config.api.listen = taken.local_addr().expect("address");
        let finding = port(&config, false);
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.mend.contains("api.listen"), "{finding:?}");
        drop(taken);
        assert_eq!(port(&config, false).level, Level::Pass);
    }

    #[test]
    fn a_database_that_is_none_is_said_and_left_alone() {
        let dir = tempfile::tempdir().expect("dir");
        let path = dir.path().join("sentinel.db");
        std::fs::write(&path, [0x5a; 8192]).expect("written");
        let finding = database(&path);
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.found.contains("damaged or not a database"), "{finding:?}");
        assert_eq!(std::fs::read(&path).expect("read"), [0x5a; 8192]);
        assert_eq!(database(&dir.path().join("none.db")).level, Level::Pass);
    }

    #[test]
    fn places() {
        let dir = tempfile::tempdir().expect("dir");
        assert_eq!(writable("database", &dir.path().join("a/b/c.db")).level, Level::Pass);
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert_eq!(writable("database", &file.join("c.db")).level, Level::Fail);
        assert_eq!(interface("sntl-none").level, Level::Fail);
    }
}
