//! The kinds of attack a session may hold, each a real tool with a line of its own every time.

use super::quiet;
use super::rng::Rng;
use std::net::{Ipv4Addr, Ipv6Addr};

/// What a line may speak of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope {
    pub(super) target: Ipv4Addr,
    pub(super) target6: Ipv6Addr,
    pub(super) attacker: Ipv4Addr,
    pub(super) attacker6: Ipv6Addr,
    /// How long the tool is left running, s.
    pub(super) seconds: u64,
}

/// Where a tool runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// At the attacker.
    Attacker,
    /// At the protected host, which is then the infected one.
    Protected,
}

/// What to run. `{passwords}` stands for a list of passwords, `{www}` for a folder to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    /// A server at the other end, started before: program and arguments.
    pub(super) serve: Option<Vec<String>>,
    pub(super) side: Side,
    /// Program and arguments.
    pub(super) line: Vec<String>,
}

/// A kind of attack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// As the labels of `sentinel model train` have it.
    pub(super) family: &'static str,
    /// The tool, and what else must be there.
    pub(super) programs: &'static [&'static str],
    /// How much longer than others it needs.
    pub(super) weight: u64,
    /// With fewer packets it did not happen.
    pub(super) least: u64,
    /// Its sources are forged.
    pub(super) forged: bool,
    /// It is IPv6, and its packets have that address of the attacker's.
    pub(super) v6: bool,
    /// It loads nobody: others may be on meanwhile.
    pub(super) quiet: bool,
    pub(super) steps: fn(&mut Rng, Scope) -> Steps,
}

/// With fewer packets most did not happen.
pub(super) const LEAST: u64 = 20;

