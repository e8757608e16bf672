//! From where the agent was started over SSH: that peer must not be locked out by what it started.
//!
//! sshd names the peer in the environment (`SSH_CONNECTION`, sshd(8)). `sudo` drops that by default, so the environments
//! of the processes above ours are looked at as well, as far as we may read them.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Processes looked at above ours: a shell, sudo, cargo and a multiplexer are a handful.
const ANCESTORS: usize = 16;

/// Peers of the SSH sessions that this process was started from; none where it was not.
pub(super) fn peers() -> BTreeSet<IpAddr> {
    peers_of(std::process::id())
}

fn peers_of(mut pid: u32) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    for _ in 0..ANCESTORS {
        if let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) {
            found.extend(named(&environment));
        }
        match std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .ok()
            .as_deref()
            .and_then(parent)
        {
            Some(above) if above > 1 => pid = above,
            _ => break,
        }
    }
    found
}

/// The variables of an environment as `/proc/PID/environ` has them: each ends with a zero byte.
pub(super) fn variables(environment: &[u8]) -> impl Iterator<Item = &str> {
    environment
        .split(|byte| *byte == 0)
        .filter_map(|variable| std::str::from_utf8(variable).ok())
}

/// An address as sshd names it: without its scope, and IPv4 as such.
pub(super) fn address(word: &str) -> Option<IpAddr> {
    let ip: IpAddr = word.split('%').next()?.parse().ok()?;
    Some(ip.to_canonical())
}

/// The peers an environment names: variables end with a zero byte, the address is the first word.
fn named(environment: &[u8]) -> impl Iterator<Item = IpAddr> {
    variables(environment)
        .filter_map(|variable| {
            variable
                .strip_prefix("SSH_CONNECTION=")
                .or_else(|| variable.strip_prefix("SSH_CLIENT="))
        })
        .filter_map(|value| address(value.split(' ').next()?))
}

/// The parent, from `/proc/PID/stat`: two words behind the name, which may hold spaces and parentheses itself.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    #[test]
    fn the_peer_is_what_sshd_says_it_is() {
        let read = |text: &[u8]| named(text).map(|ip| ip.to_string()).collect::<Vec<_>>();
        let both = b"HOME=/root\0SSH_CONNECTION=192.0.2.7 40000 192.0.2.1 22\0SSH_CLIENT=2001:db8::7 40001 22\0";
        assert_eq!(read(both), ["192.0.2.7", "2001:db8::7"]);
        assert_eq!(read(b"SSH_CLIENT=fe80::7%eth0 1 22\0"), ["fe80::7"]);
        assert_eq!(read(b"SSH_CLIENT=::ffff:192.0.2.7 1 22\0"), ["192.0.2.7"]);
        let nothing: [&str; 0] = [];
        for text in [
            &b""[..],
            b"SSH_CONNECTION=\0",
            b"SSH_CONNECTION=UNKNOWN 65535 UNKNOWN 65535\0",
            b"SSH_CLIENT=192.0.2.0/24 1\0",
            b"XSSH_CLIENT=192.0.2.7 1 22\0",
            b"\xff\xfe\0",
        ] {
            assert_eq!(read(text), nothing, "{text:?}");
        }
    }

    #[test]
    fn the_parent_is_behind_any_name() {
        assert_eq!(parent("42 (a) S 7 42 42"), Some(7));
        assert_eq!(parent("42 (a) S 9 (b) ) R 7 42"), Some(7));
        assert_eq!(parent("42 (a)"), None);
        assert_eq!(parent(""), None);
    }

    #[test]
    fn a_session_is_found_above_an_emptied_environment() {
        // As under sudo: the shell that tells its process id and waits knows nothing of the session.
        let mut session = Command::new("sh")
            .args(["-c", "env -i sh -c 'echo $$; read -r done'; :"])
            .env("SSH_CONNECTION", "192.0.2.7 40000 192.0.2.1 22")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut told = String::new();
        let mut reader = BufReader::new(session.stdout.take().expect("its output"));
        reader.read_line(&mut told).expect("a line");
        let pid = told.trim().parse().expect("a process id");
        let own = std::fs::read(format!("/proc/{pid}/environ")).expect("its environment");
        assert_eq!(named(&own).count(), 0);
        assert!(peers_of(pid).contains(&IpAddr::from([192, 0, 2, 7])));
        drop(session.stdin.take());
        assert!(session.wait().expect("its end").success());
    }
}
