//! Whether somebody listens where redirected sources are sent.

use super::Finding;
use crate::config::{Config, Decoy};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// State of a listening socket in /proc/net/tcp (`TCP_LISTEN`, include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// One finding per honeypot that is configured.
pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let honeypot = &config.response.honeypot;
    if honeypot.v4.is_none() && honeypot.v6.is_none() {
        return Vec::new();
    }
    // Where there is no IPv6 there is no such file, and no such socket.
    let read = |name: &str| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default();
    let listeners = [listeners(&read("tcp")), listeners(&read("tcp6"))].concat();
    let v4 = honeypot.v4.map(|d| finding("honeypot IPv4", any(d), &listeners, false));
    let v6 = honeypot.v6.map(|d| finding("honeypot IPv6", any(d), &listeners, true));
    v4.into_iter().chain(v6).collect()
}

fn any<A: Into<IpAddr>>(decoy: Decoy<A>) -> Decoy<IpAddr> {
    Decoy {
        address: decoy.address.map(Into::into),
        port: decoy.port,
    }
}

fn finding(check: &str, decoy: Decoy<IpAddr>, listeners: &[(IpAddr, u16)], v6: bool) -> Finding {
    let serves = |ip: &IpAddr| match ip {
        // A socket of all addresses takes IPv4 too, unless it says otherwise.
        IpAddr::V6(ip) if ip.is_unspecified() => true,
        IpAddr::V4(ip) if ip.is_unspecified() => !v6,
        ip => decoy.address == Some(*ip) || decoy.address.is_none() && ip.is_ipv6() == v6 && !ip.is_loopback(),
    };
    let port = decoy.port;
    if listeners.iter().any(|(ip, at)| *at == port && serves(ip)) {
        return Finding::pass(check, format!("somebody listens on TCP port {port}"));
    }
    match decoy.address {
        None => Finding::warn(
            check,
            format!("nobody on this host listens on TCP port {port} for outsiders"),
            "start the decoy on all addresses, or correct `response.honeypot`",
        ),
        Some(address) => Finding::warn(
            check,
            format!("nobody on this host listens on {address}, TCP port {port}"),
            "start the decoy; if it is another host, its answers must come back through this one",
        ),
    }
}

/// Address and port of every listening socket in a table as /proc/net/tcp has it.
fn listeners(table: &str) -> Vec<(IpAddr, u16)> {
    table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let local = fields.nth(1)?;
            let state = fields.nth(1)?;
            (state == LISTEN).then(|| place(local)).flatten()
        })
        .collect()
}

/// `0100007F:0016`: words of the address as this machine has them in memory, then the port.
fn place(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok();
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?.to_ne_bytes())),
        32 => {
            let mut octets = [0; 16];
            for (n, bytes) in octets.chunks_exact_mut(4).enumerate() {
                bytes.copy_from_slice(&word(n * 8)?.to_ne_bytes());
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some((ip, port))
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;
    use std::net::TcpListener;

    fn decoy(address: Option<&str>, port: u16) -> Decoy<IpAddr> {
        Decoy {
            address: address.map(|text| text.parse().unwrap()),
            port,
        }
    }

    #[test]
    fn a_socket_of_this_process_is_found_while_it_listens() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let table = || listeners(&std::fs::read_to_string("/proc/net/tcp").unwrap());
        assert!(table().contains(&(address.ip(), address.port())));
        drop(socket);
        assert!(!table().contains(&(address.ip(), address.port())));
    }

    #[test]
    fn who_is_reached_from_outside_counts() {
        for (listens, address, v6, level) in [
            ("0.0.0.0", None, false, Level::Pass),
            ("::", None, false, Level::Pass),
            ("::", None, true, Level::Pass),
            ("0.0.0.0", None, true, Level::Warn),
            ("127.0.0.1", None, false, Level::Warn),
            ("192.0.2.7", None, false, Level::Pass),
            ("192.0.2.7", Some("192.0.2.7"), false, Level::Pass),
            ("192.0.2.8", Some("192.0.2.7"), false, Level::Warn),
            ("2001:db8::7", Some("2001:db8::7"), true, Level::Pass),
        ] {
            let listeners = [(listens.parse().unwrap(), 2222), ("0.0.0.0".parse().unwrap(), 22)];
            let found = finding("x", decoy(address, 2222), &listeners, v6);
            assert_eq!(found.level, level, "{listens} {address:?}: {}", found.found);
        }
        let none = finding("x", decoy(None, 22), &[], false);
        assert!(none.found.contains("port 22") && !none.mend.is_empty());
    }

    #[test]
    fn odd_lines_are_passed_over() {
        let table = "  sl  local_address rem_address   st\n   0: 00000000:08AE 00000000:0000 0A x\n\
                     1: 00000000:0016 00000000:0000 01 x\n 2: zz:0016 0 0A\n 3: 00:0016 0 0A\n 4:\n";
        assert_eq!(listeners(table), [(IpAddr::from([0, 0, 0, 0]), 2222)]);
    }
}