pub(super) const fn kind(
    name: &'static str,
    family: &'static str,
    programs: &'static [&'static str],
    weight: u64,
    steps: fn(&mut Rng, Scope) -> Steps,
) -> Kind {
    Kind {
        name,
        family,
        programs,
        weight,
        least: LEAST,
        forged: false,
        v6: false,
        quiet: false,
        steps,
    }
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Kind> {
    LOUD.iter().chain(quiet::KINDS)
}

/// Ports whose services are asked what they are.
const SERVICES: &str = "21,22,25,53,80,110,143,443,3306,5201,8080";

/// Those that load the host, or see much of it: one after the other.
const LOUD: &[Kind] = &[
    kind("syn scan", "scan", &["nmap"], 1, |rng, to| {
        scan("-sS", 200..=800, rng, to)
    }),
    kind("connect scan", "scan", &["nmap"], 1, |rng, to| {
        scan("-sT", 200..=800, rng, to)
    }),
    kind("udp scan", "scan", &["nmap"], 1, |rng, to| {
        scan("-sU", 50..=300, rng, to)
    }),
    kind("scan with odd flags", "scan", &["nmap"], 1, |rng, to| {
        let how = rng.one(&["-sF", "-sN", "-sX", "-sA", "-sW", "-sM"]);
        scan(how, 200..=800, rng, to)
    }),
    kind("scan, hping3", "scan", &["hping3"], 1, |rng, to| {
        let how = rng.one(&["-S", "-F", "-A", "-F -P -U", "-S -F", "", "--udp"]);
        // From port to port.
        let from = rng.within(1..=40_000);
        flood(&format!("{how} -p ++{from}"), 1000, rng, to)
    }),
    kind("service scan", "scan_svc", &["nmap"], 2, |rng, to| {
        let how = rng.one(&["-sV", "-sV --version-light", "-sV --version-all", "-sV -sC", "-sV -O"]);
        let ports = match rng.within(0..=2) {
            0 => format!("-p{SERVICES}"),
            1 => format!("--top-ports {}", rng.within(20..=300)),
            _ => "-p1-1024".to_owned(),
        };
        away(&format!("nmap -n -Pn {how} {ports} {}", to.target))
    }),
    Kind {
        // Of a sweep a host sees what is sent to its own addresses.
        least: 4,
        ..kind("sweep", "sweep", &["nmap"], 1, |rng, _| {
            let [first, last] = super::SWEPT;
            away(&format!(
                "nmap -n -sn --disable-arp-ping -PE -PS22,80,443 --max-rate {} 192.0.2.{first}-{last}",
                rng.within(10..=60)
            ))
        })
    },
    Kind {
        least: 4,
        ..kind("sweep, fping", "sweep", &["fping"], 1, |rng, _| {
            let [first, last] = super::SWEPT;
            away(&format!(
                "fping -q -r {} -i {} -g 192.0.2.{first} 192.0.2.{last}",
                rng.within(0..=2),
                rng.within(10..=200)
            ))
        })
    },
    kind("syn flood", "flood_syn", &["hping3"], 1, |rng, to| {
        flood("-S -p 80", 500, rng, to)
    }),
    kind("ack flood", "flood_ack", &["hping3"], 1, |rng, to| {
        flood("-A -p 80", 500, rng, to)
    }),
    kind("udp flood", "flood_udp", &["hping3"], 1, |rng, to| {
        let (length, port) = (
            rng.within(16..=1200),
            rng.one(&["53", "80", "123", "443", "9999", "++20000"]),
        );
        flood(&format!("--udp -p {port} -d {length}"), 300, rng, to)
    }),
    kind("icmp flood", "flood_icmp", &["hping3"], 1, |rng, to| {
        flood("--icmp", 500, rng, to)
    }),
    Kind {
        forged: true,
        ..kind(
            "syn flood, forged sources",
            "flood_spoofed",
            &["hping3"],
            1,
            |rng, to| flood("-S -p 80 --rand-source", 700, rng, to),
        )
    },
    kind("http flood, curl", "flood_http", &["curl"], 1, |rng, to| {
        away(&format!(
            "curl -s -I -o /dev/null -Z --parallel-max {} -H Connection:close http://{}/page[1-5000]",
            rng.within(10..=60),
            to.target
        ))
    }),
    kind("http flood, ab", "flood_http", &["ab"], 1, |rng, to| {
        away(&format!(
            "ab -q -r -n 20000 -c {} -t {} http://{}/page",
            rng.within(10..=60),
            to.seconds,
            to.target
        ))
    }),
    kind("slow headers or body", "slow_dos", &["slowhttptest"], 2, |rng, to| {
        let how = rng.one(&["-H", "-B", "-X -w 10 -y 20 -n 5 -z 32 -k 3"]);
        away(&format!(
            "slowhttptest {how} -c {} -i {} -r {} -l {} -u http://{}/file",
            rng.within(40..=150),
            rng.within(2..=6),
            rng.within(10..=50),
            to.seconds,
            to.target
        ))
    }),
    Kind {
        v6: true,
        ..kind("syn or connect scan, IPv6", "scan", &["nmap"], 1, |rng, to| {
            let (how, rate, from) = (rng.one(&["-sS", "-sT"]), rng.within(100..=800), rng.within(1..=2000));
            away(&format!(
                "nmap -6 -n -Pn {how} --max-rate {rate} -p{from}-{} {}",
                from + rng.within(1000..=20000),
                to.target6
            ))
        })
    },
    Kind {
        v6: true,
        ..kind("service scan, IPv6", "scan_svc", &["nmap"], 2, |_, to| {
            away(&format!("nmap -6 -n -Pn -sV -p{SERVICES} {}", to.target6))
        })
    },
    Kind {
        v6: true,
        ..kind("http flood, ab, IPv6", "flood_http", &["ab"], 1, |rng, to| {
            away(&format!(
                "ab -q -r -n 20000 -c {} -t {} http://[{}]/page",
                rng.within(10..=60),
                to.seconds,
                to.target6
            ))
        })
    },
    Kind {
        v6: true,
        ..kind("icmp flood, IPv6", "flood_icmp", &["ping"], 1, |rng, to| {
            away(&format!(
                "ping -6 -q -i 0.00{} -s {} {}",
                rng.within(1..=3),
                rng.within(16..=1200),
                to.target6
            ))
        })
    },
];

/// A line that runs at the attacker.
pub(super) fn away(line: &str) -> Steps {
    Steps {
        serve: None,
        side: Side::Attacker,
        line: line.split_whitespace().map(str::to_owned).collect(),
    }
}

/// A script for the shell.
pub(super) fn shell(script: String) -> Vec<String> {
    vec!["sh".into(), "-c".into(), script]
}

fn scan(how: &str, rate: std::ops::RangeInclusive<u64>, rng: &mut Rng, to: Scope) -> Steps {
    let (rate, from) = (rng.within(rate), rng.within(1..=2000));
    away(&format!(
        "nmap -n -Pn {how} --max-rate {rate} -p{from}-{} {}",
        from + rng.within(1000..=20000),
        to.target
    ))
}

/// Packets at 500 to 2,000 a second, as many as the time has room for.
fn flood(what: &str, fastest_us: u64, rng: &mut Rng, to: Scope) -> Steps {
    let every = rng.within(fastest_us..=2000);
    let count = to.seconds * 1_000_000 / every;
    away(&format!("hping3 -q {what} -i u{every} -c {count} {}", to.target))
}
