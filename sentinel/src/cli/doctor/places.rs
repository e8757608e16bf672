//! The places the configuration names: database, port, socket; interfaces and pins in a file of their own.

use super::{Finding, interfaces};
use crate::config::{Config, Hook, Mode};
use crate::store::Store;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let mut out = match config.kernel.hook {
        Hook::Nftables => Vec::new(),
        _ => interfaces::findings(config),
    };
    let agent = UnixStream::connect(&config.api.socket).is_ok();
    out.push(database(&config.store.path));
    if config.traffic_log.enabled {
        out.push(writable("traffic log", &config.traffic_log.path));
    }
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
    }
}
